"""The line of callers that wait for a connection of a pool."""

import asyncio
from collections import deque
from collections.abc import Callable

from dbpools.member import PoolMember
from dbpools.statistics import Counters


class WaitingLine:
    """Callers without a connection. First come, first served."""

    def __init__(
        self,
        counters: Counters,
        *,
        take_back: Callable[[PoolMember], None],
        timeout_error: Callable[[float], Exception],
    ) -> None:
        self._counters = counters
        self._take_back = take_back
        """Gets a connection whose caller was cancelled just after it was handed over."""
        self._timeout_error = timeout_error
        """Makes the error for a caller that has waited so many seconds in vain."""
        self.waiters: deque[asyncio.Future[PoolMember]] = deque()
        """The pool only reads it."""

    async def wait(self, patience_seconds: float) -> PoolMember:
        """Returns the connection that is handed over; raises the timeout error after that time."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[PoolMember] = loop.create_future()
        self.waiters.append(waiter)
        started = loop.time()
        timer = loop.call_later(patience_seconds, self._give_up, waiter, patience_seconds)
        try:
            return await waiter
        except asyncio.CancelledError:
            # The connection may have been handed over just before the cancellation.
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._take_back(waiter.result())
            raise
        finally:
            timer.cancel()
            if waiter in self.waiters:
                self.waiters.remove(waiter)
            self._counters.add_wait(loop.time() - started)

    def _give_up(self, waiter: asyncio.Future[PoolMember], patience_seconds: float) -> None:
        if waiter.done():
            return
        self._counters.acquire_timeout_count += 1
        self.waiters.remove(waiter)
        waiter.set_exception(self._timeout_error(patience_seconds))

    def hand_over(self, member: PoolMember) -> bool:
        """Gives the first caller a connection. False if nobody waits."""
        waiter = self._pop()
        if waiter is not None:
            waiter.set_result(member)
        return waiter is not None

    def fail_first(self, error: Exception) -> bool:
        """Raises `error` in the first caller. False if nobody waits."""
        waiter = self._pop()
        if waiter is not None:
            waiter.set_exception(error)
        return waiter is not None

    def fail_all(self, make_error: Callable[[], Exception]) -> None:
        """Raises an error in every caller."""
        while self.fail_first(make_error()):
            pass

    def _pop(self) -> asyncio.Future[PoolMember] | None:
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                return waiter
        return None
