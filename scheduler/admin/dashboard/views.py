"""The front page: does it run, what fails, what comes, is it getting slower.

`index` fills the page; `now_part` and `charts_part` give the same pieces alone, for live.js: what
changes by the second every 5 s, what costs more every minute. Everything that takes long is done
in parts under a deadline: a page that comes at once and says that it is not complete yet helps more
at three in the morning than one that does not come.

The numbers: scheduler/store/statistics.py and forecast.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.formats import number_format
from django.utils.timezone import get_current_timezone_name, localtime
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from scheduler.admin import formatting
from scheduler.admin.liveness import is_alive, missing_parts
from scheduler.conf import current
from scheduler.labels import label, label_of
from scheduler.models import SchedulerProcess
from scheduler.operations.control import Control
from scheduler.operations.permissions import Action, may
from scheduler.states import ProcessKind, RunStatus
from scheduler.store import forecast, statistics
from scheduler.store.statistics import HOUR, Capped, Hour

NOW_SECONDS: Final = 5
CHARTS_SECONDS: Final = 60
LISTED: Final = 10
NEXT_RUNS: Final = 30
PROCESSES: Final = 50
DAY: Final = timedelta(days=1)
#: Runs that wait so long while workers are alive are worth a word.
LONG_WAIT: Final = timedelta(minutes=5)
# What is not known yet is computed until then, from the beginning of the charts on; the page is
# shown without the rest.
_HOURS_SECONDS: Final = 0.04
_FORECAST_SECONDS: Final = 0.08
_HOUR_OF_RUNS_SECONDS: Final = 0.1
#: The comparison of speeds is one piece and may take longer than all before it: it is not begun
#: later than this, unless all before it was known.
_SPEEDS_WITHIN_SECONDS: Final = 0.03
#: Until all is there the charts ask again soon.
_PARTIAL_SECONDS: Final = 2


@dataclass(frozen=True, kw_only=True)
class Card:
    """A number with a name. `parts`: (text, address) of what it consists of; no `url` where no
    one list shows it all.
    """

    title: str
    value: str
    meaning: str = "calm"
    url: str = ""
    parts: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class Column:
    label: str
    colour: str
    stack: str = ""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A table that dashboard_charts.js also draws. Cells: (what is drawn, what is read)."""

    name: str
    title: str
    kind: str
    first: str
    columns: Sequence[Column]
    rows: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    now_label: str = ""
    note: str = ""
    unit: str = ""


def index(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The context of the admin's index (UNFOLD's DASHBOARD_CALLBACK)."""
    sees = _sees(request)
    if not (sees["jobs"] or sees["executions"] or sees["processes"]):
        return {**context, "title": _("Welcome"), "sees": sees, "sees_nothing": True}
    days = _days(request)
    now = Control().clock.now()
    from_hour = _from_hour(request, now)
    charts = _charts(now, sees, days)
    return {
        **context,
        "title": _("Dashboard"),
        "now_url": reverse("dashboard-now", query=_from_query(from_hour)),
        "now_seconds": NOW_SECONDS,
        "charts_url": f"{reverse('dashboard-charts')}?days={days}",
        "charts_seconds": CHARTS_SECONDS,
        "partial_seconds": _PARTIAL_SECONDS,
        "days": days,
        "zone": get_current_timezone_name(),
        **_now(now, sees, from_hour),
        **charts,
    }


def now_part(request: HttpRequest) -> HttpResponse:
    """What changes by the second: each piece by its id."""
    now, sees = Control().clock.now(), _sees(request)
    context = _now(now, sees, _from_hour(request, now))
    return render(request, "scheduler/dashboard/now.html", context)


def charts_part(request: HttpRequest) -> HttpResponse:
    """The charts' tables and the slow jobs: each piece by its id."""
    now, sees = Control().clock.now(), _sees(request)
    context = _charts(now, sees, _days(request))
    response = render(request, "scheduler/dashboard/charts.html", context)
    if "until_complete" in request.GET and not context["is_partial"]:
        response["X-Live"] = "done"
    return response


def _sees(request: HttpRequest) -> dict[str, bool]:
    return {
        "jobs": may(request.user, Action.VIEW_JOBS),
        "executions": may(request.user, Action.VIEW_EXECUTIONS),
        "processes": may(request.user, Action.VIEW_PROCESSES),
    }


def _days(request: HttpRequest) -> int:
    return 7 if request.GET.get("days") == "7" else 1


# --- now ------------------------------------------------------------------------------------------


def _now(now: datetime, sees: Mapping[str, bool], from_hour: datetime | None) -> dict[str, Any]:
    context: dict[str, Any] = {"sees": sees, "cards": []}
    problems = [("bad", text) for text in missing_parts(now)]
    if sees["executions"]:
        waiting = statistics.waiting(now)
        context["cards"] += _execution_cards(now, waiting)
        context["running"] = _running(now)
        if waiting.oldest_at and now - waiting.oldest_at > LONG_WAIT:
            since = formatting.span((now - waiting.oldest_at).total_seconds())
            problems.append(("warn", _("A run has been waiting for a worker for %s.") % since))
    if sees["jobs"]:
        jobs = statistics.job_counts(now)
        failing, failing_count = statistics.failing_jobs(LISTED)
        context["cards"].append(_job_card(jobs))
        context["failing"] = _failing(now, failing, failing_count)
        context["next_runs"] = _next_runs(now, from_hour)
        context["from_hours"] = _hours_to_choose(now, from_hour)
        problems += _job_problems(jobs, failing_count)
    processes = statistics.processes(PROCESSES)
    if sees["processes"]:
        context["parts"] = _parts(now, processes)
    health = _health(now, problems, processes, sees_jobs=sees["jobs"])
    return {**context, "health": health, "seen_at": formatting.exact(now)}


def _health(
    now: datetime,
    problems: Sequence[tuple[str, str]],
    processes: Sequence[SchedulerProcess],
    *,
    sees_jobs: bool,
) -> dict[str, str]:
    """One sentence, or several when several things are wrong. The worst gives the colour. For who
    may not see jobs nobody has looked at their runs.
    """
    if problems:
        meaning = "bad" if any(meaning == "bad" for meaning, _text in problems) else "warn"
        return {"meaning": meaning, "text": " ".join(text for _meaning, text in problems)}
    alive = [process.kind for process in processes if is_alive(process.heartbeat_at, now)]
    beats, workers = alive.count(ProcessKind.BEAT), alive.count(ProcessKind.WORKER)
    counts = {
        "beats": ngettext("%(count)s beat", "%(count)s beats", beats) % {"count": beats},
        "workers": ngettext("%(count)s worker", "%(count)s workers", workers) % {"count": workers},
    }
    text = (
        _("All is well: %(beats)s and %(workers)s are alive, and no job's last run failed.")
        if sees_jobs
        else _("All is well: %(beats)s and %(workers)s are alive.")
    )
    return {"meaning": "good", "text": text % counts}


def _job_problems(jobs: statistics.JobCounts, failing: Capped) -> list[tuple[str, str]]:
    found = []
    if jobs.overdue:
        text = ngettext(
            "%(count)s job is overdue: no beat looks at it.",
            "%(count)s jobs are overdue: no beat looks at them.",
            jobs.overdue,
        )
        found.append(("bad", text % {"count": _number(jobs.overdue)}))
    if failing.value:
        text = ngettext(
            "The last run of %(count)s job failed.",
            "The last runs of %(count)s jobs failed.",
            failing.value,
        )
        found.append(("warn", text % {"count": _count(failing)}))
    if jobs.broken:
        text = ngettext(
            "%(count)s job has a schedule that cannot be used.",
            "%(count)s jobs have schedules that cannot be used.",
            jobs.broken,
        )
        found.append(("warn", text % {"count": _number(jobs.broken)}))
    return found


def _execution_cards(now: datetime, waiting: statistics.Waiting) -> list[Card]:
    ended = statistics.ended_since(now - DAY)
    plus = "+" if ended.is_capped else ""
    failed, timed_out = ended.of(RunStatus.FAILED), ended.of(RunStatus.TIMEOUT)
    oldest: Sequence[tuple[str, str]] = ()
    if waiting.oldest_at:
        wait = formatting.span(max(0.0, (now - waiting.oldest_at).total_seconds()))
        oldest = ((_("the oldest for %s") % wait, _runs(status__exact=RunStatus.PENDING)),)
    return [
        Card(
            title=_("Running"),
            value=_count(statistics.running_count()),
            meaning="busy",
            url=_runs(status__exact=RunStatus.RUNNING),
        ),
        Card(
            title=_("Waiting"),
            value=_count(waiting.count),
            url=_runs(status__exact=RunStatus.PENDING),
            parts=oldest,
        ),
        Card(
            title=_("Failed in 24 h"),
            value=_number(failed + timed_out) + plus,
            meaning="bad" if failed + timed_out else "calm",
            parts=(
                (
                    _("%(count)s failed") % {"count": _number(failed) + plus},
                    _runs(status__exact=RunStatus.FAILED, ended="24h"),
                ),
                (
                    _("%(count)s timed out") % {"count": _number(timed_out) + plus},
                    _runs(status__exact=RunStatus.TIMEOUT, ended="24h"),
                ),
            ),
        ),
        Card(
            title=_("Succeeded in 24 h"),
            value=_number(ended.of(RunStatus.SUCCESS)) + plus,
            meaning="good",
            url=_runs(status__exact=RunStatus.SUCCESS, ended="24h"),
        ),
    ]


def _job_card(jobs: statistics.JobCounts) -> Card:
    parts = [
        (_("%(count)s paused") % {"count": _number(jobs.paused)}, _jobs(state="paused")),
        (_("%(count)s disabled") % {"count": _number(jobs.disabled)}, _jobs(state="disabled")),
        (_("%(count)s in error") % {"count": _number(jobs.broken)}, _jobs(state="error")),
    ]
    return Card(
        title=_("Enabled jobs"),
        value=_number(jobs.enabled),
        url=_jobs(state="enabled"),
        parts=parts,
    )


def _running(now: datetime) -> dict[str, Any]:
    rows = []
    for run in statistics.longest_running(LISTED):
        took = (now - run.started_at).total_seconds() if run.started_at else 0.0
        rows.append(
            {
                "url": _run(run.pk),
                "number": f"#{run.pk}",
                "name": run.job_name or run.handler_name,
                "took": formatting.span(max(0.0, took)),
                "is_long": took > run.timeout_seconds * 0.8,
                "timeout": formatting.span(run.timeout_seconds),
                "percent": _percent(run.progress),
                "message": run.progress_message,
                "worker": run.lease_owner,
                "is_stopping": run.cancel_requested_at is not None,
            }
        )
    return {"rows": rows, "url": _runs(status__exact=RunStatus.RUNNING)}


def _percent(progress: float | None) -> int | None:
    return None if progress is None else round(min(max(progress, 0.0), 100.0))


def _failing(
    now: datetime, failing: Sequence[statistics.FailingJob], count: Capped
) -> dict[str, Any]:
    rows = [
        {
            "url": _job(found.job.pk),
            "name": found.job.name,
            "status": formatting.status(found.job.last_status),
            "since": formatting.instant(found.since, now),
            "failures": f"{found.failures}{'+' if found.is_longer else ''}",
            "run_url": _run(found.last_execution_id) if found.last_execution_id else "",
            "run": f"#{found.last_execution_id}",
        }
        for found in failing
    ]
    more = count.value - len(rows)
    return {
        "rows": rows,
        "more": _number(more) if more > 0 else "",
        "url": _jobs(last="failing"),
    }


def _from_hour(request: HttpRequest, now: datetime) -> datetime | None:
    """The hour that the reader asks about; None: what comes next, or no hour of the next day."""
    wanted = request.GET.get("from", "")
    return next((start for start in _coming_hours(now) if _hour_value(start) == wanted), None)


def _from_query(from_hour: datetime | None) -> dict[str, str]:
    return {} if from_hour is None else {"from": _hour_value(from_hour)}


def _coming_hours(now: datetime) -> list[datetime]:
    this_hour = now - _past_the_hour(now)
    return [this_hour + HOUR * number for number in range(1, 25)]


def _hour_value(start: datetime) -> str:
    return start.strftime("%Y-%m-%dT%H:%MZ")


def _hours_to_choose(now: datetime, from_hour: datetime | None) -> list[tuple[str, str, bool]]:
    """(value, text, is chosen) for each whole hour of the next day, and before them: now."""
    hours = [(_hour_value(start), _hour(start), start == from_hour) for start in _coming_hours(now)]
    return [("", _("from now on"), from_hour is None), *hours]


def _next_runs(now: datetime, from_hour: datetime | None) -> list[dict[str, Any]]:
    if from_hour is None:
        found = forecast.next_runs(now, NEXT_RUNS, settings=current())
    else:
        found = _runs_of_hour(now, from_hour)
    return [
        {
            "at": formatting.instant(run.at),
            "distance": formatting.distance(run.at, now),
            "url": _job(run.job_id),
            "name": run.job_name,
            "handler": run.handler_name,
            "schedule": formatting.code(run.cron_expression),
            "zone": run.timezone,
        }
        for run in found
    ]


def _runs_of_hour(now: datetime, start: datetime) -> list[forecast.PlannedRun]:
    key = f"jobu.runs.{start.timestamp():.0f}"
    found: list[forecast.PlannedRun] | None = cache.get(key)
    if found is None:
        clock = Control().clock
        until = clock.monotonic() + _HOUR_OF_RUNS_SECONDS
        found = forecast.runs_of_hour(
            now, start, NEXT_RUNS, settings=current(), is_late=lambda: clock.monotonic() > until
        )
        # Soon asked again if there was not enough time for all.
        cache.set(key, found, CHARTS_SECONDS if clock.monotonic() <= until else NOW_SECONDS - 1)
    return found


def _parts(now: datetime, processes: Sequence[SchedulerProcess]) -> dict[str, Any]:
    rows = []
    for process in processes:
        alive = is_alive(process.heartbeat_at, now)
        age = max(0.0, (now - process.heartbeat_at).total_seconds())
        rows.append(
            {
                "name": process.name,
                "kind": label_of(ProcessKind, process.kind),
                "state": formatting.badge(
                    _("alive") if alive else _("silent"), "good" if alive else "bad"
                ),
                "age": _("%s ago") % formatting.span(round(age)),
                "running": process.running,
            }
        )
    return {"rows": rows, "url": reverse("admin:scheduler_schedulerprocess_changelist")}


# --- charts ---------------------------------------------------------------------------------------

_STATUS_COLOURS: Final = {
    RunStatus.SUCCESS: "good",
    RunStatus.FAILED: "bad",
    RunStatus.TIMEOUT: "late",
    RunStatus.CANCELLED: "warn",
    RunStatus.SKIPPED: "calm",
}


def _charts(now: datetime, sees: Mapping[str, bool], days: int) -> dict[str, Any]:
    clock = Control().clock
    began = clock.monotonic()

    def within(seconds: float) -> Callable[[], bool]:
        """Says when so many seconds from the beginning are over."""
        return lambda: clock.monotonic() > began + seconds

    # Hours of the reader's wall clock.
    this_hour = now - _past_the_hour(now)
    context: dict[str, Any] = {"sees": sees, "is_partial": False}
    notes: list[str] = []
    past: Sequence[Hour | None] = ()
    is_all_known = True
    if sees["executions"]:
        wanted = 24 * days + 1
        hours = statistics.hours_until(this_hour, wanted, is_late=within(_HOURS_SECONDS))
        past, is_all_known = hours.hours, not hours.counted
        if hours.missing:
            text = _("%(missing)s of %(count)s hours are still being counted.")
            notes.append(text % {"missing": hours.missing, "count": wanted})
    context["throughput"] = _throughput(past, days, " ".join(notes))
    context["durations"] = _durations(past, days, " ".join(notes))
    planned: Sequence[int] = ()
    if sees["jobs"]:
        plan, is_known = _planned(now, this_hour, within(_FORECAST_SECONDS))
        planned, is_all_known = plan.counts, is_all_known and is_known
        if plan.uncounted_jobs:
            text = ngettext(
                "The planned runs of %(count)s job are still being counted.",
                "The planned runs of %(count)s jobs are still being counted.",
                plan.uncounted_jobs,
            )
            notes.append(text % {"count": _number(plan.uncounted_jobs)})
    context["timeline"] = _timeline(this_hour, past[-25:], planned, " ".join(notes))
    context["is_partial"] = bool(notes)
    if sees["jobs"] and sees["executions"]:
        is_late = within(_SPEEDS_WITHIN_SECONDS)
        speeds = _speeds(now, may_count=is_all_known or not is_late())
        context["speeds"] = speeds
        context["is_partial"] = context["is_partial"] or speeds is None
    return context


def _past_the_hour(now: datetime) -> timedelta:
    local = localtime(now)
    return timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)


def _planned(
    now: datetime, this_hour: datetime, is_late: Callable[[], bool]
) -> tuple[forecast.Forecast, bool]:
    """And whether it was known."""
    key = f"jobu.forecast.{this_hour.timestamp():.0f}"
    known = cache.get(key)
    if isinstance(known, forecast.Forecast):
        return known, True
    found = forecast.planned_by_hour(now, this_hour, 25, settings=current(), is_late=is_late)
    if not found.uncounted_jobs:
        cache.set(key, found, CHARTS_SECONDS)
    return found, False


def _speeds(now: datetime, *, may_count: bool) -> dict[str, Any] | None:
    """None: they are not known."""
    found = cache.get("jobu.speeds")
    if found is None:
        if not may_count:
            return None
        found = statistics.speeds(now, LISTED)
        cache.set("jobu.speeds", found, CHARTS_SECONDS)
    return {
        "slowest": [_speed(speed) for speed in found.slowest],
        "slowing": [_speed(speed) for speed in found.slowing],
    }


def _speed(speed: statistics.JobSpeed) -> dict[str, Any]:
    earlier, times = speed.earlier_mean_seconds, speed.times_slower
    return {
        "url": _job(speed.job_id),
        "name": speed.name,
        "runs": _number(speed.runs),
        "mean": formatting.span(speed.mean_seconds),
        "longest": formatting.span(speed.max_seconds),
        "earlier": formatting.span(earlier) if earlier is not None else formatting.NOTHING,
        "times": _("%s times") % number_format(times, 1)
        if times is not None
        else formatting.NOTHING,
    }


def _timeline(
    this_hour: datetime, past: Sequence[Hour | None], planned: Sequence[int], note: str
) -> Chart:
    """What ended, and from this hour on what is planned: one axis through the present."""
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
        cells.append(("", "") if coming is None else (str(coming), _number(coming)))
        rows.append((_hour(this_hour + HOUR * offset), cells))
    return Chart(
        name="timeline",
        title=_("The last 24 hours and the next 24"),
        kind="stacked",
        first=_("hour"),
        columns=columns,
        rows=rows,
        now_label=_hour(this_hour),
        note=note,
    )


def _cell(ended: Hour | None, status: RunStatus) -> tuple[str, str]:
    if ended is None:
        return "", "..."
    count = ended.counts.get(status.value, 0)
    return str(count), _number(count) + ("+" if ended.is_capped else "")


def _throughput(past: Sequence[Hour | None], days: int, note: str) -> Chart:
    rows = []
    for ended in past:
        if ended is None:
            continue
        total = sum(ended.counts.values()) - ended.counts.get(RunStatus.SKIPPED.value, 0)
        trouble = sum(ended.counts.get(status, 0) for status in statistics.TROUBLE)
        plus = "+" if ended.is_capped else ""
        cells = [(str(total), _number(total) + plus), (str(trouble), _number(trouble) + plus)]
        rows.append((_hour(ended.start), cells))
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
        (_hour(ended.start), [_seconds(ended.percentile(50)), _seconds(ended.percentile(95))])
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


def _seconds(value: float | None) -> tuple[str, str]:
    return ("", formatting.NOTHING) if value is None else (f"{value:.3f}", formatting.span(value))


def _hour(start: datetime) -> str:
    return localtime(start).strftime("%m-%d %H:%M")


# --- words and addresses --------------------------------------------------------------------------


def _number(value: int) -> str:
    return number_format(value, force_grouping=True)


def _count(value: Capped) -> str:
    return _number(value.value) + ("+" if value.is_capped else "")


def _runs(**query: str) -> str:
    return reverse("admin:scheduler_jobexecution_changelist", query=query)


def _jobs(**query: str) -> str:
    return reverse("admin:scheduler_cronjob_changelist", query=query)


def _run(execution_id: int) -> str:
    return reverse("admin:scheduler_jobexecution_change", args=[execution_id])


def _job(job_id: int) -> str:
    return reverse("admin:scheduler_cronjob_change", args=[job_id])
