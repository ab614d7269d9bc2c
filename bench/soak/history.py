"""What is known of a soak afterwards: jobs, rows, every status change, the ledger, the faults."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.soak.jobs import SoakJob
from tests.harness.system import System

# The row of jobu_job_counters that counts all runs.
ALL_JOBS = 0
FINAL = frozenset({"SUCCESS", "FAILED", "TIMEOUT", "CANCELLED", "SKIPPED"})
GOING_ON = frozenset({"RUNNING", "FANNED_OUT"})
# The reason_code of a row that stands for missed slots: docs/architecture.md.
MISFIRE = "misfire"
# The file beside the ledgers with the decisions about approvals.
DECISIONS = "decisions.jsonl"
# Processes and the database server read different clocks.
CLOCK_SLACK = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Job:
    id: int
    name: str
    cron_expression: str
    timezone: str
    overlap_policy: str = "allow"
    max_retry: int = 3
    longest_seconds: float = 1.0
    # Names of limits, and how many runs may go on under each; name, starts, seconds. "{key}" in a
    # name stands for the key of the run.
    limits: tuple[tuple[str, int], ...] = ()
    rate: tuple[str, int, int] | None = None
    # The id of the job that it waits for.
    after: int | None = None
    is_frozen: bool = False
    # How many shards each run has. 0: its plan() says it. None: it is not divided.
    shards: int | None = None
    needs_approval: bool = False
    # Every value that next_run_at has had, in order.
    watermarks: tuple[datetime, ...] = ()

    @property
    def is_free(self) -> bool:
        """Its runs never wait for other runs."""
        waits = self.limits or self.rate is not None or self.after is not None
        return self.overlap_policy == "allow" and not waits


@dataclass(frozen=True, kw_only=True)
class Execution:
    id: int
    job_id: int | None  # None: a shard
    slot: datetime
    status: str
    attempt: int
    failures: int
    max_retry: int
    created_at: datetime
    available_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    final_token: str | None = None
    reason_code: str | None = None
    reason_facts: Mapping[str, Any] = field(default_factory=dict)
    parent_id: int | None = None
    shard: int | None = None
    shard_count: int | None = None
    key: str = ""  # of its limits
    is_to_be_cancelled: bool = False  # somebody has asked for it

    @property
    def is_divided(self) -> bool:
        return self.parent_id is None and self.shard_count is not None


@dataclass(frozen=True, kw_only=True)
class Attempt:
    execution_id: int
    attempt: int
    token: str
    worker: str
    started_at: datetime
    ended_at: datetime
    outcome: str


@dataclass(frozen=True, kw_only=True)
class LedgerLine:
    execution_id: int
    attempt: int
    job_id: int  # of a shard: the job of its parent
    slot: datetime
    token: str
    # begin, end, plan; "planned 3": plan() returned three shards; out: the handler has gone, how
    # ever it ended
    what: str
    at: datetime
    job_name: str = ""
    shard: int | None = None

    @property
    def is_begin(self) -> bool:
        return self.what in ("begin", "plan")

    @property
    def planned(self) -> int | None:
        """How many shards plan() has returned, in the line that says it."""
        word, _, count = self.what.partition(" ")
        return int(count) if word == "planned" else None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the soak, as a person, has said about a run that waits for an approval.

    `approving` and `rejecting` are written before it says so, `approved` and `rejected` afterwards.
    """

    execution_id: int
    what: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Change:
    """One status change, recorded by a trigger of the database."""

    execution_id: int
    before: str | None
    after: str


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What /metrics says has ended of a job: the runs by status, and the values of histograms."""

    ended: Mapping[str, int]
    durations: int
    latenesses: int


@dataclass(frozen=True, kw_only=True)
class Fault:
    kind: str
    target: str  # the name of the worker or beat; "" for a server
    began_at: datetime
    ended_at: datetime  # when the target was healthy or started again


@dataclass(frozen=True, kw_only=True)
class History:
    jobs: Sequence[Job]
    executions: Sequence[Execution] = ()
    attempts: Sequence[Attempt] = ()
    ledger: Sequence[LedgerLine] = ()
    changes: Sequence[Change] = ()
    faults: Sequence[Fault] = ()
    # Events from the logs of the processes: {"event": ..., "execution_id": ...}.
    events: Sequence[dict[str, Any]] = ()
    # By the id of the job; ALL_JOBS: of all runs. None: it was not read.
    counted: Mapping[int, Counted] | None = None
    # From and until when no slot of a frozen job starts.
    freezes: Sequence[tuple[datetime, datetime]] = ()
    decisions: Sequence[Decision] = ()
    # Processes that ended although no fault had hit them.
    deaths: Sequence[str] = ()
    # The end of the time with faults. Every slot until then must have its row.
    until: datetime | None = None
    default_timezone: str = "Asia/Seoul"
    # One sentence for each wait that took too long.
    gave_up: Sequence[str] = field(default_factory=tuple)

    @cached_property
    def _rows(self) -> Mapping[int, Execution]:
        return {row.id: row for row in self.executions}

    @cached_property
    def _jobs(self) -> Mapping[int, Job]:
        return {job.id: job for job in self.jobs}

    def job_of(self, row: Execution) -> Job | None:
        """Returns the job of a run, and of a shard that of its parent."""
        run = row if row.parent_id is None else self._rows.get(row.parent_id)
        return None if run is None or run.job_id is None else self._jobs.get(run.job_id)


# --- reading it -----------------------------------------------------------------------------------


def read_history(system: System, soak_jobs: Sequence[SoakJob], ledger: Path) -> dict[str, Any]:
    """Reads the database, the ledger and the logs. Returns arguments for History."""
    return {
        "jobs": _jobs(system, {job.name: job for job in soak_jobs}),
        "executions": read_executions(system),
        "attempts": [
            Attempt(
                execution_id=row["execution_id"],
                attempt=row["attempt"],
                token=row["lease_token"],
                worker=row["worker"],
                started_at=instant(row["started_at"]),
                ended_at=instant(row["ended_at"]),
                outcome=row["outcome"],
            )
            for row in system.sql("SELECT * FROM job_attempts ORDER BY execution_id, attempt")
        ],
        "changes": [
            Change(
                execution_id=row["execution_id"],
                before=row["before_status"],
                after=row["after_status"],
            )
            for row in system.sql("SELECT * FROM soak_changes ORDER BY id")
        ],
        "counted": read_counted(system),
        "freezes": [
            (instant(row["since"]), instant(row["until"]))
            for row in system.sql("SELECT since, until FROM jobu_freezes")
        ],
        "ledger": list(read_ledger(ledger)),
        "decisions": list(read_decisions(ledger)),
        "events": list(_events(system)),
    }


def read_executions(system: System) -> list[Execution]:
    return [
        Execution(
            id=row["id"],
            job_id=row["job_id"],
            slot=instant(row["scheduled_time"]),
            status=row["status"],
            attempt=row["attempt"],
            failures=row["failures"],
            max_retry=row["max_retry"],
            created_at=instant(row["created_at"]),
            available_at=instant(row["available_at"]),
            started_at=instant_or_none(row["started_at"]),
            finished_at=instant_or_none(row["finished_at"]),
            final_token=row["final_token"],
            reason_code=row["reason_code"],
            reason_facts=_json(row["reason_facts"]),
            parent_id=row["parent_id"],
            shard=row["shard"],
            shard_count=row["shard_count"],
            key=str(_json(row["params"]).get("tenant", "")),
            is_to_be_cancelled=row["cancel_requested_at"] is not None,
        )
        for row in system.sql("SELECT * FROM job_executions WHERE param_source = 'cron'")
    ]


def _jobs(system: System, by_name: dict[str, SoakJob]) -> list[Job]:
    moves: dict[int, list[datetime]] = {}
    for row in system.sql("SELECT job_id, next_run_at FROM soak_watermarks ORDER BY id"):
        moves.setdefault(row["job_id"], []).append(instant(row["next_run_at"]))
    rows = system.sql("SELECT * FROM cron_jobs ORDER BY id")
    ids = {row["name"]: row["id"] for row in rows}
    return [
        Job(
            id=row["id"],
            name=row["name"],
            cron_expression=row["cron_expression"],
            timezone=row["timezone"],
            overlap_policy=row["overlap_policy"],
            max_retry=row["max_retry"],
            longest_seconds=by_name[row["name"]].longest_seconds,
            limits=by_name[row["name"]].limits,
            rate=by_name[row["name"]].rate,
            after=ids.get(by_name[row["name"]].after),
            is_frozen=by_name[row["name"]].is_frozen,
            shards=by_name[row["name"]].shards,
            needs_approval=row["approval_seconds"] > 0,
            watermarks=tuple(moves.get(row["id"], ())),
        )
        for row in rows
    ]


def read_counted(system: System) -> dict[int, Counted]:
    return {
        row["job_id"]: Counted(
            ended={status: count for status, count in _json(row["ended"]).items() if count},
            durations=_values(row["duration"]),
            latenesses=_values(row["lateness"]),
        )
        for row in system.sql("SELECT job_id, ended, duration, lateness FROM jobu_job_counters")
    }


def _values(histogram: Any) -> int:
    """Returns how many values a histogram has; its JSON also has their sum."""
    return sum(count for label, count in _json(histogram).items() if label != "sum")


def read_ledger(directory: Path) -> Iterator[LedgerLine]:
    """Yields the lines of all processes, ordered by time."""
    lines = []
    for path in directory.glob("*.sqlite3"):
        with closing(sqlite3.connect(path, timeout=20)) as connection:
            # A process may die after it creates the file and before it creates the table.
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'ledger'").fetchone():
                lines += connection.execute("SELECT * FROM ledger").fetchall()
    for execution_id, attempt, job_id, slot, token, what, at, name, shard in sorted(
        lines, key=lambda line: line[6]
    ):
        yield LedgerLine(
            execution_id=execution_id,
            attempt=attempt,
            job_id=job_id,
            slot=instant(slot),
            token=token,
            what=what,
            at=datetime.fromtimestamp(at, UTC),
            job_name=name,
            shard=shard,
        )


def read_decisions(directory: Path) -> Iterator[Decision]:
    """Yields what the soak has said about runs that wait for an approval, ordered by time."""
    path = directory / DECISIONS
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            yield Decision(
                execution_id=entry["execution_id"],
                what=entry["what"],
                at=datetime.fromtimestamp(entry["at"], UTC),
            )


def _events(system: System) -> Iterator[dict[str, Any]]:
    """Yields the scheduler's events from all logs and skips all other lines."""
    for path in sorted(system.place.glob("*.log")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if '"event"' in line:
                try:
                    event = json.loads(line)
                except ValueError:
                    continue  # two processes wrote at once, or one was killed while it wrote
                yield {"process": path.stem, **event}


def _json(value: Any) -> dict[str, Any]:
    """Returns the JSON object that a driver read as text or as a value. NULL is an empty object."""
    found = json.loads(value) if isinstance(value, str) else value
    return dict(found or {})


def instant(value: Any) -> datetime:
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    assert isinstance(found, datetime)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def instant_or_none(value: Any) -> datetime | None:
    return None if value is None else instant(value)
