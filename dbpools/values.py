"""Values that go into a database or come out of it: what is the same on every engine."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

Row = dict[str, Any]
Adapter = Callable[[Any], Any]


@dataclass(frozen=True)
class Json:
    """Marks a value for a JSON column. Lists and dicts need no mark; `Json("text")` does."""

    value: Any


def dump_json(value: Any) -> str:
    """Returns a value as JSON text. ValueError or TypeError for NaN, infinities and objects."""
    return json.dumps(
        value.value if isinstance(value, Json) else value, ensure_ascii=False, allow_nan=False
    )


def to_utc(value: datetime) -> datetime:
    """Returns the same instant in UTC.

    ValueError for a naive datetime, because nobody knows which instant it means, and for an instant
    whose year in UTC is outside of Python's range.
    """
    if value.tzinfo is None:
        raise ValueError(
            f"naive datetime {value.isoformat()}: attach a zone, "
            "for example value.replace(tzinfo=UTC)"
        )
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{value.isoformat()} is out of range in UTC") from None


def as_utc(value: datetime) -> datetime:
    """Returns a stored instant as aware UTC. One without an offset is in UTC already."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def to_sql_text(value: datetime) -> str:
    """Returns `2026-01-31 12:00:00[.123456]` in UTC: it sorts as text, like CURRENT_TIMESTAMP."""
    return str(to_utc(value).replace(tzinfo=None))


def unchanged(value: Any) -> Any:
    """Returns the value itself."""
    return value


# The types that every driver takes, and how; the table of each driver adds its own.
PLAIN: Mapping[type[Any], Adapter] = {
    type(None): unchanged,
    int: unchanged,
    float: unchanged,
    bool: unchanged,
    bytes: unchanged,
    bytearray: bytes,
    memoryview: bytes,
    str: unchanged,
    date: unchanged,
    time: unchanged,
    timedelta: unchanged,
    datetime: to_utc,
    Decimal: unchanged,
    UUID: unchanged,
    dict: dump_json,
    list: dump_json,
    Json: dump_json,
}


class AdapterTable:
    """How each Python type is passed to one engine: by its exact type, else by its nearest base."""

    def __init__(self, *, overrides: Mapping[type[Any], Adapter]) -> None:
        self._adapters: dict[type[Any], Adapter] = {**PLAIN, **overrides}

    def adapt(self, value: Any) -> Any:
        """Returns the value as the driver takes it. TypeError for a type that no column holds."""
        adapter = self._adapters.get(type(value))
        if adapter is None:
            adapter = self._adapters[type(value)] = self._adapter_of_base(type(value))
        return adapter(value)

    def _adapter_of_base(self, kind: type[Any]) -> Adapter:
        if issubclass(kind, Enum):
            return lambda member: self.adapt(member.value)
        for base in kind.__mro__[1:]:
            if base in (int, float, str):
                # A driver that looks up the exact type would quote an int subclass as text.
                plain: Adapter = {int: int.__int__, float: float.__float__, str: str.__str__}[base]
                return lambda value: self.adapt(plain(value))
            if base in self._adapters:
                return self._adapters[base]
        raise TypeError(
            f"a {kind.__name__} cannot be stored in a column; convert it to text, a number, "
            "bytes, an instant or Json(...) first"
        )
