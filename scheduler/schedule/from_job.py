"""The schedule of a job, from its columns and the settings."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Protocol

from django.utils.translation import gettext as _

from scheduler.schedule.after import CommonSlots, is_after
from scheduler.schedule.calendars import CalendarSpec, build_schedule
from scheduler.schedule.errors import ScheduleError
from scheduler.schedule.full_text import full_text
from scheduler.schedule.job_schedule import JobSchedule
from scheduler.schedule.zones import load_zone

_ANY_EXPRESSION: Final = "0 0 * * *"


class ScheduleColumns(Protocol):
    """The columns that say when a job runs. `name` does for an expression with `H` only."""

    @property
    def name(self) -> str: ...
    @property
    def cron_expression(self) -> str: ...
    @property
    def timezone(self) -> str: ...
    @property
    def calendar(self) -> str: ...


class ScheduledJob(ScheduleColumns, Protocol):
    """With those that an interval may be counted from. Neither is in the fingerprint."""

    @property
    def start_at(self) -> datetime | None: ...
    @property
    def created_at(self) -> datetime: ...


class ScheduleSettings(Protocol):
    """The settings that decide when a job runs."""

    @property
    def default_timezone(self) -> str: ...
    @property
    def calendars(self) -> Mapping[str, Any]:
        """Name -> a mapping, or a pydantic model, with the fields of CalendarSpec."""


def schedule_of(job: ScheduledJob, settings: ScheduleSettings) -> JobSchedule:
    """Returns the job's schedule. Raises ScheduleError, which names the column that is wrong.

    A job `@after` others has them in `followed`, each with the columns of ScheduledJob.
    """
    if is_after(job.cron_expression):
        return _common_slots(job, settings, ())
    return _own_schedule(job, settings)


def _own_schedule(job: ScheduledJob, settings: ScheduleSettings) -> JobSchedule:
    return build_schedule(
        full_text(job),
        job.timezone or settings.default_timezone,
        job.calendar,
        calendar_specs(settings.calendars),
    )


def _common_slots(job: Any, settings: ScheduleSettings, path: tuple[str, ...]) -> JobSchedule:
    path = (*path, job.name)
    if job.name in path[:-1]:
        text = _("depends on itself: %(path)s") % {"path": " → ".join(path)}
        raise ScheduleError(text, field="upstreams")
    if job.calendar:
        text = _("must be empty with @after: the days are those of the upstream jobs")
        raise ScheduleError(text, field="calendar")
    followed = getattr(job, "followed", ())
    if not followed:
        text = _("@after needs at least one upstream job that exists")
        raise ScheduleError(text, field="upstreams")
    members = []
    for upstream in followed:
        try:
            members.append(
                _common_slots(upstream, settings, path)
                if is_after(upstream.cron_expression)
                else _own_schedule(upstream, settings)
            )
        except ScheduleError as error:
            if error.field == "upstreams":
                raise
            facts = {"job": upstream.name, "reason": error.reason}
            text = _("the schedule of %(job)s cannot be used: %(reason)s") % facts
            raise ScheduleError(text, field="upstreams") from error
    zone = load_zone(job.timezone or settings.default_timezone)
    return CommonSlots(zone=zone, members=tuple(dict.fromkeys(members)))


def part_errors(job: ScheduledJob, settings: ScheduleSettings) -> list[ScheduleError]:
    """Returns what is wrong with the expression, the zone and the calendar, each for itself.

    `schedule_of` raises only the first of them.
    """
    if is_after(job.cron_expression):
        try:
            schedule_of(job, settings)
        except ScheduleError as found:
            return [found]
        return []
    specs = calendar_specs(settings.calendars)

    def error(expression: str, zone: str, calendar: str) -> ScheduleError | None:
        try:
            build_schedule(expression, zone, calendar, specs)
        except ScheduleError as error:
            return error
        return None

    zone = job.timezone or settings.default_timezone
    of_zone = error(_ANY_EXPRESSION, zone, "")
    # An instant in an expression may be wrong in one zone only.
    of_expression = error(full_text(job), "UTC" if of_zone else zone, "")
    of_calendar = error(_ANY_EXPRESSION, "UTC", job.calendar)
    return [found for found in (of_expression, of_zone, of_calendar) if found is not None]


_specs: dict[int, tuple[object, dict[str, CalendarSpec]]] = {}


def calendar_specs(configured: Mapping[str, Any]) -> dict[str, CalendarSpec]:
    """Returns the configured calendars. They are built once per configuration."""
    known = _specs.get(id(configured))
    if known is None or known[0] is not configured:
        built = {
            name: CalendarSpec(name=name, **dict(fields)) for name, fields in configured.items()
        }
        known = _specs[id(configured)] = (configured, built)
    return known[1]
