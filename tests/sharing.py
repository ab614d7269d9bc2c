"""Distributes the test files over several pytests, by the seconds that each file took before.

tests/durations.json holds the times that `script/test --record` has measured. A file without an
entry counts as DEFAULT_SECONDS, so that a new test needs no entry.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORD = Path(__file__).with_name("durations.json")
DEFAULT_SECONDS = 3.0
# The seconds that the start of a server adds to a part.
SERVER_SECONDS = {"PostgreSQL": 3.0, "MariaDB or MySQL": 8.0, "Redis": 0.5, "RabbitMQ": 10.0}
# What all tests in browsers share: web, beat, a worker and a browser of each language. It takes so
# long to start that all of its files are in one part.
SITE = "site in browsers"


@dataclass(frozen=True, kw_only=True)
class FileCost:
    """The cost of a test file on one database: the time of its tests, and their servers."""

    seconds: float = DEFAULT_SECONDS
    servers: frozenset[str] = frozenset()


Record = dict[str, dict[str, FileCost]]  # database, then file


def test_files(database: str) -> list[str]:
    """Returns the test files with tests for this database, relative to the root, sorted.

    SQLite runs every test, the other databases run those marked `database`.
    """
    paths = sorted(Path(__file__).parent.rglob("test_*.py"))
    return [str(path.relative_to(ROOT)) for path in paths if has_tests_for(path, database)]


@cache
def has_tests_for(path: Path, database: str) -> bool:
    """Returns whether a file has tests for this database: such a file contains the mark's name."""
    return database == "sqlite" or "mark.database" in path.read_text(encoding="utf-8")


def share_out(
    files: Iterable[str], parts: int, known: Mapping[str, FileCost]
) -> list[tuple[str, ...]]:
    """Returns the files in at most `parts` parts of about the same time, the longest part first.

    Takes the longest file first, and puts each file into the part that then ends soonest. A file
    costs less in a part that already starts its servers. Files that share a SITE count as one.
    """
    files = sorted(files)
    loads = [0.0] * parts
    servers: list[set[str]] = [set() for _ in range(parts)]
    shares: list[list[str]] = [[] for _ in range(parts)]
    units = _units(files, known)
    for unit in sorted(units, key=lambda unit: (-units[unit].seconds, unit)):
        cost = units[unit]
        ends = [
            loads[part] + cost.seconds + sum(map(_start_seconds, cost.servers - servers[part]))
            for part in range(parts)
        ]
        chosen = ends.index(min(ends))
        loads[chosen] = ends[chosen]
        servers[chosen] |= cost.servers
        shares[chosen] += unit
    order = sorted(range(parts), key=lambda part: -loads[part])
    return [tuple(shares[part]) for part in order if shares[part]]


def _units(files: Sequence[str], known: Mapping[str, FileCost]) -> dict[tuple[str, ...], FileCost]:
    """Returns what is put into one part as a whole: files, and what it costs."""
    costs = {file: known.get(file, FileCost()) for file in files}
    on_site = tuple(file for file in files if SITE in costs[file].servers)
    units: dict[tuple[str, ...], FileCost] = {
        (file,): costs[file] for file in files if file not in on_site
    }
    if on_site:
        servers = frozenset[str]().union(*(costs[file].servers for file in on_site))
        units[on_site] = FileCost(seconds=seconds_of(on_site, known), servers=servers)
    return units


def seconds_of(files: Iterable[str], known: Mapping[str, FileCost]) -> float:
    return sum(known.get(file, FileCost()).seconds for file in files)


def _start_seconds(server: str) -> float:
    return SERVER_SECONDS.get(server, 1.0)


def read_record(path: Path = RECORD) -> Record:
    if not path.exists():
        return {}
    return {
        database: {
            file: FileCost(seconds=seconds, servers=frozenset(servers))
            for file, (seconds, servers) in files.items()
        }
        for database, files in json.loads(path.read_text(encoding="utf-8")).items()
    }


def write_record(record: Record, path: Path = RECORD) -> None:
    """Writes one line per file, so that a changed time changes one line."""
    databases = []
    for database, files in sorted(record.items()):
        lines = [
            f"    {json.dumps(file)}: {json.dumps([round(cost.seconds, 1), sorted(cost.servers)])}"
            for file, cost in sorted(files.items())
        ]
        databases.append(f"  {json.dumps(database)}: {{\n" + ",\n".join(lines) + "\n  }")
    path.write_text("{\n" + ",\n".join(databases) + "\n}\n", encoding="utf-8")
