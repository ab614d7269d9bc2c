"""Turning what user code produced into what PostgreSQL, MySQL, MariaDB and SQLite all store.

What is changed, so that a finished run can always be written down:
  NUL and lone surrogates    shown as `\\x00` and `\\ud800` (PostgreSQL refuses both)
  NaN, Infinity, -Infinity   the strings of that name (JSON has no such numbers)
  integers above 64 bits     decimal strings (MySQL would turn them into floats)
  more than 20 levels        the inner part becomes a mark (MariaDB reads 31 levels, MySQL 100)
  over `max_bytes`           cut: small members first, then as much of the rest as fits
A type that means nothing in JSON (a socket, a function) is an error naming its place.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence, Set, ValuesView
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from json.encoder import encode_basestring_ascii
from pathlib import PurePath
from typing import Any
from uuid import UUID

from pydantic import AnyUrl, BaseModel, Secret, SecretBytes, SecretStr
from pydantic_core import MultiHostUrl, Url, to_jsonable_python

MAX_DEPTH = 20
MAX_KEY_BYTES = 1024
CUT_KEY = "_cut"
"""The member that says, in a cut object, what is missing."""

_MARK_BYTES = 96  # room that a container keeps for its own brackets and mark while cutting
_SMALL_BYTES = 512
_AS_TEXT = (
    Decimal, UUID, PurePath, Fraction, IPv4Address, IPv6Address, IPv4Network, IPv6Network,
    SecretStr, SecretBytes, Secret, AnyUrl, Url, MultiHostUrl,
)  # fmt: skip


def storable_text(text: str, max_bytes: int) -> str:
    """`text` without NUL and lone surrogates, at most `max_bytes` of UTF-8, head and tail kept."""
    if len(text) <= max_bytes and text.isascii() and "\x00" not in text:
        return text
    if len(text) > 2 * max_bytes:
        # Never look at megabytes of which only the ends can survive. The ends are longer than
        # anything that is kept of them.
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
    # errors="ignore" drops nothing but a character that the cut went through.
    return (
        raw[: room - tail].decode(errors="ignore")
        + mark.decode()
        + raw[len(raw) - tail :].decode(errors="ignore")
    )


def storable_result(value: object, max_bytes: int) -> tuple[Any, str | None]:
    """`value` as strict JSON of at most `max_bytes`, and None; or None and why it cannot be stored.

    Bytes are counted as `json.dumps` writes them. Takes pydantic models, dataclasses, mappings,
    sequences, sets, dates, Decimal, UUID, Enum, bytes (text, or `base64:...`). Never raises an
    Exception, and looks at no more of a huge value than can be kept.
    """
    try:
        try:
            return _Walk(max_bytes, cutting=False).visit(value, "result", 0), None
        except _TooLargeError:
            return _cut(value, max_bytes), None
    except _UnstorableError as exc:
        return None, storable_text(f"Result cannot be stored: {exc}", 1024)
    except Exception as exc:  # noqa: BLE001 - a property or serializer of user code may raise anything
        return None, f"Result cannot be stored: reading it raised {type(exc).__name__}"


def _escaped(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace").replace(b"\x00", b"\\x00")


def _cut(value: object, max_bytes: int) -> Any:
    walk = _Walk(max_bytes - 2 * _MARK_BYTES, cutting=True)
    shown = walk.visit(value, "result", 0)
    if isinstance(shown, dict) and CUT_KEY not in shown:
        shown[CUT_KEY] = f"larger than {max_bytes} bytes; shown in part"
    if len(json.dumps(shown)) > max_bytes:
        return storable_text(f"larger than {max_bytes} bytes", max(8, max_bytes - 2))
    return shown


class _TooLargeError(Exception):
    """The value does not fit; walk it again, cutting."""


class _UnstorableError(Exception):
    """The value has no meaning in JSON; the message says where and why."""


class _Walk:
    """One pass over a value. Exact sizes first; with `cutting`, room is set aside for the marks."""

    def __init__(self, max_bytes: int, *, cutting: bool) -> None:
        self.left = max_bytes
        self.cutting = cutting

    def visit(self, value: object, path: str, depth: int) -> Any:
        """`value` in JSON's types, its size taken off `left`."""
        if value is None or value is True or value is False:
            self._spend(5 if value is False else 4)
            return value
        if isinstance(value, Enum):
            return self.visit(value.value, path, depth)
        if isinstance(value, str):
            return self._text(str.__str__(value))
        if isinstance(value, int):
            return self._integer(int(value))
        if isinstance(value, float):
            return self._float(float(value))
        plain = _as_plain(value)
        if isinstance(plain, str):
            return self._text(plain)
        if plain is None:
            raise _UnstorableError(f"{path} is of type {_type_name(value)}, which is not JSON")
        if depth >= MAX_DEPTH:
            return self._text(f"... (deeper than {MAX_DEPTH} levels)")
        if self.cutting and self.left < 2 * _MARK_BYTES:
            return self._text("... (cut)")
        if isinstance(plain, Mapping):
            return self._object(plain, path, depth)
        if isinstance(plain, Sequence):
            return self._array(plain, path, depth)
        return self.visit(plain, path, depth)

    def _object(self, items: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
        order: list[Any] | Mapping[Any, Any] = items
        big = 0
        if self.cutting and depth == 0:
            # A verdict must not be lost behind a long list: the small members go first, then
            # the others share what is left.
            order = sorted(items, key=lambda key: not _is_small(items[key]))
            big = sum(not _is_small(items[key]) for key in items)
        shown: dict[str, Any] = {}
        self._open()
        for count, key in enumerate(order):
            if self.cutting and self.left < _MARK_BYTES:
                shown[CUT_KEY] = self._mark(f"... {len(items) - count} more", CUT_KEY)
                break
            name = _key(key, path)
            if name in shown:
                raise _UnstorableError(f"{path} has two keys that read {name!r}")
            self._spend(len(encode_basestring_ascii(name)) + (4 if count else 2))
            kept_back = 0
            if big and count >= len(order) - big:
                kept_back = self.left - self.left // (len(order) - count)
            self.left -= kept_back
            shown[name] = self.visit(items[key], f"{path}.{name}", depth + 1)
            self.left += kept_back
        self._close()
        if big:
            names = [_key(key, path) for key in items] + [CUT_KEY]
            shown = {name: shown[name] for name in names if name in shown}
        return shown

    def _array(self, items: Sequence[Any], path: str, depth: int) -> list[Any]:
        shown: list[Any] = []
        self._open()
        for index, item in enumerate(items):
            if self.cutting and self.left < _MARK_BYTES:
                shown.append(self._mark(f"... {len(items) - index} more"))
                break
            self._spend(2 if index else 0)
            shown.append(self.visit(item, f"{path}[{index}]", depth + 1))
        self._close()
        return shown

    def _open(self) -> None:
        """Takes the brackets; while cutting, keeps room for the mark until _close()."""
        self._spend(2)
        if self.cutting:
            self.left -= _MARK_BYTES

    def _close(self) -> None:
        if self.cutting:
            self.left += _MARK_BYTES

    def _mark(self, text: str, key: str = "") -> str:
        self._spend(len(text) + len(key) + 8)  # quotes and separators
        return text

    def _text(self, text: str) -> str:
        if self.cutting:
            room = max(8, self.left)
            shown = storable_text(text, room)
            while (size := len(encode_basestring_ascii(shown))) > max(self.left, 48):
                # One character may take up to twelve bytes in JSON: come down in proportion.
                room = min(room * 7 // 8, room * max(self.left, 48) // size)
                shown = storable_text(text, room)
        else:
            if len(text) > self.left:
                raise _TooLargeError
            plain = text.isascii() and "\x00" not in text
            shown = text if plain else _escaped(text).decode()
        self._spend(len(encode_basestring_ascii(shown)))
        return shown

    def _integer(self, number: int) -> int | str:
        if number.bit_length() > 512:
            return self._text(f"... (integer of {number.bit_length()} bits)")
        if not -(2**63) <= number < 2**64:
            return self._text(str(number))
        self._spend(len(str(number)))
        return number

    def _float(self, number: float) -> float | str:
        if number != number or number in (float("inf"), float("-inf")):
            return self._text(json.dumps(number))  # NaN, Infinity, -Infinity
        self._spend(len(repr(number)))
        return number

    def _spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0 and not self.cutting:
            raise _TooLargeError


def _as_plain(value: object) -> Any:
    """A mapping, sequence, number or string that says what `value` says; None when nothing does."""
    if isinstance(value, datetime | time):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(to_jsonable_python(value))  # ISO 8601, as pydantic writes it
    if isinstance(value, _AS_TEXT):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes(bytes(value))
    if isinstance(value, BaseModel):
        return value.model_dump(warnings=False)
    if isinstance(value, type):
        return None
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return value
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return value._asdict()
    if isinstance(value, Sequence):
        return value
    if isinstance(value, Set):
        return _in_order(value)
    if isinstance(value, deque | ValuesView):
        return list(value)
    if isinstance(value, BaseException):
        return type(value).__name__
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    keys = getattr(value, "keys", None)
    if callable(keys) and hasattr(value, "__getitem__"):
        return {key: value[key] for key in keys()}  # a driver's row
    return None


def _bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(value).decode()


def _in_order(values: Set[Any]) -> list[Any]:
    """A set has no order; sorted where that is possible, so that equal results look equal."""
    try:
        return sorted(values)
    except TypeError:
        return list(values)


def _key(key: object, path: str) -> str:
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, str):
        text = str.__str__(key)
    elif key is None or isinstance(key, bool):
        text = json.dumps(key)
    elif isinstance(key, int | float | date | datetime | UUID | Decimal):
        text = str(key)
    else:
        raise _UnstorableError(f"{path} has a key of type {_type_name(key)}, which is not JSON")
    return storable_text(text, MAX_KEY_BYTES)


def _is_small(value: object) -> bool:
    if isinstance(value, str | bytes):
        return len(value) <= _SMALL_BYTES
    return not isinstance(value, Mapping | Sequence | Set | BaseModel) and not (
        dataclasses.is_dataclass(value)
    )


def _type_name(value: object) -> str:
    kind: Callable[..., Any] = type(value)
    if kind.__module__ == "builtins":
        return repr(kind.__qualname__)
    return repr(f"{kind.__module__}.{kind.__qualname__}")
