"""Jobs that wait for others, in the admin and the API: form, chain, words, backfill of a chain."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import translation

from scheduler.admin.explain import explain_execution
from scheduler.models import Backfill, CronJob, JobExecution
from scheduler.operations.control import Control
from scheduler.states import ReasonCode
from scheduler.store import slots, waits
from scheduler.store.connection import database_now
from tests.admin.test_admin import form_of, save
from tests.admin.test_backfills import fill_in
from tests.api.conftest import Program, ok, program

pytestmark = pytest.mark.django_db

JOBS = "admin:scheduler_cronjob"
AFTER = {"cron_expression": "@after", "handler_name": "sample"}


@pytest.fixture
def alice() -> User:
    return User.objects.create_superuser("alice", "a@example.com")


@pytest.fixture
def admin(alice: User) -> Client:
    client = Client()
    client.force_login(alice)
    return client


@pytest.fixture
def api(alice: User) -> Program:
    return program(alice)


@pytest.fixture
def load() -> CronJob:
    return Control().create_job(
        name="load, nightly", cron_expression="0 3 * * *", handler_name="sample"
    )


@pytest.fixture
def report(load: CronJob) -> CronJob:
    return Control().create_job(name="report", upstreams=[load.name], **AFTER)


def test_the_form_takes_names_one_a_line_and_refuses_an_unknown_one(admin, load):
    typed = {**form_of(admin), "name": "report", **AFTER, "upstreams": "load, nightly\r\n"}
    save(admin, None, typed)
    job = CronJob.objects.get(name="report")
    assert job.upstreams == ["load, nightly"]
    assert form_of(admin, job)["upstreams"] == "load, nightly"

    url = reverse(f"{JOBS}_change", args=[job.pk])
    answer = admin.post(url, {**form_of(admin, job), "upstreams": "load nightly"})

    errors = answer.context["adminform"].form.errors
    assert "did you mean &#x27;load, nightly&#x27;" in str(errors["upstreams"])


def test_the_page_of_a_job_draws_the_chain_as_a_list(admin, load, report):
    Control().create_job(name="mail", upstreams=["report"], **AFTER)

    text = unescape(admin.get(reverse(f"{JOBS}_overview", args=[report.pk])).content.decode())

    drawn = text[text.index('<ol class="job-chain"') :]
    drawn = drawn[: drawn.index("</ol>")]
    names = ("load, nightly", "report", "mail")
    korean = admin.get(
        reverse(f"{JOBS}_overview", args=[report.pk]), headers={"Accept-Language": "ko"}
    ).content.decode()
    titles = re.findall(r'job-glance-label">(이전|이 작업|이후|변경 전)<', korean)
    assert titles == ["이전", "이 작업", "이후"]
    assert [drawn.index(f">{name}<") for name in names] == sorted(
        drawn.index(f">{name}<") for name in names
    )
    assert "After load, nightly, for the same slot" in text
    assert (
        "job-chain"
        not in admin.get(reverse(f"{JOBS}_overview", args=[alone().pk])).content.decode()
    )


def test_a_job_for_which_others_wait_is_not_deleted(admin, load, report):
    url = reverse(f"{JOBS}_delete", args=[load.pk])
    assert "report" in admin.get(url).content.decode()

    admin.post(url, {"post": "yes"})

    assert CronJob.objects.filter(pk=load.pk).exists()


def alone() -> CronJob:
    return Control().create_job(name="alone", cron_expression="0 3 * * *", handler_name="sample")


def waiting_run(report: CronJob, load: CronJob) -> JobExecution:
    now = database_now()
    slot = now.replace(microsecond=0)
    wait = waits.Wait(upstream_id=load.pk, slot=slot, until=now)
    record = slots.SlotRecord(job_id=report.pk, slot=slot, available_at=slot, waits=(wait,))
    slots.record_slots([record], now)
    return JobExecution.objects.get(job=report)


def test_a_run_that_waits_says_for_whom_in_the_readers_language(admin, load, report):
    run = waiting_run(report, load)
    assert run.reason_code == ReasonCode.UPSTREAM_AWAITED

    page = reverse("admin:scheduler_jobexecution_change", args=[run.pk])
    text = unescape(admin.get(page).content.decode())
    assert "It waits for the success of load, nightly (slot " in text
    assert "it has no run yet" in text
    with translation.override("ko"):
        assert "성공을" in explain_execution(run, database_now())[0]


def test_a_backfill_of_a_chain_is_shown_and_started(admin, load, report):
    shown = fill_in(
        admin, load, "preview", with_downstream="on", only_missing="on"
    ).content.decode()
    assert "Then 3 slots of report" in shown

    fill_in(admin, load, "start", with_downstream="on", per_minute="5")

    first, second = Backfill.objects.order_by("id")
    assert (first.job_id, second.job_id) == (load.pk, report.pk)
    assert first.per_minute == 5
    page = admin.get(reverse("admin:scheduler_backfill_change", args=[second.pk]))
    assert "load, nightly" in unescape(page.content.decode())


def test_the_api_sets_upstream_jobs_and_previews_a_chain(api, load, report):
    made = ok(api.post("/crons", {"name": "b", **AFTER, "upstreams": [load.name]}), 201)
    assert made["upstreams"] == [load.name]
    assert api.put(f"/crons/{made['id']}", {"upstreams": ["b"]}).status_code == 400
    assert api.delete(f"/crons/{load.pk}").status_code == 409

    shown = ok(api.post("/crons/preview", {"cron_expression": "@after", "upstreams": [load.name]}))
    assert shown["slots"][0]["local"].split("T")[1].startswith("03:00")

    span = {"since": "2026-01-10T00:00:00Z", "until": "2026-01-12T00:00:00Z"}
    asked = {**span, "with_downstream": True, "only_missing": True}
    seen = ok(api.post(f"/crons/{load.pk}/backfills/preview", asked))
    assert {each["name"] for each in seen["downstream"]} == {"b", "report"}
    assert [each["slot"] for each in seen["runs"]] == seen["slots"]
