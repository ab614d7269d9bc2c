"""The configuration of one database: the only description of its keys.

Each engine has a model with its keys, their types, units and defaults. A field's alias is its key,
so that a configuration uses the names that people know from the engine's own driver. Durations are
seconds unless the description names another unit.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from dbpools.dsn import DatabaseType, take_apart
from dbpools.errors import ConfigurationError, did_you_mean
from dbpools.section import Number, Section, Whole, mistakes_of
from dbpools.tls import MySQLTlsOptions, TlsOptions

Size = Annotated[Whole, Field(ge=1)]
Smallest = Annotated[
    Whole, Field(ge=0, description="Connections that stay open while the pool is idle.")
]
Largest = Annotated[
    Size,
    Field(description="Connections open at most, including those that are being opened."),
]
MaxIdle = Annotated[
    Number, Field(ge=1, description="A connection that is idle for this long is closed. Seconds.")
]
Port = Annotated[Whole, Field(ge=1, le=65535, description="The server's port.")]
Type = Field(description="sqlite, postgres or mysql (also for MariaDB).")
UPPER_CASE = BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value)


class PoolConfig(Section):
    """How many connections a pool keeps, and how long anything may take."""

    max_size: Largest = 10
    pool_timeout_seconds: Number = Field(
        30.0,
        alias="pool_timeout",
        ge=0.001,
        description="How long a caller waits for a connection. Seconds.",
    )
    max_idle_seconds: MaxIdle = Field(300.0, alias="max_idle_time")
    max_lifetime_seconds: Number = Field(
        3600.0,
        alias="max_lifetime",
        ge=1,
        description="A connection is replaced at this age, less up to a tenth. Seconds.",
    )
    connect_timeout_seconds: Number = Field(
        10.0,
        alias="connect_timeout",
        ge=0.001,
        description="How long opening a connection may take, including the login. Seconds.",
    )
    command_timeout_seconds: Number = Field(
        60.0,
        alias="command_timeout",
        ge=0.001,
        description="How long one statement may take; then its connection is given up. Seconds.",
    )
    slow_query_seconds: Number = Field(
        1.0, ge=0, description="A statement that takes this long is logged as a WARNING. Seconds."
    )

    @property
    def kept_open(self) -> int:
        """How many connections stay open while the pool is idle."""
        return 0


class SqlitePoolConfig(PoolConfig):
    """SQLite has no smallest size: opening a file costs next to nothing."""

    max_size: Largest = Field(5, alias="pool_size")


class ServerPoolConfig(PoolConfig):
    """A pool of connections to a server, where opening one takes time."""

    min_size: Smallest = 2

    @property
    def kept_open(self) -> int:
        return self.min_size

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.min_size > self.max_size:
            raise ValueError(
                f"the smallest size {self.min_size} is above the largest, {self.max_size}"
            )
        return self


class PostgresPoolConfig(ServerPoolConfig):
    """The names of asyncpg."""

    max_idle_seconds: MaxIdle = Field(300.0, alias="max_inactive_connection_lifetime")


class MySQLPoolConfig(ServerPoolConfig):
    """The names of asyncmy."""

    min_size: Smallest = Field(2, alias="minsize")
    max_size: Largest = Field(10, alias="maxsize")
    max_idle_seconds: MaxIdle = Field(300.0, alias="pool_recycle")


class SqliteOptions(Section):
    """PRAGMAs of each connection."""

    busy_timeout: Whole = Field(
        5000, ge=0, description="How long a statement waits for another writer. Milliseconds."
    )
    journal_mode: Annotated[
        Literal["WAL", "DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF"], UPPER_CASE
    ] = Field("WAL", description="With WAL, readers and the writer do not wait for each other.")
    synchronous: Annotated[Literal["OFF", "NORMAL", "FULL", "EXTRA"], UPPER_CASE] = Field(
        "NORMAL", description="How often SQLite waits until data is on the disk."
    )
    cache_size: Whole = Field(-2000, description="Pages if positive, KiB if negative.")
    foreign_keys: bool = Field(True, description="Whether foreign keys are checked.")


class PostgresOptions(TlsOptions):
    """Settings of each session."""

    timezone: str = Field("UTC", description="The session's time zone.")
    statement_cache_size: Whole = Field(
        100,
        ge=0,
        description="Prepared statements kept per connection; 0 behind a pooler that pools by"
        " transaction.",
    )
    statement_timeout: Whole | None = Field(
        None, ge=1, description="The server ends a statement after this time. Milliseconds."
    )
    idle_in_transaction_session_timeout: Whole | None = Field(
        None,
        ge=1,
        description="The server ends a session that is idle in a transaction. Milliseconds.",
    )


class MySQLOptions(MySQLTlsOptions):
    """Settings of each session."""

    charset: str = Field("utf8mb4", description="The character set of the connection.")
    autocommit: bool = Field(
        False,
        description="Whether a statement outside begin() on db.connection() commits by itself;"
        " else it is an error.",
    )
    sql_mode: str | None = Field(None, description="The session's sql_mode; else the server's.")

    @field_validator("sql_mode")
    @classmethod
    def _escapes_with_backslashes(cls, mode: str | None) -> str | None:
        if "NO_BACKSLASH_ESCAPES" in (mode or "").upper():
            raise ValueError(
                "NO_BACKSLASH_ESCAPES cannot be used: asyncmy would quote bytes wrongly"
            )
        return mode


class DatabaseConfig(Section):
    """One database: its type, its place, its pool and its options."""

    type: Annotated[DatabaseType, Type]
    dsn: str | None = Field(
        None,
        repr=False,
        description="One URL instead of the place: type://user:password@host:port/database or"
        " sqlite:///path. A key that stands beside it wins.",
    )
    pool_size: Size | None = Field(
        None, description="Short form of the pool's largest size; the smallest is not above it."
    )
    pool: PoolConfig

    @model_validator(mode="before")
    @classmethod
    def _prepare(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        # An empty text is what `${NAME:-}` leaves where NAME is not set.
        return cls._with_pool_size({key: value for key, value in data.items() if value != ""})

    @classmethod
    def _with_pool_size(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Carries `pool_size` over to the pool."""
        pool_model = cls.model_fields["pool"].annotation
        assert isinstance(pool_model, type)
        assert issubclass(pool_model, PoolConfig)
        pool = data.get("pool") or {}
        if data.get("pool_size") is None or not isinstance(pool, Mapping):
            return data
        with suppress(ValidationError):  # the fields themselves report it
            size = _SIZE.validate_python(data["pool_size"])
            pool = {**pool, pool_model.key_of("max_size"): size}
            if "min_size" in pool_model.model_fields:
                key = pool_model.key_of("min_size")
                given = pool.get(key, pool_model.model_fields["min_size"].default)
                pool[key] = min(_WHOLE.validate_python(given), size)
        return {**data, "pool": pool}

    @property
    def autocommits(self) -> bool:
        """Whether statements on db.connection() commit by themselves unless the caller says so."""
        return False


_SIZE, _WHOLE = TypeAdapter[int](Size), TypeAdapter[int](Whole)


class SqliteConfig(DatabaseConfig):
    """A file."""

    type: Annotated[Literal["sqlite"], Type] = "sqlite"
    path: str = Field(description="The file.")
    pool: SqlitePoolConfig = SqlitePoolConfig()
    options: SqliteOptions = SqliteOptions()

    @field_validator("path")
    @classmethod
    def _is_a_file(cls, path: str) -> str:
        if path == ":memory:" or "mode=memory" in path:
            raise ValueError(
                f"every connection to {path} would be a database of its own; name a file"
            )
        return path


class ServerConfig(DatabaseConfig):
    """A database on a server."""

    host: str | None = Field(
        None, description="The server; a path that begins with / is its socket."
    )
    port: Port
    database: str = Field(description="The database on the server.")
    user: str = Field(description="Who signs in.")
    password: str | None = Field(None, repr=False, description="The password, if there is one.")


class PostgresConfig(ServerConfig):
    """PostgreSQL. Without a host it is reached by the local socket, as in libpq."""

    type: Annotated[Literal["postgres"], Type] = "postgres"
    port: Port = 5432
    pool: PostgresPoolConfig = PostgresPoolConfig()
    options: PostgresOptions = PostgresOptions()


class MySQLConfig(ServerConfig):
    """MySQL or MariaDB."""

    type: Annotated[Literal["mysql"], Type] = "mysql"
    host: str = Field("localhost", description="The server; a path is the file of its socket.")
    port: Port = 3306
    pool: MySQLPoolConfig = MySQLPoolConfig()
    options: MySQLOptions = MySQLOptions()

    @property
    def autocommits(self) -> bool:
        return self.options.autocommit


MODELS: Mapping[str, type[DatabaseConfig]] = {
    "sqlite": SqliteConfig,
    "postgres": PostgresConfig,
    "mysql": MySQLConfig,
}


def parse_database(name: str, entry: Any) -> DatabaseConfig:
    """Returns the checked configuration of one database. ConfigurationError lists all mistakes.

    `entry` is a mapping of plain values, or a configuration that was checked before.
    """
    if isinstance(entry, DatabaseConfig):
        return entry
    where = f"databases.{name}"
    if not isinstance(entry, Mapping):
        raise ConfigurationError([f"{where}: expected a mapping"])
    try:
        given = take_apart(entry)
    except ValueError as error:
        raise ConfigurationError([f"{where}: {error}"]) from None
    kind = given.get("type", "")
    model = MODELS.get(str(kind))
    if model is None:
        known = "'sqlite', 'postgres' or 'mysql'"
        hint = did_you_mean(str(kind), MODELS)
        raise ConfigurationError([f"{where}.type: must be {known}, not {kind!r}{hint}"])
    try:
        return model.model_validate(given, by_alias=True, by_name=False)
    except ValidationError as error:
        mistakes = mistakes_of(error, model)
    raise ConfigurationError([f"{where}{mistake}" for mistake in mistakes])
