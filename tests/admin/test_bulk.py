"""Actions on more rows than one request can do: the page that works on them in parts."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.urls import reverse

from scheduler.models import Activity, CronJob, JobExecution
from scheduler.states import RunStatus
from scheduler.store.connection import database_now
from tests.admin.test_admin import JOBS, RUNS, make_job, make_run, on_each_database, user_with
from tests.admin.test_admin import admin as admin  # a fixture

pytestmark = pytest.mark.django_db


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows are too many for one request."""
    monkeypatch.setattr("scheduler.admin.actions.AT_ONCE", 1)
    monkeypatch.setattr("scheduler.admin.actions.LISTED", 1)


def failed_runs(number: int) -> None:
    now = database_now()
    run = make_run(None, RunStatus.FAILED, now=now)
    columns = [column.column for column in JobExecution._meta.concrete_fields[1:]]
    names = ", ".join(f'"{name}"' for name in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %s)"
            f" INSERT INTO job_executions ({names})"
            f" SELECT {names} FROM job_executions JOIN n ON i < %s WHERE id = %s",
            [number, number, run.pk],
        )


def begin_bulk(client: Client, model: str, action: str, filters: str = "", **answers: Any) -> str:
    """Selects a whole list and confirms. Returns the address of the page that works."""
    url = reverse(f"{model}_changelist") + filters
    row = JobExecution.objects.first() if model == RUNS else CronJob.objects.first()
    sent = {"action": action, "_selected_action": [row.pk], "select_across": "1"}  # type: ignore[union-attr]
    asked = client.post(url, sent | {"index": "0"})
    fields = r'name="(question|through)" value="([^"]+)"'
    hidden = dict(re.findall(fields, asked.content.decode()))
    confirmed = {**sent, **hidden, "confirmed": "yes", **answers}
    address = client.post(url, confirmed).headers["location"]
    assert client.post(url, confirmed).headers["location"] == address, "a double click"
    return address


def test_five_thousand_selected_rows_are_worked_on_in_parts(admin):
    failed_runs(5000)
    address = begin_bulk(admin, RUNS, "retry_many", "?status__exact=FAILED")
    # Rows that match the filter later are not meant.
    failed_runs(1)
    waiting = JobExecution.objects.filter(status=RunStatus.PENDING)

    asked = admin.get(address).content.decode()
    assert "Of 5000 rows: 0 done" in asked
    assert waiting.count() == 0
    assert admin.post(address).headers["location"] == address
    script = admin.post(address, headers={"X-Bulk": "1"}).content.decode()
    done = waiting.count()

    assert 0 < done <= 1000
    assert f"Of 5000 rows: {done} done" in script
    assert "<html" not in script
    stopped = admin.post(address, {"stop": "yes"}, follow=True).content.decode()
    admin.post(address)
    assert "It was stopped" in stopped
    assert waiting.count() == done
    assert Activity.objects.filter(verb="retried").count() == done


@on_each_database
def test_parts_of_an_action_keep_the_answers_and_group_what_was_refused(admin, few):
    jobs = [make_job(name=f"job {index}") for index in range(4)]
    until = "2099-01-02"
    answers = {"reason": "move", "until_0": until, "until_1": "03:00:00"}
    address = begin_bulk(admin, JOBS, "pause_many", **answers)
    CronJob.objects.filter(pk=jobs[1].pk).delete()

    admin.post(address)
    shown = admin.get(address).content.decode()

    paused = CronJob.objects.filter(pause_reason="move", is_enabled=False)
    assert {f"{job.paused_until:%Y-%m-%d}" for job in paused} == {"2099-01-01"}  # in Seoul
    assert paused.count() == 3
    assert "Of 4 rows: 3 done, 1 refused" in shown
    assert "it has been deleted meanwhile" in shown


def test_many_jobs_are_deleted_in_parts(admin, few):
    jobs = [make_job(name=f"job {index}") for index in range(4)]
    address = begin_bulk(admin, JOBS, "delete_many")
    assert CronJob.objects.count() == 4
    CronJob.objects.filter(pk=jobs[1].pk).delete()

    admin.post(address)

    shown = admin.get(address).content.decode()
    assert "Of 4 rows: 3 done, 1 refused" in shown
    assert not CronJob.objects.exists()
    names = Activity.objects.filter(verb="deleted").values_list("target_name", flat=True)
    assert sorted(names) == ["job 0", "job 2", "job 3"]


def test_a_part_is_refused_once_the_right_is_gone(few):
    failed_runs(2)
    client = user_with("view_jobexecution", "retry_jobexecution")
    address = begin_bulk(client, RUNS, "retry_many")
    Permission.objects.get(codename="retry_jobexecution").user_set.clear()

    assert client.post(address).status_code == 403
    assert client.get(address).status_code == 200
    assert not JobExecution.objects.filter(status=RunStatus.PENDING).exists()


def test_nobody_sees_the_work_of_another_person(admin, few):
    failed_runs(2)
    address = begin_bulk(admin, RUNS, "retry_many")

    assert user_with("view_jobexecution", "retry_jobexecution").post(address).status_code == 404
    assert admin.get(address.replace("jobexecution", "cronjob")).status_code == 404
