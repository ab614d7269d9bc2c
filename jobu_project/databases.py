"""Builds Django's DATABASES and the handlers' pools from the section `databases:`."""

from __future__ import annotations

from typing import Any, Final

from dbpools.config import DatabaseConfig, MySQLConfig, PostgresConfig, ServerConfig, SqliteConfig
from dbpools.tls import TlsOptions
from jobu_project.config import Config
from jobu_project.data_directory import PrivateSqlite

_LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "::1")


def django_databases(config: Config) -> dict[str, dict[str, Any]]:
    """Returns Django's DATABASES: only the database with jobu's tables. Pools open the others."""
    return {"default": django_entry(config, config.job_database)}


def pool_databases(config: Config) -> dict[str, DatabaseConfig]:
    """Returns the databases that handlers may open: configured, and named in worker.yaml."""
    return {
        name: _with_absolute_path(config, config.databases[name])
        for name in config.worker.databases
        if name in config.databases
    }


def _with_absolute_path(config: Config, entry: DatabaseConfig) -> DatabaseConfig:
    if isinstance(entry, SqliteConfig):
        return entry.model_copy(update={"path": sqlite_path(config, entry)})
    return entry


def django_entry(config: Config, entry: DatabaseConfig) -> dict[str, Any]:
    """Returns one entry of Django's DATABASES.

    It uses only the TLS settings of `options`. The other options, and `pool`, are for handlers.
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
    """Returns the file of a SQLite entry. A relative path is relative to the data directory."""
    return str(config.data_dir / entry.path)


def _sqlite(path: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "CONN_MAX_AGE": None,  # keep it open: there is no server that could go away
        "OPTIONS": {
            "factory": PrivateSqlite,
            # A deferred transaction that starts with a read fails at once with "database is locked"
            # when it then needs the write lock. An immediate one waits up to `timeout` seconds.
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": (
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;"
            ),
        },
    }


def _server(entry: ServerConfig) -> dict[str, Any]:
    """Returns the keys that PostgreSQL and MySQL have in common."""
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
        "ENGINE": "jobu_project.postgresql",
        "OPTIONS": {
            **_libpq_tls(entry.options),
            "connect_timeout": 5,
            # A server whose host is gone does not answer. These values close the connection within
            # 25 s; the defaults of TCP would take a quarter of an hour.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,  # milliseconds
            "session": {
                # Claims and locks are made for it. A server may have another default.
                "default_transaction_isolation": "read committed",
            },
        },
    }


def _mysql(entry: MySQLConfig) -> dict[str, Any]:
    import pymysql

    # Django imports MySQLdb. Provide PyMySQL under that name: mysqlclient has no Linux wheel.
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
            # Not repeatable read: it takes gap locks, and concurrent inserts then deadlock.
            "isolation_level": "read committed",
            # NOW() and TIMESTAMP use the zone of the session. Set it to UTC: the server's zone may
            # be another one.
            "init_command": "SET time_zone = '+00:00', innodb_lock_wait_timeout = 5",
        },
    }


def _libpq_tls(options: TlsOptions) -> dict[str, str]:
    """Returns the TLS options of libpq. Without any, libpq uses TLS if the server offers it."""
    values = {"sslmode": options.ssl_mode, "sslrootcert": options.ssl_authority}
    return {key: value for key, value in values.items() if value is not None}


def _pymysql_tls(entry: MySQLConfig) -> dict[str, Any]:
    """Returns the TLS options of PyMySQL. Without any, it uses TLS if the server offers it.

    TLS is off for a server on the same machine unless the configuration asks for it: PyMySQL would
    read all certificates of the system for each connection, which takes 20 ms.
    """
    configured = entry.options.ssl_argument()
    if configured:
        return {"ssl": configured}
    is_local = entry.host in _LOCAL_HOSTS or entry.host.startswith("/")
    return {"ssl_disabled": entry.options.ssl_mode == "disable" or is_local}
