"""The configuration of one database, checked and typed. All its mistakes are told at once.

A plain mapping comes in (`type`, a place, `pool`, `options`); each engine declares its keys as
`Key` tables, so the names in YAML stay those that people know from the engine's own driver.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dbpools.errors import ConfigurationError, did_you_mean


@dataclass(frozen=True)
class PoolConfig:
    """How many connections a pool keeps and how long anything may take. Seconds throughout."""

    min_size: int = 0
    """Connections kept open while the pool is idle."""
    max_size: int = 10
    """Connections open at most, those being opened included."""
    pool_timeout_seconds: float = 30.0
    """How long a caller waits for a connection before ConnectionPoolExhaustedError."""
    max_idle_seconds: float = 300.0
    """An idle connection above `min_size` is closed after this; one below is renewed."""
    max_lifetime_seconds: float = 3600.0
    """A connection is replaced at this age, less up to a tenth, so that not all go at once."""
    connect_timeout_seconds: float = 10.0
    """How long opening one connection may take, login included."""
    command_timeout_seconds: float = 60.0
    """How long one statement may take; its connection is given up after that."""
    slow_query_seconds: float = 1.0
    """Statements at least this slow are logged as WARNING."""


@dataclass(frozen=True)
class DatabaseConfig:
    """One entry of `databases:`, checked."""

    name: str
    type: str
    place: Mapping[str, Any] = field(repr=False)
    """Where it is: path, or host, port, database, user, password, or dsn. Holds the password."""
    pool: PoolConfig
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Key:
    """A key that may be given: the kind of its value, its default and the smallest number."""

    kind: type[bool] | type[int] | type[float] | type[str]
    default: Any = None
    minimum: float | None = None
    choices: tuple[str, ...] = ()
    field: str = ""
    """For keys of `pool`: the field of PoolConfig that it sets."""
    takes_bool: bool = False
    """Text that may be written as YAML's true and false, too."""

    def read(self, value: Any) -> Any:
        """The value as this key's kind; text is accepted, because `${ENV}` is text. ValueError."""
        if value is None:
            return self.default
        if self.takes_bool and isinstance(value, bool):
            value = str(value).lower()
        converted = _CONVERTERS[self.kind](value)
        if self.minimum is not None and converted < self.minimum:
            raise ValueError(f"must be at least {self.minimum:g}, not {value!r}")
        if self.choices and str(converted).upper() not in self.choices:
            raise ValueError(f"must be one of {', '.join(self.choices)}, not {value!r}")
        return converted


def _to_bool(value: Any) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True}
    words |= {"false": False, "no": False, "off": False, "0": False}
    try:
        return words[str(value).strip().lower()]
    except KeyError:
        raise ValueError(f"must be true or false, not {value!r}") from None


def _to_number(kind: Callable[[Any], Any], word: str) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        try:
            if isinstance(value, bool) or kind(value) != float(value):
                raise ValueError  # int(2.5) is 2, and a bool is a number to Python
            return kind(value)
        except (TypeError, ValueError):
            raise ValueError(f"must be {word}, not {value!r}") from None

    return convert


def _to_text(value: Any) -> str:
    if isinstance(value, (bool, Mapping, list)):
        raise ValueError(f"must be text, not {value!r}")
    return str(value)


_CONVERTERS: Mapping[type, Callable[[Any], Any]] = {
    bool: _to_bool,
    int: _to_number(int, "a whole number"),
    float: _to_number(float, "a number"),
    str: _to_text,
}

# Every engine has these beside its own names.
COMMON_POOL_KEYS: Mapping[str, Key] = {
    "pool_timeout": Key(float, 30.0, minimum=0.001, field="pool_timeout_seconds"),
    "max_lifetime": Key(float, 3600.0, minimum=1, field="max_lifetime_seconds"),
    "connect_timeout": Key(float, 10.0, minimum=0.001, field="connect_timeout_seconds"),
    "command_timeout": Key(float, 60.0, minimum=0.001, field="command_timeout_seconds"),
    "slow_query_seconds": Key(float, 1.0, minimum=0, field="slow_query_seconds"),
}


@dataclass(frozen=True)
class Schema:
    """What one engine can be told: its place, its pool and its options."""

    place: Mapping[str, Key]
    pool: Mapping[str, Key]
    options: Mapping[str, Key]
    required: tuple[tuple[str, ...], ...]
    """Of each group one key must be given."""
    impossible: Callable[[Mapping[str, Any], Mapping[str, Any]], str] = lambda place, options: ""
    """What this place and these options name that the engine's library cannot do, with its key."""


def parse_database(name: str, entry: Any, schemas: Mapping[str, Schema]) -> DatabaseConfig:
    """The checked configuration of one database. ConfigurationError lists all its mistakes."""
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"databases.{name} must be a mapping, not {entry!r}")
    kind = str(entry.get("type", ""))
    schema = schemas.get(kind)
    if schema is None:
        raise ConfigurationError(
            f"databases.{name}.type is {kind!r}{did_you_mean(kind, schemas)}; "
            f"known types: {', '.join(schemas)}"
        )
    mistakes: list[str] = []
    top = {key: value for key, value in entry.items() if key not in ("type", "pool", "options")}
    short_size = top.pop("pool_size", None)
    place = _read_section(f"databases.{name}", top, schema.place, mistakes, _TOP_LEVEL_KEYS)
    pool_keys = {**schema.pool, **COMMON_POOL_KEYS}
    pool = _read_section(f"databases.{name}.pool", entry.get("pool"), pool_keys, mistakes)
    options = _read_section(
        f"databases.{name}.options", entry.get("options"), schema.options, mistakes
    )
    if short_size is not None:
        _use_short_size(name, short_size, pool_keys, pool, mistakes)
    mistakes += [
        f"databases.{name} needs {' or '.join(group)}"
        for group in schema.required
        if not any(place.get(key) for key in group)
    ]
    if impossible := schema.impossible(place, options):
        mistakes.append(f"databases.{name}.{impossible}")
    sizes = {pool_keys[key].field: value for key, value in pool.items()}
    if sizes.get("min_size", 0) > sizes["max_size"]:
        mistakes.append(
            f"databases.{name}.pool: the smallest size {sizes['min_size']} is above "
            f"the largest, {sizes['max_size']}"
        )
    if mistakes:
        raise ConfigurationError("\n".join(mistakes))
    return DatabaseConfig(
        name=name, type=kind, place=place, pool=PoolConfig(**sizes), options=options
    )


_TOP_LEVEL_KEYS = ("type", "pool", "options", "pool_size")


def _read_section(
    where: str,
    given: Any,
    keys: Mapping[str, Key],
    mistakes: list[str],
    also_known: Iterable[str] = (),
) -> dict[str, Any]:
    """Every key of the section with its value or default; adds what is wrong to `mistakes`."""
    if given is None:
        given = {}
    if not isinstance(given, Mapping):
        mistakes.append(f"{where} must be a mapping, not {given!r}")
        given = {}
    known = [*keys, *also_known]
    mistakes += [
        f"{where}.{key} is not a known key{did_you_mean(str(key), known)}"
        for key in given
        if key not in keys
    ]
    values: dict[str, Any] = {}
    for key, rule in keys.items():
        try:
            values[key] = rule.read(given.get(key))
        except ValueError as error:
            values[key] = rule.default
            # A password is never repeated, not even a wrong one.
            reason = "is not valid" if key in ("password", "dsn") else str(error)
            mistakes.append(f"{where}.{key} {reason}")
    return values


def _use_short_size(
    name: str,
    value: Any,
    keys: Mapping[str, Key],
    pool: dict[str, Any],
    mistakes: list[str],
) -> None:
    """`pool_size: 5` right under a database: the largest size, and the smallest is not above."""
    by_field = {rule.field: key for key, rule in keys.items()}
    largest, smallest = by_field["max_size"], by_field.get("min_size")
    try:
        pool[largest] = keys[largest].read(value)
    except ValueError as error:
        mistakes.append(f"databases.{name}.pool_size {error}")
        return
    if smallest is not None:
        pool[smallest] = min(pool[smallest], pool[largest])
