"""The next runs: from now on, or from an hour that the reader chooses."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.cache import cache
from django.http import HttpRequest
from django.utils.translation import gettext as _

from scheduler.admin import formatting
from scheduler.admin.dashboard import limits, links, wording
from scheduler.conf import current
from scheduler.operations.control import Control
from scheduler.store import coming_runs
from scheduler.store.hours import HOUR


def from_hour(request: HttpRequest, now: datetime) -> datetime | None:
    """Returns the hour that the request names; None if it names none of the next day's hours."""
    wanted = request.GET.get("from", "")
    return next((start for start in _coming_hours(now) if _hour_value(start) == wanted), None)


def from_query(from_hour: datetime | None) -> dict[str, str]:
    return {} if from_hour is None else {"from": _hour_value(from_hour)}


def rows(now: datetime, from_hour: datetime | None) -> list[dict[str, Any]]:
    found = _next_runs(now) if from_hour is None else _runs_of_hour(now, from_hour)
    return [
        {
            "at": formatting.instant(run.at),
            "distance": formatting.distance(run.at, now),
            "url": links.job(run.job_id),
            "name": run.job_name,
            "handler": run.handler_name,
            "schedule": formatting.code(run.cron_expression),
            "zone": run.timezone,
        }
        for run in found
    ]


def hours_to_choose(now: datetime, from_hour: datetime | None) -> list[tuple[str, str, bool]]:
    """Returns (value, text, is chosen) for "now" and then for each full hour of the next day."""
    hours = [
        (_hour_value(start), wording.hour(start), start == from_hour)
        for start in _coming_hours(now)
    ]
    return [("", _("from now on"), from_hour is None), *hours]


def _coming_hours(now: datetime) -> list[datetime]:
    this_hour = now - wording.past_the_hour(now)
    return [this_hour + HOUR * number for number in range(1, 25)]


def _hour_value(start: datetime) -> str:
    return start.strftime("%Y-%m-%dT%H:%MZ")


def _next_runs(now: datetime) -> list[coming_runs.PlannedRun]:
    clock = Control().clock
    until = clock.monotonic() + limits.HOUR_OF_RUNS_SECONDS
    return coming_runs.next_runs(
        now, limits.NEXT_RUNS, settings=current(), is_late=lambda: clock.monotonic() > until
    )


def _runs_of_hour(now: datetime, start: datetime) -> list[coming_runs.PlannedRun]:
    key = f"jobu.runs.{start.timestamp():.0f}"
    found: list[coming_runs.PlannedRun] | None = cache.get(key)
    if found is None:
        clock = Control().clock
        until = clock.monotonic() + limits.HOUR_OF_RUNS_SECONDS
        found = coming_runs.runs_of_hour(
            now,
            start,
            limits.NEXT_RUNS,
            settings=current(),
            is_late=lambda: clock.monotonic() > until,
        )
        # An incomplete answer expires before the next update, which then computes it again.
        cache.set(
            key,
            found,
            limits.CHARTS_SECONDS if clock.monotonic() <= until else limits.NOW_SECONDS - 1,
        )
    return found
