"""At three in the morning: each place that shows a run says why it waits, in the reader's language.

The places: its page, its job's page, the list, the answer about its slot, the API, the command.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from scheduler.models import ConcurrencyGroup, CronJob, JobExecution, JobFreeze
from scheduler.operations.control import Control
from scheduler.states import ReasonCode, RunStatus
from scheduler.store import approvals, slots, waits
from scheduler.store.connection import database_now
from tests.admin.test_admin import RUNS, make_run
from tests.api.conftest import Program, make_job, ok, program
from tests.api.test_groups import waiting_run
from tests.api.test_shards import divided

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def root() -> User:
    return User.objects.create_superuser("root", "r@example.com")


@pytest.fixture
def api(root: User) -> Program:
    return program(root)


def slot_of(job: CronJob, **values: Any) -> JobExecution:
    """The run of the slot of this second, made as beat makes it."""
    now = database_now()
    slot = now.replace(microsecond=0)
    known = {"available_at": slot, **values}
    slots.record_slots([slots.SlotRecord(job_id=job.pk, slot=slot, **known)], now)
    return JobExecution.objects.get(job=job)


def for_a_place() -> JobExecution:
    ConcurrencyGroup.objects.create(name="dwh", max_running=1)
    return waiting_run()


def in_a_freeze() -> JobExecution:
    run = slot_of(make_job())
    freeze = JobFreeze.objects.create(
        name="move", reason="the centre moves", since=run.scheduled_time,
        until=run.scheduled_time + timedelta(hours=1),
    )  # fmt: skip
    facts = {"freeze": freeze.name, "freeze_id": freeze.pk, "note": freeze.reason}
    JobExecution.objects.filter(pk=run.pk).update(
        available_at=freeze.until,
        reason_code=ReasonCode.FROZEN_HELD,
        reason_facts=facts,
        error_message="held until the end of freeze 'move'",
    )
    return JobExecution.objects.get(pk=run.pk)


def for_an_upstream_job() -> JobExecution:
    load = make_job(name="load")
    report = make_job(upstreams=["load"])
    now = database_now()
    wait = waits.Wait(
        upstream_id=load.pk, slot=now.replace(microsecond=0), until=now + timedelta(hours=1)
    )
    return slot_of(report, waits=(wait,))


def for_an_approval() -> JobExecution:
    run = slot_of(make_job(approval_seconds=3600))
    approvals.ask([run.pk], database_now())
    return JobExecution.objects.get(pk=run.pk)


def for_its_shards() -> JobExecution:
    parent, _shards = divided(make_job(shards=3))
    return parent


CASES = [
    # how it comes to wait; what each place says; the list; both in Korean
    (for_a_place, "group dwh runs at most 1 at once", "", "dwh"),
    (in_a_freeze, "The freeze “move” holds it until", "", "동결 “move” 때문에"),
    (for_an_upstream_job, "It waits for the success of load (slot",
     "It waits for its upstream jobs.", "선행 작업을 기다립니다"),
    (for_an_approval, "It waits until a person approves it, at the latest", "", "승인"),
    (for_its_shards, "It is divided: 1 of its 3 shards have ended", "1 of 3 shards",
     "샤드 3개 중 1개"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "text", "in_list", "korean"), CASES, ids=[case[0].__name__ for case in CASES]
)
def test_each_place_says_why_a_run_is_not_over(
    root: User, api: Program, make: Callable[[], JobExecution], text: str, in_list: str, korean: str
):
    run = make()
    clients = {}
    for language in ("en", "ko"):
        clients[language] = Client(headers={"Accept-Language": language})
        clients[language].force_login(root)

    def page(name: str, *args: int, language: str = "en") -> str:
        answer = clients[language].get(reverse(f"admin:{name}", args=args))
        assert answer.status_code == 200
        return unescape(answer.content.decode())

    assert text in page("scheduler_jobexecution_change", run.pk)
    assert text in page("scheduler_cronjob_overview", run.job_id or 0)
    listed = page("scheduler_jobexecution_changelist")
    assert (in_list or text) in listed
    assert korean in page("scheduler_jobexecution_changelist", language="ko")
    assert text.split(" until")[0] in ok(api.get(f"/jobs/{run.pk}"))["explanation"]
    table = unescape(
        clients["en"].get(reverse("admin:timeline"), {"view": "table"}).content.decode()
    )
    data = clients["en"].get(reverse("admin:timeline-data")).json()["reasons"]
    if make is not for_its_shards:
        assert (in_list or text) in table
        assert (in_list or text) in data[str(run.pk)]
    korean_answer = ok(api.get(f"/jobs/{run.pk}", **{"Accept-Language": "ko"}))["explanation"]
    assert not any(word in korean_answer for word in ("It waits", "It is", "The freeze"))
    items = ok(api.get("/jobs"))["items"]
    codes = {item["id"]: item["reason_code"] for item in items}
    assert codes[run.pk] == run.reason_code
    assert text.split(" until")[0] in told("show", run.pk)["explanation"]
    if make in (in_a_freeze, for_an_upstream_job, for_an_approval):  # of a slot that beat has made
        at = run.scheduled_time.strftime("%Y-%m-%dT%H:%M:%SZ")
        answers = ok(api.get(f"/crons/{run.job_id}/slots?at={at}"))
        assert text.split(" until")[0] in json.dumps(answers, ensure_ascii=False)


def told(verb: str, *arguments: object) -> dict[str, Any]:
    out = StringIO()
    call_command("executions", verb, *map(str, arguments), "--json", stdout=out)
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def test_the_command_approves_and_rejects(root: User):
    wanted, unwanted = (
        Control().run_now(make_job(name=name, approval_seconds=3600).pk) for name in ("a", "b")
    )

    assert told("approve", wanted.pk, "--note", "fine", "--yes")["done"] == 1
    assert told("reject", unwanted.pk, "--yes")["items"][0]["status"] == "SKIPPED"

    shown = told("show", wanted.pk)
    assert (shown["approval"]["state"], shown["approval"]["note"]) == ("approved", "fine")
    assert shown["explanation"] == ""
    with pytest.raises(SystemExit):
        told("approve", unwanted.pk, "--yes")
    assert told("show", unwanted.pk)["explanation"].endswith("rejected it")


def test_the_cancel_of_a_divided_run_does_not_say_that_it_is_over(root: User):
    parent = for_its_shards()
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(root)
    url = reverse(f"{RUNS}_cancel", args=[parent.pk])
    answer = client.post(url, {"reason": ""}, follow=True)
    assert "The shards of" in unescape(answer.content.decode())


def test_the_list_asks_the_same_number_of_times_however_many_runs_are_divided(root: User):
    client = Client()
    client.force_login(root)
    job = make_job()
    numbers = []
    for _round in range(2):
        for _parent in range(3):
            divided(job)
        with CaptureQueriesContext(connection) as found:
            client.get(reverse(f"{RUNS}_changelist"))
        numbers.append(len(found))
    assert numbers[0] == numbers[1]


def test_lists_ask_the_same_number_of_times_however_many_jobs_follow_others(root: User):
    client = Client()
    client.force_login(root)
    make_job(name="load")
    make_run(None, RunStatus.SUCCESS)
    numbers: dict[str, set[int]] = {}
    for turn in range(2):
        for number in range(3):
            make_job(name=f"after {turn} {number}", cron_expression="@after", upstreams=["load"])
        for name in ("scheduler_cronjob_changelist", "timeline-data"):
            url = reverse(f"admin:{name}")
            client.get(url)  # what a process remembers is there
            with CaptureQueriesContext(connection) as found:
                assert client.get(url).status_code == 200
            numbers.setdefault(name, set()).add(len(found))
    assert all(len(found) == 1 for found in numbers.values()), numbers
