"""The pages of failures: what they show, what people do there, and bad addresses."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from scheduler.models import Activity, CronJob, FailureGroup, JobExecution
from scheduler.states import RunStatus
from scheduler.store import counters
from scheduler.store.connection import database_now
from tests.admin.test_admin import RUNS, make_job, make_run, page, texts, user_with

pytestmark = [pytest.mark.django_db, pytest.mark.database]
once = pytest.mark.database("sqlite")  # asks no question to which databases have different answers

LIST = "admin:failures"


@pytest.fixture
def admin(django_user_model: type[User]) -> Client:
    client = Client()
    client.force_login(django_user_model.objects.create_superuser("alice", "a@example.com"))
    return client


def fail(job: CronJob | None, error: str, **values: object) -> JobExecution:
    now = database_now() - timedelta(seconds=30)
    return make_run(job, RunStatus.FAILED, now=now, error_message=error, **values)


def group_of(text: str) -> FailureGroup:
    while counters.count(database_now(), lease_seconds=60):
        pass
    return FailureGroup.objects.get(text=text)


def test_list_shows_kinds_of_failures_and_its_filters_find_them(admin):
    job = make_job(name="report", queue="slow", tags=["nightly"])
    fail(job, "no order 17 <b>")
    fail(None, "disk is full", handler_name="sample2")
    group = group_of("no order <n> <b>")

    html = page(admin, LIST)

    assert "no order &lt;n&gt; &lt;b&gt;" in html
    assert "disk is full" in html
    assert 'role="img"' in html
    for query in (
        {"job": "repo"}, {"queue": "slow"}, {"tag": "nightly"}, {"q": "ORDER"},
        {"handler": "sample"}, {"days": "1"}, {"state": "all"},
    ):  # fmt: skip
        response = admin.get(reverse(LIST), query)
        shown = [row["id"] for row in response.context["rows"]]
        assert group.pk in shown, query
        assert len(shown) == (2 if query.keys() & {"days", "state"} else 1), query
    nothing = {"days": "9'", "q": "x" * 10_000, "tag": "\0", "page": "-7"}
    assert "No failure fits" in page(admin, LIST, **nothing)


def test_page_of_a_kind_shows_its_jobs_and_runs_and_links_to_the_list_of_runs(admin):
    run = fail(make_job(name="report"), "no order 17")
    other = fail(None, "disk is full")
    group = group_of("no order <n>")

    html = page(admin, "admin:failure", group.pk)

    assert "no order 17" in html
    assert "report" in html
    listed = admin.get(reverse(f"{RUNS}_changelist"), {"failure": group.pk})
    assert [row.pk for row in listed.context["cl"].result_list] == [run.pk]
    assert "no order 17" in page(admin, f"{RUNS}_changelist")
    assert other.pk != run.pk
    assert admin.get(reverse("admin:failure", args=[10**17])).status_code == 404


def test_a_kind_is_seen_and_its_runs_are_retried_after_a_question(admin):
    run = fail(make_job(), "no order 17")
    group = group_of("no order <n>")
    retry = reverse("admin:failure-retry", args=[group.pk])
    seen = reverse("admin:failure-seen", args=[group.pk])

    assert "1 run of this kind failed" in admin.get(retry).content.decode()
    assert JobExecution.objects.get(pk=run.pk).status == "FAILED"
    assert "waits for a worker again" in texts(admin.post(retry, follow=True))[0]
    assert JobExecution.objects.get(pk=run.pk).status == "PENDING"
    assert "No failed run" in texts(admin.post(retry, follow=True))[0]
    assert admin.get(seen).status_code == 405
    assert "is marked as seen" in texts(admin.post(seen, follow=True))[0]
    assert "alice has marked it" in texts(admin.post(seen, follow=True))[0]
    assert "No failure fits" in page(admin, LIST)
    assert "seen by alice" in page(admin, LIST, state="seen")
    done = Activity.objects.filter(target_kind="failure").values_list("verb", "target_id")
    assert set(done) == {("retried", group.pk), ("seen", group.pk)}


@once
def test_who_may_not_see_runs_sees_no_failures_and_who_may_not_retry_changes_none():
    fail(None, "disk is full")
    group = group_of("disk is full")
    urls = [reverse(f"admin:failure-{verb}", args=[group.pk]) for verb in ("seen", "retry")]

    assert user_with("view_cronjob").get(reverse(LIST)).status_code == 403
    reader = user_with("view_jobexecution")
    assert "Retry all" not in page(reader, LIST)
    assert [reader.post(url).status_code for url in urls] == [403, 403]


@once
def test_front_page_shows_the_first_line_of_the_last_error(admin):
    job = make_job(name="report")
    fail(job, "no order 17\nmore")
    jobs_failing = CronJob.objects.filter(pk=job.pk)
    jobs_failing.update(last_status="FAILED", last_run_at=database_now())

    html = page(admin, "admin:index")

    assert "no order 17" in html
