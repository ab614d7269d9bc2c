"""What `pool.acquire()` gives."""

from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dbpools.connection import PooledConnection
    from dbpools.pool import AsyncConnectionPool


class Acquisition:
    """A connection to come: await it and release it, or enter it."""

    __slots__ = ("_pool", "_timeout_seconds", "connection")

    def __init__(self, pool: "AsyncConnectionPool", timeout_seconds: float | None) -> None:
        self._pool = pool
        self._timeout_seconds = timeout_seconds
        self.connection: PooledConnection | None = None

    def __await__(self) -> "Generator[Any, None, PooledConnection]":
        return self._pool.take(self._timeout_seconds).__await__()

    # These two hand out the pool's own coroutines: one frame less for each connection lent.

    def __aenter__(self) -> "Coroutine[Any, Any, PooledConnection]":
        return self._pool.take(self._timeout_seconds, self)

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Coroutine[Any, Any, None]:
        return self._pool.release(self.connection)
