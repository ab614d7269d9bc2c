"""Which database errors are worth another try, and the retry itself."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction

from scheduler.clock import pause
from scheduler.limits import own_transaction

T = TypeVar("T")

ATTEMPTS = 6

# Serialisation failure, deadlock.
_POSTGRES = frozenset({"40001", "40P01"})
# Deadlock, record changed since the snapshot (MariaDB).
_MYSQL = frozenset({1213, 1020})
# A wait for a lock that has lasted LOCK_WAIT_SECONDS: PostgreSQL, MySQL.
_LOCKED = frozenset({"55P03", 1205})
# PostgreSQL has ended the session, because its transaction was idle or open for too long. The
# driver raises InternalError for these.
_ENDED = frozenset({"25P03", "25P04"})
# What one row can cause: it breaks a constraint, or holds a value that Python cannot read
# (`infinity`, JSON that is a thousand lists deep, and in SQLite any text). Ask `is_outage` first.
ROW_ERRORS = (
    DatabaseError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError
)  # fmt: skip
_SQLITE = ("database is locked", "database table is locked")
# SQLite stores any bytes as text. Its driver raises OperationalError for those it cannot read.
_UNREADABLE = "Could not decode to UTF-8"


def is_transient(error: BaseException) -> bool:
    """True when the transaction lost a race, or a lock was held for long: the database is there."""
    return _lost_a_race(error) or _code_of(error) in _LOCKED


def _lost_a_race(error: BaseException) -> bool:
    """True when the transaction may succeed if it is run again at once."""
    return _code_of(error) in _POSTGRES | _MYSQL or str(error.__cause__ or error) in _SQLITE


def _code_of(error: BaseException) -> str | int | None:
    """PostgreSQL's SQLSTATE or the number of MySQL's error."""
    cause = error.__cause__ or error
    state: str | None = getattr(cause, "sqlstate", None)
    if state is not None:
        return state
    return cause.args[0] if cause.args and isinstance(cause.args[0], int) else None


def is_outage(error: BaseException) -> bool:
    """True for a lost connection, a lock held for long or a full disk: no row is to blame."""
    if _code_of(error) in _ENDED:
        return True
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    return not str(error).startswith(_UNREADABLE)


def in_transaction(work: Callable[[], T]) -> T:
    """Run `work` in a transaction and commit. When it lost a race, run it again after a short wait.

    `work` must change only the database, because it may run several times. A lock that was held for
    LOCK_WAIT_SECONDS is no race: another wait would take as long again.
    """
    if connection.in_atomic_block:
        # Inside a caller's transaction nothing can be repeated: a deadlock ends all of it.
        with transaction.atomic():
            return work()
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with own_transaction():
                return work()
        except DatabaseError as error:
            if attempt == ATTEMPTS or not _lost_a_race(error):
                raise
            pause(random.uniform(0.005, 0.02 * 2**attempt))
    raise AssertionError("unreachable")
