"""A worker's page, and draining a worker: rows, permission, history."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from scheduler.models import Activity, JobAttempt, SchedulerProcess
from scheduler.operations.actor import Actor
from scheduler.operations.errors import NotPossible
from scheduler.operations.workers import WorkerControl
from scheduler.states import ProcessKind, RunStatus
from scheduler.store import processes
from scheduler.store.connection import database_now
from tests.admin.test_admin import make_job, make_run

pytestmark = [pytest.mark.django_db, pytest.mark.database]

NAME = "worker@here:7"
PAGE = f"/admin/scheduler/schedulerprocess/worker/?name={NAME}"


def beat(started_at: datetime, **given: Any) -> datetime | None:
    """What a worker does every few seconds. Returns since when it is to take no runs."""
    return processes.heartbeat(
        **{
            "name": NAME,
            "kind": ProcessKind.WORKER,
            "host": "here",
            "pid": 7,
            "started_at": started_at,
            "running": 1,
            "now": database_now(),
            "queues": ["slow"],
            "places": 8,
            **given,
        }
    )


def test_a_worker_learns_that_it_is_drained_until_it_may_take_runs_again():
    control = WorkerControl(actor=Actor(name="kim"))
    start = database_now()
    assert beat(start) is None

    control.drain(NAME)
    with pytest.raises(NotPossible):
        control.drain(NAME)
    since = beat(start)
    assert since is not None

    processes.forget_process(NAME)  # beat thought that it is dead
    assert beat(start, drained_at=since) == since
    assert beat(start, drained_at=since) == since
    assert beat(start + timedelta(hours=1)) is None, "another process that got the same name"
    control.drain(NAME)
    control.undrain(NAME)
    assert beat(start + timedelta(hours=1)) is None
    with pytest.raises(NotPossible):
        control.undrain(NAME)
    said = Activity.objects.order_by("id").values_list("verb", "actor", "target_name")
    assert list(said) == [(verb, "kim", NAME) for verb in ("drained", "drained", "resumed")]


def test_only_a_worker_that_is_alive_is_drained():
    beat(database_now(), name="beat@here:1", kind=ProcessKind.BEAT)
    beat(database_now(), name="worker@gone:1", now=database_now() - timedelta(minutes=2))

    for name in ("beat@here:1", "worker@gone:1", "nobody", ""):
        with pytest.raises(NotPossible):
            WorkerControl().drain(name)
    assert not SchedulerProcess.objects.exclude(drained_at=None).exists()


def test_the_page_shows_what_runs_and_what_was_lost_and_drains(django_user_model: type[User]):
    beat(database_now())
    job = make_job(name="report")
    child, other = make_run(job, RunStatus.RUNNING), make_run(job, RunStatus.RUNNING)
    now = database_now()
    for run, owner in ((child, "worker@here:8"), (other, "worker@hereafter:8")):
        type(run).objects.filter(pk=run.pk).update(lease_owner=owner, started_at=now)
    lost = make_run(job, RunStatus.FAILED)
    JobAttempt.objects.create(
        execution=lost, attempt=1, lease_token="t", worker=NAME, started_at=now, ended_at=now,
        outcome="LOST", error="worker lost: it stopped",
    )  # fmt: skip
    user = django_user_model.objects.create_user("bob", "b@example.com", is_staff=True)
    client = Client()
    client.force_login(user)

    def may(*codenames: str) -> None:
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))

    drain = reverse("admin:scheduler_schedulerprocess_drain")
    assert client.get(PAGE).status_code == 403
    may("view_schedulerprocess")
    page = client.get(PAGE).content.decode()
    assert "1 of 8 places" in page
    assert f"#{lost.pk}" not in page, "runs are for those who may see them"
    assert drain not in page
    assert client.post(drain, {"name": NAME}).status_code == 403

    may("view_schedulerprocess", "view_jobexecution", "drain_schedulerprocess")
    page = client.get(PAGE).content.decode()
    assert f"#{child.pk}<" in page
    assert f"#{other.pk}<" not in page
    assert f"#{lost.pk}<" in page
    assert drain in page
    assert client.get(drain).status_code == 405
    assert client.post(drain, {"name": NAME}).status_code == 302
    assert SchedulerProcess.objects.get().drained_by == "bob"
    assert "bob" in client.get(PAGE).content.decode()
    shown = client.get(reverse("admin:scheduler_jobexecution_change", args=[child.pk]))
    assert "/worker/?name=worker%40here%3A8" in shown.content.decode()
    client.post(reverse("admin:scheduler_schedulerprocess_undrain"), {"name": NAME})
    assert SchedulerProcess.objects.get().drained_at is None


def test_a_worker_that_is_not_there_has_a_page_that_says_so(admin_client: Client):
    for name in ("worker@gone:1", "%", "a" * 10_000, "\0", "작업"):
        answer = admin_client.get(PAGE.split("?")[0], {"name": name})
        assert answer.status_code == (404 if name == "\0" else 200)
    assert admin_client.get(PAGE.split("?")[0]).status_code == 404
    for verb in ("drain", "undrain"):
        address = reverse(f"admin:scheduler_schedulerprocess_{verb}")
        assert admin_client.post(address, {"name": "\0nobody"}).status_code == 302
