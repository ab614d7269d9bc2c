"""Strange searches and ranges wherever one types them: an answer, no fault, nothing changed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse

from scheduler.models import Activity, CronJob, JobExecution
from scheduler.states import RunStatus
from scheduler.store.connection import database_now
from tests.admin.test_admin import JOBS, RUNS, make_job, make_run
from tests.api.conftest import Program, error_of, make_failure, ok, program
from tests.test_commands import run

pytestmark = [pytest.mark.django_db, pytest.mark.database]

LONG = "x" * 10_000
STRANGE = "%'\"\\é"
TEXTS = (LONG, "word " * 2_000, "%" * 10_000, "\0", "9" * 10_000, "'\"\\", "é" * 5_000)
# On a server: what its driver refuses, what no column of numbers holds, and all else at once, short
# and long. SQLite has the pages answer each text by itself.
TEXTS_ON_A_SERVER = ("\0", "9" * 10_000, STRANGE, STRANGE * 2_000 + " word" * 2_000)
# Of each page the names of what one types there.
TYPED: dict[str, tuple[str, ...]] = {
    f"{JOBS}_changelist": ("q", "handler", "queue", "group", "last", "state"),
    f"{RUNS}_changelist": (
        "q", "worker", "error", "tag", "owner", "queue", "handler", "level", "now", "also",
        "failure", "backfill", "shards_of", "ended",
    ),
    "admin:scheduler_alert_changelist": ("q", "owner", "open"),
    "admin:scheduler_backfill_changelist": ("q",),
    "admin:scheduler_schedulerprocess_changelist": ("q",),
    "admin:failures": ("q", "job", "tag", "queue", "handler", "days", "state", "page"),
    "admin:activity": ("q", "who", "id", "kind", "verb", "door", "since", "until"),
    "admin:timeline": ("q", "tag", "queue", "handler", "state", "at", "zoom", "page"),
    f"{RUNS}_search_logs": ("q", "job", "level", "since", "until"),
    "admin:palette": ("q",),
}  # fmt: skip


@pytest.fixture
def admin(django_user_model: type[User]) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(django_user_model.objects.create_superuser("alice"))
    return client


@pytest.fixture
def api(admin: Client) -> Program:
    return program(User.objects.get(username="alice"))


def state() -> tuple[Any, ...]:
    jobs, runs = CronJob.objects.order_by("pk"), JobExecution.objects.order_by("pk")
    return list(jobs.values()), list(runs.values()), Activity.objects.count()


@pytest.mark.parametrize("name", TYPED)
@pytest.mark.thorough
def test_no_search_however_long_or_strange_is_a_fault(admin: Client, name: str):
    make_run(make_job(), RunStatus.FAILED, error_message="no order 7")
    make_failure()
    before = state()

    for field in TYPED[name]:
        for text in TEXTS if connection.vendor == "sqlite" else TEXTS_ON_A_SERVER:
            answer = admin.get(reverse(name), {field: text})
            if answer.status_code == 302:  # Django's lists lead away from what is no filter
                answer = admin.get(answer.headers["Location"])
            assert answer.status_code == 200, (field, text[:10], answer.status_code)

    assert state() == before


def test_a_long_search_finds_nothing_and_a_short_one_finds_what_is_there(admin: Client):
    wanted = make_run(make_job(name="report"))

    def found(name: str, **query: str) -> list[int]:
        return [row.pk for row in admin.get(reverse(name), query).context["cl"].result_list]

    assert found(f"{JOBS}_changelist", q=LONG) == found(f"{RUNS}_changelist", q=LONG) == []
    many = admin.get(reverse(f"{JOBS}_changelist"), {"q": "report " * 2_000})
    assert [row.name for row in many.context["cl"].result_list] == ["report"]
    assert "Only the first 20 words" in many.content.decode()
    assert found(f"{RUNS}_changelist", q="report") == [wanted.pk]


def test_a_range_of_many_years_has_what_lies_in_it_and_one_of_no_years_is_refused(
    admin: Client, api: Program
):
    job = make_job(name="report")
    old = make_run(job, now=database_now() - timedelta(days=4_000))
    new = make_run(job)
    years, all_time = ("1990-01-01", "2190-12-31"), ("0001-01-01", "9999-12-31")
    before = state()

    def listed(first: str, last: str) -> Any:
        query = {"scheduled_time_from": first, "scheduled_time_to": last}
        return admin.get(reverse(f"{RUNS}_changelist"), query)

    assert {row.pk for row in listed(*years).context["cl"].result_list} == {old.pk, new.pk}
    assert listed(*all_time).content.decode().count("is not a date such as") == 2
    asked = ok(api.get(f"/jobs?from_date={years[0]}&to_date={years[1]}"))
    assert {item["id"] for item in asked["items"]} == {old.pk, new.pk}
    wrong = error_of(api.get(f"/jobs?from_date={all_time[0]}&to_date={all_time[1]}"), 400)
    assert set(wrong["fields"]) == {"from_date"}
    span = ("executions", "list", "--since", years[0], "--until", years[1], "--json")
    assert len(run(*span).json["items"]) == 2
    assert run("executions", "list", "--since", all_time[0]).code == 1
    logs = {"job": "report", "since": "1990-01-01T00:00", "until": "2190-12-31T23:59"}
    assert admin.get(reverse(f"{RUNS}_search_logs"), logs).context["runs"] == 2
    no_years = admin.get(reverse(f"{RUNS}_search_logs"), logs | {"since": "0001-01-01T00:00"})
    assert list(no_years.context["form"].errors) == ["since"]
    for first, last in (years, all_time, (years[1], years[0])):
        shown = admin.get(reverse("admin:activity"), {"since": first, "until": last})
        assert shown.status_code == 200
    long_backfill = {"since": "1990-01-01T00:00:00Z", "until": "2090-12-31T00:00:00Z"}
    assert error_of(api.post(f"/crons/{job.pk}/backfills", long_backfill), 400)
    assert state() == before


def test_a_freeze_of_a_century_is_previewed_for_a_week(api: Program):
    make_job(name="often", cron_expression="* * * * *")
    CronJob.objects.update(next_run_at=database_now())
    given = {"since": "1990-01-01T00:00:00Z", "until": "2190-12-31T00:00:00Z"}

    found = ok(api.post("/freezes/preview", given))

    assert [(item["count"], found["is_partial"]) for item in found["items"]] == [(10_080, False)]
    wrong = {"since": "0001-01-01T00:00:00Z", "until": "9999-12-31T23:59:59Z"}
    assert set(error_of(api.post("/freezes/preview", wrong), 400)["fields"]) == {"since", "until"}


@pytest.mark.parametrize(
    ("at", "code"),
    [
        ("2026-03-29 02:30", "in_gap"),  # the clock leaps from 02:00 to 03:00
        ("1971-01-02 03:00", None),
        ("2190-01-01 03:00", None),
    ],
)
def test_a_slot_in_a_gap_or_far_away_has_an_answer_at_each_door(
    admin: Client, api: Program, at: str, code: str | None
):
    job = make_job(name="berlin", cron_expression="30 2 * * *", timezone="Europe/Berlin")
    CronJob.objects.update(created_at=database_now() - timedelta(days=2_000))
    before = state()

    in_berlin = f"{at} Europe/Berlin"
    shown = admin.get(reverse(f"{JOBS}_slot", args=[job.pk]), {"at": in_berlin})
    answer = ok(api.get(f"/crons/{job.pk}/slots?at={at.replace(' ', '+')}&zone=Europe/Berlin"))
    told = run("jobs", "slot", "berlin", in_berlin, "--json")

    assert shown.status_code == 200
    assert answer["text"]
    assert (told.code, told.json["code"]) == (0, answer["code"])
    assert code is None or answer["code"] == code
    assert state() == before
