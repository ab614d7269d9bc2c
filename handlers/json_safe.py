"""Turns what user code returns or says into text and JSON that every job database can store.

PostgreSQL, MySQL, MariaDB and SQLite accept different things. What one of them refuses is changed:
  NUL and lone surrogates    shown as `\\x00` and `\\ud800` (PostgreSQL refuses both)
  NaN, Infinity, -Infinity   strings of that name (JSON has no such numbers)
  integers above 64 bits     decimal strings (MySQL turns such numbers into floats)
  more than 20 levels        the inner levels become a mark (MariaDB reads 31 levels, MySQL 100)
  more than `max_bytes`      long lists, objects and texts are cut, with marks of what is missing
Values without a meaning in JSON (a socket, a function) are an error that names their place.

pydantic converts single values (dates, Decimal, UUID, URLs, secrets). Containers are walked here,
because pydantic has no limit of size and refuses cycles and deep nesting.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence, Set, ValuesView
from enum import Enum
from itertools import islice
from json.encoder import encode_basestring_ascii
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

MAX_DEPTH = 20
MAX_KEY_BYTES = 1024
CUT_KEY = "_cut"
"""The member of a cut object that says what is missing."""


def text_of(value: object) -> str:
    """Returns str(value), or a sentence in its place if the object has no text. Never raises.

    A broken __str__, a list that is thousands of levels deep and a number of thousands of digits
    have none.
    """
    try:
        return str(value)
    except Exception as exc:  # noqa: BLE001 - __str__ and __repr__ are user code
        return f"({type(value).__name__} without a text: {type(exc).__name__})"


def storable_text(text: str, max_bytes: int) -> str:
    """Returns `text` without NUL and lone surrogates, in at most `max_bytes` of UTF-8.

    A text that is too long keeps its head and its tail, with a mark between them.
    """
    if len(text) <= max_bytes and text.isascii() and "\x00" not in text:
        return text
    if len(text) > 2 * max_bytes:
        # Do not escape megabytes of which only the ends are kept. These ends are longer than
        # what is kept of them.
        dropped = len(text) - 2 * max_bytes
        raw = _escaped(text[:max_bytes]) + _escaped(text[-max_bytes:])
    else:
        dropped = 0
        raw = _escaped(text)
    if len(raw) + dropped <= max_bytes:
        return raw.decode()
    mark = f" ... [{len(raw) + dropped - max_bytes} bytes cut] ... ".encode()
    if max_bytes < 2 * len(mark):
        return raw[:max_bytes].decode(errors="ignore")
    room = max_bytes - len(mark)
    tail = room // 3
    # errors="ignore" drops only a character that the cut splits.
    return (
        raw[: room - tail].decode(errors="ignore")
        + mark.decode()
        + raw[len(raw) - tail :].decode(errors="ignore")
    )


def storable_result(value: object, max_bytes: int) -> tuple[Any, str | None]:
    """Returns `value` as strict JSON and None, or None and the reason why it cannot be stored.

    The JSON has at most `max_bytes` (64 or more) as `json.dumps` writes it. Raises no Exception.
    Of a huge value it reads little more than what it keeps.
    """
    try:
        try:
            return _Walk(max_bytes, max_bytes).convert(value), None
        except _TooLargeError:
            return _largest_part(value, max_bytes), None
    except _UnstorableError as exc:
        reason = f"result{exc.place} {exc.problem}"
        return None, storable_text(f"Result cannot be stored: {reason}", 1024)
    except Exception as exc:  # noqa: BLE001 - properties and serializers are user code
        return None, f"Result cannot be stored: reading it raised {type(exc).__name__}"


def _escaped(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace").replace(b"\x00", b"\\x00")


def _largest_part(value: object, max_bytes: int) -> Any:
    """Returns a part of a value that fits, found by bisecting the limit of its lists and texts."""
    fitting, too_large = 0, max_bytes
    part = _Walk(max_bytes, 0).convert(value)
    while too_large - fitting > 1 + fitting // 4:
        # Small limits are cheap to try, limits that are too large are not: start from below.
        limit = min(8 * fitting + 8, (fitting + too_large) // 2)
        try:
            part = _Walk(max_bytes, limit).convert(value)
            fitting = limit
        except _TooLargeError:
            too_large = limit
    return part


class _TooLargeError(Exception):
    """The value does not fit within the limits of a walk."""


class _UnstorableError(Exception):
    """A value without a meaning in JSON; `place` is the way to it, such as ".rows[3]"."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        self.place = ""


class _Walk:
    """One pass over a value; raises _TooLargeError as soon as the JSON exceeds `max_bytes`.

    An array shows at most `limit` items, an object eight times as many members, and a text about
    eight times as many bytes: records and messages say more than the end of a long list.
    With a limit of `max_bytes` a value is converted completely or not at all.
    """

    def __init__(self, max_bytes: int, limit: int) -> None:
        self._max_bytes = self._left = max_bytes
        self._limit = limit

    def convert(self, value: object, depth: int = 0) -> Any:
        plain = _plain(value)
        if isinstance(plain, str):
            return self._text(plain)
        if not isinstance(plain, Mapping | Sequence):
            self._spend(len(repr(plain)))  # as long as in JSON, for None, False and True too
            return plain
        if depth >= MAX_DEPTH:
            return self._mark(f"... (deeper than {MAX_DEPTH} levels)")
        self._spend(0 if len(plain) else 2)
        if isinstance(plain, Mapping):
            return self._object(plain, depth)
        return self._array(plain, depth)

    def _object(self, items: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for name, member in islice(_members(items), 8 * self._limit):
            self._spend(len(encode_basestring_ascii(name)) + 4)
            try:
                shown[name] = self.convert(member, depth + 1)
            except _UnstorableError as exc:
                exc.place = f".{name}{exc.place}"
                raise
        mark = None
        if len(shown) < len(items):
            mark = f"... {len(items) - len(shown)} more"
        elif depth == 0 and self._limit < self._max_bytes:
            mark = f"larger than {self._max_bytes} bytes; shown in part"
        if mark is not None:
            self._spend(len(CUT_KEY) + 6)
            shown[CUT_KEY] = self._mark(mark)
        return shown

    def _array(self, items: Sequence[Any], depth: int) -> list[Any]:
        shown = []
        for index, item in enumerate(islice(items, self._limit)):
            self._spend(2)
            try:
                shown.append(self.convert(item, depth + 1))
            except _UnstorableError as exc:
                exc.place = f"[{index}]{exc.place}"
                raise
        if len(shown) < len(items):
            self._spend(2)
            shown.append(self._mark(f"... {len(items) - len(shown)} more"))
        return shown

    def _text(self, text: str) -> str:
        shown = storable_text(text, 8 * self._limit + 8)
        self._spend(len(encode_basestring_ascii(shown)))
        return shown

    def _mark(self, text: str) -> str:
        self._spend(len(text) + 2)
        return text

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise _TooLargeError


def _plain(value: object, subject: str = "is") -> Any:
    """Returns what `value` says as None, bool, int, float, str, Mapping or Sequence."""
    if value is None or type(value) in (str, bool):
        return value
    if isinstance(value, Enum):
        return _plain(value.value, subject)
    if isinstance(value, str):
        return str.__str__(value)  # not str(value): a subclass may have a __str__ of its own
    if isinstance(value, int):
        return _integer(int(value))
    if isinstance(value, float):
        number = float(value)
        is_finite = number - number == 0
        return number if is_finite else json.dumps(number)  # "NaN", "Infinity", "-Infinity"
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes(bytes(value))
    if isinstance(value, type | Iterator):
        # pydantic would read an iterator to its end, which may never come.
        raise _not_json(value, subject)
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(warnings=False), subject)
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return value._asdict()
    if isinstance(value, Mapping | Sequence):
        return value
    if isinstance(value, Set):
        return _in_order(value)
    if isinstance(value, ValuesView):
        return list(value)
    return _plain_object(value, subject)


def _plain_object(value: object, subject: str) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, BaseException):
        return type(value).__name__
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist"):
        return _plain(value.tolist(), subject)
    keys = getattr(value, "keys", None)
    if callable(keys) and hasattr(value, "__getitem__"):
        return {key: value[key] for key in keys()}  # a row of a database driver
    try:
        return _plain(to_jsonable_python(value), subject)
    except PydanticSerializationError:
        raise _not_json(value, subject) from None


def _integer(number: int) -> int | str:
    if number.bit_length() > 512:
        return f"... (integer of {number.bit_length()} bits)"
    return number if -(2**63) <= number < 2**64 else str(number)


def _bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(value).decode()


def _in_order(values: Set[Any]) -> list[Any]:
    """Returns the members sorted where possible, so that equal sets look equal."""
    try:
        return sorted(values)
    except TypeError:
        return list(values)


def _members(items: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Yields the members with their names in JSON."""
    names = set()
    for key in items:
        plain = _plain(key, "has a key")
        if isinstance(plain, Mapping | Sequence) and not isinstance(plain, str):
            raise _not_json(key, "has a key")
        text = plain if isinstance(plain, str) else json.dumps(plain)
        name = storable_text(text, MAX_KEY_BYTES)
        if name in names:
            raise _UnstorableError(f"has two keys that read {name!r}")
        names.add(name)
        yield name, items[key]


def _not_json(value: object, subject: str) -> _UnstorableError:
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    return _UnstorableError(f"{subject} of type {name!r}, which is not JSON")
