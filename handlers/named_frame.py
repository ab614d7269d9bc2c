"""Puts the number of a run into the stack: a frame is called `execution_4242`.

faulthandler writes the stacks of a process whose interpreter is held. It knows functions and lines
alone, no variables, so the run must be named by a function.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import FunctionType
from typing import Any, TypeVar

T = TypeVar("T")


async def _awaits(function: Callable[[], Awaitable[T]]) -> T:
    return await function()


def _calls(function: Callable[[], T]) -> T:
    return function()


def awaited_in_frame(name: str, function: Callable[[], Awaitable[T]]) -> Any:
    """Returns a coroutine that calls and awaits `function` in a frame called `name`."""
    return _renamed(_awaits, name)(function)


def called_in_frame(name: str, function: Callable[[], T]) -> T:
    """Calls `function` in a frame called `name`, and returns what it returns."""
    result: T = _renamed(_calls, name)(function)
    return result


def _renamed(function: Any, name: str) -> Any:
    code = function.__code__.replace(co_name=name, co_qualname=name)
    return FunctionType(code, globals())
