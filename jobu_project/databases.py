"""One `databases:` section: Django's DATABASES and the handlers' pools are both made from it."""

from __future__ import annotations

from typing import Any, Final

from dbpools import ConfigurationError
from dbpools.config import DatabaseConfig as PoolDatabaseConfig
from dbpools.config import parse_database
from dbpools.drivers import SCHEMAS
from dbpools.drivers.tls import authority_of, mode_of, mysql_ssl
from jobu_project.config import Config, ConfigError, DatabaseConfig

_THIS_MACHINE: Final = ("localhost", "127.0.0.1", "::1")


def django_databases(config: Config) -> dict[str, dict[str, Any]]:
    """Django needs only the database that holds jobu's tables; the others belong to the async
    pools.
    """
    return {"default": _django_entry(config, config.job_database)}


def pool_databases(config: Config) -> dict[str, dict[str, Any]]:
    """What handlers may open: the databases that worker.yaml names and that are configured here.

    ConfigError with every mistake: a worker that found them at its first run would only crash.
    """
    entries = {
        name: _pool_entry(config, config.databases[name])
        for name in config.worker.databases
        if name in config.databases
    }
    mistakes: list[str] = []
    for name, entry in entries.items():
        try:
            _checked(name, entry)
        except ConfigError as error:
            mistakes += error.mistakes
    if mistakes:
        raise ConfigError(mistakes)
    return entries


def _checked(name: str, entry: dict[str, Any]) -> PoolDatabaseConfig:
    try:
        checked = parse_database(name, entry, SCHEMAS)
        if checked.type != "sqlite":
            mode_of(checked)
    except ConfigurationError as error:
        raise ConfigError([f"database.yaml: {line}" for line in str(error).splitlines()]) from None
    return checked


def _pool_entry(config: Config, entry: DatabaseConfig) -> dict[str, Any]:
    given = entry.model_dump(exclude={"dsn"}, exclude_none=True)
    if entry.type == "sqlite":
        given["path"] = config.sqlite_path(entry)
    return given


def _django_entry(config: Config, entry: DatabaseConfig) -> dict[str, Any]:
    """Of `options` jobu's own connection takes the TLS; the rest, and `pool`, is for handlers."""
    checked = _checked(config.scheduler.database, _pool_entry(config, entry))
    if entry.type == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": config.sqlite_path(entry),
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
    common = {
        "NAME": entry.database,
        "USER": entry.user,
        "PASSWORD": entry.password or "",
        "HOST": entry.host or "",
        "PORT": entry.port or "",
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
    }
    if entry.type == "postgres":
        return {
            **common,
            "ENGINE": "django.db.backends.postgresql",
            "OPTIONS": {
                **_libpq_tls(checked),
                "connect_timeout": 5,
                # A server whose host vanished says nothing: give it up within 25 s, where TCP by
                # itself would take a quarter of an hour.
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 20_000,  # milliseconds
                # A client that dies or hangs in a transaction may not hold its row locks for long.
                "options": "-c idle_in_transaction_session_timeout=30000 -c lock_timeout=5000",
            },
        }
    import pymysql

    # Django asks for MySQLdb; PyMySQL stands in for it, because mysqlclient has no Linux wheel.
    pymysql.install_as_MySQLdb()
    return {
        **common,
        "ENGINE": "django.db.backends.mysql",
        "OPTIONS": {
            "charset": "utf8mb4",
            "connect_timeout": 5,
            **_pymysql_tls(checked, entry.host),
            "read_timeout": 60,
            "write_timeout": 60,
            # Repeatable read takes gap locks, with which concurrent inserts deadlock.
            "isolation_level": "read committed",
            # NOW() and TIMESTAMP follow the session's zone; ours is UTC, whatever the server's is.
            "init_command": "SET time_zone = '+00:00', innodb_lock_wait_timeout = 5",
        },
    }


def _libpq_tls(checked: PoolDatabaseConfig) -> dict[str, str]:
    """Nothing where nothing is demanded: then libpq itself takes what the server offers."""
    wanted = {"sslmode": mode_of(checked), "sslrootcert": authority_of(checked)}
    return {key: value for key, value in wanted.items() if value is not None}


def _pymysql_tls(checked: PoolDatabaseConfig, host: str | None) -> dict[str, Any]:
    """Where nothing is demanded, TLS is wanted if the server has it.

    But not on the way from a machine to itself: for each connection PyMySQL would read all the
    system's certificates, which takes 20 ms.
    """
    demanded = mysql_ssl(checked)
    if demanded:
        return {"ssl": demanded}
    is_here = host is not None and (host in _THIS_MACHINE or host.startswith("/"))
    return {"ssl_disabled": mode_of(checked) == "disable" or is_here}
