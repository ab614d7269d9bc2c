"""Tests how several pytest processes share the test files."""

from __future__ import annotations

from pathlib import Path

from tests.sharing import DEFAULT_SECONDS, SITE, FileCost, read_record, share_out, write_record


def cost(seconds: float, *servers: str) -> FileCost:
    return FileCost(seconds=seconds, servers=frozenset(servers))


def test_parts_take_about_the_same_time_and_the_longest_comes_first():
    known = {"a": cost(50), "b": cost(30), "c": cost(30), "d": cost(10)}

    assert share_out(known, 2, known) == [("a", "d"), ("b", "c")]


def test_file_is_put_into_a_part_whose_servers_already_run():
    known = {"a": cost(20, "RabbitMQ"), "b": cost(25), "c": cost(5), "d": cost(5, "RabbitMQ")}

    # Without the cost of servers, d would be put into the part of b and c.
    assert share_out(known, 2, known) == [("a", "d"), ("b", "c")]
    assert share_out(known, 2, known | {"d": cost(5)}) == [("b", "c", "d"), ("a",)]


def test_files_in_browsers_are_in_one_part_because_the_site_starts_slowly():
    known = {"a": cost(50, SITE), "b": cost(20, SITE), "c": cost(40), "d": cost(25)}

    assert share_out(known, 2, known) == [("a", "b"), ("c", "d")]


def test_unknown_file_counts_as_a_small_one():
    known = {"a": cost(DEFAULT_SECONDS * 2)}

    assert share_out(["a", "new", "newer"], 2, known) == [("a",), ("new", "newer")]


def test_there_is_no_empty_part():
    assert share_out(["a"], 4, {}) == [("a",)]


def test_record_can_be_written_and_read_again(tmp_path: Path):
    record = {"sqlite": {"b": cost(1.5, "Redis"), "a": cost(2)}, "mysql": {}}

    write_record(record, tmp_path / "durations.json")

    assert read_record(tmp_path / "durations.json") == record
    assert read_record(tmp_path / "none.json") == {}
