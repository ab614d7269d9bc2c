"""A pool of connections of one database, for one event loop.

`acquire` returns an idle connection at once, or waits in line. Tasks of the pool open connections,
never the caller: a caller that is cancelled or times out leaves the line, and the connection that
was opened for it goes to the next one. Nothing is awaited between taking a connection out of the
pool's books and handing it over, so none is ever lost.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack
from contextvars import Context
from time import monotonic

from dbpools.acquisition import Acquisition
from dbpools.background import CLEANUP_SECONDS, BackgroundTasks, log
from dbpools.config import PoolConfig
from dbpools.connecting import Connector
from dbpools.connection import PooledConnection
from dbpools.driver import Driver, DriverConnection, Ending
from dbpools.errors import (
    ConnectionPoolExhaustedError,
    DatabaseUnavailableError,
    PoolClosedError,
    WrongLoopError,
)
from dbpools.member import PoolMember
from dbpools.statistics import Counters, PoolStatistics
from dbpools.waiting import WaitingLine

SWEEP_SECONDS = 60.0
"""The longest pause between two checks of the idle connections."""
PING_AFTER_SECONDS = 30.0
"""A connection that was idle for longer is pinged before it is lent."""


class AsyncConnectionPool:
    """Connections of one database. Belongs to the event loop that first uses it."""

    def __init__(
        self,
        name: str,
        driver: Driver,
        config: PoolConfig,
        *,
        clock: Callable[[], float] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.driver = driver
        self.config = config
        self._now = clock or monotonic
        self._jitter = jitter
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False
        self._idle: deque[PoolMember] = deque()
        self._in_use: set[PoolMember] = set()
        self._opening = 0
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._watch_timer: asyncio.TimerHandle | None = None
        self._all_returned: asyncio.Event | None = None
        self._has_warned = False
        self._counters = Counters()
        self._line = WaitingLine(
            self._counters, take_back=self._take_back, timeout_error=self._timeout_error
        )
        self._background = BackgroundTasks(name, driver.caught_errors)
        self._connector = Connector(name, driver, config, jitter)

    # -- taking and giving back ---------------------------------------------------------------

    def acquire(self, timeout_seconds: float | None = None) -> Acquisition:
        """A connection: `async with pool.acquire() as connection`, or await it and release it.

        Waits in line for at most `timeout_seconds` (by default the pool's own limit).
        ConnectionPoolExhaustedError, DatabaseUnavailableError, PoolClosedError, WrongLoopError.
        """
        return Acquisition(self, timeout_seconds)

    async def take(
        self, timeout_seconds: float | None = None, holder: Acquisition | None = None
    ) -> PooledConnection:
        """What `acquire` awaits. Notes the connection in the holder, which will release it."""
        if self._is_closed or self._loop is not asyncio.get_running_loop():
            self._bind_to_loop()
        while True:
            now = self._now()
            member = self._pop_idle(now) if self._idle and not self._line.waiters else None
            if member is None:
                member = await self._wait_in_line(timeout_seconds)
            if now - member.idle_since < PING_AFTER_SECONDS or await self._answers(member):
                break
        self._counters.acquired_count += 1
        if self._watch_timer is None:
            self._watch()
        connection = PooledConnection(self.name, self.driver, self.config, member)
        if holder is not None:
            holder.connection = connection
        return connection

    async def release(self, connection: PooledConnection | None) -> None:
        """Takes a connection back: rolls back what is open, resets it, gives it to the next caller.

        A connection that is broken, too old, or was cut off in a statement is closed instead. If
        this call is cancelled, the connection is given up, and the pool stays whole.
        """
        member = connection.detach() if connection is not None else None
        if member is None or member not in self._in_use:
            return  # given back before, or cut off when the pool closed
        member.is_new = False
        driver_connection = member.connection
        is_clean = False
        try:
            if not member.is_spoiled and driver_connection.is_open() and not self._is_closed:
                if driver_connection.is_in_transaction() or driver_connection.needs_reset():
                    await self._clean(driver_connection)
                is_clean = True
        except self.driver.caught_errors as error:
            log.warning("pool %s: a connection could not be reset: %s", self.name, error)
        finally:
            self._in_use.discard(member)
            now = self._now()
            if not is_clean:
                self._discard(member)
            elif now >= member.old_at:
                self._close_old(member)
                self._open_for_waiters()
            else:
                self._hand_over(member, now)
            if self._all_returned is not None and not self._in_use:
                self._all_returned.set()

    async def _clean(self, connection: DriverConnection) -> None:
        async with asyncio.timeout(CLEANUP_SECONDS):
            if connection.is_in_transaction():
                await connection.end(Ending.ROLLBACK)
            await connection.reset()

    def _pop_idle(self, now: float) -> PoolMember | None:
        """The connection that was used last, if it is fit for use. The others may then age out."""
        while self._idle:
            member = self._idle.pop()
            if not member.connection.is_open():
                self._discard(member)
            elif now >= member.old_at:
                self._close_old(member)
            else:
                self._in_use.add(member)
                return member
        return None

    async def _wait_in_line(self, timeout_seconds: float | None) -> PoolMember:
        self._require_loop()
        patience = self.config.pool_timeout_seconds if timeout_seconds is None else timeout_seconds
        self._open_for_waiters(newcomers=1)
        return await self._line.wait(patience)

    def _timeout_error(self, waited_seconds: float) -> Exception:
        if self._connector.last_error is not None:
            return self._connector.unavailable(self._connector.last_error)
        return ConnectionPoolExhaustedError(
            self.name,
            waited_seconds=waited_seconds,
            size=self._size(),
            waiting=len(self._line.waiters),
        )

    def _take_back(self, member: PoolMember) -> None:
        self._in_use.discard(member)
        self._hand_over(member, self._now())

    def _hand_over(self, member: PoolMember, now: float) -> None:
        """Gives a fit connection to the first in line, or keeps it."""
        member.idle_since = now
        if self._is_closed:
            self._background.close(member.connection)
        elif self._line.waiters and self._line.hand_over(member):
            self._in_use.add(member)
        else:
            self._idle.append(member)

    async def _answers(self, member: PoolMember) -> bool:
        """Pings a connection that was idle for long. One that does not answer is discarded."""
        try:
            async with asyncio.timeout(CLEANUP_SECONDS):
                await member.connection.ping()
        except self.driver.caught_errors:
            self._in_use.discard(member)
            self._discard(member)
            return False
        except BaseException:
            self._in_use.discard(member)
            self._discard(member)
            raise
        return True

    # -- opening and closing connections ------------------------------------------------------

    async def open(self) -> None:
        """Opens the smallest number of connections now (at least one).

        Nobody needs to call it: the first use opens what it needs. But it finds out early whether
        the server is there. DatabaseUnavailableError.
        """
        wanted = max(self.config.kept_open, 1)
        async with AsyncExitStack() as taken:  # gives each back, even if cancelled at one
            for _ in range(wanted):
                await taken.enter_async_context(self.acquire())

    def _open_for_waiters(self, *, newcomers: int = 0) -> None:
        """Starts to open one connection for each caller without one, within the largest size.

        `newcomers` are callers that are about to stand in line.
        """
        room = self.config.max_size - self._size()
        wanted = len(self._line.waiters) + newcomers - self._opening
        for _ in range(min(room, wanted)):
            self._start_opening()

    def _fill_to_minimum(self) -> None:
        for _ in range(self.config.kept_open - self._size()):
            self._start_opening()

    def _start_opening(self) -> None:
        self._opening += 1
        self._background.start(self._open_one())

    async def _open_one(self) -> None:
        """Opens one connection for whoever is first in line then."""
        try:
            connection = await self._connector.connect(lambda: not self._is_closed)
        except DatabaseUnavailableError as error:
            self._opening -= 1
            self._counters.open_failure_count += 1
            self._fail_waiters(error)
            self._open_for_waiters()
            return
        except BaseException:
            self._opening -= 1
            raise
        self._opening -= 1
        self._counters.opened_count += 1
        self._has_warned = False
        # Up to a tenth less, so that connections opened together are not replaced together.
        lifetime = self.config.max_lifetime_seconds * (1 - 0.1 * self._jitter())
        now = self._now()
        self._hand_over(PoolMember(connection, now=now, old_at=now + lifetime), now)

    def _fail_waiters(self, error: DatabaseUnavailableError) -> None:
        """Fails the first in line; everybody if no connection is in use and could come back."""
        if self._line.fail_first(error):
            if not self._in_use:
                self._line.fail_all(lambda: error)
        elif not self._has_warned:
            self._has_warned = True
            log.warning("pool %s: %s", self.name, error)

    def _discard(self, member: PoolMember) -> None:
        """Closes a connection that cannot be trusted, and opens another if somebody waits."""
        self._counters.closed_broken_count += 1
        self._background.abandon(member.connection)
        self._open_for_waiters()

    def _close_old(self, member: PoolMember) -> None:
        self._counters.closed_old_count += 1
        self._background.close(member.connection)

    # -- time ---------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Closes what is idle for too long or too old, and opens what the smallest size asks for.

        Runs by itself once a minute (more often with a short `max_idle_seconds`).
        """
        now = self._now()
        kept: deque[PoolMember] = deque()
        for member in self._idle:
            if not member.connection.is_open():
                self._discard(member)
            elif now >= member.old_at:
                self._close_old(member)
            elif now - member.idle_since >= self.config.max_idle_seconds:
                self._counters.closed_idle_count += 1
                self._background.close(member.connection)
            else:
                kept.append(member)
        self._idle = kept
        self._fill_to_minimum()

    def _watch(self) -> None:
        """Cuts off statements that are over their time, as long as any connection is in use."""
        loop = self._require_loop()
        now = loop.time()
        for member in self._in_use:
            member.cut_off_if_overdue(now)
        seconds = max(0.01, min(1.0, self.config.command_timeout_seconds / 10))
        self._watch_timer = (
            loop.call_later(seconds, self._watch, context=Context()) if self._in_use else None
        )

    def _sweep_and_repeat(self) -> None:
        if self._loop is None or self._is_closed:
            return
        self.sweep()
        pause = min(SWEEP_SECONDS, self.config.max_idle_seconds / 2)
        self._sweep_timer = self._loop.call_later(pause, self._sweep_and_repeat, context=Context())

    # -- the whole pool -----------------------------------------------------------------------

    def statistics(self) -> PoolStatistics:
        """The pool right now."""
        return PoolStatistics(
            name=self.name,
            min_size=self.config.kept_open,
            max_size=self.config.max_size,
            size=self._size(),
            idle=len(self._idle),
            in_use=len(self._in_use),
            opening=self._opening,
            waiting=len(self._line.waiters),
            **vars(self._counters),
        )

    async def close(self, timeout_seconds: float = 10.0) -> None:
        """Refuses new callers, waits for the connections in use, closes all. May be called twice.

        A connection that is not given back within `timeout_seconds` is cut off.
        """
        if self._loop is None:
            self._is_closed = True
            return
        self._require_loop()
        self._turn_everybody_away()
        while self._idle:
            self._background.close(self._idle.pop().connection)
        if self._in_use:
            self._all_returned = asyncio.Event()
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._all_returned.wait()
            except TimeoutError:
                log.warning("pool %s: cutting off %d connections", self.name, len(self._in_use))
                for member in tuple(self._in_use):
                    member.is_spoiled = True
                    self._in_use.discard(member)
                    self._discard(member)
        await self._background.finish()

    @property
    def is_closed(self) -> bool:
        """True once `close` was called."""
        return self._is_closed

    def _turn_everybody_away(self) -> None:
        self._is_closed = True
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        self._line.fail_all(lambda: PoolClosedError(f"pool {self.name!r} was closed"))

    def _size(self) -> int:
        return len(self._idle) + len(self._in_use) + self._opening

    def _bind_to_loop(self) -> None:
        if self._is_closed:
            raise PoolClosedError(
                f"pool {self.name!r} is closed; open the databases again with "
                "DatabaseRegistry.init_from_config"
            )
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._sweep_and_repeat()
        self._require_loop()

    def _require_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            raise WrongLoopError(
                f"pool {self.name!r} belongs to another event loop: open a process's pools on the "
                "loop that uses them (after a fork, in the child), or hand the work to that loop"
            )
        return loop
