"""The databases of this process, by name."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from dbpools.config import parse_database
from dbpools.database import BaseDatabase
from dbpools.drivers import SCHEMAS, make_driver
from dbpools.errors import ConfigurationError, UnknownDatabaseError

DEFAULT_NAME = "default"


class DatabaseRegistry:
    """Every database that this process may use. One per process; never an instance.

    Registering connects to nothing: a pool opens on the event loop that first uses it, so a server
    that is away is found out by those who need it. `get_db(name).open()` asks earlier.
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
        """Register the databases named (all of them by default) from `databases:`.

        Those that are registered already stay as they are. `default` is the one that a bare
        @transactional uses. ConfigurationError lists the mistakes of all databases named.
        """
        wanted = list(config) if names is None else list(names)
        parsed = []
        mistakes = []
        for name in wanted:
            if name in cls._databases:
                continue
            if name not in config:
                raise UnknownDatabaseError(name, config)
            try:
                checked = parse_database(name, config[name], SCHEMAS)
                parsed.append(BaseDatabase(checked, make_driver(checked)))
            except ConfigurationError as error:
                mistakes.append(str(error))
        if mistakes:
            raise ConfigurationError("\n".join(mistakes))
        for database in parsed:
            cls.register(database)
        if default is not None:
            cls.set_default(default)

    @classmethod
    def register(cls, database: BaseDatabase) -> None:
        """Add a database. ConfigurationError if its name is taken."""
        if database.name in cls._databases:
            raise ConfigurationError(f"a database named {database.name!r} is registered already")
        cls._databases[database.name] = database

    @classmethod
    def set_default(cls, name: str) -> None:
        """Which database a bare @transactional and get_db() without a name mean."""
        cls._default_name = name

    @classmethod
    def default_name(cls) -> str:
        """The name of the default database; whether it is registered shows at its use."""
        return cls._default_name

    @classmethod
    def get(cls, name: str | None = None) -> BaseDatabase:
        """The database of that name (the default one without). UnknownDatabaseError."""
        wanted = cls._default_name if name is None else name
        try:
            return cls._databases[wanted]
        except KeyError:
            raise UnknownDatabaseError(wanted, cls._databases) from None

    @classmethod
    def get_all(cls) -> dict[str, BaseDatabase]:
        """Every registered database by name; a copy."""
        return dict(cls._databases)

    @classmethod
    async def close_all(cls, timeout_seconds: float = 10.0) -> None:
        """Close every pool, one after the other, and forget the databases."""
        while cls._databases:
            _, database = cls._databases.popitem()
            await database.close(timeout_seconds)
        cls.clear()

    @classmethod
    def clear(cls) -> None:
        """Forget every database without closing: for a forked child, and for tests."""
        cls._databases.clear()
        cls._default_name = DEFAULT_NAME


def get_db(name: str | None = None) -> BaseDatabase:
    """The registered database of that name; the default one without a name."""
    return DatabaseRegistry.get(name)
