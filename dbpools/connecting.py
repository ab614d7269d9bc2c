"""Opening a connection in bounded time. While the server is away, it is tried again."""

import asyncio
from collections.abc import Callable

from dbpools.config import PoolConfig
from dbpools.driver import Driver, DriverConnection, Fault
from dbpools.errors import DatabaseUnavailableError

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 1.0
"""The pauses between two attempts to reach a server that is away."""


class Connector:
    """Opens the connections of one pool, and remembers the last failure."""

    def __init__(
        self, name: str, driver: Driver, config: PoolConfig, jitter: Callable[[], float]
    ) -> None:
        self._name = name
        self._driver = driver
        self._config = config
        self._jitter = jitter
        self.last_error: Exception | None = None
        """The last failure; None again once a connection was opened."""

    async def connect(self, is_wanted: Callable[[], bool]) -> DriverConnection:
        """Returns a new connection within `connect_timeout`, or raises DatabaseUnavailableError.

        A server that is away is tried again as long as `is_wanted` returns True. A wrong password
        or an unknown database is final.
        """
        pause = FIRST_PAUSE_SECONDS
        try:
            async with asyncio.timeout(self._config.connect_timeout_seconds):
                while True:
                    try:
                        connection = await self._driver.connect()
                    except Exception as error:
                        # Whatever it is, a caller in line must learn of it.
                        self.last_error = error
                        if not is_wanted() or self._driver.fault(error) is not Fault.LOST:
                            raise self.unavailable(error) from error
                    else:
                        self.last_error = None
                        return connection
                    await asyncio.sleep(pause * (0.5 + self._jitter()))
                    pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        except TimeoutError as late:
            reason = self.last_error or late
            raise self.unavailable(reason) from reason

    def unavailable(self, error: Exception) -> DatabaseUnavailableError:
        """The error for the caller, with what to do about it."""
        hint = self._driver.hint(error)
        if isinstance(error, TimeoutError):
            hint = "it did not answer within connect_timeout: is the server reachable and up?"
        return DatabaseUnavailableError(
            f"database {self._name!r} cannot be opened: {error or type(error).__name__}"
            + (f" ({hint})" if hint else "")
        )
