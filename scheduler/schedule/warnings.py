"""Warnings about schedules that surprise people, in the active language."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.utils.dates import MONTHS
from django.utils.translation import gettext as _

from scheduler.schedule.after import is_after
from scheduler.schedule.calendars import BusinessDays, CalendarSchedule, years_known
from scheduler.schedule.clock_changes import changes_between
from scheduler.schedule.cron_schedule import ZonedSchedule, parse
from scheduler.schedule.errors import ScheduleError
from scheduler.schedule.full_text import full_text
from scheduler.schedule.kinds import lines
from scheduler.schedule.pattern import CronDays
from scheduler.schedule.several import SeveralSchedules
from scheduler.schedule.slots import Schedule
from scheduler.schedule.words import clock_time, days_of_month, listed, weekdays

_LENGTHS: Final = dict.fromkeys(range(1, 13), 31) | {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}


def warnings_of(text: str) -> list[str]:
    """Returns a sentence for each surprise in the expressions of a text. Empty if it is unusable.

    See `clock_change_warnings` for the nights on which clocks change: those depend on the zone.
    """
    try:
        expressions = [line.means for line in lines(text) if isinstance(line.means, str)]
        patterns = [(each, parse(each, "UTC").pattern) for each in expressions]
    except ScheduleError:
        return []
    found: list[str] = []
    for expression, pattern in patterns:
        days = pattern.days
        assert isinstance(days, CronDays)
        found += [*_about_days(days), *_about_steps(expression)]
    return list(dict.fromkeys(found))


def clock_change_warnings(schedule: Schedule, now: datetime) -> list[str]:
    """Returns what the clock changes of the next year do to a schedule, one sentence for each."""
    if isinstance(schedule, SeveralSchedules):
        found = [text for each in schedule.members for text in clock_change_warnings(each, now)]
        return list(dict.fromkeys(found))
    if isinstance(schedule, BusinessDays):
        return clock_change_warnings(schedule.base, now)
    if not isinstance(schedule, ZonedSchedule):
        return []
    zone, pattern = schedule.zone, schedule.pattern
    found = []
    for change in changes_between(zone, now, now + timedelta(days=366)):
        low, high = sorted((change.wall_before, change.wall_after))
        first = pattern.after(low - timedelta(seconds=1))
        if first is None or first >= high:
            continue
        facts = {
            "day": change.wall_before.strftime("%Y-%m-%d"),
            "before": _clock(change.wall_before),
            "after": _clock(change.wall_after),
            "zone": zone.key,
        }
        if change.runs_twice(pattern):
            text = _(
                "On %(day)s the clock of %(zone)s goes back from %(before)s to %(after)s: what "
                "falls between runs twice, in both passes."
            )
        elif change.moves_back:
            text = _(
                "On %(day)s the clock of %(zone)s goes back from %(before)s to %(after)s: what "
                "falls between runs once, in the first pass."
            )
        elif change.catches_up(pattern):
            text = _(
                "On %(day)s the clock of %(zone)s leaps from %(before)s to %(after)s: what falls "
                "between runs at %(after)s, once."
            )
        else:
            text = _(
                "On %(day)s the clock of %(zone)s leaps from %(before)s to %(after)s: what falls "
                "between does not run."
            )
        found.append(text % facts)
    return found


def unknown_holidays_warnings(schedule: Schedule, slots: Sequence[datetime]) -> list[str]:
    """Returns a sentence if a calendar does not know the public holidays of some of the slots."""
    if isinstance(schedule, SeveralSchedules):
        schedule = schedule.members[0]
    if not isinstance(schedule, CalendarSchedule | BusinessDays):
        return []
    years = years_known(schedule.spec)
    if years is None:
        return []
    shown = [slot.astimezone(schedule.zone).year for slot in slots]
    if all(years[0] <= year <= years[1] for year in shown):
        return []
    text = _(
        "The public holidays of %(country)s are known for %(first)s to %(last)s only: in other "
        "years calendar %(name)s takes them for working days."
    )
    facts = {"country": schedule.spec.country, "name": schedule.spec.name}
    return [text % {**facts, "first": years[0], "last": years[1]}]


def warnings_about(
    job: Any, schedule: Schedule, slots: Sequence[datetime], now: datetime
) -> list[str]:
    """Returns all warnings about the schedule of a job of which `slots` are shown.

    `job` has the columns of from_job.ScheduledJob.
    """
    return [
        *([] if is_after(job.cron_expression) else warnings_of(full_text(job))),
        *clock_change_warnings(schedule, now),
        *unknown_holidays_warnings(schedule, slots),
    ]


def _about_days(days: CronDays) -> Iterator[str]:
    restricts_month = len(days.doms) < 31
    restricts_week = len(days.dows) < 7
    if restricts_month and restricts_week:
        facts = {"days": days_of_month(days), "weekdays": weekdays(days)}
        text = _(
            "Both day fields are restricted, so one match is enough: it runs on %(days)s, and on "
            "%(weekdays)s as well."
        )
        if days.both:
            text = _(
                "Both day fields are restricted and one begins with *, so both must match: it runs "
                "on %(weekdays)s, but only on %(days)s."
            )
        yield text % facts
    if days.both:
        yield from _about_missing_days(days)
        if days.nths and all(count == 5 for _dow, count in days.nths) and not days.dows:
            yield _("Months with only four of that weekday are skipped.")


def _about_missing_days(days: CronDays) -> Iterator[str]:
    """Yields warnings about days that some of the months do not have."""
    if len(days.doms) == 31 or days.last_dom:
        return
    without = [
        str(MONTHS[month])
        for month in days.months
        if not any(day <= _LENGTHS[month] for day in days.doms)
        and not any(each.is_in(_LENGTHS[month]) for each in days.month_days)
    ]
    if days.doms == (29,) and days.months == (2,) and not days.month_days:
        yield _("29 February only: at most once in four years.")
    elif without:
        text = _("No such day in %(months)s: nothing runs then. L is the last day of any month.")
        if days.month_days:
            text = _("No such day in %(months)s: nothing runs then. LW exists in any month.")
        yield text % {"months": listed(without)}
    elif days.doms[:1] == (29,) and 2 in days.months and not days.month_days:
        yield _("In February it runs in leap years only. L is the last day of any month.")


def _about_steps(expression: str) -> Iterator[str]:
    """Yields warnings about steps that do not divide their field."""
    fields = expression.split()
    if len(fields) not in (5, 6):
        return  # an alias, which has no steps
    sizes = ([60] if len(fields) == 6 else []) + [60, 24]
    for text, size in zip(fields, sizes, strict=False):
        if not text.startswith("*/") or not text[2:].isdigit():
            continue
        step = int(text[2:])
        rest = size % step
        if rest and step < size:
            yield _(
                "%(text)s begins anew after %(last)s: the last distance is %(rest)s, not %(step)s."
            ) % {"text": text, "last": size - rest, "rest": rest, "step": step}


def _clock(wall: datetime) -> str:
    return clock_time(wall.hour, wall.minute, wall.second, with_second=wall.second != 0)
