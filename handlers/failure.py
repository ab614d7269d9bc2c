"""Describes an exception as text that can be stored, even if its own methods raise."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Literal

from pydantic import ValidationError

from handlers.errors import PermanentError, RetryLaterError, TaskExit
from handlers.json_safe import storable_text, text_of

Severity = Literal["info", "warning", "error"]

MAX_ERROR_BYTES = 16 * 1024
MAX_TRACEBACK_BYTES = 16 * 1024
MAX_CLASS_BYTES = 255
_CHAIN_LIMIT = 8
_GROUP_LIMIT = 5
# Groups inside groups: below this the traceback shows only the exceptions at the ends.
_GROUP_DEPTH = 5
_LEAVES_LIMIT = 1000
_HERE = Path(__file__).parent
_OUR_FILES = {
    str(_HERE / name) for name in ("runner.py", "call.py", "named_frame.py", "task_tracking.py")
}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The description of one exception.

    `error` is "ValueError: text", `error_class` includes the module, except for built-in classes,
    `exception_class` always: it is the path by which the class is imported.
    """

    error: str
    error_class: str
    exception_class: str
    traceback: str
    severity: Severity
    permanent: bool
    retry_after_seconds: float | None = None


def describe(exc: BaseException) -> Failure:
    """Returns the description of `exc`, without local variables.

    Raises nothing; of the exception's own methods it calls only str().
    """
    exc = _original(exc)
    return Failure(
        error=summary(exc),
        error_class=_class_name(type(exc)),
        exception_class=path_of(type(exc)),
        traceback=_traceback(exc),
        severity=_severity(exc),
        permanent=isinstance(exc, PermanentError),
        retry_after_seconds=exc.seconds if isinstance(exc, RetryLaterError) else None,
    )


def summary(exc: BaseException) -> str:
    """Returns "ValueError: text", at most 16 KiB.

    Of a group also its first five exceptions, which may lie in groups inside it, at any depth.
    """
    exc = _original(exc)
    text = _class_and_message(exc)
    if isinstance(exc, BaseExceptionGroup):
        shown = [_class_and_message(leaf) for leaf in islice(_leaves(exc), _GROUP_LIMIT)]
        text += ": " + "; ".join(shown)
    return storable_text(text, MAX_ERROR_BYTES)


def thread_stack(ident: int) -> str:
    """Returns the present stack of the thread, outermost call first; "" if it has ended."""
    frame = sys._current_frames().get(ident)
    if frame is None:
        return ""
    stack = traceback.StackSummary.extract(traceback.walk_stack(frame), limit=40)
    stack.reverse()
    while stack and (stack[0].filename in _OUR_FILES or stack[0].filename == threading.__file__):
        del stack[0]
    text = "Still running at (most recent call last):\n" + "".join(stack.format())
    return storable_text(text.rstrip(), MAX_TRACEBACK_BYTES)


def _original(exc: BaseException) -> BaseException:
    return exc.__cause__ if isinstance(exc, TaskExit) and exc.__cause__ is not None else exc


def _class_and_message(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {_message(exc)}".removesuffix(": ")


def _message(exc: BaseException) -> str:
    if isinstance(exc, ValidationError):
        # Its str() quotes the input, which may be a secret.
        errors = exc.errors(include_url=False, include_context=False, include_input=False)
        places = (f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in errors[:20])
        return f"{exc.title} does not fit: " + "; ".join(places)
    try:
        return str(exc)
    except BaseException as inner:  # noqa: BLE001 - __str__ is user code too
        return f"(its message could not be read: {type(inner).__name__})"


def _class_name(cls: type[BaseException]) -> str:
    return path_of(cls).removeprefix("builtins.")


def path_of(cls: type[BaseException]) -> str:
    """Returns the dotted path of an exception class, its module first."""
    return storable_text(f"{cls.__module__}.{cls.__qualname__}", MAX_CLASS_BYTES)


def _severity(exc: BaseException) -> Severity:
    """Returns "warning" for a pool without a free connection, "error" for everything else.

    Such a pool recovers by itself. Class names are compared, so that this module imports no driver.
    """
    leaves = list(islice(_leaves(exc), _LEAVES_LIMIT))
    busy = [any(c.__name__ == "ConnectionPoolExhaustedError" for c in type(leaf).__mro__)
            for leaf in leaves]  # fmt: skip
    return "warning" if all(busy) else "error"


def _leaves(exc: BaseException) -> Iterator[BaseException]:
    """Yields the exceptions that are no groups, in order. Not recursive: groups may lie deep."""
    waiting = [exc]
    while waiting:
        last = _original(waiting.pop())
        if isinstance(last, BaseExceptionGroup):
            waiting += reversed(last.exceptions)
        else:
            yield last


def _traceback(exc: BaseException) -> str:
    try:
        return storable_text("\n".join(_format_chain(exc)).rstrip(), MAX_TRACEBACK_BYTES)
    except BaseException as inner:  # noqa: BLE001 - no memory, a broken __cause__, ...
        return f"(the traceback could not be written: {type(inner).__name__})"


def _format_chain(exc: BaseException) -> Iterator[str]:
    """Yields the chain of causes, oldest first.

    The traceback module would print the str() of each exception, which may contain secrets.
    """
    chain = [exc]
    links: list[str] = []
    while len(chain) < _CHAIN_LIMIT:
        last = chain[-1]
        if last.__cause__ is not None:
            before, link = last.__cause__, "The above exception was the direct cause of:"
        elif last.__context__ is not None and not last.__suppress_context__:
            before, link = last.__context__, "While handling the above exception:"
        else:
            break
        if before in chain:
            break
        chain.append(before)
        links.append(link)
    links.append("")
    for each, link in zip(reversed(chain), reversed(["", *links[:-1]]), strict=True):
        yield from _format_exception(each)
        if link:
            yield f"\n{link}\n"


def _format_exception(exc: BaseException, depth: int = 0) -> Iterator[str]:
    frames = traceback.StackSummary.extract(
        traceback.walk_tb(_without_our_frames(exc.__traceback__)), limit=-40
    )
    if frames:
        yield "Traceback (most recent call last):"
        yield "".join(frames.format()).rstrip()
    yield storable_text(summary(exc), 2048)
    notes = getattr(exc, "__notes__", None)
    for note in notes[:5] if isinstance(notes, list) else ():
        yield storable_text(text_of(note), 1024)
    if isinstance(exc, BaseExceptionGroup) and depth < _GROUP_DEPTH:
        for number, inner in enumerate(exc.exceptions[:_GROUP_LIMIT], start=1):
            yield f"  -- {number} of {len(exc.exceptions)} --"
            for text in _format_exception(_original(inner), depth + 1):
                yield "\n".join("  " + line for line in text.splitlines())


def _without_our_frames(tb: TracebackType | None) -> TracebackType | None:
    while tb is not None and tb.tb_frame.f_code.co_filename in _OUR_FILES:
        tb = tb.tb_next
    return tb
