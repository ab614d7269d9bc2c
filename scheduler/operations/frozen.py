"""The freezes that hold for a job now, and the refusal of runs that a person asks for meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any, Final

from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from scheduler.conf import SchedulerSettings
from scheduler.models import CronJob
from scheduler.operations.errors import NotPossible
from scheduler.schedule import Schedule
from scheduler.schedule.freezes import Block, Freeze, Freezes, blocked, end_of, holding
from scheduler.store import freezes

_KNOWN: Final = "_known_freezes"


class Frozen(NotPossible):
    """A freeze of the job holds. `freeze` says which."""

    def __init__(self, freeze: Freeze, until: datetime | None) -> None:
        self.freeze, self.until = freeze, until
        # In the reader's zone, and with its offset, because programs read it, too.
        end = localtime(until).isoformat(" ", "seconds") if until else _("no end in sight")
        facts = {"name": freeze.name, "reason": freeze.reason, "until": end}
        text = _(
            "the freeze “%(name)s” holds until %(until)s: %(reason)s. In an emergency a person "
            "with the right to do so may let it run in spite of the freeze"
        )
        super().__init__(text % facts)


def freezes_of_jobs(
    job_ids: Collection[int], since: datetime, settings: SchedulerSettings
) -> freezes.FreezesOfJobs:
    """Returns the freezes of these jobs that may hold after `since`."""
    return freezes.of_jobs(job_ids, since, settings.default_timezone)


def freezes_of(job_id: int, since: datetime, settings: SchedulerSettings) -> Freezes:
    """Returns the job's freezes that may hold after `since`."""
    return freezes_of_jobs([job_id], since, settings).of(job_id)


def known_freezes(job: CronJob, now: datetime, settings: SchedulerSettings) -> Freezes:
    """Returns those that may hold from now on. A page that shows them thrice asks once."""
    known: Freezes | None = job.__dict__.get(_KNOWN)
    if known is None:
        known = job.__dict__[_KNOWN] = freezes_of(job.pk, now, settings)
    return known


def check_freezes(
    job_ids: Collection[int], now: datetime, settings: SchedulerSettings, *, despite: bool
) -> dict[str, Any]:
    """Raises Frozen if a freeze holds for one of the jobs, and `despite` is not said.

    Returns what the history remembers of an exception. One small statement if nothing is frozen.
    """
    known = freezes.of_jobs(job_ids, now, settings.default_timezone)
    for job_id in sorted(job_ids):
        of_job = known.of(job_id)
        freeze = holding(of_job, now)
        if freeze is None:
            continue
        if not despite:
            raise Frozen(freeze, end_of(of_job, now))
        return {"despite_freeze": freeze.name}
    return {}


def blocks_of(
    job: CronJob,
    schedule: Schedule,
    slots: Collection[datetime],
    now: datetime,
    settings: SchedulerSettings,
) -> dict[datetime, Block]:
    """Returns how the freezes, as they are now, will block these slots of the job."""
    if job.pk is not None:
        known = known_freezes(job, now, settings)
    else:
        tags = frozenset(job.tags) if isinstance(job.tags, list) else frozenset()
        everything = freezes.enabled(now, settings.default_timezone)
        known = tuple(freeze for freeze in everything if freeze.is_for(tags))
    return dict(_blocks(known, schedule, slots, job.end_at)) if known else {}


def _blocks(
    known: Freezes, schedule: Schedule, slots: Collection[datetime], end_at: datetime | None
) -> Iterator[tuple[datetime, Block]]:
    for slot in slots:
        block = blocked(slot, known, schedule, end_at=end_at)
        if block is not None:
            yield slot, block
