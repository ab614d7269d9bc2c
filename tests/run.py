"""`python -m tests.run`, which is `script/test`: the tests on each job database, then one table.

The tests marked `database` run on SQLite, PostgreSQL and MySQL or MariaDB, each in a pytest of its
own, because Django has one set of settings per process; four more share those that need none.

Several at once load a small machine heavily. A few tests that failed there get one more try, alone;
those that then pass are counted as unsteady and named, for somebody to look at.
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
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import IO

from tests.harness.servers.install import install_servers
from tests.plugin import DATABASE_KINDS, EACH_DATABASE, NEED_NO_DATABASE

ROOT = Path(__file__).resolve().parent.parent

# Exit codes of pytest (https://docs.pytest.org/en/stable/reference/exit-codes.html).
OK, TESTS_FAILED, INTERRUPTED, NONE_COLLECTED = 0, 1, 2, 5
# How many pytests at a time. They wait for real processes for a part of their time, so a few more
# than there are processors; many more would only make each other late.
SIDE_BY_SIDE = 2 * (os.cpu_count() or 1)
# More failures than this are no accident of a loaded machine.
TRIED_AGAIN = 30

USAGE = """\
script/test [--slow] [--database KIND] [--install-servers] [arguments of pytest]

    script/test                    the database tests on the three databases, and all other tests
    script/test -k name -x         arguments that are not ours go to pytest
    script/test --slow             with the long fault and soak tests
    script/test --database mysql   one database only: sqlite, postgres or mysql
    script/test --install-servers  first installs missing servers and browser by Debian's packages

TEST_POSTGRES_URL, TEST_MYSQL_URL, TEST_REDIS_URL, TEST_RABBITMQ_URL name servers to use instead of
private ones. JOBU_REQUIRE_SERVICES=1 makes a missing server, and any skipped test, a failure.
"""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one pytest said."""

    database: str
    exit_code: int
    seconds: float
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    unsteady: int = 0  # failed beside the other runs, passed alone


def main(arguments: Sequence[str]) -> int:
    options, for_pytest = _parse(arguments)
    if options.help:
        print(USAGE, end="")
        return OK
    if options.install_servers:
        install_servers()
    if options.database:
        wanted = [(name, name, "") for name in options.database]
    else:
        wanted = [(name, name, EACH_DATABASE) for name in DATABASE_KINDS]
        # The browser's part, which is as long as a database's, not last and alone.
        wanted += [(part, "sqlite", part) for part in reversed(NEED_NO_DATABASE)]
    results = run_all(wanted, for_pytest, slow=options.slow)
    complaints = find_complaints(
        results, require_services=os.environ.get("JOBU_REQUIRE_SERVICES") == "1"
    )
    print("", table(results), *complaints, sep="\n", flush=True)
    return TESTS_FAILED if complaints else OK


def find_complaints(results: Sequence[Result], *, require_services: bool) -> list[str]:
    """Why the whole is a failure, one sentence each; empty when it is not."""
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
    titles = f"{'database':<10}{'passed':>8}{'failed':>8}{'skipped':>9}{'unsteady':>10}"
    lines = [f"{titles}{'seconds':>9}"]
    lines += [
        f"{result.database:<10}{result.passed:>8}{result.failed:>8}{result.skipped:>9}"
        f"{result.unsteady:>10}{result.seconds:>9.1f}"
        for result in results
    ]
    return "\n".join(lines)


def run_all(
    wanted: Sequence[tuple[str, str, str]], arguments: Sequence[str], *, slow: bool
) -> list[Result]:
    """One pytest for each (label, database, part), SIDE_BY_SIDE at a time.

    One alone speaks to the terminal itself; of several, each one's output is printed when it ends.
    """
    runs = [
        PytestRun(label, database, part, arguments, slow=slow, alone=len(wanted) == 1)
        for label, database, part in wanted
    ]

    def forward(number: int, _: FrameType | None) -> None:
        for run in runs:
            run.stop(number)

    def leave_it_to_pytest(_number: int, _: FrameType | None) -> None:
        """The terminal has sent it to the whole group; we wait until all have cleaned up."""
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
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


def may_be_the_load(result: Result) -> bool:
    return result.exit_code == TESTS_FAILED and 0 < result.failed <= TRIED_AGAIN


class PytestRun:
    """One pytest, from its command to what it said."""

    def __init__(
        self,
        label: str,
        database: str,
        part: str,
        arguments: Sequence[str],
        *,
        slow: bool,
        alone: bool,
    ) -> None:
        self._label = label
        self._alone = alone
        self._place = tempfile.TemporaryDirectory(prefix="jobu-summary-")
        self._summary = Path(self._place.name) / "summary.json"
        self._output = Path(self._place.name) / "output"
        self._environment = os.environ | {
            "JOBU_TEST_DATABASE": database,
            "JOBU_TEST_PART": part,
            "JOBU_TEST_SIDE_BY_SIDE": "" if alone else "1",
            "JOBU_TEST_SLOW": "1" if slow else "",
            "JOBU_TEST_SUMMARY": str(self._summary),
        }
        cache = Path(self._place.name) / "cache"
        self._command = [sys.executable, "-m", "pytest", "-o", f"cache_dir={cache}", *arguments]
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.RLock()  # a signal may come to the thread that holds it
        self._stopped = False

    def run(self) -> Result:
        """Start it and wait for its end, in any thread. INTERRUPTED when it was stopped before."""
        started = time.monotonic()
        if not self._alone:
            print(f"=== {self._label}: started", flush=True)
        with self._output.open("wb") as output:
            exit_code = self._wait_for(
                self._command,
                None if self._alone else output,
            )
        counts = self._counts()
        return Result(
            database=self._label,
            exit_code=exit_code,
            seconds=time.monotonic() - started,
            passed=counts.get("passed", 0),
            failed=counts.get("failed", 0) + counts.get("error", 0),
            skipped=counts.get("skipped", 0),
        )

    def stop(self, number: int | None) -> None:
        """Start nothing any more; send the signal to what runs."""
        with self._lock:
            self._stopped = True
            if self._process is not None and number is not None:
                self._process.send_signal(number)

    def report(self, result: Result) -> Result:
        """Print what it said."""
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
        """Run what failed once more, alone. Blocks until it has ended."""
        print(f"\n=== {self._label}: the {result.failed} that failed, alone ===", flush=True)
        self._summary.unlink(missing_ok=True)
        exit_code = self._wait_for(
            [*self._command, "-v", "--last-failed", "--last-failed-no-failures=none"], None
        )
        counts = self._counts()
        if exit_code != OK:
            return result
        return replace(
            result,
            exit_code=OK,
            passed=result.passed + counts.get("passed", 0),
            failed=0,
            unsteady=result.failed,
        )

    def _counts(self) -> dict[str, int]:
        if not self._summary.exists():
            return {}
        counts: dict[str, int] = json.loads(self._summary.read_text(encoding="ascii"))
        return counts

    def clean_up(self) -> None:
        self._place.cleanup()


def _parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--database", action="append", choices=DATABASE_KINDS)
    parser.add_argument("--install-servers", action="store_true")
    return parser.parse_known_args(list(arguments))


def _failure(result: Result) -> str:
    if result.exit_code == TESTS_FAILED:
        return f"{result.failed} failed"
    return f"pytest ended with {result.exit_code}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
