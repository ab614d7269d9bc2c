"""`python -m tests.run`, which is `script/test`: the tests on each job database, then one table.

SQLite runs every test. PostgreSQL and MySQL or MariaDB run those marked `database` again. Django
has one set of settings per process, so that one pytest cannot serve two databases. Several pytests
share the files of a database (tests/sharing.py).

Several pytests at a time load a small machine heavily. If only a few tests fail, they run once
more, alone. Tests that then pass are counted and named as unsteady, so that somebody examines them.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import IO

from tests import sharing
from tests.harness.servers.install import install_servers
from tests.plugin import DATABASE_KINDS

ROOT = Path(__file__).resolve().parent.parent

# Exit codes of pytest (https://docs.pytest.org/en/stable/reference/exit-codes.html).
OK, TESTS_FAILED, INTERRUPTED, NONE_COLLECTED = 0, 1, 2, 5
# How many pytests run at a time: more than there are processors, because they wait for more than
# half of their time: for leases, outages, the next second. Many more would only delay each other.
SIDE_BY_SIDE = 4 * (os.cpu_count() or 1)
# How many pytests share the tests of a database. Each has to start Python, Django and its servers,
# which takes ten seconds of processor time. So there are as many as run at a time, and they take
# about the same time.
_SETS = max(1, SIDE_BY_SIDE // 8)
PARTS = {"postgres": 2 * _SETS, "mysql": 2 * _SETS, "sqlite": 4 * _SETS}
# More failures than this are not caused by a loaded machine.
TRIED_AGAIN = 30

USAGE = """\
script/test [--quick | --slow] [--database KIND] [--install-servers] [--record] [of pytest]

    script/test                    all tests on SQLite, the database tests on the other two as well
    script/test -k name -x         arguments that are not ours go to pytest
    script/test --quick            on SQLite only, without what starts processes or servers
    script/test --slow             with the long fault and soak tests
    script/test --database mysql   one database only: sqlite, postgres or mysql
    script/test --install-servers  first installs missing servers and browser by Debian's packages,
                                   and fetches axe-core for the browser
    script/test --record           writes the files' times to tests/durations.json

TEST_POSTGRES_URL, TEST_MYSQL_URL, TEST_REDIS_URL, TEST_RABBITMQ_URL name servers to use instead of
private ones. JOBU_REQUIRE_SERVICES=1 makes a missing server, and any skipped test, a failure.
"""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A pytest to run."""

    label: str
    database: str
    files: tuple[str, ...] | None = None  # None: all files
    slow: bool = False
    quick: bool = False

    @property
    def record(self) -> str:
        """The name of its times in tests/durations.json: of a file, --quick runs a part only."""
        return "quick" if self.quick else self.database


@dataclass(frozen=True, kw_only=True)
class Result:
    """The report of one pytest."""

    database: str
    exit_code: int
    seconds: float
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    unsteady: int = 0  # tests that failed beside other runs and passed alone
    costs: dict[str, sharing.FileCost] = field(default_factory=dict)


def main(arguments: Sequence[str]) -> int:
    options, for_pytest = _parse(arguments)
    if options.help:
        print(USAGE, end="")
        return OK
    if options.install_servers:
        install_servers()
    wanted = wanted_runs(options.database or (), quick=options.quick, slow=options.slow)
    results = run_all(wanted, for_pytest)
    if options.record:
        record(results, wanted)
    complaints = find_complaints(
        results, require_services=os.environ.get("JOBU_REQUIRE_SERVICES") == "1"
    )
    print("", table(results), *complaints, sep="\n", flush=True)
    return TESTS_FAILED if complaints else OK


def wanted_runs(databases: Sequence[str], *, quick: bool, slow: bool) -> list[Wanted]:
    """Returns one pytest for each named database, or by default several for each database.

    The longest comes first, so that no long one runs alone at the end.
    """
    if databases:
        return [Wanted(label=name, database=name, quick=quick, slow=slow) for name in databases]
    known = sharing.read_record()
    parts = {"sqlite": os.cpu_count() or 1} if quick else PARTS
    if quick and "quick" in known:
        known = {"sqlite": known["quick"]}
    # A database without a measurement takes about as long as SQLite.
    costs = {name: known.get("sqlite", {}) | known.get(name, {}) for name in parts}
    files = {name: sharing.test_files(name) for name in parts}
    found: list[tuple[float, Wanted]] = []
    for database, number in parts.items():
        shares = sharing.share_out(files[database], number, costs[database])
        found += [
            (
                sharing.seconds_of(share, costs[database]),
                Wanted(
                    label=f"{database} {part}",
                    database=database,
                    files=share,
                    quick=quick,
                    slow=slow,
                ),
            )
            for part, share in enumerate(shares, 1)
        ]
    return [wanted for _, wanted in sorted(found, key=lambda each: -each[0])]


def record(results: Sequence[Result], wanted: Sequence[Wanted]) -> None:
    """Adds the measured times to tests/durations.json, and removes files that no longer exist."""
    known = sharing.read_record()
    for result, run in zip(results, wanted, strict=True):
        known[run.record] = known.get(run.record, {}) | result.costs
    sharing.write_record(
        {
            database: {file: cost for file, cost in costs.items() if (ROOT / file).exists()}
            for database, costs in known.items()
        }
    )


def find_complaints(results: Sequence[Result], *, require_services: bool) -> list[str]:
    """Returns the reasons why the run as a whole failed, one sentence each; empty if it passed."""
    complaints = [
        f"{result.database}: {_failure(result)}"
        for result in results
        if result.exit_code not in (OK, NONE_COLLECTED)
    ]
    if all(result.exit_code == NONE_COLLECTED for result in results):
        complaints.append("no test was run")
    if require_services:
        complaints += [
            f"{result.database}: {result.skipped} skipped, but JOBU_REQUIRE_SERVICES=1 allows none"
            for result in results
            if result.skipped
        ]
    return complaints


def table(results: Sequence[Result]) -> str:
    """Returns a table: a line per pytest, and a line per database that several pytests shared."""
    titles = f"{'database':<12}{'passed':>8}{'failed':>8}{'skipped':>9}{'unsteady':>10}"
    lines = [f"{titles}{'seconds':>9}"]
    lines += [_line(result) for result in sorted(results, key=_place_in_table)]
    for database in DATABASE_KINDS:
        parts = [result for result in results if result.database.startswith(f"{database} ")]
        if parts:
            lines.append(_line(_sum(f"{database} all", parts)))
    return "\n".join(lines)


def _place_in_table(result: Result) -> tuple[int, str]:
    return DATABASE_KINDS.index(result.database.partition(" ")[0]), result.database


def _line(result: Result) -> str:
    return (
        f"{result.database:<12}{result.passed:>8}{result.failed:>8}{result.skipped:>9}"
        f"{result.unsteady:>10}{result.seconds:>9.1f}"
    )


def _sum(label: str, parts: Sequence[Result]) -> Result:
    return Result(
        database=label,
        exit_code=max(part.exit_code for part in parts),
        seconds=sum(part.seconds for part in parts),
        passed=sum(part.passed for part in parts),
        failed=sum(part.failed for part in parts),
        skipped=sum(part.skipped for part in parts),
        unsteady=sum(part.unsteady for part in parts),
    )


def run_all(wanted: Sequence[Wanted], arguments: Sequence[str]) -> list[Result]:
    """Runs the pytests, SIDE_BY_SIDE at a time, in the order of `wanted`.

    A single pytest writes to the terminal itself. The output of several is printed at the end.
    """
    templates = tempfile.TemporaryDirectory(prefix="jobu-migrated-")
    runs = [
        PytestRun(each, arguments, alone=len(wanted) == 1, templates=templates.name)
        for each in wanted
    ]

    def forward(number: int, _: FrameType | None) -> None:
        for run in runs:
            run.stop(number)

    def leave_it_to_pytest(_number: int, _: FrameType | None) -> None:
        """Sends nothing: the terminal has sent SIGINT to the whole group. Waits for their end."""
        for run in runs:
            run.stop(None)

    before = (
        signal.signal(signal.SIGINT, leave_it_to_pytest),
        signal.signal(signal.SIGTERM, forward),
    )
    try:
        with ThreadPoolExecutor(max_workers=SIDE_BY_SIDE) as pool:
            ends = [pool.submit(run.run) for run in runs]
            results = [run.report(end.result()) for run, end in zip(runs, ends, strict=True)]
        if len(runs) > 1:
            results = [
                run.again(result) if may_be_the_load(result) else result
                for run, result in zip(runs, results, strict=True)
            ]
        return results
    finally:
        for run in runs:
            run.clean_up()
        templates.cleanup()
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


def may_be_the_load(result: Result) -> bool:
    return result.exit_code == TESTS_FAILED and 0 < result.failed <= TRIED_AGAIN


class PytestRun:
    """A pytest, from its command to its result."""

    def __init__(
        self, wanted: Wanted, arguments: Sequence[str], *, alone: bool, templates: str
    ) -> None:
        self._label = wanted.label
        self._alone = alone
        self._place = tempfile.TemporaryDirectory(prefix="jobu-summary-")
        self._summary = Path(self._place.name) / "summary.json"
        self._output = Path(self._place.name) / "output"
        self._environment = os.environ | {
            "JOBU_TEST_DATABASE": wanted.database,
            "JOBU_TEST_SIDE_BY_SIDE": "" if alone else "1",
            "JOBU_TEST_SLOW": "1" if wanted.slow else "",
            "JOBU_TEST_QUICK": "1" if wanted.quick else "",
            "JOBU_TEST_SUMMARY": str(self._summary),
            "JOBU_TEST_TEMPLATES": templates,
        }
        # The gate sets it around the tests of this very module.
        self._environment.pop("JOBU_TEST_FILES", None)
        if wanted.files is not None:
            self._environment["JOBU_TEST_FILES"] = os.pathsep.join(wanted.files)
        cache = Path(self._place.name) / "cache"
        self._command = [sys.executable, "-m", "pytest", "-o", f"cache_dir={cache}", *arguments]
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.RLock()  # a signal handler may run in the thread that holds it
        self._stopped = False

    def run(self) -> Result:
        """Starts pytest and waits for its end, in any thread. INTERRUPTED if stopped before."""
        started = time.monotonic()
        if not self._alone:
            print(f"=== {self._label}: started", flush=True)
        with self._output.open("wb") as output:
            exit_code = self._wait_for(
                self._command,
                None if self._alone else output,
            )
        counts, costs = self._summarised()
        return Result(
            database=self._label,
            exit_code=exit_code,
            seconds=time.monotonic() - started,
            passed=counts.get("passed", 0),
            failed=counts.get("failed", 0) + counts.get("error", 0),
            skipped=counts.get("skipped", 0),
            costs=costs,
        )

    def stop(self, number: int | None) -> None:
        """Prevents any further start, and sends the signal to a running pytest."""
        with self._lock:
            self._stopped = True
            if self._process is not None and number is not None:
                self._process.send_signal(number)

    def report(self, result: Result) -> Result:
        """Prints the output of pytest."""
        if not self._alone:
            print(f"\n=== {self._label} ===", flush=True)
            sys.stdout.buffer.write(self._output.read_bytes())
            sys.stdout.flush()
        return result

    def _wait_for(self, command: Sequence[str], output: IO[bytes] | None) -> int:
        with self._lock:
            if self._stopped:
                return INTERRUPTED
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self._environment,
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
            )
        return self._process.wait()

    def again(self, result: Result) -> Result:
        """Runs the failed tests once more, alone. Blocks until they have ended."""
        print(f"\n=== {self._label}: the {result.failed} that failed, alone ===", flush=True)
        self._summary.unlink(missing_ok=True)
        exit_code = self._wait_for(
            [*self._command, "-v", "--last-failed", "--last-failed-no-failures=none"], None
        )
        counts, _ = self._summarised()
        if exit_code != OK:
            return result
        return replace(
            result,
            exit_code=OK,
            passed=result.passed + counts.get("passed", 0),
            failed=0,
            unsteady=result.failed,
        )

    def _summarised(self) -> tuple[dict[str, int], dict[str, sharing.FileCost]]:
        """Returns the counts by outcome and the cost of each file; empty if pytest broke."""
        if not self._summary.exists():
            return {}, {}
        summary = json.loads(self._summary.read_text(encoding="utf-8"))
        servers = summary["servers"]
        return summary["counts"], {
            file: sharing.FileCost(seconds=seconds, servers=frozenset(servers.get(file, ())))
            for file, seconds in summary["seconds"].items()
        }

    def clean_up(self) -> None:
        self._place.cleanup()


def _parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("-h", "--help", action="store_true")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--slow", action="store_true")
    chosen.add_argument("--quick", action="store_true")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--database", action="append", choices=DATABASE_KINDS)
    parser.add_argument("--install-servers", action="store_true")
    return parser.parse_known_args(list(arguments))


def _failure(result: Result) -> str:
    if result.exit_code == TESTS_FAILED:
        return f"{result.failed} failed"
    return f"pytest ended with {result.exit_code}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
