"""Django's DATABASES and the handlers' pools, both made from the one section `databases:`."""

from __future__ import annotations

from typing import Any, Final

from dbpools.config import DatabaseConfig, MySQLConfig, PostgresConfig, ServerConfig, SqliteConfig
from dbpools.tls import TlsOptions
from jobu_project.config import Config

_THIS_MACHINE: Final = ("localhost", "127.0.0.1", "::1")


def django_databases(config: Config) -> dict[str, dict[str, Any]]:
    """Django needs only the database that holds jobu's tables. The async pools open the others."""
    return {"default": django_entry(config, config.job_database)}


def pool_databases(config: Config) -> dict[str, DatabaseConfig]:
    """What handlers may open: the databases that worker.yaml names and that are configured here."""
    return {
        name: _with_whole_path(config, config.databases[name])
        for name in config.worker.databases
        if name in config.databases
    }


def _with_whole_path(config: Config, entry: DatabaseConfig) -> DatabaseConfig:
    if isinstance(entry, SqliteConfig):
        return entry.model_copy(update={"path": sqlite_path(config, entry)})
    return entry


def django_entry(config: Config, entry: DatabaseConfig) -> dict[str, Any]:
    """One entry of Django's DATABASES.

    Of `options`, jobu's own connection uses the TLS; the rest, and `pool`, is for handlers.
    """
    match entry:
        case SqliteConfig():
            return _sqlite(sqlite_path(config, entry))
        case PostgresConfig():
            return _postgres(entry)
        case MySQLConfig():
            return _mysql(entry)
    raise TypeError(f"Django has no engine for {type(entry).__name__}")


def sqlite_path(config: Config, entry: SqliteConfig) -> str:
    """The file of a SQLite entry; a relative path lies in the data directory."""
    return str(config.data_dir / entry.path)


def _sqlite(path: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "CONN_MAX_AGE": None,  # there is no server that could go away
        "OPTIONS": {
            # A deferred transaction that starts with a read cannot wait for the write lock
            # ("database is locked" at once); an immediate one waits `timeout` seconds.
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": (
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;"
            ),
        },
    }


def _server(entry: ServerConfig) -> dict[str, Any]:
    return {
        "NAME": entry.database,
        "USER": entry.user,
        "PASSWORD": entry.password or "",
        "HOST": entry.host or "",
        "PORT": entry.port,
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
    }


def _postgres(entry: PostgresConfig) -> dict[str, Any]:
    return {
        **_server(entry),
        "ENGINE": "django.db.backends.postgresql",
        "OPTIONS": {
            **_libpq_tls(entry.options),
            "connect_timeout": 5,
            # A server whose host vanished is silent: give it up within 25 s, where TCP by itself
            # would take a quarter of an hour.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,  # milliseconds
            # A client that dies or hangs in a transaction may not hold its row locks for long.
            "options": "-c idle_in_transaction_session_timeout=30000 -c lock_timeout=5000",
        },
    }


def _mysql(entry: MySQLConfig) -> dict[str, Any]:
    import pymysql

    # Django imports MySQLdb; PyMySQL takes its place, because mysqlclient has no Linux wheel.
    pymysql.install_as_MySQLdb()
    return {
        **_server(entry),
        "ENGINE": "django.db.backends.mysql",
        "OPTIONS": {
            "charset": "utf8mb4",
            "connect_timeout": 5,
            **_pymysql_tls(entry),
            "read_timeout": 60,
            "write_timeout": 60,
            # Repeatable read takes gap locks, with which concurrent inserts deadlock.
            "isolation_level": "read committed",
            # NOW() and TIMESTAMP follow the session's zone; ours is UTC, whatever the server's is.
            "init_command": "SET time_zone = '+00:00', innodb_lock_wait_timeout = 5",
        },
    }


def _libpq_tls(options: TlsOptions) -> dict[str, str]:
    """Empty if nothing is demanded: libpq then uses TLS if the server offers it."""
    wanted = {"sslmode": options.ssl_mode, "sslrootcert": options.ssl_authority}
    return {key: value for key, value in wanted.items() if value is not None}


def _pymysql_tls(entry: MySQLConfig) -> dict[str, Any]:
    """If nothing is demanded, TLS is used where the server has it.

    But not between a machine and itself: for each connection PyMySQL would read all certificates of
    the system, which takes 20 ms.
    """
    demanded = entry.options.ssl_argument()
    if demanded:
        return {"ssl": demanded}
    is_here = entry.host in _THIS_MACHINE or entry.host.startswith("/")
    return {"ssl_disabled": entry.options.ssl_mode == "disable" or is_here}
