"""The heat map of planned slots by weekday and hour, and the proposal to spread a herd."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib import messages
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.dates import WEEKDAYS
from django.utils.formats import number_format
from django.utils.timezone import get_current_timezone_name, localtime
from django.utils.translation import gettext as _

from scheduler.admin.actor import control_of
from scheduler.admin.site import reverse
from scheduler.conf import current
from scheduler.models import LARGEST_ID
from scheduler.operations.control import Control
from scheduler.operations.errors import REFUSALS, refusal
from scheduler.operations.permissions import Action, may
from scheduler.operations.spreading import Change, Way, herd, propose
from scheduler.store import forecast, herds

_WEEK_HOURS: Final = 7 * 24
#: Seconds for the slots of the week. What is missing is said, and found by a later call.
_WITHIN_SECONDS: Final = 0.12
_CACHED_SECONDS: Final = 300
_SHADES: Final = 6
#: So many jobs are changed by one request.
_AT_ONCE: Final = 200


def urls(site: Any) -> list[URLPattern]:
    """Returns the address of the heat map on this admin site."""

    def page(request: HttpRequest) -> HttpResponse:
        return _page(request, site)

    return [path("timeline/heat/", site.admin_view(page), name="timeline-heat")]


def _page(request: HttpRequest, site: Any) -> HttpResponse:
    if not may(request.user, Action.VIEW_JOBS):
        raise PermissionDenied
    changes: Sequence[Change] = ()
    way = Way.MINUTE
    found = herd()
    if request.method == "POST":
        if not may(request.user, Action.CHANGE_JOB):
            raise PermissionDenied
        way = Way.JITTER if request.POST.get("way") == Way.JITTER else Way.MINUTE
        changes = propose(herds.with_ids(_ids(request)), way, found.starts_by_minute)
        if not changes:
            messages.warning(request, _("No job was chosen that starts at minute 0."))
        elif "apply" in request.POST:
            return _apply(request, changes)
    now = Control().clock.now()
    plan = _plan(now)
    context = {
        **site.each_context(request),
        "title": _("Planned starts of the next week"),
        "zone": get_current_timezone_name(),
        "hours": [f"{hour:02d}" for hour in range(24)],
        "days": _days(now, plan.counts),
        "uncounted": plan.uncounted_jobs and number_format(plan.uncounted_jobs),
        "minutes": _minutes(found.starts_by_minute),
        "herd": [] if changes else found.jobs,
        "more": number_format(found.more) if found.more else "",
        "changes": [
            {"change": each, "url": _job_url(each.job_id), "token": _token(each)}
            for each in changes
        ],
        "way": way,
        "may_change": may(request.user, Action.CHANGE_JOB),
        "back_url": reverse("admin:timeline-heat"),
        "timeline_url": reverse("admin:timeline"),
    }
    return TemplateResponse(request, "scheduler/timeline/heat.html", context)


# --- the map --------------------------------------------------------------------------------------


def _plan(now: datetime) -> forecast.Forecast:
    first = _next_hour(now)
    key = f"jobu.heat.{first.timestamp():.0f}"
    known = cache.get(key)
    if isinstance(known, forecast.Forecast):
        return known
    clock = Control().clock
    until = clock.monotonic() + _WITHIN_SECONDS
    found = forecast.planned_by_hour(
        now, first, _WEEK_HOURS, settings=current(), is_late=lambda: clock.monotonic() > until
    )
    if not found.uncounted_jobs:
        cache.set(key, found, _CACHED_SECONDS)
    return found


def _next_hour(now: datetime) -> datetime:
    """The next full hour of the reader's wall clock: some zones are half an hour apart."""
    local = localtime(now)
    past = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    return now - past + timedelta(hours=1)


def _days(now: datetime, counts: Sequence[int]) -> list[dict[str, Any]]:
    first, most = _next_hour(now), max(counts, default=0)
    cells: list[list[int]] = [[0] * 24 for _day in range(7)]
    for number, count in enumerate(counts):
        at = localtime(first + timedelta(hours=number))
        cells[at.weekday()][at.hour] += count
    return [
        {
            "name": WEEKDAYS[day],
            "cells": [
                {"text": number_format(count, force_grouping=True), "shade": _shade(count, most)}
                for count in cells[day]
            ],
        }
        for day in range(7)
    ]


def _shade(count: int, most: int) -> int:
    return 0 if not count else max(1, round(count / most * (_SHADES - 1)))


def _minutes(starts: dict[int, int] | Any) -> list[dict[str, Any]]:
    most = max(starts.values(), default=0)
    return [
        {
            "minute": f":{minute:02d}",
            "count": number_format(starts.get(minute, 0), force_grouping=True),
            "percent": round(100 * starts.get(minute, 0) / most) if most else 0,
        }
        for minute in range(60)
    ]


# --- the herd -------------------------------------------------------------------------------------


def _ids(request: HttpRequest) -> list[int]:
    given = request.POST.getlist("job")[:_AT_ONCE]
    ids = (int(text) for text in given if text.isascii() and text.isdigit() and len(text) < 20)
    return [number for number in ids if number <= LARGEST_ID]


def _job_url(job_id: int) -> str:
    return reverse("admin:scheduler_cronjob_change", args=[job_id])


def _token(change: Change) -> str:
    """What the reader has seen of this change: another one is not carried out."""
    return f"{change.job_id}:{change.tick_seq}:{change.new}"


def _apply(request: HttpRequest, changes: Sequence[Change]) -> HttpResponse:
    """Carry out those that the reader has seen, by the ordinary edit, one after the other."""
    seen = set(request.POST.getlist("seen"))
    control = control_of(request)
    done = 0
    for change in changes:
        if _token(change) not in seen:
            text = _("%(job)s was not changed: it looks different now. Look at the proposal again.")
            messages.warning(request, text % {"job": change.name})
            continue
        try:
            control.update_job(change.job_id, tick_seq=change.tick_seq, **change.values)
        except REFUSALS as error:
            text = _("%(job)s was not changed: %(reason)s")
            messages.warning(request, text % {"job": change.name, "reason": refusal(error)})
        else:
            done += 1
    if done:
        messages.success(request, _("%(count)s jobs are spread.") % {"count": done})
    return HttpResponseRedirect(reverse("admin:timeline-heat"))
