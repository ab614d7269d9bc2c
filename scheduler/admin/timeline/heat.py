"""The heat map of planned slots by weekday and hour, and the proposal to spread a herd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from scheduler.admin.site import job_url, render, reverse
from scheduler.conf import current
from scheduler.models import LARGEST_ID
from scheduler.operations.control import Control
from scheduler.operations.errors import REFUSALS, refusal
from scheduler.operations.permissions import Action, may
from scheduler.operations.spreading import Change, Way, herd, propose
from scheduler.store import forecast, herds

_DAY_HOURS: Final = 24
_DAYS: Final = 7
#: Seconds for the days of the week; one day at least. The page asks again for the others.
_WITHIN_SECONDS: Final = 0.05
_AGAIN_SECONDS: Final = 1
_CACHED_SECONDS: Final = 300
_SHADES: Final = 6
#: So many jobs are changed by one request.
_AT_ONCE: Final = 200


def urls(site: Any) -> list[URLPattern]:
    """Returns the address of the heat map on this admin site."""

    def page(request: HttpRequest) -> HttpResponse:
        return _page(request, site)

    return [
        path("timeline/heat/", site.admin_view(page), name="timeline-heat"),
        path("timeline/heat/map/", site.admin_view(_map), name="timeline-heat-map"),
    ]


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
    context = {
        **site.each_context(request),
        **_map_context(),
        "map_url": reverse("admin:timeline-heat-map"),
        "map_seconds": _AGAIN_SECONDS,
        "minutes": _minutes(found.starts_by_minute),
        "herd": [] if changes else found.jobs,
        "more": number_format(found.more) if found.more else "",
        "changes": [
            {"change": each, "url": job_url(each.job_id), "token": _token(each)} for each in changes
        ],
        "way": way,
        "may_change": may(request.user, Action.CHANGE_JOB),
        "back_url": reverse("admin:timeline-heat"),
    }
    return TemplateResponse(request, "scheduler/timeline/heat.html", context)


# --- the map --------------------------------------------------------------------------------------


def _map(request: HttpRequest) -> HttpResponse:
    """Answers live.js with the map, until all days are counted."""
    if not may(request.user, Action.VIEW_JOBS):
        raise PermissionDenied
    context = _map_context()
    response = render(request, "scheduler/timeline/heat_map.html", context)
    if not context["is_partial"]:
        response["X-Live"] = "done"
    return response


def _map_context() -> dict[str, Any]:
    now = Control().clock.now()
    counts = _counts(now)
    return {
        "title": _("Planned starts of the next week"),
        "zone": get_current_timezone_name(),
        "hours": [f"{hour:02d}" for hour in range(24)],
        "days": _days(now, counts),
        "is_partial": None in counts,
        "timeline_url": reverse("admin:timeline"),
    }


def _counts(now: datetime) -> list[int | None]:
    """How many slots lie in each hour of the week. None: that day is not counted yet."""
    first = _next_hour(now)
    clock = Control().clock
    until = clock.monotonic() + _WITHIN_SECONDS
    counts: list[int | None] = []
    has_counted = False
    for day in range(_DAYS):
        start = first + timedelta(hours=day * _DAY_HOURS)
        key = f"jobu.heat.{start.timestamp():.0f}"
        known: Sequence[int] | None = cache.get(key)
        if known is None and (not has_counted or clock.monotonic() < until):
            found = forecast.planned_by_hour(
                now, start, _DAY_HOURS, settings=current(), is_late=lambda: False
            )
            known, has_counted = found.counts, True
            # Different ages, so that they are not all counted again in the same moment.
            cache.set(key, known, _CACHED_SECONDS + 20 * day)
        counts += [None] * _DAY_HOURS if known is None else known
    return counts


def _next_hour(now: datetime) -> datetime:
    """The next full hour of the reader's wall clock: some zones are half an hour apart."""
    local = localtime(now)
    past = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    return now - past + timedelta(hours=1)


def _days(now: datetime, counts: Sequence[int | None]) -> list[dict[str, Any]]:
    first = _next_hour(now)
    most = max((count for count in counts if count is not None), default=0)
    cells: list[list[int | None]] = [[0] * 24 for _day in range(7)]
    for number, count in enumerate(counts):
        at = localtime(first + timedelta(hours=number))
        before = cells[at.weekday()][at.hour]
        known = count is not None and before is not None
        cells[at.weekday()][at.hour] = before + count if known else None  # type: ignore[operator]
    return [
        {"name": WEEKDAYS[day], "cells": [_cell(count, most) for count in cells[day]]}
        for day in range(7)
    ]


def _cell(count: int | None, most: int) -> dict[str, Any]:
    if count is None:
        return {"text": "...", "shade": 0}
    return {"text": number_format(count, force_grouping=True), "shade": _shade(count, most)}


def _shade(count: int, most: int) -> int:
    return 0 if not count else max(1, round(count / most * (_SHADES - 1)))


def _minutes(starts: Mapping[int, int]) -> list[dict[str, Any]]:
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
