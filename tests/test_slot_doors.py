"""Was there a run at that time? Asked on a job's page, in the search, by API and command."""

from __future__ import annotations

import io
import json
from datetime import datetime, timedelta
from html import unescape
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.urls import reverse

from scheduler.models import CronJob, JobExecution
from scheduler.operations.control import Control
from scheduler.states import ReasonCode, RunStatus
from scheduler.store.connection import database_now
from tests.api.conftest import Program, error_of, ok, person, program

pytestmark = pytest.mark.django_db
SEOUL = ZoneInfo("Asia/Seoul")
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def admin(django_user_model: type[User]) -> Client:
    client = Client()
    client.force_login(django_user_model.objects.create_superuser("alice"))
    return client


@pytest.fixture
def api(admin: Client) -> Program:
    return program(User.objects.get(username="alice"))


@pytest.fixture
def job() -> CronJob:
    """A job of 03:00 in Seoul that is a week old. Nobody has edited it."""
    made = Control().create_job(name="report", cron_expression="0 3 * * *", handler_name="sample",
                                timezone="Asia/Seoul")  # fmt: skip
    week_ago = database_now() - timedelta(days=7)
    CronJob.objects.filter(pk=made.pk).update(created_at=week_ago, updated_at=week_ago)
    return made


def yesterday() -> datetime:
    today = database_now().astimezone(SEOUL).replace(hour=3, minute=0, second=0, microsecond=0)
    return today - timedelta(days=1)


def row(job: CronJob, status: RunStatus = RunStatus.SUCCESS, **values: Any) -> JobExecution:
    at = yesterday()
    return JobExecution.objects.create(
        job=job, job_name=job.name, handler_name="sample", scheduled_time=at, status=status,
        started_at=at, finished_at=at + timedelta(seconds=5), attempt=1, **values,
    )  # fmt: skip


def page(client: Client, job: CronJob, at: str) -> str:
    response = client.get(reverse("admin:scheduler_cronjob_slot", args=[job.pk]), {"at": at})
    assert response.status_code == 200
    return unescape(response.content.decode())


@pytest.mark.database
def test_the_page_answers_in_the_readers_zone_with_a_link(admin: Client, job: CronJob):
    run = row(job)
    html = page(admin, job, "yesterday 03:00")

    when = yesterday().strftime("%Y-%m-%d 03:00:00 KST")
    assert f"The slot of {when} ran: execution #{run.pk}, SUCCESS." in html
    assert reverse("admin:scheduler_jobexecution_change", args=[run.pk]) in html


def test_the_page_answers_in_korean_and_a_skip_by_choice_is_no_error(admin: Client, job: CronJob):
    facts = {"first": yesterday().isoformat(), "last": yesterday().isoformat(), "count": 1,
             "cause": "enabling", "by": "bob"}  # fmt: skip
    row(job, RunStatus.SKIPPED, reason_code=ReasonCode.MISSED, reason_facts=facts)
    admin.defaults["HTTP_ACCEPT_LANGUAGE"] = "ko"

    html = page(admin, job, "어제 03:00")

    assert "job-slot-info" in html
    assert "did not run" not in html
    assert "슬롯" in html


@pytest.mark.parametrize("at", ["0001-01-01 00:00", "nonsense", "x" * 10_000, SCRIPT, "\x00"])
def test_a_wrong_time_is_said_on_the_page(admin: Client, job: CronJob, at: str):
    response = admin.get(reverse("admin:scheduler_cronjob_slot", args=[job.pk]), {"at": at})
    assert response.status_code == 200
    html = response.content.decode()
    assert "job-slot-warning" in html
    assert SCRIPT not in html


def test_who_may_not_see_executions_gets_no_answer(client: Client, job: CronJob):
    user = User.objects.create_user("carol", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_cronjob"))
    client.force_login(user)
    url = reverse("admin:scheduler_cronjob_slot", args=[job.pk])
    assert client.get(url, {"at": "03:00"}).status_code == 403
    html = client.get(reverse("admin:scheduler_cronjob_change", args=[job.pk])).content.decode()
    assert "job-slot-form" not in html
    error_of(program(person("dave", "view_cronjob")).get(f"/crons/{job.pk}/slots?at=03:00"), 403)


@pytest.mark.database
def test_the_search_of_jobs_takes_a_time(admin: Client, job: CronJob):
    run = row(job)
    Control().create_job(name="other", cron_expression="@daily", handler_name="sample")

    response = admin.get(
        reverse("admin:scheduler_cronjob_changelist"), {"q": "report 03:00 yesterday"}
    )

    html = unescape(response.content.decode())
    assert f"ran: execution #{run.pk}" in html
    assert [found.name for found in response.context["cl"].result_list] == ["report"]
    CronJob.objects.filter(name="other").update(name="report 03:00")
    named = admin.get(reverse("admin:scheduler_cronjob_changelist"), {"q": "report 03:00"})
    assert [found.name for found in named.context["cl"].result_list] == ["report 03:00"]
    odd = admin.get(reverse("admin:scheduler_cronjob_changelist"), {"q": "x" * 10_000})
    assert odd.status_code == 200


@pytest.mark.database
def test_the_api_answers_with_code_and_facts(api: Program, job: CronJob):
    run = row(job)
    at = yesterday()

    by_instant = ok(api.get(f"/crons/{job.pk}/slots/{at.strftime('%Y-%m-%dT%H:%M:%S')}%2B09:00"))
    by_text = ok(api.get(f"/crons/{job.pk}/slots?at=yesterday+03:00&zone=Asia/Seoul"))

    assert by_instant == by_text
    assert (by_text["code"], by_text["execution_id"]) == ("ran", run.pk)
    assert by_text["at"].endswith("T18:00:00Z")
    assert by_text["text"].startswith(f"The slot of {by_text['at']} ran")
    none = ok(api.get(f"/crons/{job.pk}/slots?at=yesterday+04:00&zone=Asia/Seoul"))
    assert (none["code"], none["before"]) == ("not_a_slot", by_text["at"])
    assert ok(api.get(f"/crons/{job.pk}/slots"))["code"] in {"not_a_slot", "overdue"}  # now
    error_of(api.get("/crons/999/slots?at=03:00"), 404)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("slots/2026-11-27T03:00:00", "instant"),
        ("slots/yesterday", "instant"),
        ("slots/0001-01-01T00:00:00Z", "instant"),
        ("slots?at=nonsense", "at"),
        ("slots?at=03:00&zone=Mars", "zone"),
        (f"slots?at={'1' * 10_000}", "at"),
    ],
)
def test_the_api_refuses_what_is_no_time(api: Program, job: CronJob, path: str, field: str):
    assert field in str(error_of(api.get(f"/crons/{job.pk}/{path}"), 400)["fields"])


def command(*arguments: str) -> str:
    out = io.StringIO()
    call_command("jobs", "slot", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


@pytest.mark.database
def test_the_command_answers_as_text_and_as_json(job: CronJob):
    run = row(job)
    assert f"ran: execution #{run.pk}, SUCCESS." in command("report", "yesterday", "03:00")
    answer = json.loads(command("report", "yesterday 03:00", "--json"))
    assert (answer["code"], answer["execution_id"]) == ("ran", run.pk)
    with pytest.raises(CommandError, match="is no time"):
        command("report", "soon")
