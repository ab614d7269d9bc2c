"""For which slots of its upstream jobs the run of a slot waits.

One rule for all: of each upstream job it is the newest slot at or before the run's own. If both
have the same schedule, that is the same slot.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Protocol

from django.utils.translation import gettext as _

from scheduler.models import CronJob
from scheduler.schedule import ScheduleError, schedule_of
from scheduler.schedule.from_job import ScheduleSettings
from scheduler.store.upstreams import LONGEST_CHAIN
from scheduler.store.waits import Wait

_NONE: Final[tuple[Wait, ...]] = ()


class WaitingJob(Protocol):
    """The columns of a job that may wait for others."""

    @property
    def name(self) -> str: ...
    @property
    def upstream_seconds(self) -> int: ...
    @property
    def followed(self) -> tuple[CronJob, ...]: ...


def waits_of(
    job: WaitingJob, settings: ScheduleSettings, now: datetime
) -> Callable[[datetime, datetime], tuple[Wait, ...]]:
    """Returns what says for which upstream jobs the run of a slot waits, and how long.

    It waits from an instant on, which is the slot unless a freeze holds it, or from `now` if that
    is later. Raises ScheduleError if the job depends on itself, or if nobody can say when an
    upstream job runs.
    """
    followed = job.followed
    if not followed:
        return lambda slot, since: _NONE
    check_chain(job)
    span = timedelta(seconds=job.upstream_seconds)

    def waits(slot: datetime, since: datetime) -> tuple[Wait, ...]:
        return tuple(
            Wait(
                upstream_id=upstream.pk,
                slot=slot_at(upstream, slot, settings),
                until=max(since, now) + span,
            )
            for upstream in followed
        )

    return waits


def slot_at(upstream: CronJob, slot: datetime, settings: ScheduleSettings) -> datetime:
    """Returns the newest slot of `upstream` at or before `slot`; `slot` itself if it has none.

    Raises ScheduleError.
    """
    try:
        found = schedule_of(upstream, settings).last_until(slot)
    except ScheduleError as error:
        facts = {"job": upstream.name, "reason": error.reason}
        text = _("the schedule of %(job)s cannot be used: %(reason)s") % facts
        raise ScheduleError(text, field="upstreams") from error
    is_early = found is not None and upstream.start_at is not None and found < upstream.start_at
    return slot if found is None or is_early else found


def check_chain(job: WaitingJob) -> None:
    """Raises ScheduleError with the path if a job waits for itself, through others or at once."""
    problem = chain_problem(job)
    if problem is not None:
        raise ScheduleError(problem, field="upstreams")


def chain_problem(job: WaitingJob) -> str | None:
    """Returns what is wrong with the jobs for which this one waits, also through others."""
    path = _endless(job)
    if path is None:
        return None
    if path[-1] in path[:-1]:
        return _("depends on itself: %(path)s") % {"path": " → ".join(path)}
    facts = {"most": LONGEST_CHAIN, "path": " → ".join([*path[:3], "…", path[-1]])}
    return _("waits for a chain of more than %(most)s jobs: %(path)s") % facts


def _endless(job: WaitingJob) -> list[str] | None:
    """Returns the names from the job back to it, or to another that waits for itself, or None.

    So it does for a chain that is too long. A job is known by its id, too: an edit may give it
    another name.
    """
    free: set[str] = set()
    start_id = getattr(job, "id", None)

    def walk(jobs: tuple[CronJob, ...], path: list[str]) -> list[str] | None:
        for each in jobs:
            is_start = start_id is not None and each.pk == start_id
            if is_start or each.name in path or len(path) > LONGEST_CHAIN:
                return [*path, job.name if is_start else each.name]
            if each.name in free:
                continue
            found = walk(each.followed, [*path, each.name])
            if found is not None:
                return found
            free.add(each.name)
        return None

    return walk(job.followed, [job.name])
