"""The part of the front page that changes every few seconds: health, cards and their tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from scheduler.admin import formatting, workers
from scheduler.admin.dashboard import cards, limits, links, next_runs, wording
from scheduler.admin.dashboard.cards import GOES_ON
from scheduler.admin.dashboard.health import health_of, job_problems
from scheduler.admin.liveness import encoding_problem, missing_parts
from scheduler.admin.site import reverse, worker_url
from scheduler.failure_kinds import first_line
from scheduler.labels import label_of
from scheduler.models import SchedulerProcess
from scheduler.operations.freezes import FreezeControl
from scheduler.operations.liveness import OVERDUE_AFTER
from scheduler.states import ProcessKind
from scheduler.store import job_trends, statistics
from scheduler.store.statistics import Capped


def now_context(
    now: datetime, sees: Mapping[str, bool], from_hour: datetime | None
) -> dict[str, Any]:
    context: dict[str, Any] = {"sees": sees, "cards": []}
    problems = [("bad", text) for text in (*missing_parts(now), encoding_problem()) if text]
    if sees["executions"]:
        waiting = statistics.waiting(now)
        context["cards"] += cards.execution_cards(now, waiting)
        context["running"] = _running(now)
        if waiting.oldest_at and now - waiting.oldest_at > limits.LONG_WAIT:
            since = formatting.span((now - waiting.oldest_at).total_seconds())
            problems.append(("warn", _("A run has been waiting for a worker for %s.") % since))
    if sees["jobs"]:
        jobs = statistics.job_counts(overdue_before=now - OVERDUE_AFTER)
        failing, failing_count = job_trends.failing_jobs(limits.LISTED)
        context["cards"].append(cards.job_card(jobs))
        context["failing"] = _failing(now, failing, failing_count, sees_runs=sees["executions"])
        context["next_runs"] = next_runs.rows(now, from_hour)
        context["from_hours"] = next_runs.hours_to_choose(now, from_hour)
        problems += job_problems(jobs, failing_count)
        problems += _freezes()
    processes = statistics.processes(limits.PROCESSES)
    if sees["processes"]:
        context["parts"] = _parts(now, processes)
    health = health_of(now, problems, processes, sees_jobs=sees["jobs"])
    return {**context, "health": health, "seen_at": formatting.exact(now)}


def _freezes() -> list[tuple[str, str]]:
    text = _("The freeze “%(name)s” holds until %(until)s: %(reason)s.")
    return [
        (
            "warn",
            text % {"name": freeze.name, "until": formatting.exact(until), "reason": freeze.reason},
        )
        for freeze, until in FreezeControl().holding_now()
    ]


def _running(now: datetime) -> dict[str, Any]:
    rows = []
    for run in statistics.longest_running(limits.LISTED):
        took = (now - run.started_at).total_seconds() if run.started_at else 0.0
        rows.append(
            {
                "url": links.run(run.pk),
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
    return {"rows": rows, "url": links.runs(now=GOES_ON)}


def _percent(progress: float | None) -> int | None:
    return None if progress is None else round(min(max(progress, 0.0), 100.0))


def _failing(
    now: datetime, failing: Sequence[job_trends.FailingJob], count: Capped, *, sees_runs: bool
) -> dict[str, Any]:
    rows = [
        {
            "url": links.job(found.job.pk),
            "name": found.job.name,
            "status": formatting.status(found.job.last_status),
            "since": formatting.instant(found.since, now),
            "failures": f"{found.failures}{'+' if found.is_longer else ''}",
            "run_url": links.run(found.last_execution_id) if found.last_execution_id else "",
            "run": f"#{found.last_execution_id}",
            "error": first_line(found.error) if sees_runs else "",
        }
        for found in failing
    ]
    more = count.value - len(rows)
    return {
        "rows": rows,
        "more": wording.number(more) if more > 0 else "",
        "url": links.jobs(last="failing"),
    }


def _parts(now: datetime, processes: Sequence[SchedulerProcess]) -> dict[str, Any]:
    rows = []
    for process in processes:
        age = max(0.0, (now - process.heartbeat_at).total_seconds())
        rows.append(
            {
                "name": process.name,
                "url": worker_url(process.name),
                "kind": label_of(ProcessKind, process.kind),
                "state": workers.state_badge(process, now),
                "age": _("%s ago") % formatting.span(round(age)),
                "running": process.running,
            }
        )
    return {"rows": rows, "url": reverse("admin:scheduler_schedulerprocess_changelist")}
