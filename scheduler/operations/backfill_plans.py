"""What a backfill would run of one job: its slots, and the params of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _

from scheduler.conf import current
from scheduler.models import CronJob
from scheduler.operations import validation
from scheduler.operations.errors import InvalidJob
from scheduler.schedule import ScheduleError, schedule_of
from scheduler.schedule.backfill_plan import BACKFILL_LIMIT, next_slots, params_for
from scheduler.states import BackfillOrder
from scheduler.store import backfills, upstreams

#: So many jobs at most are backfilled together.
MOST_JOBS: Final = 50
_AT_ONCE: Final = 500


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    slot: datetime
    params: dict[str, Any] = field(repr=False)  # they may hold secrets


@dataclass(frozen=True, kw_only=True)
class PlannedJob:
    """`slots`: all of them, in the order asked for. `params`: without the slot filled in."""

    job: CronJob
    slots: list[datetime]
    params: Mapping[str, Any] = field(repr=False)

    @property
    def total(self) -> int:
        return len(self.slots)

    def params_for(self, number: int) -> dict[str, Any]:
        return params_for(self.params, self.slots[number], _zone(self.job))

    def runs(self, most: int) -> list[PlannedRun]:
        numbers = range(min(most, self.total))
        return [PlannedRun(slot=self.slots[n], params=self.params_for(n)) for n in numbers]


def plan_of(
    job: CronJob,
    params: Mapping[str, Any],
    since: datetime,
    until: datetime,
    order: BackfillOrder,
    *,
    only_missing: bool,
) -> PlannedJob:
    """Returns the runs for the job's slots in [since, until]. Raises InvalidJob."""
    slots = _slots(job, since, until, order)
    if only_missing:
        parts = [slots[first : first + _AT_ONCE] for first in range(0, len(slots), _AT_ONCE)]
        settled = {slot for part in parts for slot in backfills.settled_slots(job.pk, part)}
        slots = [slot for slot in slots if slot not in settled]
    _check_params(job, params, slots[0] if slots else since)
    return PlannedJob(job=job, slots=slots, params=params)


def downstream_of(job: CronJob) -> list[CronJob]:
    """Returns the jobs that wait for this one, also through others, nearest first."""
    found: dict[int, CronJob] = {}
    wanted = [job.pk]
    while wanted:
        links = upstreams.downstreams_of(wanted)
        new = {id_ for ids in links.values() for id_ in ids} - found.keys() - {job.pk}
        found |= {each.pk: each for each in CronJob.objects.filter(pk__in=new).order_by("name")}
        wanted = sorted(new)
        if len(found) > MOST_JOBS:
            text = _("more than %(most)s jobs wait for it; backfill a part of the chain")
            raise InvalidJob({"with_downstream": [text % {"most": MOST_JOBS}]})
    return list(found.values())


def _slots(job: CronJob, since: datetime, until: datetime, order: BackfillOrder) -> list[datetime]:
    try:
        schedule = schedule_of(job, current())
    except ScheduleError as error:
        raise InvalidJob({error.field: [error.reason]}) from error
    slots = next_slots(
        schedule, since=since, until=until, order=order, cursor=None, count=BACKFILL_LIMIT + 1
    )
    if len(slots) > BACKFILL_LIMIT:
        text = _("more than %(limit)s slots; take a shorter range") % {"limit": BACKFILL_LIMIT}
        raise InvalidJob({"until": [text]})
    return slots


def _check_params(job: CronJob, params: Mapping[str, Any], slot: datetime) -> None:
    try:
        filled_in = params_for(params, slot, _zone(job))
    except (ValueError, UnicodeError, RecursionError) as error:  # of strftime
        text = _("{slot} cannot be filled in: %(error)s") % {"error": error}
        raise InvalidJob({"params": [text]}) from error
    validation.check_params(job.handler_name, filled_in)


def _zone(job: CronJob) -> ZoneInfo:
    return ZoneInfo(job.timezone or current().default_timezone)
