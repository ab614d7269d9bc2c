"""Text and results become something that every job database can store."""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
import json
import sqlite3
from collections import OrderedDict, deque, namedtuple
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from handlers import HandlerResult
from handlers.json_safe import MAX_DEPTH, storable_result, storable_text


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    when: date


class Row:
    """Like a row of a database driver: it has keys() and [], but is no Mapping."""

    def keys(self):
        return ["a", "b"]

    def __getitem__(self, key):
        return key * 2


Pair = namedtuple("Pair", "left right")


def stored(value, max_bytes=65536):
    result, problem = storable_result(value, max_bytes)
    assert problem is None
    return result


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        (datetime(2025, 1, 1, tzinfo=UTC), "2025-01-01T00:00:00Z"),
        (datetime(2025, 1, 1, tzinfo=timezone(timedelta(hours=9))), "2025-01-01T00:00:00+09:00"),
        (date(2025, 1, 1), "2025-01-01"),
        (time(3, 4), "03:04:00"),
        (timedelta(hours=2), "PT2H"),
        (Decimal("1.10"), "1.10"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        (PurePosixPath("/a/b"), "/a/b"),
        (ipaddress.ip_address("::1"), "::1"),
        (b"abc", "abc"),
        (b"\xff\x00", "base64:/wA="),
        (SecretStr("hunter2"), "**********"),
        ({3, 1, 2}, [1, 2, 3]),
        ((1, 2), [1, 2]),
        (deque([1]), [1]),
        (range(3), [0, 1, 2]),
        ({1: "a", None: "b", False: "c"}, {"1": "a", "null": "b", "false": "c"}),
        ({date(2025, 1, 1): 1, Colour.RED: 2}, {"2025-01-01": 1, "red": 2}),
        (OrderedDict(a=1).items(), [["a", 1]]),
        (Pair(1, 2), {"left": 1, "right": 2}),
        (Point(1, date(2025, 1, 1)), {"x": 1, "when": "2025-01-01"}),
        (Row(), {"a": "aa", "b": "bb"}),
        (float("nan"), "NaN"),
        ([float("inf"), float("-inf")], ["Infinity", "-Infinity"]),
        ("a\x00b", "a\\x00b"),
        ("a\ud800b", "a\\ud800b"),
        ({"k\x00": 1}, {"k\\x00": 1}),
        (2**64 - 1, 2**64 - 1),
        (-(2**63), -(2**63)),
        (2**64, str(2**64)),
        (10**5000, "... (integer of 16610 bits)"),
        ("\U0001f600 \ud55c\uae00", "\U0001f600 \ud55c\uae00"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_value_is_converted_to_json(value, expected):
    assert stored(value) == expected


def test_a_model_is_converted_with_its_extra_fields():
    value = HandlerResult(count=1, when=date(2025, 1, 1))

    assert stored(value) == {
        "action": None,
        "success": True,
        "id": None,
        "count": 1,
        "data": None,
        "error": None,
        "when": "2025-01-01",
    }


def test_a_model_inside_a_list_is_converted():
    class Inner(BaseModel):
        token: SecretStr

    assert stored({"in": [Inner(token="abc")]}) == {"in": [{"token": "**********"}]}


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (object(), "result is of type 'object'"),
        (int, "result is of type 'type'"),
        ({"a": [len]}, "result.a[0] is of type 'builtin_function_or_method'"),
        ((n for n in range(3)), "result is of type 'generator'"),
        ({"ids": iter([1])}, "result.ids is of type 'list_iterator'"),
        ({("a", 1): 2}, "result has a key of type 'tuple'"),
        ({1: 2, "1": 3}, "result has two keys that read '1'"),
    ],
)
def test_a_value_that_is_not_json_is_an_error_with_its_place(value, place):
    result, problem = storable_result(value, 65536)

    assert result is None
    assert str(problem).startswith(f"Result cannot be stored: {place}")


def test_a_property_that_raises_is_an_error():
    class Bad:
        def keys(self):
            raise OSError("s3cret")

        __getitem__ = None

    assert storable_result(Bad(), 100) == (
        None,
        "Result cannot be stored: reading it raised OSError",
    )


def test_a_cycle_is_cut_at_the_maximum_depth():
    cycle: list = []
    cycle.append(cycle)

    text = json.dumps(stored(cycle))

    assert text.count("[") == MAX_DEPTH
    assert "deeper than 20 levels" in text


def test_a_wide_cycle_is_cut_to_the_limit():
    cycle: list = []
    cycle.extend([cycle] * 10)

    assert len(json.dumps(stored(cycle, 2000))) <= 2000


def test_large_result_keeps_its_small_members_and_the_start_of_its_list():
    rows = [{"id": n, "name": f"row {n}"} for n in range(10_000)]

    result = stored({"action": "read", "data": rows, "count": 10_000, "error": None}, 2000)

    assert list(result) == ["action", "data", "count", "error", "_cut"]
    assert result["count"] == 10_000
    assert result["data"][0] == {"id": 0, "name": "row 0"}
    assert result["data"][-1].endswith(" more")
    assert result["_cut"] == "larger than 2000 bytes; shown in part"
    assert 1000 < len(json.dumps(result)) <= 2000


def test_large_text_keeps_head_and_tail():
    result = stored("start" + "x" * 100_000 + "end", 1000)

    assert result.startswith("start")
    assert result.endswith("end")
    assert len(json.dumps(result)) <= 1000


def test_a_result_of_exactly_the_limit_is_not_cut():
    value = {"a": [1, 2, {"b": "\ud55c"}], "c": None, "d": 1.5}
    size = len(json.dumps(value))

    assert stored(value, size) == value
    assert stored(value, size - 1) != value


def test_large_members_all_keep_a_part():
    result = stored({"data": list(range(10_000)), "log": "x" * 10_000, "error": "e" * 600}, 3000)

    assert all(len(json.dumps(result[name])) > 500 for name in ("data", "log", "error"))


def test_a_huge_list_is_not_read_to_its_end():
    seen = []

    class Watched(list):
        def __iter__(self):
            for n in range(10**9):
                seen.append(n)
                yield n

        def __len__(self):
            return 10**9

    stored(Watched(), 1000)

    assert len(seen) < 2000


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.binary()
    | st.datetimes(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(st.characters(exclude_categories=()), min_size=1), inner)
        | st.sets(st.integers())
    ),
    max_leaves=40,
)


@pytest.fixture(scope="module")
def sqlite() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        yield connection


@settings(deadline=None)
@given(value=json_like, max_bytes=st.integers(min_value=64, max_value=2000))
def test_every_value_becomes_strict_json_within_the_limit(sqlite, value, max_bytes):
    result, problem = storable_result(value, max_bytes)

    text = json.dumps(result, allow_nan=False)
    assert len(text) <= max_bytes
    assert "\\u0000" not in text
    result_as_utf8 = json.dumps(result, ensure_ascii=False).encode()  # no lone surrogates
    assert sqlite.execute("select json_valid(?)", (result_as_utf8.decode(),)).fetchone() == (1,)
    assert problem is None or "two keys" in problem


@given(st.text(st.characters(exclude_categories=())), st.integers(min_value=8, max_value=300))
def test_every_text_becomes_storable_within_the_limit(text, max_bytes):
    result = storable_text(text, max_bytes)

    assert len(result.encode()) <= max_bytes
    assert "\x00" not in result


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_text_that_fits_is_unchanged(text):
    assert storable_text(text, 4 * len(text) + 1) == text


def test_cut_text_says_how_much_is_missing():
    text = "a" * 500 + "b" * 500

    result = storable_text(text, 100)

    assert len(result) == 100
    assert result.startswith("aaa")
    assert result.endswith("bbb")
    assert "[900 bytes cut]" in result


def test_cut_never_breaks_a_character():
    result = storable_text("\ud55c" * 1000, 200)

    assert set(result) <= set("\ud55c .[]0123456789bytescu")
