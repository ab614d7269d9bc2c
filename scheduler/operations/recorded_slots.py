"""Slots that were only recorded, because another system ran them, and that run here after all."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from scheduler.conf import SchedulerSettings
from scheduler.models import CronJob
from scheduler.operations.frozen import freezes_of
from scheduler.operations.upstream_slots import waits_of
from scheduler.schedule import schedule_of
from scheduler.schedule.freezes import blocked
from scheduler.store import approvals, executions, freezes
from scheduler.store.slots import held_by, skipped_by


def run_recorded(
    job: CronJob, recorded: Mapping[int, datetime], now: datetime, settings: SchedulerSettings
) -> int:
    """Lets these executions of a locked job run, with their slots. Returns how many will.

    Each one waits for what a missed slot waits for that beat catches up: the end of a freeze, its
    upstream jobs, an approval. What a freeze blocks for good stays skipped, and its row says so.
    Raises ScheduleError.
    """
    if not recorded:
        return 0
    schedule = schedule_of(job, settings)
    known = freezes_of(job.pk, min(recorded.values()), settings)
    waits = waits_of(job, settings, now)
    blocks = {
        id_: blocked(slot, known, schedule, end_at=job.end_at, caught_up_at=now)
        for id_, slot in recorded.items()
    }
    going = []
    for id_, block in blocks.items():
        if block is not None and block.held_until is None:
            freezes.skip_shadow(id_, skipped_by(block, recorded[id_]))
        else:
            going.append(id_)
    executions.retry_all(going, now=now)
    waiting = set()
    for id_ in sorted(going):
        block, begins, facts = blocks[id_], now, None
        if block is not None and block.held_until is not None:
            held, begins = held_by(block), max(block.held_until, recorded[id_])
            freezes.hold_new(id_, held, begins)
            facts = held.facts
        if wanted := waits(recorded[id_], begins):
            freezes.begin_waiting(id_, wanted, not_before=begins, facts=facts)
            waiting.add(id_)
    # Those that wait for upstream jobs are asked for when they may start.
    approvals.ask(approvals.need([id_ for id_ in going if id_ not in waiting]), now)
    return len(going)
