"""docs/scaling.md: what 1,000 workers and 100 million executions a day would ask of PostgreSQL.

A multiplication on paper. Every number is measured (it names its row), assumed (it says so) or the
product of such numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.report import page
from bench.report.page import figure

WORKERS = 1000
RUNS_A_DAY = 100_000_000
#: Assumptions: how much more comes in the worst hour; what a disk and a server bear.
PEAK = 3.0
DISK_MB_A_SECOND = 200.0
STORAGE_GB = 2000.0
CONNECTIONS = 500
RETENTION_DAYS = 30
_DAY = 86_400

_HEAD = f"""\
# Scaling, on paper

What {WORKERS:,} worker processes and {RUNS_A_DAY:,} executions a day would ask of one PostgreSQL. Nobody has run
it: `python -m bench report` multiplies the costs that [performance.md](performance.md)'s run has measured. Each number
names its source; *assumed* marks the ones that are not measured. The server of the measurement shares two cores with
everything else, so a server of its own bears more.
"""

_ADVICE = """\
## What to do, in this order

| when | what | it helps with |
|---|---|---|
| many small workers | fewer and larger ones: threads workers with `-c 200` and more claim and finish in groups, and ask less often for nothing | transactions, polls, connections |
| connections near the server's bound | fewer processes: a threads worker in place of many prefork children; then a larger `max_connections`. A pooler must pool by session ([production.md](production.md)), so it saves little | connections |
| tables of more than 100 GB | a shorter `retention_days`; `job_executions` partitioned by month of `scheduled_time`, so that the end of the retention is a DROP and not a DELETE. By that column, because UNIQUE on job and slot must hold it; `dedupe_key` is then unique within a month only. jobu has no migration for this yet | storage, vacuum |
| pages slow down the workers | reports and long searches on a read replica, with a tool of your own. jobu's pages, beat, workers and doors need the primary: today they refuse a router that sends reads elsewhere | reads |
| one primary is full | several databases, one per tenant or group of queues: each is a jobu of its own with its own beats and workers. Jobs do not depend on each other, so the limits add up | everything |
| WAL or disk is full | the same, or faster disks; group commit (`commit_delay`) where a millisecond more does no harm | WAL |

Not in this list: more beats. Two are enough for availability; recording slots is not what saturates.
"""


@dataclass(frozen=True, kw_only=True)
class Need:
    """Something of which there is not more than `have`."""

    what: str
    need: float
    have: float
    unit: str
    source: str

    @property
    def share(self) -> float:
        return self.need / self.have


def of(lines: Sequence[Mapping[str, Any]]) -> str:
    measured = _Measured(lines)
    needs = sorted(needs_of(measured), key=lambda each: each.share, reverse=True)
    warning = [page.SMOKE] if lines and lines[0].get("smoke") else []
    parts = [
        _HEAD,
        *warning,
        *_load(),
        *_statements(measured),
        *_bytes(measured),
        *_saturation(needs),
    ]
    return "\n".join([*parts, _ADVICE]).rstrip("\n") + "\n"


class _Measured:
    def __init__(self, lines: Sequence[Mapping[str, Any]]) -> None:
        self._rows = [line for line in lines if "row" in line]

    def row(self, name: str, database: str = "postgres") -> Mapping[str, Any] | None:
        found = [
            row for row in self._rows if row["row"].startswith(name) and row["database"] == database
        ]
        return found[0] if found and found[0]["ours"] is not None else None

    def value(self, name: str) -> float | None:
        row = self.row(name)
        return float(row["ours"]) if row else None


def runs_a_second() -> tuple[float, float]:
    """On average, and in the worst hour."""
    mean = RUNS_A_DAY / _DAY
    return mean, PEAK * mean


def needs_of(measured: _Measured) -> Iterator[Need]:
    """Of those things whose costs were measured, in the worst hour."""
    _, peak = runs_a_second()
    for group in (1, 50):
        rate = measured.value(f"limit: claim and finish in groups of {group}")
        if rate:
            yield Need(
                what=f"claim and finish in groups of {group}, one connection's worth",
                need=peak,
                have=rate,
                unit="runs a second",
                source="row *limit*",
            )
    idle = measured.value("costs: statements of an idle beat and an idle worker")
    selects = measured.value("pools: acquire")
    if idle and selects:
        yield Need(
            what=f"polls, renewals and heartbeats of {WORKERS:,} workers, one connection's worth",
            need=idle * WORKERS,
            have=selects,
            unit="statements a second",
            source="rows *costs: statements of an idle beat ...* and *pools*",
        )
    memory = measured.row("threads worker: memory")
    if memory:
        # Of beat and one worker together: a little more than those of a worker.
        yield Need(
            what="connections",
            need=float(memory["connections"][0]) * WORKERS,
            have=CONNECTIONS,
            unit="connections",
            source="row *threads worker: memory* has those of one worker and beat; the bound is assumed",
        )
    wal = measured.value("costs: WAL, one at a time") or measured.value("costs: WAL from")
    if wal:
        yield Need(
            what="writing WAL",
            need=wal * peak / 1e6,
            have=DISK_MB_A_SECOND,
            unit="MB a second",
            source="row *costs: WAL*; the disk is assumed",
        )
    size = measured.value("costs: what stays")
    if size:
        yield Need(
            what=f"storage for {RETENTION_DAYS} days",
            need=size * RUNS_A_DAY * RETENTION_DAYS / 1e9,
            have=STORAGE_GB,
            unit="GB",
            source="row *costs: what stays*; the disk is assumed",
        )


def _load() -> Iterator[str]:
    mean, peak = runs_a_second()
    yield "## The load\n"
    yield "| | on average | in the worst hour | source |"
    yield "|---|---|---|---|"
    yield f"| runs a second | {mean:,.0f} | {peak:,.0f} | {RUNS_A_DAY:,} a day; {PEAK:g} times that is assumed |"
    yield (
        f"| runs a second of one worker | {mean / WORKERS:.2g} | {peak / WORKERS:.2g} |"
        " so small workers hardly ever find two runs at once: nothing goes in groups |\n"
    )


def _statements(measured: _Measured) -> Iterator[str]:
    single = measured.row("costs: statements, one at a time")
    grouped = measured.row("costs: statements, all at once")
    idle = measured.row("costs: statements of an idle")
    yield "## Statements a second, on average\n"
    if not single or not grouped or not idle:
        yield "Not measured.\n"
        return
    mean, _ = runs_a_second()
    yield f"| kind | runs, one at a time | runs in groups | {WORKERS:,} idle workers |"
    yield "|---|---|---|---|"
    kinds: dict[str, list[float]] = {}
    for column, (row, by) in enumerate(((single, mean), (grouped, mean), (idle, float(WORKERS)))):
        for kind, number in row["kinds"].items():
            kinds.setdefault(kind, [0.0, 0.0, 0.0])[column] = number * by
    for kind, numbers in sorted(kinds.items(), key=lambda each: -sum(each[1])):
        yield f"| `{kind}` | " + " | ".join(f"{number:,.0f}" for number in numbers) + " |"
    totals = (single["ours"] * mean, grouped["ours"] * mean, idle["ours"] * WORKERS)
    yield "| all | " + " | ".join(f"**{total:,.0f}**" for total in totals) + " |"
    yield (
        "\nSources: the rows *costs: statements* (counted in the server's log), times the runs a second; an idle"
        " worker's row includes one beat.\n"
    )


def _bytes(measured: _Measured) -> Iterator[str]:
    mean, peak = runs_a_second()
    yield "## Bytes and processor time\n"
    yield "| | of one run | on average | in the worst hour | source |"
    yield "|---|---|---|---|---|"
    for what, name in (
        ("WAL, one at a time", "costs: WAL, one at a time"),
        ("WAL, in groups", "costs: WAL from"),
    ):
        each = measured.value(name)
        if each:
            yield (
                f"| {what} | {each:,.0f} bytes | {each * mean / 1e6:,.1f} MB/s,"
                f" {each * RUNS_A_DAY / 1e9:,.0f} GB a day | {each * peak / 1e6:,.1f} MB/s | row *{name}* |"
            )
    size = measured.value("costs: what stays")
    if size:
        yield (
            f"| tables and indexes | {size:,.0f} bytes | {size * RUNS_A_DAY / 1e9:,.0f} GB a day | | row"
            " *costs: what stays* |"
        )
    for what in ("worker", "beat"):
        name = "costs: processor time of " + ("a threads worker" if what == "worker" else "beat")
        each = measured.value(name)
        if each:
            yield (
                f"| processor, {what} | {each:,.0f} us | {each * mean / 1e6:.2g} cores |"
                f" {each * peak / 1e6:.2g} cores | row *{name}* |"
            )
    yield (
        "\nThe measuring server writes no full pages (`full_page_writes` is off). With them, the WAL after each"
        " checkpoint is larger: assume twice as much, and let checkpoints be 15 minutes apart or more.\n"
    )


def _saturation(needs: Sequence[Need]) -> Iterator[str]:
    yield "## What saturates first\n"
    if not needs:
        yield "Not measured.\n"
        return
    yield "| in the worst hour | needed | there is | share | source |"
    yield "|---|---|---|---|---|"
    for each in needs:
        yield (
            f"| {each.what} | {figure(each.need)} {each.unit} | {figure(each.have)} |"
            f" {100 * each.share:,.0f} % | {each.source} |"
        )
    yield (
        "\nA share above 100 % of *one connection's worth* asks for so many connections that work at once; a server"
        f" with cores of its own has them. The first to saturate: **{needs[0].what}**.\n"
    )
