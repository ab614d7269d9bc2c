"""The slowest jobs, and the jobs that get slower."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.cache import cache
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from scheduler.admin import formatting
from scheduler.admin.dashboard import limits, links, wording
from scheduler.store import job_trends


def job_speeds(now: datetime, *, may_count: bool) -> dict[str, Any] | None:
    """Returns the context of the speeds table; None if it is not cached and not `may_count`."""
    found = cache.get("jobu.speeds")
    if found is None:
        if not may_count:
            return None
        found = job_trends.speeds(now, limits.LISTED)
        cache.set("jobu.speeds", found, limits.CHARTS_SECONDS)
    return {
        "slowest": [_speed(speed) for speed in found.slowest],
        "slowing": [_speed(speed) for speed in found.slowing],
    }


def _speed(speed: job_trends.JobSpeed) -> dict[str, Any]:
    earlier, times = speed.earlier_mean_seconds, speed.times_slower
    return {
        "url": links.job(speed.job_id),
        "name": speed.name,
        "runs": wording.number(speed.runs),
        "mean": formatting.span(speed.mean_seconds),
        "longest": formatting.span(speed.max_seconds),
        "earlier": formatting.span(earlier) if earlier is not None else formatting.NOTHING,
        "times": _("%s times") % number_format(times, 1)
        if times is not None
        else formatting.NOTHING,
    }
