"""What can go wrong between a handler's name and its result.

HandlerError
  HandlerNotFoundError     no handler of that name
  DuplicateHandlerError    two classes want one name
  InvalidParamsError       the params do not fit the handler
  PermanentError           raised BY a handler: this failed, and trying again will not help
    DatabaseNotConfiguredError  this worker has no database of a name that the handler needs
TaskExit (BaseException)   SystemExit or KeyboardInterrupt in a task that a handler spawned
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class HandlerError(Exception):
    """Root of this package's errors."""


class HandlerNotFoundError(HandlerError):
    """No handler is registered under `name`; `hint` is the nearest name that exists, or None."""

    def __init__(self, name: str, hint: str | None = None) -> None:
        self.name = name
        self.hint = hint
        tail = f" (did you mean {hint!r}?)" if hint else ""
        super().__init__(f"Handler not found: {name}{tail}")


class DuplicateHandlerError(HandlerError):
    """A second class asks for a name that is taken; `first` and `second` say where both are."""

    def __init__(self, name: str, first: str, second: str) -> None:
        self.name = name
        self.first = first
        self.second = second
        super().__init__(f"Handler {name!r} is defined twice: in {first} and in {second}")


@dataclass(frozen=True)
class ParamError:
    """One thing that is wrong with params. Never holds the value: it may be a secret."""

    loc: str
    message: str
    type: str


class InvalidParamsError(HandlerError):
    """The params do not fit; `errors` holds every reason, the message the first twenty."""

    SHOWN = 20

    def __init__(self, errors: Sequence[ParamError]) -> None:
        self.errors = tuple(errors)
        shown = [f"{e.loc}: {e.message}" if e.loc else e.message for e in errors[: self.SHOWN]]
        if len(errors) > self.SHOWN:
            shown.append(f"and {len(errors) - self.SHOWN} more")
        super().__init__("Invalid params: " + "; ".join(shown))


class PermanentError(HandlerError):
    """Raise it in a handler to fail without retries, whatever the job's max_retry says."""


class DatabaseNotConfiguredError(PermanentError):
    """A handler needs databases that this worker may not open; `names` says which."""

    def __init__(self, names: Sequence[str], message: str) -> None:
        self.names = tuple(names)
        super().__init__(message)


class TaskExit(BaseException):
    """Stands in for SystemExit or KeyboardInterrupt raised in a task a handler spawned.

    asyncio lets those two stop the event loop, which all runs of a worker share. The original
    is the `__cause__`. Not an Exception, so that `except Exception` lets it pass as it would them.
    """
