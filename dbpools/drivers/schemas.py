"""Every configuration key of every engine, with its default: one page to read."""

from collections.abc import Mapping
from typing import Any

from dbpools.config import Key, Schema

_SERVER_PLACE = {
    "database": Key(str),
    "user": Key(str),
    "password": Key(str),
    "dsn": Key(str),
}

# What libpq calls sslmode; true is verify-full, false demands nothing.
_SSL_WORDS = ("FALSE", "TRUE", "DISABLE", "REQUIRE", "VERIFY-CA", "VERIFY-FULL")
# Who may sign the server's certificate: a file; on PostgreSQL also `system`, for those of the host.
_SSL_AUTHORITY = Key(str)


def _is_in_memory(place: Mapping[str, Any], _: Mapping[str, Any]) -> str:
    path = place["path"] or ""
    if path != ":memory:" and "mode=memory" not in path:
        return ""
    return f"path: every connection to {path} would be a database of its own; name a file"


def _has_other_escapes(_: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    if "NO_BACKSLASH_ESCAPES" not in (options["sql_mode"] or "").upper():
        return ""
    return (
        "options.sql_mode: NO_BACKSLASH_ESCAPES cannot be used: asyncmy would quote bytes wrongly"
    )


SQLITE = Schema(
    place={"path": Key(str)},
    pool={
        "pool_size": Key(int, 5, minimum=1, field="max_size"),
        "max_idle_time": Key(float, 300.0, minimum=1, field="max_idle_seconds"),
    },
    options={
        "busy_timeout": Key(int, 5000, minimum=0),  # milliseconds, as the PRAGMA
        "journal_mode": Key(
            str, "WAL", choices=("WAL", "DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF")
        ),
        "synchronous": Key(str, "NORMAL", choices=("OFF", "NORMAL", "FULL", "EXTRA")),
        "cache_size": Key(int, -2000),  # pages, or KiB when negative, as the PRAGMA
        "foreign_keys": Key(bool, True),
    },
    required=(("path",),),
    impossible=_is_in_memory,
)
POSTGRES = Schema(
    # Without a host: the local socket, as libpq has it.
    place={"host": Key(str), "port": Key(int, 5432, minimum=1), **_SERVER_PLACE},
    pool={
        "min_size": Key(int, 2, minimum=0, field="min_size"),
        "max_size": Key(int, 10, minimum=1, field="max_size"),
        "max_inactive_connection_lifetime": Key(float, 300.0, minimum=1, field="max_idle_seconds"),
    },
    options={
        "timezone": Key(str, "UTC"),
        "ssl": Key(str, "false", takes_bool=True, choices=(*_SSL_WORDS, "ALLOW", "PREFER")),
        "sslrootcert": _SSL_AUTHORITY,
        "statement_timeout": Key(int, None, minimum=1),  # milliseconds, as the server's setting
        "idle_in_transaction_session_timeout": Key(int, None, minimum=1),  # milliseconds
    },
    required=(("dsn", "database"),),
)
MYSQL = Schema(
    place={"host": Key(str, "localhost"), "port": Key(int, 3306, minimum=1), **_SERVER_PLACE},
    pool={
        "minsize": Key(int, 2, minimum=0, field="min_size"),
        "maxsize": Key(int, 10, minimum=1, field="max_size"),
        "pool_recycle": Key(float, 300.0, minimum=1, field="max_idle_seconds"),
    },
    options={
        "charset": Key(str, "utf8mb4"),
        "autocommit": Key(bool, False),
        "sql_mode": Key(str),
        "ssl": Key(str, "false", takes_bool=True, choices=_SSL_WORDS),
        "sslrootcert": _SSL_AUTHORITY,
    },
    required=(("dsn", "database"),),
    impossible=_has_other_escapes,
)
