"""What one kind of handler needs around its runs, in the worker's thread.

A door installs it for the names with its prefix; the executor knows no door.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from scheduler.states import RunStatus

Before = Callable[[str], None]
After = Callable[[int, RunStatus], None]

_kinds: dict[str, tuple[Before, After]] = {}


def install(prefix: str, *, before: Before, after: After) -> None:
    """For handlers whose names begin with `prefix`. Neither function may raise.

    `before(handler_name)` is called before the handler is looked up on the loop: a module that it
    imports would block the other runs there. `after(execution_id, status)` is called when the
    verdict on an attempt is in the database.
    """
    _kinds[prefix] = (before, after)


def before(handler_name: str) -> None:
    """Called before each attempt."""
    for prepare, _ in _of(handler_name):
        prepare(handler_name)


def after(handler_name: str, execution_id: int, status: RunStatus) -> None:
    """Called after each attempt whose verdict this process has written."""
    for _, tell in _of(handler_name):
        tell(execution_id, status)


def _of(handler_name: str) -> Iterator[tuple[Before, After]]:
    return (kind for prefix, kind in _kinds.items() if handler_name.startswith(prefix))
