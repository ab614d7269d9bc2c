"""Divided runs: whether each has all its shards, and ends with the last one, as they did.

Shards are also executions: that each begins once, under its limits, is checked with the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from bench.soak.findings import Broken, grouped
from bench.soak.history import CLOCK_SLACK, FINAL, Execution, History


def wrong(history: History) -> Iterator[Broken]:
    parts = grouped(
        [row for row in history.executions if row.parent_id is not None],
        lambda row: row.parent_id or 0,
    )
    parents = {row.id: row for row in history.executions if row.parent_id is None}
    for parent_id in parts.keys() - parents.keys():
        yield Broken(what="extra", detail=f"shards of execution {parent_id}, which does not exist")
    for parent in parents.values():
        shards = parts.get(parent.id, [])
        if not parent.is_divided:
            for shard in shards:
                yield Broken(
                    what="extra",
                    detail=f"execution {shard.id} is a shard of {parent.id}, which has none",
                )
            job = history.job_of(parent)
            if job is not None and job.shards and parent.status == "SUCCESS":
                yield Broken(what="lost_shard", detail=f"execution {parent.id} has no shards")
            continue
        yield from _missing(parent, shards, history)
        if parent.status in FINAL and shards:
            yield from _ended(parent, shards)
    yield from _too_early(parts, parents, history)
    yield from _not_by_shards(history)


def _missing(parent: Execution, shards: Sequence[Execution], history: History) -> Iterator[Broken]:
    """As many shards as the job, or the plan() that won, says."""
    job = history.job_of(parent)
    wanted = job.shards if job is not None and job.shards else _planned(parent, history)
    if parent.shard_count != wanted:
        yield Broken(
            what="lost_shard",
            detail=f"execution {parent.id} has {parent.shard_count} shards, planned were {wanted}",
        )
    there = {shard.shard for shard in shards}
    for number in range(parent.shard_count or 0):
        if number not in there:
            yield Broken(what="lost_shard", detail=f"execution {parent.id} has no shard {number}")


def _planned(parent: Execution, history: History) -> int | None:
    for line in history.ledger:
        if line.token == parent.final_token and line.planned is not None:
            return line.planned
    return None


def _ended(parent: Execution, shards: Sequence[Execution]) -> Iterator[Broken]:
    states = Counter(shard.status for shard in shards)
    right = verdict_of(states, parent.shard_count or 0, is_cancelled=parent.is_to_be_cancelled)
    # That a shard is missing was said already.
    if parent.status != right and states.total() == parent.shard_count:
        yield Broken(
            what="verdict",
            detail=f"execution {parent.id} is {parent.status} with shards {dict(states)}",
        )
    last = max((shard.finished_at for shard in shards if shard.finished_at), default=None)
    if last and parent.finished_at and abs(parent.finished_at - last) > CLOCK_SLACK:
        yield Broken(
            what="parent_early",
            detail=f"execution {parent.id} ended at {parent.finished_at:%H:%M:%S.%f}, its last"
            f" shard at {last:%H:%M:%S.%f}",
        )


def verdict_of(states: Counter[str], count: int, *, is_cancelled: bool) -> str:
    """Repeated from docs/fan-out.md, so that the checker does not depend on the code's own rule."""
    if states["SUCCESS"] >= count:
        return "SUCCESS"
    if is_cancelled:
        return "CANCELLED"
    is_bad = states["FAILED"] or states["TIMEOUT"] or states.total() < count
    return "FAILED" if is_bad else "CANCELLED"


def _too_early(
    parts: dict[int, list[Execution]], parents: dict[int, Execution], history: History
) -> Iterator[Broken]:
    """In the order in which the database saw the changes, and therefore by no clock."""
    parent_of = {shard.id: parent_id for parent_id, some in parts.items() for shard in some}
    going_on: dict[int, set[int]] = {parent_id: set() for parent_id in parts}
    ended: set[int] = set()
    for change in history.changes:
        id_ = change.execution_id
        if id_ in parent_of:
            parent_id = parent_of[id_]
            if parent_id in ended:
                yield Broken(
                    what="parent_early",
                    detail=f"shard {id_} became {change.after} after its parent {parent_id} ended",
                )
            if change.after in FINAL:
                going_on[parent_id].discard(id_)
            else:
                going_on[parent_id].add(id_)
        elif id_ in parents and change.before == "FANNED_OUT":
            ended.add(id_)
            if open_ := sorted(going_on.get(id_, ())):
                yield Broken(
                    what="parent_early",
                    detail=f"execution {id_} became {change.after} while its shards {open_} go on",
                )


def _not_by_shards(history: History) -> Iterator[Broken]:
    """The handler of a divided job does its work in shards, never in the run itself."""
    divided = {job.id for job in history.jobs if job.shards is not None}
    for line in history.ledger:
        if line.what == "begin" and line.shard is None and line.job_id in divided:
            yield Broken(
                what="undivided",
                detail=f"execution {line.execution_id} began itself, and not its shards",
            )
