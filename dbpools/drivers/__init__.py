"""The engines, by the name that `databases.<name>.type` uses. A library is imported when used."""

from collections.abc import Mapping
from importlib import import_module

from dbpools.config import DatabaseConfig, Schema
from dbpools.driver import Driver
from dbpools.drivers import schemas

_CLASSES: Mapping[str, tuple[str, str]] = {
    "sqlite": ("dbpools.drivers.sqlite", "SqliteDriver"),
    "postgres": ("dbpools.drivers.postgres", "PostgresDriver"),
    "mysql": ("dbpools.drivers.mysql", "MySQLDriver"),
}
SCHEMAS: Mapping[str, Schema] = {
    "sqlite": schemas.SQLITE,
    "postgres": schemas.POSTGRES,
    "mysql": schemas.MYSQL,
}


def make_driver(config: DatabaseConfig) -> Driver:
    """The driver for a checked configuration."""
    module, name = _CLASSES[config.type]
    driver: type[Driver] = getattr(import_module(module), name)
    return driver(config)
