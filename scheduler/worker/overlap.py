"""What becomes of a run when another run of its job goes on. Pure: no clock, no database.

The claim asks while it holds the guard of the job (store/claims.py).
"""

from __future__ import annotations

from datetime import timedelta

from scheduler.states import OverlapPolicy, ParamSource, ReasonCode
from scheduler.store.claims import Candidate
from scheduler.store.overlap import Decision, Holder, Line, Step

START = Decision(step=Step.START)
# Beat records slots at most 1.5 s late. What was recorded later is caught up.
_IN_TIME = timedelta(seconds=2)


def decide(row: Candidate, holder: Holder | None, line: Line) -> Decision:
    """Apply the overlap policy of the job. Calls that share a key always wait.

    `holder`: the run that goes on; None: there is none. `line`: the runs that wait for its end.
    """
    if holder is None:
        return START
    by = f"#{holder.id}"
    # SKIPPED means "never ran", so a run that has had an attempt waits or is cancelled.
    has_run = row.attempt > 0
    waits = Decision(
        step=Step.WAIT,
        reason=f"waits behind {by}",
        code=ReasonCode.OVERLAP_HELD,
        facts={"running": holder.id},
    )
    policy = row.overlap_policy if row.job_id is not None else None
    if policy == OverlapPolicy.REPLACE:
        return _replace(row, holder, line)
    # Nobody wants a backfill that leaves slots out.
    if has_run or row.param_source == ParamSource.BACKFILL:
        return waits
    if policy == OverlapPolicy.SKIP and _came_while_it_ran(row, holder):
        return Decision(
            step=Step.SKIP,
            reason=f"skipped by overlap policy skip: {by} was still running",
            code=ReasonCode.OVERLAP_RUNNING,
            facts={"running": holder.id},
        )
    if policy == OverlapPolicy.QUEUE_ONE and line.oldest not in (None, row.id):
        return Decision(
            step=Step.SKIP,
            reason=(
                f"skipped by overlap policy queue_one: #{line.oldest} waits already behind {by}"
            ),
            code=ReasonCode.OVERLAP_WAITING,
            facts={"waiting": line.oldest},
        )
    return waits


def _came_while_it_ran(row: Candidate, holder: Holder) -> bool:
    """Whether the policy `skip` means this pair.

    Missed slots that are caught up were recorded together, and must not skip each other. But slots
    that came in time and found no worker are old by now: if all of them ran one by one, each would
    skip a new slot. And a run of a backfill must not skip the job's own slots.
    """
    if holder.param_source == ParamSource.BACKFILL:
        return False
    if row.created_at - row.scheduled_time <= _IN_TIME:
        return True
    return holder.started_at is not None and holder.started_at <= row.scheduled_time


def _replace(row: Candidate, holder: Holder, line: Line) -> Decision:
    # The holder is newer when it came while an older run waited for its next attempt.
    newer = max(holder.id, line.newest or 0)
    if newer > row.id:
        what = "cancelled" if row.attempt else "skipped"
        return Decision(
            step=Step.CANCEL if row.attempt else Step.SKIP,
            reason=f"{what} by overlap policy replace: #{newer} is newer",
            code=ReasonCode.OVERLAP_NEWER,
            facts={"newer": newer},
        )
    return Decision(
        step=Step.WAIT,
        reason=f"replaces #{holder.id}, which was asked to stop",
        code=ReasonCode.OVERLAP_HELD,
        facts={"running": holder.id},
        replaces=holder.id,
    )
