"""How long our own statements wait for a lock, and how long a frozen process keeps its locks.

A process can freeze inside a transaction: its host is suspended, or somebody sends SIGSTOP. The
rows that it has locked are then locked for everybody, until the server ends its session. A handler
may rightly be idle inside a transaction of its own for minutes. So these limits are never settings
of all connections: they hold in our transactions, and on connections that only our code uses.

SQLite has no such settings: there the lock is on the file, and lasts until its holder goes on. Our
transactions take it at their beginning. One that reads first fails when another process writes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Any, Final

from django.db import DEFAULT_DB_ALIAS, Error, connection, transaction
from django.db.backends.signals import connection_created

LOCK_WAIT_SECONDS: Final = 5
IDLE_IN_TRANSACTION_SECONDS: Final = 10

_POSTGRES: Final = {
    "lock_timeout": f"'{LOCK_WAIT_SECONDS}s'",
    "idle_in_transaction_session_timeout": f"'{IDLE_IN_TRANSACTION_SECONDS}s'",
}
# A statement that a session has prepared is planned once, whatever its values are, by indexes: a
# plan that was made while the table was small would read all of it later.
_PLANS: Final = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}
# Each of our statements probes indexes for a few rows. The planner may expect many, and compile the
# statement for longer than it runs: a third of a second in each tick in which runs wait for others.
_QUICK: Final = {"jit": "off"}
# Locks of rows, and of whole tables.
_MYSQL: Final = {
    "innodb_lock_wait_timeout": str(LOCK_WAIT_SECONDS),
    "lock_wait_timeout": str(LOCK_WAIT_SECONDS),
}
_MARIADB: Final = {**_MYSQL, "idle_transaction_timeout": str(IDLE_IN_TRANSACTION_SECONDS)}
# MySQL knows no idle transactions, only idle sessions. A session that is used all the time can bear
# that limit: when it was closed between two uses, Django's health check opens another one.
_MYSQL_IN_USE: Final = {**_MYSQL, "wait_timeout": str(IDLE_IN_TRANSACTION_SECONDS)}


class _State(threading.local):
    is_wanted = False
    is_in_constant_use = False
    plans_freely = False
    #: The driver's connection that has the limits, and its own values before (MySQL, MariaDB).
    limited: Any = None
    before: dict[str, str] = {}


_state = _State()


def limit_connection(*, in_constant_use: bool = False, plans_freely: bool = False) -> None:
    """Limit this thread's connection, and every one that replaces it.

    Only for threads in which no code of a shop uses the connection, or not before
    `unlimit_connection`. `in_constant_use`: never idle for long outside a transaction either.
    `plans_freely`: it has statements, too, whose conditions have no index (PostgreSQL).
    """
    _state.is_wanted, _state.is_in_constant_use = True, in_constant_use
    _state.plans_freely = plans_freely
    raw = connection.connection
    if raw is not None and raw is not _state.limited:
        # Closed if it fails, for example because the server was started anew: the one that
        # replaces it gets the limits when it is made.
        with suppress(Error):
            _limit()


def unlimit_connection() -> None:
    """This thread's connection has its own settings again."""
    _state.is_wanted = False
    raw = connection.connection
    if raw is None or raw is not _state.limited:
        return
    if connection.vendor == "postgresql":
        _run("; ".join(f"RESET {name}" for name in (*_POSTGRES, *_QUICK, *_PLANS)))
    else:
        _run(_set_session(_state.before))
    _state.limited = None


@contextmanager
def without_limits() -> Iterator[None]:
    """For code of a shop in a thread of ours: its own settings, and afterwards what was before."""
    was_wanted = _state.is_wanted
    in_constant_use, plans_freely = _state.is_in_constant_use, _state.plans_freely
    unlimit_connection()
    try:
        yield
    finally:
        if was_wanted:
            limit_connection(in_constant_use=in_constant_use, plans_freely=plans_freely)


@contextmanager
def own_transaction() -> Iterator[None]:
    """A transaction with our limits. Inside a transaction of somebody else: his, as it is."""
    is_ours = not connection.in_atomic_block
    with ExitStack() as stack:
        with _immediate() if is_ours and connection.vendor == "sqlite" else nullcontext():
            stack.enter_context(transaction.atomic())
        if is_ours and connection.vendor == "postgresql" and not is_limited():
            _run("; ".join(f"SET LOCAL {name} = {value}" for name, value in _POSTGRES.items()))
        yield


@contextmanager
def _immediate() -> Iterator[None]:
    """The next transaction of this SQLite connection begins with the lock for writing."""
    connection.ensure_connection()  # which sets the mode that the settings name
    sqlite: Any = connection
    before, sqlite.transaction_mode = sqlite.transaction_mode, "IMMEDIATE"
    try:
        yield
    finally:
        sqlite.transaction_mode = before


def is_limited() -> bool:
    """Whether this thread's connection has the limits, inside transactions and outside."""
    return connection.connection is not None and connection.connection is _state.limited


def _limit_new_connection(connection: Any, **_: Any) -> None:
    if _state.is_wanted and connection.alias == DEFAULT_DB_ALIAS:
        _limit()


connection_created.connect(_limit_new_connection, dispatch_uid="jobu-limits")


def _limit() -> None:
    # A connection of Django's pool goes back there with its settings, and others use it next.
    if connection.vendor == "sqlite" or connection.settings_dict["OPTIONS"].get("pool"):
        return
    try:
        _set_limits()
    except Error:
        # Without its limits, and perhaps broken, it must not stay: a worker would fail every
        # message on it.
        connection.close()
        raise
    _state.limited = connection.connection


def _set_limits() -> None:
    if connection.vendor == "postgresql":
        # Before anything is prepared, and not in a transaction, whose rollback would undo it.
        values = {**_POSTGRES, **_QUICK, **({} if _state.plans_freely else _PLANS)}
        _run("; ".join(f"SET {name} = {value}" for name, value in values.items()))
        return
    limits = _limits_of_mysql()
    with connection.cursor() as cursor:
        cursor.execute("SELECT " + ", ".join(f"@@session.{name}" for name in limits))
        values = cursor.fetchone()
    _state.before = {n: str(v) for n, v in zip(limits, values, strict=True)}
    _run(_set_session(limits))


def _limits_of_mysql() -> dict[str, str]:
    if getattr(connection, "mysql_is_mariadb", False):
        return _MARIADB
    return _MYSQL_IN_USE if _state.is_in_constant_use else _MYSQL


def _set_session(values: dict[str, str]) -> str:
    return "SET SESSION " + ", ".join(f"{name} = {value}" for name, value in values.items())


def _run(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
