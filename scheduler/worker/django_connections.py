"""Django's connections in handlers: each run uses its own, and leaves none open.

Django closes old connections around a web request. Around a handler nobody does, so without this a
lost connection fails every run that uses its thread, and a thread that ends leaves its connection
open until the garbage collector finds it.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator

from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.db import close_old_connections, connection, connections

from handlers.hooks import RunHooks


class DjangoConnections(RunHooks):
    """Gives each run its own thread for Django's async ORM, and closes connections after use.

    A process has at most one connection per run, and one per thread of `asyncio.to_thread`.
    """

    def __init__(self) -> None:
        where = connection.settings_dict
        parts = [str(where.get(name, "")) for name in ("ENGINE", "HOST", "PORT", "NAME")]
        self.installation = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def begin_run(self) -> Callable[[], None]:
        # Without it the async ORM of all runs shares one thread and one connection, so the queries
        # of one run wait for those of all others.
        scope = ThreadSensitiveContext()
        SyncToAsync.thread_sensitive_context.set(scope)

        def end() -> None:
            # Not the exit of the scope, which waits for a query that still runs.
            executor = SyncToAsync.context_to_thread_executor.pop(scope, None)
            if executor is not None:
                executor.submit(_close_all)
                executor.shutdown(wait=False)

        return end

    @contextlib.contextmanager
    def around_own_thread(self) -> Iterator[None]:
        try:
            yield
        finally:
            _close_all()

    @contextlib.contextmanager
    def around_shared_thread(self) -> Iterator[None]:
        _close_old()
        try:
            yield
        finally:
            _close_old()


def _close_all() -> None:
    for each in connections.all(initialized_only=True):
        # One that cannot be closed must neither keep the others open nor change the outcome.
        with contextlib.suppress(Exception):
            each.close()


def _close_old() -> None:
    with contextlib.suppress(Exception):
        close_old_connections()
