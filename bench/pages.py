"""How long each page takes with many jobs and a long history.

Fills a private database (10,000 jobs, a million executions), logs in and requests each page of the
admin several times, inside this process. The times are those that a browser waits for, without the
network. Prints one line of JSON with the median and the slowest answer of each page in
milliseconds. They include the first answer, whose caches are as cold as after a deployment. Ends
with 1 if a median or a first answer is over the limit. If `load` is far above `cores`, the machine
was busy with other work: then look at `cpu_ms` and `min_ms`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from bench.environment import DATABASES, private_jobu
from bench.rows import Goal, Row, emit

TIMES = 5
LIMIT_MS = 300


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench pages", description=__doc__)
    parser.add_argument("--database", choices=list(DATABASES), default="sqlite")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--executions", type=int, default=1_000_000)
    parser.add_argument("--limit-ms", type=float, default=LIMIT_MS)
    options = parser.parse_args(argv)
    if not 0 < options.jobs <= options.executions:
        parser.error("there must be a job, and no fewer executions than jobs")
    with private_jobu(options.database):
        from bench.seed import seed
        from scheduler.store.connection import database_now

        started = time.perf_counter()
        seed(jobs=options.jobs, executions=options.executions, now=database_now())
        seeded = time.perf_counter() - started
        figures = measure()
    slow = {
        name: figure
        for name, figure in figures.items()
        if max(figure["median_ms"], figure["first_ms"]) > options.limit_ms
    }
    report = {
        "bench": "pages",
        "database": options.database,
        "jobs": options.jobs,
        "executions": options.executions,
        "seed_seconds": round(seeded, 1),
        "limit_ms": options.limit_ms,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "slowest_median_ms": max(figure["median_ms"] for figure in figures.values()),
        "over_limit": sorted(slow),
        "pages": figures,
    }
    print(json.dumps(report))
    emit([_row(options.database, options.jobs, options.executions, figures)])
    return int(bool(slow))


def _row(database: str, jobs: int, executions: int, figures: dict[str, Any]) -> Row:
    slowest = max(figures, key=lambda name: figures[name]["median_ms"])
    return Row(
        row=f"pages, {jobs:,} jobs and {executions:,} runs: slowest median",
        database=database,
        unit="ms",
        ours=figures[slowest]["median_ms"],
        goal=Goal(at_most=200),
        less_is_better=True,
        more={"slowest": slowest, "pages": len(figures)},
    )


def measure() -> dict[str, Any]:
    """Returns per page its times, its CPU time in this process and its number of statements."""
    from django.conf import settings
    from django.contrib.auth import get_user_model
    from django.core.cache import cache
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    settings.ALLOWED_HOSTS = ["testserver"]
    user, _ = get_user_model().objects.get_or_create(
        username="bench", defaults={"is_staff": True, "is_superuser": True}
    )
    client = Client()
    client.force_login(user)
    client.get("/admin/login/")  # loads the imports and templates that every page shares
    figures = {}
    for name, address in pages():
        cache.clear()
        times, cpu = [], []
        for _turn in range(TIMES):
            started, spent = time.perf_counter(), time.process_time()
            response = client.get(address)
            times.append((time.perf_counter() - started) * 1000)
            cpu.append((time.process_time() - spent) * 1000)
            if response.status_code != 200:
                print(f"{name}: {address} answered {response.status_code}", file=sys.stderr)
                raise SystemExit(1)
        with CaptureQueriesContext(connection) as statements:
            client.get(address)
        figures[name] = {
            "median_ms": round(statistics.median(times), 1),
            "first_ms": round(times[0], 1),
            "min_ms": round(min(times), 1),
            "max_ms": round(max(times), 1),
            "cpu_ms": round(statistics.median(cpu), 1),
            "statements": len(statements),
        }
    return figures


def pages() -> Iterator[tuple[str, str]]:
    """Yields (name, address) of every page that may be slow: lists by filter, search and order."""
    from django.urls import reverse

    from scheduler.models import CronJob, JobExecution, SchedulerProcess

    job = CronJob.objects.order_by("id")[5]
    newest = JobExecution.objects.order_by("-id")[1000]
    failed = JobExecution.objects.filter(status="FAILED")
    logged = JobExecution.objects.filter(logs__isnull=False).order_by("-id")[0]
    assert SchedulerProcess.objects.exists()

    yield "dashboard", reverse("admin:index")
    yield "dashboard, 7 days", reverse("admin:index", query={"days": "7"})
    yield "dashboard, what is live", reverse("admin:dashboard-now")
    yield "dashboard, charts", reverse("admin:dashboard-charts")

    runs = reverse("admin:scheduler_jobexecution_changelist")
    yield "executions", runs
    for name, query in {
        "page 2": "p=2",
        "a deep page": f"p={_deep(JobExecution.objects.all())}",
        "oldest first": "o=1",
        "one job": f"job__id__exact={job.pk}",
        "succeeded": "status__exact=SUCCESS",
        "failed": "status__exact=FAILED",
        "failed, a deep page": f"status__exact=FAILED&p={_deep(failed)}",
        "cancelled": "status__exact=CANCELLED",
        "running": "status__exact=RUNNING",
        "waiting": "status__exact=PENDING",
        "what goes on": "now=going_on",
        "what waits for approval": "now=approval",
        "by hand": "param_source__exact=manual",
        "backfilled": "param_source__exact=backfill",
        "one handler": f"handler={newest.handler_name}",
        "failed of one handler": f"handler={newest.handler_name}&status__exact=FAILED",
        "failed of one job": f"job__id__exact={job.pk}&status__exact=FAILED",
        "one day": _day(newest.scheduled_time, "scheduled_time"),
        "one day of one job": _day(newest.scheduled_time, "scheduled_time")
        + f"&job__id__exact={job.pk}",
        "failed of one day": _day(newest.scheduled_time, "scheduled_time")
        + "&status__exact=FAILED",
        "ended in 24 h": "ended=24h",
        "failed in 24 h": "ended=24h&status__exact=FAILED",
        "search by number": f"q={newest.pk}",
        "search by job": f"q={job.name.split()[1]}",
        "search by a common word": "q=job",
        "search by handler": "q=report_7",
        "search for nothing": "q=nosuchthing",
        "one queue": "queue=slow",
        "one tag": "tag=nosuchtag",
        "one worker": "worker=nosuchworker",
        "text of the error": "error=nosuchtext",
        "lines in the log": "level=ERROR",
        "a kind of failure": f"failure={_kind_of_failure()}",
    }.items():
        yield f"executions, {name}", f"{runs}?{query}"

    failures = reverse("admin:failures")
    yield "failures", failures
    for name, query in {
        "90 days, all": "days=90&state=all",
        "text": "q=nosuchtext",
        "one queue": "queue=slow",
        "one job": f"job={job.name}",
    }.items():
        yield f"failures, {name}", f"{failures}?{query}"
    yield "failure", reverse("admin:failure", args=[_kind_of_failure()])
    yield "activity", reverse("admin:activity")
    yield "activity, nobody", reverse("admin:activity", query={"who": "nosuchperson"})
    yield (
        "search in logs",
        reverse(
            "admin:scheduler_jobexecution_search_logs", query={"job": job.name, "q": "nosuchtext"}
        ),
    )
    yield "palette", reverse("admin:palette", query={"q": "job"})

    jobs = reverse("admin:scheduler_cronjob_changelist")
    yield "jobs", jobs
    for name, query in {
        "page 2": "p=2",
        "a deep page": f"p={_deep(CronJob.objects.all())}",
        "enabled": "state=enabled",
        "paused": "state=paused",
        "in error": "state=error",
        "failed last": "last=FAILED",
        "one handler": f"handler={job.handler_name}",
        "one queue": "queue=slow",
        "search": "q=00042",
        "search with a time": "q=00042+03:00+yesterday",
        "search for nothing": "q=nosuchthing",
        **{f"order {column}": f"o={column}" for column in (1, 2, 3, 4, 5, 6, -5, -6)},
    }.items():
        yield f"jobs, {name}", f"{jobs}?{query}"

    for name in ("timeline", "timeline-data"):
        address = reverse(f"admin:{name}")
        yield name, address
        for zoom in ("week", "6h", "1h"):
            yield f"{name}, {zoom}", f"{address}?zoom={zoom}"
        yield f"{name}, one queue", f"{address}?queue=slow"
        yield f"{name}, two weeks ago", f"{address}?at={_weeks_ago(newest.scheduled_time)}"
    yield "timeline, table", f"{reverse('admin:timeline')}?view=table"
    yield "timeline, heat map", reverse("admin:timeline-heat")
    yield "queues", reverse("admin:queues")

    yield "job", reverse("admin:scheduler_cronjob_overview", args=[job.pk])
    yield "job, definition", reverse("admin:scheduler_cronjob_change", args=[job.pk])
    slot = {"at": newest.scheduled_time.isoformat()}
    yield "job, a slot", reverse("admin:scheduler_cronjob_slot", args=[job.pk], query=slot)
    two = JobExecution.objects.filter(job=job).order_by("-id").values_list("id", flat=True)[:2]
    yield (
        "job, two runs",
        reverse("admin:scheduler_cronjob_compare", args=[job.pk], query={"run": list(two)}),
    )
    yield "new job", reverse("admin:scheduler_cronjob_add")
    yield "execution", reverse("admin:scheduler_jobexecution_change", args=[newest.pk])
    yield "execution with a log", reverse("admin:scheduler_jobexecution_change", args=[logged.pk])
    yield "processes", reverse("admin:scheduler_schedulerprocess_changelist")
    worker = {"name": newest.lease_owner or SchedulerProcess.objects.order_by("-kind")[0].name}
    yield "worker", reverse("admin:scheduler_schedulerprocess_worker", query=worker)
    yield "backfills", reverse("admin:scheduler_backfill_changelist")
    yield "alerts", reverse("admin:scheduler_alert_changelist")
    yield "channels", reverse("admin:channels")
    yield "tokens", reverse("admin:scheduler_apitoken_changelist")
    yield "shadows", reverse("admin:scheduler_cronjob_shadows")
    yield "job, history", reverse("admin:scheduler_cronjob_history", args=[job.pk])
    yield "new backfill", reverse("admin:scheduler_backfill_add", query={"job": job.pk})
    yield "retry a range", reverse("admin:scheduler_jobexecution_retry_range")

    day = newest.scheduled_time.date().isoformat()
    for name, query in {
        "": "",
        "the last page": "page=100&size=100",
        "one job": f"cron_id={job.pk}",
        "failed": "status=FAILED",
        "running or waiting": "status=RUNNING&status=PENDING",
        "failed or timed out": "status=FAILED&status=TIMEOUT",
        "cancelled of one handler": "status=CANCELLED&handler=report_7",
        "of no handler": "handler=nosuchthing",
        "backfilled": "source=backfill",
        "one day": f"from_date={day}&to_date={day}",
        "one day of one job": f"cron_id={job.pk}&from_date={day}&to_date={day}",
        "failed of one job": f"cron_id={job.pk}&status=FAILED",
    }.items():
        yield f"API jobs, {name}".rstrip(", "), f"/api/jobs?{query}"
    for name, query in {
        "": "",
        "page 100": "page=100&size=100",
        "by name": "name=0042",
        "disabled": "is_enabled=false",
    }.items():
        yield f"API crons, {name}".rstrip(", "), f"/api/crons?{query}"
    yield "API job", f"/api/jobs/{newest.pk}"
    yield "API cron", f"/api/crons/{job.pk}"
    yield "API slot", f"/api/crons/{job.pk}/slots?at=yesterday+03:00"
    yield "metrics", "/metrics"


def _kind_of_failure() -> int:
    """Returns the one with the most runs."""
    from scheduler.models import FailureGroup

    return int(FailureGroup.objects.order_by("-runs").values_list("id", flat=True)[0])


def _weeks_ago(instant: Any) -> str:
    from datetime import timedelta

    return str((instant - timedelta(days=14)).strftime("%Y-%m-%dT%H:%MZ"))


def _deep(rows: Any) -> int:
    """Returns the number of the last page of the admin's list for these rows."""
    return max(1, rows.order_by()[:10_000].count() // 50)


def _day(instant: Any, field: str) -> str:
    from django.utils.timezone import localtime

    day = localtime(instant).date().isoformat()
    return f"{field}_from={day}&{field}_to={day}"
