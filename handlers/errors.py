"""The errors of handlers.

HandlerError
  CannotRunError             no attempt can be made
    HandlerNotFoundError     no handler has that name
    InvalidParamsError       the handler does not accept the params
  DuplicateHandlerError      two classes claim one name
  PermanentError             a handler raises it: the run failed and a retry does not help
  RetryLaterError            a handler raises it: the run failed, and says when to try again
    DatabaseNotConfiguredError  this worker has no database of a name that the handler needs
TaskExit (BaseException)     SystemExit or KeyboardInterrupt in a task that a handler started
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class HandlerError(Exception):
    """Root of this package's errors."""


class CannotRunError(HandlerError):
    """No attempt can be made with this handler name and these params; see the subclasses."""


class HandlerNotFoundError(CannotRunError):
    """No handler is registered under `name`; `hint` is the nearest name that exists, or None.

    `broken_modules`: modules that may contain it and cannot be imported, with the error's class.
    `reason`: why a handler that jobu knows is not there; empty for any other name.
    """

    def __init__(
        self,
        name: str,
        hint: str | None = None,
        *,
        broken_modules: Mapping[str, str] | None = None,
        reason: str = "",
    ) -> None:
        self.name = name
        self.hint = hint
        self.reason = reason
        self.broken_modules = dict(broken_modules or {})
        tail = f": {reason}" if reason else ""
        tail += f" (did you mean {hint!r}?)" if hint else ""
        for module, error in self.broken_modules.items():
            tail += f"; {module} cannot be imported ({error}), the log says why"
        super().__init__(f"Handler not found: {name}{tail}")


@dataclass(frozen=True)
class ParamError:
    """One mistake in params. Never contains the value, because it may be a secret."""

    loc: str
    message: str
    type: str
    hint: str | None = None
    """The nearest name that the handler knows, if `loc` is a name that it does not know."""

    @property
    def text(self) -> str:
        tail = f" (did you mean {self.hint!r}?)" if self.hint else ""
        return f"{self.loc}: {self.message}{tail}" if self.loc else self.message


class InvalidParamsError(CannotRunError):
    """The handler does not accept the params.

    `errors` holds every mistake, the message the first twenty.
    """

    SHOWN = 20

    def __init__(self, errors: Sequence[ParamError]) -> None:
        self.errors = tuple(errors)
        shown = [error.text for error in errors[: self.SHOWN]]
        if len(errors) > self.SHOWN:
            shown.append(f"and {len(errors) - self.SHOWN} more")
        super().__init__("Invalid params: " + "; ".join(shown))


class DuplicateHandlerError(HandlerError):
    """A second class claims a name that is taken; `first` and `second` say where both are."""

    def __init__(self, name: str, first: str, second: str) -> None:
        self.name = name
        self.first = first
        self.second = second
        super().__init__(f"Handler {name!r} is defined twice: in {first} and in {second}")


class PermanentError(HandlerError):
    """A handler raises it to fail without retries, whatever the job's max_retry is."""


class RetryLaterError(HandlerError):
    """A handler raises it to fail, and to have the next attempt begin after `seconds`.

    The attempt counts as any failure does, so the job's max_retry decides whether there is another.
    `seconds` replaces the job's back-off; it is limited to 0..30 days.
    """

    LONGEST_SECONDS = 30 * 24 * 3600.0

    def __init__(self, message: str, *, seconds: float) -> None:
        self.seconds = min(max(0.0, float(seconds)), self.LONGEST_SECONDS)
        super().__init__(message)


class DatabaseNotConfiguredError(PermanentError):
    """A handler needs databases that this worker may not open; `names` says which."""

    def __init__(self, names: Sequence[str], message: str) -> None:
        self.names = tuple(names)
        super().__init__(message)


class TaskExit(BaseException):
    """Replaces a SystemExit or KeyboardInterrupt raised in a task that a handler started.

    asyncio lets those two end the event loop, which all runs of a worker share. The original is
    the `__cause__`. Like the two, it is no Exception: `except Exception` does not catch it.
    """
