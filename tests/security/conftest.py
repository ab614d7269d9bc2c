"""Creates rows of every table with values of a test, and finds every page that shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin as django_admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django_celery_results.models import GroupResult, TaskResult

from scheduler.models import (
    ApiToken,
    Backfill,
    CronJob,
    JobAttempt,
    JobExecution,
    JobLog,
    SchedulerProcess,
)
from scheduler.states import RunStatus
from scheduler.store.connection import database_now
from tests.admin.test_admin import make_job, make_run
from tests.security.attacks import HTML, HTML_SHORT

# Pages that would end the session, or lead nowhere by design.
_NOT_WALKED = ("logout", "i18n/setlang", "static/")


@pytest.fixture
def alice(db: None) -> User:
    """A user with every permission."""
    return User.objects.create_superuser("alice", "a@example.com", "the-password-of-alice")


@pytest.fixture
def admin(alice: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(alice)
    return client


@dataclass(frozen=True)
class Rows:
    """One row of each model, by `app/model` as in the addresses of the admin."""

    by_model: Mapping[str, Any]
    job: CronJob
    executions: list[JobExecution]


def fill(alice: User, text: str = HTML, params: Any = None) -> Rows:
    """Creates a row of every table: `text` in each text column, `params` in each JSON column."""
    given = {text: [text, {text: text}]} if params is None else params
    now = database_now()
    job = make_job(name=text)
    short = text if len(text) <= 20 else HTML_SHORT
    # Past all checks, as somebody with an SQL client would write it.
    CronJob.objects.filter(pk=job.pk).update(
        description=text, cron_expression=text, timezone=text, handler_name=text, queue=text,
        calendar=text, pause_reason=text, schedule_error=text, last_status=short,
        last_run_at=now, handler_params=given, is_enabled=False,
    )  # fmt: skip
    job.refresh_from_db()
    backfill = Backfill.objects.create(
        job=job, since=now, until=now, params=given, total=3, error=text, requested_by=text
    )
    shared = {
        "job_name": text, "handler_name": text, "params": given, "queue": text, "result": given,
        "requested_by": text, "error_message": text, "progress_message": text, "progress": 0.5,
        "attempt": 1, "backfill": backfill,
    }  # fmt: skip
    executions = [
        make_run(
            job, status, now=now + timedelta(seconds=number), dedupe_key=f"{text}{number}",
            **({"lease_owner": text} if status == RunStatus.RUNNING else {}), **shared,
        )
        for number, status in enumerate(RunStatus)
    ]  # fmt: skip
    for run in executions:
        JobAttempt.objects.create(
            execution=run, attempt=1, lease_token=f"a{run.pk}", worker=text, started_at=now,
            ended_at=now, outcome="FAILED", error=text, traceback=text,
        )  # fmt: skip
        JobLog.objects.create(
            execution=run, attempt=1, seq=1, at=now, level=text[:10], message=text
        )
    process = SchedulerProcess.objects.create(
        name=text, kind="worker", host=text, pid=1, started_at=now, heartbeat_at=now
    )
    token = ApiToken.objects.create(name=text, user=alice, prefix=short[:16], key_hash="0" * 64)
    group = Group.objects.create(name=text)
    mallory = User.objects.create(
        username=text, first_name=text, last_name=text, email=text, is_staff=True
    )
    mallory.groups.add(group)
    task = TaskResult.objects.create(
        task_id=text, task_name=text, task_args=text, task_kwargs=text, worker=text, result=text,
        traceback=text, meta=text, status="FAILURE",
    )  # fmt: skip
    tasks = GroupResult.objects.create(group_id=text, result=text, date_created=now, date_done=now)
    for row in (job, executions[0], mallory):
        LogEntry.objects.create(
            user=alice, content_type=ContentType.objects.get_for_model(row), object_id=str(row.pk),
            object_repr=text, action_flag=CHANGE, change_message=text,
        )  # fmt: skip
    by_model = {
        "scheduler/cronjob": job,
        "scheduler/backfill": backfill,
        "scheduler/schedulerprocess": process,
        "scheduler/apitoken": token,
        "auth/user": mallory,
        "auth/group": group,
        "django_celery_results/taskresult": task,
        "django_celery_results/groupresult": tasks,
    }
    return Rows(by_model, job, executions)


def addresses(rows: Rows) -> list[str]:
    """Returns every address that Django serves, with existing rows as arguments."""
    return sorted(set(_walk(get_resolver().url_patterns, "", rows)))


def addresses_of_one_run(rows: Rows) -> list[str]:
    """Every address, those of executions of one status only: for what is refused before the row
    is read, so that its status does not matter."""
    return addresses(replace(rows, executions=rows.executions[:1]))


def _walk(patterns: list[Any], before: str, rows: Rows) -> Iterator[str]:
    for pattern in patterns:
        route = before + str(pattern.pattern).replace("^", "").replace("$", "")
        if any(word in route for word in _NOT_WALKED) or "(?P" in route:
            continue  # the regular ones are catch-alls
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, route, rows)
        elif isinstance(pattern, URLPattern):
            yield from _filled(route, rows)


def _filled(route: str, rows: Rows) -> Iterator[str]:
    if "<" not in route:
        yield f"/{route}"
        return
    keys: list[Any] = [row.pk for name, row in rows.by_model.items() if f"/{name}/" in f"/{route}"]
    if "jobexecution" in route or "/jobs/" in route:
        keys = [run.pk for run in rows.executions]
    if not keys:
        keys = [rows.job.pk]
    for key in keys:
        filled = route
        while "<" in filled:
            start, end = filled.index("<"), filled.index(">")
            filled = f"{filled[:start]}{key}{filled[end + 1 :]}"
        yield f"/{filled}"


def counts() -> dict[str, int]:
    """Returns the row counts of the tables that attacks might change."""
    return {
        model._meta.label: model._default_manager.count()
        for model in apps.get_models()
        if model._meta.label not in ("sessions.Session", "admin.LogEntry")
    }


def lists() -> list[str]:
    """Returns the addresses of all lists of the admin."""
    registered = django_admin.site._registry
    return [f"/admin/{m._meta.app_label}/{m._meta.model_name}/" for m in registered]
