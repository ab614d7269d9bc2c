"""What the declared type of a SQLite column means: instants, dates, decimals, JSON, UUID, bool.

sqlite3 has one table of converters for the whole process, and Django also uses it. The converters
of dbpools work only in the threads of its own connections; other threads get what was there before.
"""

import json
import re
import sqlite3
import threading
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from dbpools.values import as_utc

Converter = Callable[[bytes], Any]
_here = threading.local()


def use_declared_types() -> None:
    """From now on, connections of this thread return typed values."""
    _here.is_ours = True
    for name, ours in CONVERTERS.items():
        present = sqlite3.converters.get(name)
        if not isinstance(present, _InOurThreads):
            sqlite3.register_converter(name, _InOurThreads(ours, present))


class _InOurThreads:
    """A converter for the threads of dbpools; in other threads the earlier one works."""

    def __init__(self, ours: Converter, others: Converter | None) -> None:
        self._ours = ours
        self._others = others or _as_without_converter

    def __call__(self, stored: bytes) -> Any:
        if getattr(_here, "is_ours", False):
            return self._ours(stored)
        return self._others(stored)


def _as_without_converter(stored: bytes) -> Any:
    # A converter does not learn the storage class. These types have NUMERIC affinity in SQLite, so
    # text that looks like a number was one. (Django's DecimalField, "decimal", needs a float.)
    if re.fullmatch(rb"-?\d+", stored):
        return int(stored)
    if re.fullmatch(rb"-?\d+\.\d+(e[+-]?\d+)?", stored, re.IGNORECASE):
        return float(stored)
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored


def _instant(stored: bytes) -> datetime:
    return as_utc(datetime.fromisoformat(stored.decode()))


def _truth(stored: bytes) -> bool | int:
    number = int(stored)
    return bool(number) if number in (0, 1) else number


CONVERTERS: Mapping[str, Converter] = {
    "DATETIME": _instant,
    "TIMESTAMP": _instant,
    "TIMESTAMPTZ": _instant,
    "DATE": lambda stored: date.fromisoformat(stored.decode()),
    "TIME": lambda stored: time.fromisoformat(stored.decode()),
    "BOOL": _truth,
    "BOOLEAN": _truth,
    "DECIMAL": lambda stored: Decimal(stored.decode()),
    "NUMERIC": lambda stored: Decimal(stored.decode()),
    # NUMERIC affinity keeps 15 digits; a declared type with TEXT in its name keeps all.
    "DECIMAL_TEXT": lambda stored: Decimal(stored.decode()),
    "JSON": json.loads,
    "UUID": lambda stored: UUID(stored.decode()),
}
