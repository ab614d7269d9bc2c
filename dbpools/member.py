"""A member of a pool: one physical connection and what the pool knows about it."""

import asyncio
from collections import deque
from typing import Any

from dbpools.driver import DriverConnection


class PoolMember:
    """A connection with its age, the tasks that wait for it, and the deadline of its statement."""

    __slots__ = (
        "_turns",
        "connection",
        "deadline",
        "idle_since",
        "is_busy",
        "is_new",
        "is_overdue",
        "is_spoiled",
        "old_at",
        "task",
    )

    def __init__(self, connection: DriverConnection, *, now: float, old_at: float) -> None:
        self.connection = connection
        self.old_at = old_at
        """When the connection is replaced, on the pool's clock."""
        self.idle_since = now
        self.is_spoiled = False
        """True after a statement was cut off: nobody knows what the connection answers next."""
        self.is_new = True
        """True until the connection was lent and given back once."""
        self.is_busy = False
        """True while a task runs a statement."""
        self.task: asyncio.Task[Any] | None = None
        """The task whose statement runs. It is cancelled at the deadline."""
        self.deadline = 0.0
        self.is_overdue = False
        """True after the deadline has cut the statement off."""
        self._turns: deque[asyncio.Future[None]] = deque()

    async def wait_turn(self) -> None:
        """Returns when no other task runs a statement. First come, first served."""
        while self.is_busy:
            turn = asyncio.get_running_loop().create_future()
            self._turns.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._wake_next()  # our turn came just now, and we do not take it
                raise

    def leave_turn(self) -> None:
        """Lets the next task run its statement."""
        self.is_busy = False
        if self._turns:
            self._wake_next()

    def _wake_next(self) -> None:
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def cut_off_if_overdue(self, now: float) -> None:
        """Cancels a statement that is past its deadline, once."""
        if self.task is not None and now >= self.deadline and not self.is_overdue:
            self.is_overdue = True
            self.task.cancel()
