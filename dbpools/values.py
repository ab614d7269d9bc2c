"""Values on their way into and out of a database: what is the same on every engine."""

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
    """JSON text of a Python value. NaN, infinities and objects raise ValueError or TypeError."""
    return json.dumps(
        value.value if isinstance(value, Json) else value, ensure_ascii=False, allow_nan=False
    )


def to_utc(value: datetime) -> datetime:
    """The same instant in UTC. ValueError for one that Python has no year for there, and for a
    naive datetime: nobody knows which instant it is.
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
    """A stored instant as aware UTC: one without an offset is in UTC already."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def to_sql_text(value: datetime) -> str:
    """`2026-01-31 12:00:00[.123456]` in UTC: sorts as text, as CURRENT_TIMESTAMP is written."""
    return str(to_utc(value).replace(tzinfo=None))


def unchanged(value: Any) -> Any:
    """The value itself: every driver takes it as it is."""
    return value


# What every driver takes as it is; a driver's own table adds the rest.
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
    """How each Python type goes into one engine: exact type first, then its nearest base."""

    def __init__(self, *, overrides: Mapping[type[Any], Adapter]) -> None:
        self._adapters: dict[type[Any], Adapter] = {**PLAIN, **overrides}

    def adapt(self, value: Any) -> Any:
        """The value as the driver takes it. TypeError for a type that no column can hold."""
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
