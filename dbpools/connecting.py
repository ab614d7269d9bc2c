"""Opening a connection: in bounded time, again and again while the server is away."""

import asyncio
from collections.abc import Callable

from dbpools.config import PoolConfig
from dbpools.driver import Driver, DriverConnection, Fault
from dbpools.errors import DatabaseUnavailableError

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 1.0
"""Between two attempts to reach a server that is away."""


class Connector:
    """Opens the connections of one pool and remembers what keeps it from doing so."""

    def __init__(
        self, name: str, driver: Driver, config: PoolConfig, jitter: Callable[[], float]
    ) -> None:
        self._name = name
        self._driver = driver
        self._config = config
        self._jitter = jitter
        self.trouble: Exception | None = None
        """The last failure, until a connection could be opened."""

    async def connect(self, is_wanted: Callable[[], bool]) -> DriverConnection:
        """A new connection, within `connect_timeout`. DatabaseUnavailableError.

        A server that is away is tried again as long as `is_wanted` says so; a wrong password or
        an unknown database is an answer.
        """
        pause = FIRST_PAUSE_SECONDS
        try:
            async with asyncio.timeout(self._config.connect_timeout_seconds):
                while True:
                    try:
                        connection = await self._driver.connect()
                    except Exception as error:
                        # Whatever it is, a caller in line must hear of it.
                        self.trouble = error
                        if not is_wanted() or self._driver.fault(error) is not Fault.LOST:
                            raise self.unavailable(error) from error
                    else:
                        self.trouble = None
                        return connection
                    await asyncio.sleep(pause * (0.5 + self._jitter()))
                    pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        except TimeoutError as late:
            trouble = self.trouble or late
            raise self.unavailable(trouble) from trouble

    def unavailable(self, error: Exception) -> DatabaseUnavailableError:
        """The error for the caller, with what to do about it."""
        hint = self._driver.hint(error)
        if isinstance(error, TimeoutError):
            hint = "it did not answer within connect_timeout: is the server reachable and up?"
        return DatabaseUnavailableError(
            f"database {self._name!r} cannot be opened: {error or type(error).__name__}"
            + (f" ({hint})" if hint else "")
        )
