"""The driver of each engine. Its library is imported when a driver is made."""

from dbpools.config import DatabaseConfig, MySQLConfig, PostgresConfig, SqliteConfig
from dbpools.driver import Driver


def make_driver(config: DatabaseConfig) -> Driver:
    """Returns the driver for a checked configuration."""
    match config:
        case SqliteConfig():
            from dbpools.drivers.sqlite import SqliteDriver

            return SqliteDriver(config)
        case PostgresConfig():
            from dbpools.drivers.postgres import PostgresDriver

            return PostgresDriver(config)
        case MySQLConfig():
            from dbpools.drivers.mysql import MySQLDriver

            return MySQLDriver(config)
    raise TypeError(f"no driver for {type(config).__name__}")
