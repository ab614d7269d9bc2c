"""The context of a job's page around its form, and the part of it that live.js updates."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.contrib.admin.utils import quote
from django.urls import NoReverseMatch
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext, pgettext

from scheduler.admin import formatting, live
from scheduler.admin.explain_job import explain_job
from scheduler.admin.jobs import columns, moving_pages, slot, sparkline, switching
from scheduler.admin.jobs.preview import moved_from
from scheduler.admin.liveness import missing_parts
from scheduler.admin.site import reverse
from scheduler.conf import current
from scheduler.labels import label_of
from scheduler.models import CronJob, JobExecution
from scheduler.operations.drift import drift_of
from scheduler.operations.frozen import known_freezes
from scheduler.operations.permissions import Action, may
from scheduler.schedule import ScheduleError, schedule_of
from scheduler.states import ParamSource
from scheduler.store import alerts
from scheduler.store.recent_runs import recent_runs

LAST_RUNS: Final = 30
# Longer values are cut.
_LONGEST: Final = 1000


def around_form(job: CronJob, now: datetime, person: Any) -> dict[str, Any]:
    """Returns the context around the form of an existing job."""
    shown = moving(job, now, person)
    return {
        "job": job,
        "pause_end": formatting.instant(job.paused_until, now) if job.paused_until else "",
        "missing_parts": missing_parts(now),
        "explanation": explain_job(job, now),
        "slot_url": slot.url_of(job),
        "compare_url": reverse("admin:scheduler_cronjob_compare", args=[job.pk]),
        "zone": formatting.SCREEN_ZONE,
        **_drift(job, person),
        **moving_pages.links(job, person),
        "unfinished_switch": switching.unfinished(job),
        "live_url": reverse("admin:scheduler_cronjob_live", args=[job.pk]),
        "live_mark": mark_of(job, shown["runs"], now),
        **shown,
    }


def _drift(job: CronJob, person: Any) -> dict[str, Any]:
    """Returns how the job differs from the file that keeps it, and who has edited it."""
    drift = drift_of(job, sees_params=may(person, Action.VIEW_PARAMS), longest=_LONGEST)
    if drift is None:
        return {}
    facts = {
        "source": drift.source,
        "applied_by": drift.applied_by,
        "applied_at": formatting.exact(drift.applied_at),
    }
    if drift.edited_by is not None and drift.edited_at is not None:
        text = gettext("Edited by %(who)s at %(when)s: it differs from %(source)s.")
        when = formatting.exact(drift.edited_at)
        edited = text % {"who": drift.edited_by, "when": when, "source": drift.source}
    else:
        text = gettext("It differs from %(source)s, and the history does not say who changed it.")
        edited = text % {"source": drift.source}
    kept = gettext("Kept in %(source)s, applied by %(applied_by)s at %(applied_at)s.") % facts
    return {"kept_in": kept, "drift": drift.changes, "edited": edited}


def moving(job: CronJob, now: datetime, person: Any) -> dict[str, Any]:
    """Returns the context that changes: the next run, the last runs, the strip of outcomes."""
    sees_runs = may(person, Action.VIEW_EXECUTIONS)
    runs = _newest_runs(job) if sees_runs else []
    outcomes = recent_runs([job.pk], sparkline.STRIP_LENGTH).get(job.pk, [])
    runs_url = reverse("admin:scheduler_jobexecution_changelist")
    return {
        "runs": runs,
        "sees_runs": sees_runs,
        "glance": [
            (gettext("state"), columns.state_badge(job)),
            (gettext("next run"), _next_run(job, now)),
            (gettext("last result"), columns.last_result(job, now)),
            (gettext("took"), sparkline.durations(outcomes)),
            (gettext("last runs"), sparkline.strip(outcomes, linked=sees_runs)),
            *([(gettext("limits"), text)] if (text := _limits(job)) else []),
            *([(gettext("alerts"), _alerts(job))] if may(person, Action.VIEW_ALERTS) else []),
        ],
        "last_runs": _table_of(runs, now),
        "all_runs_url": f"{runs_url}?job__id__exact={job.pk}",
        "backfill_url": _backfill_url(job) if may(person, Action.RUN_JOB) else "",
    }


def _limits(job: CronJob) -> SafeString | str:
    """Returns its own limit and its group, with the way to what waits in it."""
    own = "" if job.max_running is None else str(job.max_running)
    if not job.concurrency_group:
        return own
    group = formatting.link(reverse("admin:groups"), job.concurrency_group)
    return format_html("{}, {}", own, group) if own else group


def _next_run(job: CronJob, now: datetime) -> SafeString | str:
    """Returns the next run, and from which day the calendar has moved it."""
    shown = columns.next_run(job, now, known_freezes(job, now, current()))
    if not (job.is_enabled and job.next_run_at and job.calendar):
        return shown
    try:
        day = schedule_of(job, current()).moved_from(job.next_run_at)
    except (ScheduleError, ValueError, OSError):  # written by SQL; the page says what is wrong
        return shown
    if day is None:
        return shown
    by = gettext("by the calendar %(name)s") % {"name": job.calendar.partition(":")[0]}
    return format_html('{}<br><span class="text-xs">{} {}</span>', shown, moved_from(day), by)


def _alerts(job: CronJob) -> SafeString:
    """Returns a link to the alerts of the job, with the number of those that are open."""
    count = alerts.open_count(job.pk)
    query = {"job_id__exact": job.pk, **({"open": "yes"} if count else {})}
    url = reverse("admin:scheduler_alert_changelist", query=query)
    text = ngettext("%(count)s open", "%(count)s open", count) % {"count": count}
    return formatting.link(url, text if count else gettext("none open"))


def mark_of(job: CronJob, runs: list[JobExecution], now: datetime) -> str:
    """Returns a mark that changes with the content, and each minute because of relative times."""
    shown = [(run.pk, run.status, run.attempt, run.started_at, run.finished_at) for run in runs]
    state = (job.is_enabled, job.schedule_error, job.next_run_at, job.last_run_at, job.last_status)
    return live.mark_of(state, shown, now.replace(second=0, microsecond=0))


def _newest_runs(job: CronJob) -> list[JobExecution]:
    """Returns the newest executions, read from the index on (job, scheduled_time)."""
    newest = JobExecution.objects.filter(job_id=job.pk).order_by("-scheduled_time")
    return list(
        newest.only(
            "id", "scheduled_time", "logical_time", "status", "param_source", "attempt",
            "started_at", "finished_at",
        )[:LAST_RUNS]
    )  # fmt: skip


def _table_of(runs: list[JobExecution], now: datetime) -> dict[str, Any]:
    rows = [
        (
            _choice(run),
            formatting.link(
                reverse("admin:scheduler_jobexecution_change", args=[quote(run.pk)]), f"#{run.pk}"
            ),
            formatting.status(run.status),
            formatting.slot(run),
            formatting.distance(run.slot, now),
            label_of(ParamSource, run.param_source),
            run.attempt,
            formatting.duration_between(run.started_at, run.finished_at),
        )
        for run in runs
    ]
    headers = [
        gettext("choose"),
        gettext("execution"), gettext("status"), gettext("slot"),
        pgettext("of a past run", "distance"), gettext("source"), gettext("attempts"),
        gettext("took"),
    ]  # fmt: skip
    return {"headers": headers, "rows": rows}


def _choice(run: JobExecution) -> SafeString:
    """Returns a box of the form that compares two runs.

    By its id live.js never takes the box of one run for that of another.
    """
    return format_html(
        '<input type="checkbox" id="choose-{}" name="run" value="{}" form="compare-runs" '
        'aria-label="{}">',
        run.pk,
        run.pk,
        gettext("choose execution #%(id)s") % {"id": run.pk},
    )


def _backfill_url(job: CronJob) -> str:
    try:
        return f"{reverse('admin:scheduler_backfill_add')}?job={job.pk}"
    except NoReverseMatch:
        return ""
