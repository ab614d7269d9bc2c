"""What one kind of handler needs around its runs.

A door installs it for the names with its prefix; the executor knows no door.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from django.db import close_old_connections

from scheduler.states import RunStatus

Before = Callable[[str], None]
After = Callable[[int, RunStatus], None]

_kinds: dict[str, tuple[Before, After]] = {}
# Not the loop's own threads: handlers may have them all.
_threads = ThreadPoolExecutor(4, thread_name_prefix="jobu-prepare")


def install(prefix: str, *, before: Before, after: After) -> None:
    """For handlers whose names begin with `prefix`. Neither function may raise.

    `before(handler_name)` is called before the handler is looked up on the loop: a module that it
    imports would block the other runs there. `after(execution_id, status)` is called when the
    verdict on an attempt is in the database.
    """
    _kinds[prefix] = (before, after)


async def before(handler_name: str) -> None:
    """Called before each attempt, on the loop, which it does not block."""
    for prepare, _ in _of(handler_name):
        await asyncio.get_running_loop().run_in_executor(_threads, prepare, handler_name)


def after(handler_name: str, execution_id: int, status: RunStatus) -> None:
    """Called after each attempt whose verdict this process has written."""
    for _, tell in _of(handler_name):
        tell(execution_id, status)


class Teller:
    """Calls `after` in a thread of its own: a receiver that takes long delays no run.

    Made after the fork.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="jobu-tell")

    def tell(self, handler_name: str, execution_id: int, status: RunStatus) -> None:
        """Does not block."""
        if _of(handler_name):
            self._thread.submit(_tell, handler_name, execution_id, status)

    def close(self) -> None:
        """Wait for what was told before."""
        self._thread.shutdown()


def _tell(handler_name: str, execution_id: int, status: RunStatus) -> None:
    close_old_connections()
    after(handler_name, execution_id, status)


def _of(handler_name: str) -> Sequence[tuple[Before, After]]:
    if not handler_name.startswith(tuple(_kinds)):
        return ()  # nearly all runs
    return [kind for prefix, kind in _kinds.items() if handler_name.startswith(prefix)]
