"""What the place where handlers run does around them.

Handlers know no Django. A worker does, and gives hooks to `run_handler` that look after Django's
connections.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext


class RunHooks:
    """Hooks that do nothing, for runs outside of a worker. None of them may raise."""

    installation: str = ""
    """The same in all workers on one job database, and in no others. Empty: there is none."""

    def begin_run(self) -> Callable[[], None]:
        """Called before the handler, in its context variables.

        The function that it returns is called on the loop when the tasks of the run have ended.
        """
        return _nothing

    def around_own_thread(self) -> AbstractContextManager[None]:
        """Entered around a plain `execute`, in its thread. The thread ends with the run."""
        return nullcontext()

    def around_shared_thread(self) -> AbstractContextManager[None]:
        """Entered around a call of `asyncio.to_thread`, in a thread that serves many runs."""
        return nullcontext()


def _nothing() -> None:
    pass
