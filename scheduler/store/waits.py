"""Runs that wait for upstream jobs: they are made waiting, let go on, or skipped.

A waiting run is PENDING and `available_at` NEVER, so that a claim neither sees it nor has a
condition for it. job_waits says what is still missing. Only `settle` ends the waiting: beat calls
it for all, a worker for what has just succeeded. So a crash leaves nothing behind: the next call
finds the rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from scheduler import failpoints
from scheduler.models import CronJob, JobExecution, JobWait
from scheduler.models.job_state import state_of
from scheduler.schedule import LAST_INSTANT
from scheduler.states import (
    ENDED_BACKFILLS,
    FINAL,
    UNFINISHED,
    JobState,
    ReasonCode,
    RunStatus,
    UpstreamState,
)
from scheduler.store import approvals
from scheduler.store.connection import execute, fetch_all, instant, lock_skipping, numbers, to_json
from scheduler.transient import in_transaction

#: A run that waits may not be claimed before.
NEVER: Final = LAST_INSTANT
#: So many rows are looked at in one step, and so many runs are written.
WINDOW: Final = 5_000
_BATCH: Final = 500


@dataclass(frozen=True, kw_only=True)
class Wait:
    """A run waits for the success of an upstream job's slot until `until`. None: without end."""

    upstream_id: int
    slot: datetime
    until: datetime | None
    backfill_id: int | None = None


_INSERT: Final = """
INSERT INTO job_waits (execution_id, upstream_id, slot, until, not_before, backfill_id)
SELECT e.id, %s, %s, %s, %s, %s
  FROM job_executions e
 WHERE e.job_id IN ({ids}) AND e.scheduled_time = %s
   AND e.status = %s AND e.reason_code = %s
   AND NOT EXISTS (SELECT 1 FROM job_waits w WHERE w.execution_id = e.id AND w.upstream_id = %s)
"""


def record(job_ids: Collection[int], slot: datetime, wait: Wait, *, not_before: datetime) -> None:
    """The runs of these jobs that this transaction has made for `slot` wait."""
    execute(
        _INSERT.format(ids=numbers(job_ids)),
        [
            *(wait.upstream_id, wait.slot, wait.until, not_before, wait.backfill_id),
            *(slot, RunStatus.PENDING, ReasonCode.UPSTREAM_AWAITED, wait.upstream_id),
        ],
    )


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What one step has done. `after`: where the next one goes on; 0: it has seen all."""

    released: int = 0
    skipped: int = 0
    queues: frozenset[str] = frozenset()
    after: int = 0


def settle(now: datetime, *, after: int = 0) -> Settled:
    """Let those go on whose upstream jobs have succeeded, and skip those whose time is over.

    Looks at WINDOW rows from `after` on. One index probe when nothing waits.
    """
    rows = fetch_all(_WINDOW.format(limit=WINDOW), [after])
    if not rows:
        return Settled()
    last = int(rows[-1][0])
    done = _settle(f"w.id > {after:d} AND w.id <= {last:d}", now, may_skip=True)
    is_full = len(rows) == WINDOW
    return Settled(
        released=done.released,
        skipped=done.skipped,
        queues=done.queues,
        after=last if is_full else 0,
    )


def release_after(upstream_ids: Collection[int], now: datetime) -> frozenset[str]:
    """Let those go on that these jobs have just succeeded for. Returns the queues to wake."""
    return _settle(f"w.upstream_id IN ({numbers(upstream_ids)})", now, may_skip=False).queues


_WINDOW: Final = "SELECT id FROM job_waits WHERE id > %s ORDER BY id LIMIT {limit}"
# The row of the slot has its unique index. A backfilled or replayed run was asked for later.
_STATUSES: Final = {
    "success": RunStatus.SUCCESS.value,
    "unfinished": ", ".join(f"'{each}'" for each in sorted(UNFINISHED)),
    # What has succeeded before counts, too, if the backfill leaves it out.
    "only_missing": "EXISTS (SELECT 1 FROM jobu_backfills b"
    " WHERE b.id = w.backfill_id AND b.only_missing)",
    "ended": ", ".join(f"'{each}'" for each in ENDED_BACKFILLS),
}
_SUCCESS: Final = """
(EXISTS (SELECT 1 FROM job_executions u
          WHERE u.job_id = w.upstream_id AND u.scheduled_time = w.slot
            AND (w.backfill_id IS NULL OR {only_missing})
            AND u.status = '{success}' AND (w.until IS NULL OR u.finished_at <= w.until))
 OR EXISTS (SELECT 1 FROM job_executions u
             WHERE u.job_id = w.upstream_id AND u.scheduled_time > w.slot
               AND u.logical_time = w.slot AND u.status = '{success}'
               AND (w.until IS NULL OR u.finished_at <= w.until)
               AND (w.backfill_id IS NULL OR u.backfill_id = w.backfill_id OR {only_missing})))
"""
_SUCCEEDED: Final = _SUCCESS.format(**_STATUSES)
# Of a backfill: the upstream job's run for the slot has ended badly, or none will be made.
_HOPELESS: Final = """
(w.backfill_id IS NOT NULL
 AND NOT EXISTS (SELECT 1 FROM job_executions u
                  WHERE u.job_id = w.upstream_id AND u.scheduled_time >= w.slot
                    AND (u.scheduled_time = w.slot OR u.logical_time = w.slot)
                    AND u.status IN ({unfinished}))
 AND (EXISTS (SELECT 1 FROM job_executions u
               WHERE u.backfill_id = w.backfill_id AND u.logical_time = w.slot)
      OR NOT EXISTS (SELECT 1 FROM jobu_backfills b
                      WHERE b.id = w.backfill_id AND b.state NOT IN ({ended}))))
"""
_IS_HOPELESS: Final = _HOPELESS.format(**_STATUSES)
_IS_OVER: Final = f"(w.until <= %s OR {_IS_HOPELESS} AND NOT {_SUCCEEDED})"
_RUNS: Final = "SELECT DISTINCT w.execution_id FROM job_waits w WHERE {where}"
_FORGET: Final = "DELETE FROM job_waits WHERE id IN ({ids})"
_LEFT: Final = """
SELECT w.id FROM job_waits w
 WHERE {where}
   AND NOT EXISTS (SELECT 1 FROM job_executions e
                    WHERE e.id = w.execution_id AND e.status = %s AND e.reason_code = %s)
 LIMIT {limit}
"""


def _settle(where: str, now: datetime, *, may_skip: bool) -> Settled:
    condition = f"({_SUCCEEDED} OR {_IS_OVER})" if may_skip else _SUCCEEDED
    statement = _RUNS.format(where=f"{where} AND {condition}")
    found = sorted(id_ for (id_,) in fetch_all(statement, [now] if may_skip else []))
    if may_skip:
        _forget_left(where)
    released = skipped = 0
    queues: set[str] = set()
    for first in range(0, len(found), _BATCH):
        ids = found[first : first + _BATCH]
        done = in_transaction(lambda ids=ids: _settle_locked(ids, now, may_skip))  # type: ignore[misc]
        failpoints.point("waits.committed")
        released, skipped = released + done.released, skipped + done.skipped
        queues |= done.queues
    return Settled(released=released, skipped=skipped, queues=frozenset(queues))


def _forget_left(where: str) -> None:
    """Rows of runs that wait no more: a person has cancelled them, or SQL has changed them."""
    values = [RunStatus.PENDING, ReasonCode.UPSTREAM_AWAITED]
    left = [id_ for (id_,) in fetch_all(_LEFT.format(where=where, limit=_BATCH), values)]
    if left:
        execute(_FORGET.format(ids=numbers(left)), [])


def _settle_locked(ids: Sequence[int], now: datetime, may_skip: bool) -> Settled:
    waiting = JobExecution.objects.filter(
        id__in=ids, status=RunStatus.PENDING, reason_code=ReasonCode.UPSTREAM_AWAITED
    )
    rows = list(lock_skipping(waiting).order_by("id").values_list("id", "queue", "reason_facts"))
    if not rows:
        return Settled()
    queues = {id_: queue for id_, queue, _ in rows}
    frozen = {id_ for id_, _, facts in rows if facts is not None}
    locked = numbers(queues)
    failpoints.point("waits.locked")
    missing = _rows(f"w.execution_id IN ({locked}) AND NOT {_SUCCEEDED}", [])
    every = _rows(f"w.execution_id IN ({locked})", [])
    starts = {row.execution_id: row.not_before for row in every}
    may_start = {id_: starts.get(id_, now) for id_ in queues}
    for row in missing:
        may_start.pop(row.execution_id, None)
    _release(may_start, frozen, now)
    # Of a backfill, whoever has started it has approved its runs.
    recorded = {row.execution_id for row in every if row.backfill_id is None}
    if recorded & may_start.keys():
        approvals.ask(approvals.need(recorded & may_start.keys()), now)
    over: list[_Row] = []
    if may_skip and missing:
        where = f"w.execution_id IN ({locked}) AND NOT {_SUCCEEDED} AND {_IS_OVER}"
        gone = {row.execution_id for row in _rows(where, [now])}
        over = [row for row in missing if row.execution_id in gone]
        _skip(over, now)
    # What has succeeded stays so, even if its run is deleted before the others succeed.
    skipped = {row.execution_id for row in over}
    left = {row.id for row in missing if row.execution_id not in skipped}
    if settled := {row.id for row in every} - left:
        execute(_FORGET.format(ids=numbers(settled)), [])
    failpoints.point("waits.written")
    return Settled(
        released=len(may_start),
        skipped=len(skipped),
        queues=frozenset(queues[id_] for id_, at in may_start.items() if at <= now),
    )


@dataclass(frozen=True, kw_only=True)
class _Row:
    id: int
    execution_id: int
    upstream_id: int
    slot: datetime
    not_before: datetime
    backfill_id: int | None


_ROWS: Final = """
SELECT w.id, w.execution_id, w.upstream_id, w.slot, w.not_before, w.backfill_id
  FROM job_waits w
 WHERE {where}
 ORDER BY w.execution_id, w.upstream_id
"""


def _rows(where: str, values: Sequence[Any]) -> list[_Row]:
    statement = _ROWS.format(where=where)
    return [
        _Row(
            id=id_,
            execution_id=execution_id,
            upstream_id=upstream_id,
            slot=instant(slot) or NEVER,
            not_before=instant(not_before) or NEVER,
            backfill_id=backfill_id,
        )
        for id_, execution_id, upstream_id, slot, not_before, backfill_id in fetch_all(
            statement, values
        )
    ]


_RELEASE: Final = """
UPDATE job_executions
   SET available_at = %s, error_message = NULL, reason_code = NULL, reason_facts = NULL
 WHERE id IN ({ids}) AND status = %s
"""
# The text and the facts are those of the freeze.
_RELEASE_HELD: Final = f"""
UPDATE job_executions
   SET available_at = %s, reason_code = '{ReasonCode.FROZEN_HELD}'
 WHERE id IN ({{ids}}) AND status = %s
"""  # noqa: S608 - of constants


def _release(starts: Mapping[int, datetime], frozen: Collection[int], now: datetime) -> None:
    """`frozen`: those that a freeze holds besides, until they may start."""
    groups: dict[tuple[datetime, bool], list[int]] = defaultdict(list)
    for id_, not_before in starts.items():
        groups[max(now, not_before), id_ in frozen and not_before > now].append(id_)
    for (available_at, is_held), ids in groups.items():
        statement = _RELEASE_HELD if is_held else _RELEASE
        execute(statement.format(ids=numbers(ids)), [available_at, RunStatus.PENDING])


_SKIP: Final = """
UPDATE job_executions
   SET status = %s, finished_at = %s, available_at = %s, error_message = %s, reason_code = %s,
       reason_facts = %s
 WHERE id IN ({ids}) AND status = %s
"""


def _skip(rows: Sequence[_Row], now: datetime) -> None:
    by_run: dict[int, list[_Row]] = defaultdict(list)
    for row in rows:
        by_run[row.execution_id].append(row)
    alike: dict[tuple[str, str | None], list[int]] = defaultdict(list)
    known = missing_upstreams(rows)
    for id_, waits in by_run.items():
        missing = [known[row.upstream_id, row.slot] for row in waits]
        names = ", ".join(f"{each['job']} ({each['state']})" for each in missing)
        facts = to_json({"upstreams": missing})
        alike[f"its upstream jobs have not succeeded in time: {names}", facts].append(id_)
    for (text, facts), ids in alike.items():
        execute(
            _SKIP.format(ids=numbers(ids)),
            [
                *(RunStatus.SKIPPED, now, now, text, ReasonCode.UPSTREAM_MISSING, facts),
                RunStatus.PENDING,
            ],
        )


# --- what is missing ------------------------------------------------------------------------------


def missing_upstreams(rows: Iterable[_Row]) -> dict[tuple[int, datetime], dict[str, Any]]:
    """What is known of upstream jobs that have not succeeded, by job and slot: facts as JSON."""
    wanted = {(row.upstream_id, row.slot): row for row in rows}
    jobs = {job.pk: job for job in CronJob.objects.filter(id__in={id_ for id_, _ in wanted})}
    found = {}
    for (upstream_id, slot), row in wanted.items():
        job = jobs.get(upstream_id)
        run = _run_for(row)
        state: str = UpstreamState.NO_RUN
        if job is None:
            state = UpstreamState.DELETED
        elif run is not None:
            state = run.status
        elif not job.is_enabled:
            is_paused = state_of(job) == JobState.PAUSED
            state = UpstreamState.PAUSED if is_paused else UpstreamState.DISABLED
        found[upstream_id, slot] = {
            "job": job.name if job is not None else f"#{upstream_id}",
            "job_id": upstream_id,
            "slot": slot.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "state": str(state),
            "execution": run.pk if run is not None else None,
            "started_at": _iso(run.started_at) if run is not None else None,
        }
    return found


def _run_for(row: _Row) -> JobExecution | None:
    """The run that would release it: one that goes on before one that has ended, then the newest.

    That of the slot itself, and those that were asked for later and stand for it.
    """
    runs = JobExecution.objects.filter(job_id=row.upstream_id)
    if row.backfill_id is not None:
        found = list(runs.filter(backfill_id=row.backfill_id, logical_time=row.slot))
    else:
        found = [
            *runs.filter(scheduled_time=row.slot),
            *runs.filter(scheduled_time__gt=row.slot, logical_time=row.slot),
        ]
    found.sort(key=lambda run: (run.status not in FINAL, run.pk))
    return found[-1] if found else None


def _iso(at: datetime | None) -> str | None:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ") if at is not None else None


@dataclass(frozen=True, kw_only=True)
class Awaited:
    """What a waiting run waits for. `missing`: facts of each upstream job, as of a skipped run."""

    until: datetime | None
    missing: Sequence[Mapping[str, Any]]


def awaited(execution_id: int) -> Awaited | None:
    """For which upstream jobs a run waits. None: for none."""
    rows = _rows(f"w.execution_id = {execution_id:d} AND NOT {_SUCCEEDED}", [])
    if not rows:
        return None
    known = missing_upstreams(rows)
    ends = JobWait.objects.filter(execution_id=execution_id).values_list("until", flat=True)
    return Awaited(
        until=next((at for at in ends if at is not None), None),
        missing=[known[row.upstream_id, row.slot] for row in rows],
    )
