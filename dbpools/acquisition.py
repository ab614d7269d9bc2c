"""What `pool.acquire()` returns."""

from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any, Protocol

from dbpools.connection import PooledConnection


class Lender(Protocol):
    """What an acquisition asks of its pool."""

    async def take(
        self, timeout_seconds: float | None = None, holder: "Acquisition | None" = None
    ) -> PooledConnection:
        """Lends a connection and notes it in `holder`."""

    async def release(self, connection: PooledConnection | None) -> None:
        """Takes a connection back."""


class Acquisition:
    """A connection that is asked for: await it and release it later, or use `async with`."""

    __slots__ = ("_lender", "_timeout_seconds", "connection")

    def __init__(self, lender: Lender, timeout_seconds: float | None) -> None:
        self._lender = lender
        self._timeout_seconds = timeout_seconds
        self.connection: PooledConnection | None = None

    def __await__(self) -> Generator[Any, None, PooledConnection]:
        return self._lender.take(self._timeout_seconds).__await__()

    # These two return the pool's own coroutines, which saves one frame per connection lent.

    def __aenter__(self) -> Coroutine[Any, Any, PooledConnection]:
        return self._lender.take(self._timeout_seconds, self)

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Coroutine[Any, Any, None]:
        return self._lender.release(self.connection)
