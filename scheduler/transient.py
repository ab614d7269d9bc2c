"""Which database errors are worth another try, and the retry itself."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, transaction

from scheduler.clock import pause

T = TypeVar("T")

ATTEMPTS = 6

# Serialisation failure, deadlock, lock not available.
_POSTGRES = frozenset({"40001", "40P01", "55P03"})
# Lock wait timeout, deadlock, record changed since the snapshot (MariaDB).
_MYSQL = frozenset({1205, 1213, 1020})
_SQLITE = ("database is locked", "database table is locked")
# SQLite stores any bytes as text. Its driver raises OperationalError for those it cannot read.
_UNREADABLE = "Could not decode to UTF-8"


def is_transient(error: BaseException) -> bool:
    """True when the transaction lost a race and may succeed when it is run again."""
    cause = error.__cause__ or error
    if getattr(cause, "sqlstate", None) in _POSTGRES:
        return True
    if cause.args and cause.args[0] in _MYSQL:
        return True
    return str(cause) in _SQLITE


def is_outage(error: BaseException) -> bool:
    """True for a lost connection, a lock held for long or a full disk: no row is to blame."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    return not str(error).startswith(_UNREADABLE)


def in_transaction(work: Callable[[], T]) -> T:
    """Run `work` in a transaction and commit. When it lost a race, run it again after a short wait.

    `work` must change only the database, because it may run several times.
    """
    if transaction.get_connection().in_atomic_block:
        # Inside a caller's transaction nothing can be repeated: a deadlock ends all of it.
        with transaction.atomic():
            return work()
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with transaction.atomic():
                return work()
        except DatabaseError as error:
            if attempt == ATTEMPTS or not is_transient(error):
                raise
            pause(random.uniform(0.005, 0.02 * 2**attempt))
    raise AssertionError("unreachable")
