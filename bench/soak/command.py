"""jobu under faults for some minutes. Prints one line of JSON; exits with 1 for a broken promise.

Starts its own beats, workers, database and broker. Faults happen at random instants, and the
handlers write a ledger. Afterwards a checker compares jobs, rows and ledger: docs/reliability.md
lists what it checks. Every wait has a limit.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from bench.environment import DATABASES
from bench.soak import freezes
from bench.soak.checker import check
from bench.soak.counting import counting_seconds, miscounted
from bench.soak.delays import SLACK_SECONDS, START_SECONDS, bounds_of
from bench.soak.faults import Faults
from bench.soak.figures import figures
from bench.soak.findings import PROMISES
from bench.soak.handlers import LEDGER_VARIABLE
from bench.soak.history import (
    DECISIONS,
    History,
    instant,
    read_counted,
    read_executions,
    read_history,
)
from bench.soak.jobs import make_jobs
from bench.soak.options import BROKERS, Options, Report, parsed
from bench.soak.recorders import install_recorders
from bench.soak.sabotage import MUTATION_VARIABLE, SETTINGS
from tests.harness.servers import RabbitMQ, Redis, Server
from tests.harness.servers.pool import start_server
from tests.harness.system import Part, System

# The time for starting the servers and processes and for reading the history afterwards.
LIMIT_SECONDS = 180.0
_FIRST_RUN_SECONDS = 60.0
_STEP_SECONDS = 0.1
_COUNT_SECONDS = 0.5
_SHOWN = 20


class GaveUpError(Exception):
    """Something did not end within its limit."""


def main(argv: Sequence[str]) -> int:
    report = soak(parsed(argv))
    for broken in report.broken[:_SHOWN]:
        print(f"BROKEN {broken}")
    if len(report.broken) > _SHOWN:
        print(f"... and {len(report.broken) - _SHOWN} more")
    if report.place is not None:
        print(f"logs, ledger and faults: {report.place}")
    print(json.dumps(report.line), flush=True)
    return 1 if report.broken else 0


def soak(options: Options) -> Report:
    """Runs a soak and checks it. Ends everything that it has started, also after an error."""
    # The directory's name is part of the workers' names: it must be short and unique.
    place = Path(tempfile.mkdtemp(prefix="jobu-soak-"))
    report = None
    try:
        report = _Soak(options, place).run()
        return report
    finally:
        if report is None or not report.broken:
            shutil.rmtree(place, ignore_errors=True)


class _Soak:
    def __init__(self, options: Options, place: Path) -> None:
        self._options = options
        self._place = place
        self._dice = random.Random(options.seed)
        self._lease = float(options.config["worker"]["lease_seconds"])
        self._jobs = list(options.own_jobs) or make_jobs(
            options.jobs, self._dice, lease_seconds=self._lease
        )
        self._gave_up: list[str] = []
        self._left_out: dict[str, str] = {}
        self._until: datetime | None = None
        self._approver: Part | None = None

    def run(self) -> Report:
        started = time.monotonic()
        broker = database = system = faults = None
        recorded: dict[str, Any] = {"jobs": []}
        with _alarm(self._limit_seconds()):
            try:
                broker = self._server(BROKERS[self._options.broker])
                database = self._server(DATABASES[self._options.database])
                system = self._system(broker, database)
                faults = self._faults(system, broker, database)
                self._under_fire(system, faults)
                self._drain(system, faults)
            except GaveUpError as error:
                self._gave_up.append(str(error))
            finally:
                with suppress(GaveUpError):
                    if system is not None and faults is not None:
                        system.close()  # nothing may change while the history is read
                        recorded = self._record(system)
                for closed in (system, broker, database):
                    if closed is not None:
                        closed.close()
        return self._report(recorded, faults, time.monotonic() - started)

    # --- before -----------------------------------------------------------------------------------

    def _server(self, kind: type[Server] | None) -> Any:
        return None if kind is None else start_server(kind)

    def _system(self, broker: Any, database: Any) -> System:
        url = f"sqlite:///{self._place}/jobu.sqlite3"
        if database is not None:
            url = database.create_database("jobu")
        broker_url = None
        if isinstance(broker, Redis):
            broker_url = broker.create_database()
        elif isinstance(broker, RabbitMQ):
            broker_url = broker.create_vhost("soak")
        ledger = self._place / "ledger"
        ledger.mkdir()
        environment = {LEDGER_VARIABLE: str(ledger), "DJANGO_SETTINGS_MODULE": SETTINGS}
        if self._options.mutation:
            environment[MUTATION_VARIABLE] = self._options.mutation
        system = System(
            url, broker_url, self._place, config=self._options.config, environment=environment
        )
        system.migrate()
        install_recorders(system)
        for job in self._jobs:
            for statement, values in job.statements:
                system.sql(statement, *values)
        freezes.make(system, datetime.now(UTC), self._options.minutes)
        return system

    def _faults(self, system: System, broker: Any, database: Any) -> Faults:
        faults = Faults(
            system,
            broker=broker,
            database=database,
            beats=self._options.beats,
            workers=self._options.workers,
            dice=self._dice,
            lease_seconds=self._lease,
            drain_seconds=15 + self._options.config["worker"]["shutdown_timeout_seconds"],
            note=self._note,
        )
        missing = faults.missing()
        self._left_out = {kind: missing[kind] for kind in self._options.faults if kind in missing}
        return faults

    # --- the soak ---------------------------------------------------------------------------------

    def _under_fire(self, system: System, faults: Faults) -> None:
        faults.start()
        if any(job.columns.get("approval_seconds") for job in self._jobs):
            decisions = self._place / "ledger" / DECISIONS
            self._approver = system.start_module("bench.soak.approver", str(decisions))
        self._wait(
            faults,
            lambda: bool(self._ask(system, "SELECT id FROM job_attempts LIMIT 1")),
            _FIRST_RUN_SECONDS,
            "the first run",
        )
        kinds = [kind for kind in self._options.faults if kind not in self._left_out]
        end = time.monotonic() + self._options.minutes * 60
        next_fault = time.monotonic() + self._pause()
        while time.monotonic() < end:
            faults.step()
            if kinds and time.monotonic() >= next_fault:
                faults.make(self._dice.choice(kinds))
                next_fault = time.monotonic() + self._pause()
            _nap()
        faults.heal()
        if self._approver is not None and not self._approver.is_alive:
            self._gave_up.append(f"the approver has ended: {self._approver.log_tail()}")
        self._note("no more faults")

    def _pause(self) -> float:
        # Some faults overlap, others happen long after the fault before.
        return min(self._dice.expovariate(1 / self._options.every), 4 * self._options.every)

    def _drain(self, system: System, faults: Faults) -> None:
        """Waits, without faults, until each due slot has its row and each row is final."""
        bounds = bounds_of(self._options.config)
        settle = max(bounds.reaction.values()) + START_SECONDS
        self._until = until = datetime.now(UTC)
        self._wait(
            faults,
            lambda: all(
                instant(row["next_run_at"]) > until
                for row in self._ask(system, "SELECT next_run_at FROM cron_jobs")
                if row["next_run_at"] is not None
            ),
            bounds.row + settle,
            "every slot of the faulty time to be recorded",
        )
        self._wait(
            faults,
            lambda: self._sql(system, "UPDATE cron_jobs SET is_enabled = %s", False),
            settle,
            "the jobs to be switched off",
        )
        unfinished = (
            "SELECT count(*) AS n FROM job_executions"
            " WHERE status IN ('PENDING', 'RUNNING', 'FANNED_OUT')"
        )
        longest = max(job.longest_seconds for job in self._jobs)
        self._wait(
            faults,
            lambda: [row["n"] for row in self._ask(system, unfinished)] == [0],
            bounds.recovery + settle + longest,
            "every execution to become final",
        )
        # Not one of the waits that may be given up: the checker says what is counted wrongly.
        end = time.monotonic() + counting_seconds(self._lease) + SLACK_SECONDS
        while time.monotonic() < end and not self._is_counted(system):
            faults.step()
            time.sleep(_COUNT_SECONDS)

    def _is_counted(self, system: System) -> bool:
        with suppress(Exception):
            return not list(miscounted(read_counted(system), read_executions(system)))
        return False

    def _wait(self, faults: Faults, done: Callable[[], bool], seconds: float, what: str) -> None:
        end = time.monotonic() + seconds
        while not done():
            if time.monotonic() > end:
                self._gave_up.append(f"waited {seconds:.0f} s for {what}")
                return
            faults.step()
            _nap()

    def _ask(self, system: System, statement: str) -> list[dict[str, Any]]:
        # Returns nothing while the database is down: the callers ask again.
        with suppress(Exception):
            return system.sql(statement)
        return []

    def _sql(self, system: System, statement: str, *parameters: Any) -> bool:
        with suppress(Exception):
            system.sql(statement, *parameters)
            return True
        return False

    # --- after ------------------------------------------------------------------------------------

    def _record(self, system: System) -> dict[str, Any]:
        try:
            return read_history(system, self._jobs, self._place / "ledger")
        except Exception as error:  # noqa: BLE001 - reported as a broken promise
            self._gave_up.append(f"the history cannot be read: {type(error).__name__}: {error}")
            return {"jobs": []}

    def _report(self, recorded: dict[str, Any], faults: Faults | None, seconds: float) -> Report:
        done = faults.done if faults else []
        history = History(
            **recorded,
            faults=done,
            deaths=faults.deaths if faults else [],
            until=self._until,
            gave_up=self._gave_up,
        )
        bounds = bounds_of(self._options.config)
        broken = check(history, bounds)
        count = dict.fromkeys(PROMISES, 0)
        for one in broken:
            count[one.what] += 1
        line = {
            "bench": "soak",
            "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "database": self._options.database,
            "broker": self._options.broker,
            "beats": self._options.beats,
            "workers": self._options.workers,
            "jobs": len(self._jobs),
            "minutes": self._options.minutes,
            "seed": self._options.seed,
            "mutation": self._options.mutation or None,
            "kept": not broken,
            **figures(history, bounds),
            "missing": count["missing"],
            "duplicate": count["duplicate"] + count["extra"],
            "not_final": count["not_final"],
            "limits_exceeded": count["limit"],
            "started_twice_under_one_lease": count["started_twice"],
            "broken": {what: n for what, n in count.items() if n},
            "faults": _counted(fault.kind for fault in done),
            "left_out": self._left_out,
            "seconds": round(seconds, 1),
            "cores": os.cpu_count(),
            # Of the last minute and of the last 15. If above `cores`, the machine was too small.
            "load": [round(load, 1) for load in os.getloadavg()[::2]],
        }
        if broken:
            lines = [str(one) for one in broken]
            (self._place / "broken.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return Report(line=line, broken=broken, place=self._place if broken else None)

    def _limit_seconds(self) -> float:
        bounds = bounds_of(self._options.config)
        settle = max(bounds.reaction.values()) + START_SECONDS
        longest = max(job.longest_seconds for job in self._jobs)
        waits = bounds.row + bounds.recovery + 3 * settle + longest + _FIRST_RUN_SECONDS
        waits += counting_seconds(self._lease) + SLACK_SECONDS
        return self._options.minutes * 60 + waits + LIMIT_SECONDS

    def _note(self, what: str) -> None:
        with (self._place / "faults.txt").open("a", encoding="utf-8") as log:
            log.write(f"{datetime.now(UTC):%H:%M:%S.%f} {what}\n")


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Limits the whole soak to `seconds`: it interrupts even a call that hangs."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise GaveUpError(f"the soak itself did not end within {seconds:.0f} s")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    # The timer repeats, in case reading the history hangs too.
    signal.setitimer(signal.ITIMER_REAL, seconds, LIMIT_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _counted(kinds: Iterator[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for kind in kinds:
        counts[kind] = counts.get(kind, 0) + 1
    return dict(sorted(counts.items()))


def _nap() -> None:
    time.sleep(_STEP_SECONDS)
