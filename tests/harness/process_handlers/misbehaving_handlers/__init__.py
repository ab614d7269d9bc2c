"""Handlers that do what handlers should not."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from handlers import BaseHandler, handler


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("not even its text")


def raises(make: Callable[[], BaseException]) -> Callable[[], Any]:
    def act() -> Any:
        raise make()

    return act


def recurse() -> Any:
    return recurse()


def kill_myself() -> None:
    """Kills the process, as the kernel does if it takes all the memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


DEEDS: dict[str, Callable[[], Any]] = {
    "Exception": raises(lambda: Exception("an ordinary failure")),
    "BaseException": raises(lambda: BaseException("not an Exception")),
    "SystemExit": raises(lambda: SystemExit(3)),
    "KeyboardInterrupt": raises(KeyboardInterrupt),
    "GeneratorExit": raises(GeneratorExit),
    "CancelledError": raises(asyncio.CancelledError),
    "RecursionError": recurse,
    "MemoryError": raises(MemoryError),
    "ExceptionGroup": raises(lambda: ExceptionGroup("two", [ValueError("1"), KeyError("2")])),
    "unprintable": raises(Unprintable),
    "long message": raises(lambda: ValueError("x" * 5_000_000)),
    "exit code 0": lambda: os._exit(0),
    "killed": kill_myself,
    "object": lambda: {"found": object()},
    "50 MB": lambda: {"text": "x" * 50_000_000},
    "NUL": lambda: {"text": "a\0b"},
    "NaN": lambda: {"number": float("nan")},
    "surrogate": lambda: {"text": "a\ud800b"},
    "deep": lambda: {"list": nested(3000)},
}


@handler("misbehaves")
class Misbehaves(BaseHandler):
    async def execute(self, params: dict[str, Any]) -> Any:
        await asyncio.sleep(0)
        return DEEDS[params["how"]]()


@handler("talks_much")
class TalksMuch(BaseHandler):
    async def execute(self, params: dict[str, Any]) -> dict[str, Any]:
        for number in range(params["lines"]):
            self.context.log.info("line %s", number)
            if number % 1000 == 0:
                await asyncio.sleep(0)
        return {"said": params["lines"]}


@handler("leaves_things_behind")
class LeavesThingsBehind(BaseHandler):
    """Leaves tasks and a thread that go on after the handler has ended."""

    tasks: set[asyncio.Task[None]] = set()

    async def execute(self, params: dict[str, Any]) -> dict[str, Any]:
        for _ in range(3):
            self.tasks.add(asyncio.create_task(asyncio.sleep(3600)))
        threading.Thread(target=sys.exit, name="stray").start()
        threading.Thread(target=threading.Event().wait, args=(5,), daemon=True).start()
        return {"left": len(self.tasks)}


@handler("holds_the_gil")
class HoldsTheGil(BaseHandler):
    """Evaluates a regular expression for some seconds, during which no other thread can run."""

    async def execute(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"matched": re.match(r"(a+)+$", "a" * params["letters"] + "b") is not None}
