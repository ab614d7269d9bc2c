"""The databases of this process, by name."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from dbpools.config import parse_database
from dbpools.database import BaseDatabase
from dbpools.drivers import make_driver
from dbpools.errors import ConfigurationError, UnknownDatabaseError

DEFAULT_NAME = "default"


class DatabaseRegistry:
    """Every database that this process may use. There are no instances of this class.

    Registering connects to nothing: a pool opens on the event loop that first uses it, so a server
    that is away disturbs only those who need it. `get_db(name).open()` finds it out earlier.
    """

    _databases: ClassVar[dict[str, BaseDatabase]] = {}
    _default_name: ClassVar[str] = DEFAULT_NAME

    @classmethod
    async def init_from_config(
        cls,
        config: Mapping[str, Any],
        names: Iterable[str] | None = None,
        *,
        default: str | None = None,
    ) -> None:
        """Registers the databases that `names` lists (by default all) from a configuration.

        An entry is a mapping of plain values or a checked DatabaseConfig. A database that is
        registered already stays as it is. A bare @transactional uses the database `default`.
        ConfigurationError lists the mistakes of all these databases.
        """
        wanted = list(config) if names is None else list(names)
        parsed = []
        mistakes: list[str] = []
        for name in wanted:
            if name in cls._databases:
                continue
            if name not in config:
                raise UnknownDatabaseError(name, config)
            try:
                checked = parse_database(name, config[name])
                parsed.append(BaseDatabase(name, checked, make_driver(checked)))
            except ConfigurationError as error:
                mistakes += error.mistakes
        if mistakes:
            raise ConfigurationError(mistakes)
        for database in parsed:
            cls.register(database)
        if default is not None:
            cls.set_default(default)

    @classmethod
    def register(cls, database: BaseDatabase) -> None:
        """Adds a database. ConfigurationError if its name is taken."""
        if database.name in cls._databases:
            raise ConfigurationError([f"a database named {database.name!r} is registered already"])
        cls._databases[database.name] = database

    @classmethod
    def set_default(cls, name: str) -> None:
        """Sets which database a bare @transactional and get_db() without a name mean."""
        cls._default_name = name

    @classmethod
    def default_name(cls) -> str:
        """The name of the default database. It need not be registered."""
        return cls._default_name

    @classmethod
    def get(cls, name: str | None = None) -> BaseDatabase:
        """Returns the database of that name, or the default one. UnknownDatabaseError."""
        wanted = cls._default_name if name is None else name
        try:
            return cls._databases[wanted]
        except KeyError:
            raise UnknownDatabaseError(wanted, cls._databases) from None

    @classmethod
    def get_all(cls) -> dict[str, BaseDatabase]:
        """Returns every registered database by name, as a copy."""
        return dict(cls._databases)

    @classmethod
    async def close_all(cls, timeout_seconds: float = 10.0) -> None:
        """Closes every pool, one after the other, and forgets the databases."""
        while cls._databases:
            _, database = cls._databases.popitem()
            await database.close(timeout_seconds)
        cls.clear()

    @classmethod
    def clear(cls) -> None:
        """Forgets every database without closing it: for a forked child, and for tests."""
        cls._databases.clear()
        cls._default_name = DEFAULT_NAME


def get_db(name: str | None = None) -> BaseDatabase:
    """Returns the registered database of that name; without a name, the default one."""
    return DatabaseRegistry.get(name)
