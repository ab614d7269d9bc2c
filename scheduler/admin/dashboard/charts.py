"""The charts of the front page. They are computed in parts, under a deadline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.core.cache import cache
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from scheduler.admin.dashboard import limits, wording
from scheduler.admin.dashboard.speeds import job_speeds
from scheduler.conf import current
from scheduler.labels import label
from scheduler.operations.control import Control
from scheduler.states import RunStatus
from scheduler.store import forecast, statistics
from scheduler.store.hours import HOUR, Hour, hours_until


@dataclass(frozen=True, kw_only=True)
class Column:
    label: str
    colour: str
    stack: str = ""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A table that dashboard_charts.js also draws. A cell is (number to draw, text to read)."""

    name: str
    title: str
    kind: str
    first: str
    columns: Sequence[Column]
    rows: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    now_label: str = ""
    note: str = ""
    unit: str = ""


_STATUS_COLOURS: Final = {
    RunStatus.SUCCESS: "good",
    RunStatus.FAILED: "bad",
    RunStatus.TIMEOUT: "late",
    RunStatus.CANCELLED: "warn",
    RunStatus.SKIPPED: "calm",
}


def charts_context(now: datetime, sees: Mapping[str, bool], days: int) -> dict[str, Any]:
    clock = Control().clock
    began = clock.monotonic()

    def within(seconds: float) -> Callable[[], bool]:
        """Returns a function that is True once `seconds` have passed since the start."""
        return lambda: clock.monotonic() > began + seconds

    # Full hours of the reader's wall clock: some time zones have an offset of half an hour.
    this_hour = now - wording.past_the_hour(now)
    context: dict[str, Any] = {"sees": sees, "is_partial": False}
    notes: list[str] = []
    past: Sequence[Hour | None] = ()
    is_all_known = True
    if sees["executions"]:
        wanted = 24 * days + 1
        hours = hours_until(this_hour, wanted, is_late=within(limits.HOURS_SECONDS))
        past, is_all_known = hours.hours, not hours.counted
        if hours.missing:
            text = _("%(missing)s of %(count)s hours are still being counted.")
            notes.append(text % {"missing": hours.missing, "count": wanted})
    context["throughput"] = _throughput(past, days, " ".join(notes))
    context["durations"] = _durations(past, days, " ".join(notes))
    planned: Sequence[int] = ()
    if sees["jobs"]:
        plan, is_known = _planned(now, this_hour, within(limits.FORECAST_SECONDS))
        planned, is_all_known = plan.counts, is_all_known and is_known
        if plan.uncounted_jobs:
            text = ngettext(
                "The planned runs of %(count)s job are still being counted.",
                "The planned runs of %(count)s jobs are still being counted.",
                plan.uncounted_jobs,
            )
            notes.append(text % {"count": wording.number(plan.uncounted_jobs)})
    context["timeline"] = _timeline(this_hour, past[-25:], planned, " ".join(notes))
    context["is_partial"] = bool(notes)
    if sees["jobs"] and sees["executions"]:
        is_late = within(limits.SPEEDS_WITHIN_SECONDS)
        speeds = job_speeds(now, may_count=is_all_known or not is_late())
        context["speeds"] = speeds
        context["is_partial"] = context["is_partial"] or speeds is None
    return context


def _planned(
    now: datetime, this_hour: datetime, is_late: Callable[[], bool]
) -> tuple[forecast.Forecast, bool]:
    """Returns the forecast, and True if it came from the cache."""
    key = f"jobu.forecast.{this_hour.timestamp():.0f}"
    known = cache.get(key)
    if isinstance(known, forecast.Forecast):
        return known, True
    found = forecast.planned_by_hour(now, this_hour, 25, settings=current(), is_late=is_late)
    if not found.uncounted_jobs:
        cache.set(key, found, limits.CHARTS_SECONDS)
    return found, False


def _timeline(
    this_hour: datetime, past: Sequence[Hour | None], planned: Sequence[int], note: str
) -> Chart:
    """Returns one chart of past and future: ended runs, and planned runs from this hour on."""
    columns = [
        *(Column(label=label(status), colour=colour) for status, colour in _STATUS_COLOURS.items()),
        Column(label=_("planned"), colour="planned"),
    ]
    rows = []
    first = -(len(past) - 1) if past else 0
    last = len(planned) - 1 if planned else 0
    for offset in range(first, last + 1):
        ended = past[offset - first] if past and offset <= 0 else Hour(start=this_hour)
        cells = [_cell(ended, status) for status in _STATUS_COLOURS]
        coming = planned[offset] if planned and offset >= 0 else None
        cells.append(("", "") if coming is None else (str(coming), wording.number(coming)))
        rows.append((wording.hour(this_hour + HOUR * offset), cells))
    return Chart(
        name="timeline",
        title=_("The last 24 hours and the next 24"),
        kind="stacked",
        first=_("hour"),
        columns=columns,
        rows=rows,
        now_label=wording.hour(this_hour),
        note=note,
    )


def _cell(ended: Hour | None, status: RunStatus) -> tuple[str, str]:
    if ended is None:
        return "", "..."
    count = ended.counts.get(status.value, 0)
    return str(count), wording.number(count) + ("+" if ended.is_capped else "")


def _throughput(past: Sequence[Hour | None], days: int, note: str) -> Chart:
    rows = []
    for ended in past:
        if ended is None:
            continue
        total = sum(ended.counts.values()) - ended.counts.get(RunStatus.SKIPPED.value, 0)
        trouble = sum(ended.counts.get(status, 0) for status in statistics.TROUBLE)
        plus = "+" if ended.is_capped else ""
        cells = [
            (str(total), wording.number(total) + plus),
            (str(trouble), wording.number(trouble) + plus),
        ]
        rows.append((wording.hour(ended.start), cells))
    return Chart(
        name="throughput",
        title=_("Runs per hour"),
        kind="lines",
        first=_("hour"),
        columns=[
            Column(label=_("ended"), colour="good"),
            Column(label=_("failed or timed out"), colour="bad"),
        ],
        rows=rows,
        note=note,
    )


def _durations(past: Sequence[Hour | None], days: int, note: str) -> Chart:
    rows = [
        (
            wording.hour(ended.start),
            [wording.seconds(ended.percentile(50)), wording.seconds(ended.percentile(95))],
        )
        for ended in past
        if ended is not None
    ]
    return Chart(
        name="durations",
        title=_("Duration of successful runs"),
        kind="lines",
        first=_("hour"),
        columns=[
            Column(label=_("half of them within"), colour="busy"),
            Column(label=_("95 % within"), colour="late"),
        ],
        rows=rows,
        note=note,
        unit=_("seconds"),
    )
