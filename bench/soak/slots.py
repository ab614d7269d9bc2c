"""Whether each slot has its row, and each row its slot. The slots come from a brute-force cron."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from bench.soak.findings import Broken, grouped
from bench.soak.history import MISFIRE, Execution, History, Job
from tests.harness.oracles import debian_slots


def expected_slots(job: Job, history: History) -> list[datetime]:
    """Returns every slot from the job's first watermark until its last one, by brute force."""
    if not job.watermarks:
        return []
    first, last = job.watermarks[0], job.watermarks[-1]
    # All jobs use the same span, because the oracle caches the minutes of a zone by span.
    ends = [end for other in history.jobs for end in (other.watermarks[:1] + other.watermarks[-1:])]
    begin, end = min(ends), max(ends)
    span = begin.replace(second=0, microsecond=0), end.replace(second=0) + timedelta(minutes=1)
    zone = job.timezone or history.default_timezone
    return [slot for slot in debian_slots(job.cron_expression, zone, *span) if first <= slot < last]


def completeness(history: History) -> Iterator[Broken]:
    rows = grouped(
        [row for row in history.executions if row.parent_id is None], lambda row: row.job_id or 0
    )
    for job in history.jobs:
        yield from _completeness_of(job, rows.get(job.id, []), history)


def _completeness_of(job: Job, rows: Sequence[Execution], history: History) -> Iterator[Broken]:
    name = f"job {job.id} {job.name!r} ({job.cron_expression})"
    if not job.watermarks:
        yield Broken(what="missing", detail=f"{name} was never scheduled")
        return
    for before, after in zip(job.watermarks, job.watermarks[1:], strict=False):
        if after <= before:
            yield Broken(what="watermark", detail=f"{name} went back from {before} to {after}")
    if history.until is not None and job.watermarks[-1] <= history.until:
        yield Broken(what="missing", detail=f"{name} stood still at {job.watermarks[-1]:%H:%M:%S}")
    expected = expected_slots(job, history)
    runs = {row.slot for row in rows if row.reason_code != MISFIRE}
    skipped: Counter[datetime] = Counter()
    for row in rows:
        if row.reason_code == MISFIRE:
            facts = row.reason_facts
            first, last = (datetime.fromisoformat(facts[end]) for end in ("first", "last"))
            covered = [slot for slot in expected if first <= slot <= last]
            skipped.update(covered)
            if facts["count"] is not None and facts["count"] != len(covered):
                yield Broken(
                    what="miscounted",
                    detail=f"{name}: row {row.id} says {dict(facts)}, there are {len(covered)}",
                )
    for slot in expected:
        if slot not in runs and slot not in skipped:
            yield Broken(what="missing", detail=f"{name} has no row for {slot:%H:%M:%S}")
        elif skipped[slot] + (slot in runs) > 1:
            yield Broken(what="duplicate", detail=f"{name} ran and skipped {slot:%H:%M:%S}")
    for slot in sorted(runs - set(expected)):
        yield Broken(what="extra", detail=f"{name} has a row for {slot:%H:%M:%S}, which is no slot")


def uniqueness(history: History) -> Iterator[Broken]:
    rows: Counter[str] = Counter()
    for row in history.executions:
        if row.parent_id is None:
            rows[f"job {row.job_id} has {{}} rows for {row.slot:%Y-%m-%d %H:%M:%S}"] += 1
        else:
            rows[f"execution {row.parent_id} has {{}} rows for its shard {row.shard}"] += 1
    for what, count in rows.items():
        if count > 1:
            yield Broken(what="duplicate", detail=what.format(count))
    # The ledger also shows a row that was deleted and inserted again.
    ran: dict[str, set[int]] = defaultdict(set)
    for line in history.ledger:
        if line.what == "begin":
            run = f"job {line.job_id}" if line.shard is None else f"job {line.job_name!r}"
            part = "" if line.shard is None else f" shard {line.shard} of"
            ran[f"{run} ran{part} {line.slot:%Y-%m-%d %H:%M:%S}"].add(line.execution_id)
    for what, ids in ran.items():
        if len(ids) > 1:
            yield Broken(what="duplicate", detail=f"{what} as executions {sorted(ids)}")
