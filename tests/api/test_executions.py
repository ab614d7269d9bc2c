"""/api/jobs and /api/events: programs read, change and create executions."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from scheduler.api import paging
from scheduler.models import Activity, CronJob, JobAttempt, JobExecution, JobLog
from scheduler.operations.masking import MASK
from scheduler.states import RunStatus
from scheduler.store.connection import database_now
from tests.admin.test_admin import make_run
from tests.api.conftest import Program, error_of, make_job, ok, person, program

pytestmark = pytest.mark.django_db
on_each_database = pytest.mark.database


def ids_of(answer: Any) -> list[int]:
    return [item["id"] for item in ok(answer)["items"]]


# --- lists -----------------------------------------------------------------------------------


@on_each_database
def test_executions_are_filtered(api: Program, job: CronJob):
    now = database_now()
    other = make_job(name="other")
    old = make_run(job, now=now - timedelta(days=3))
    failed = make_run(job, RunStatus.FAILED, now=now - timedelta(hours=2), param_source="manual")
    waits = make_run(other, RunStatus.PENDING, now=now - timedelta(hours=1), handler_name="sample1")

    def found(query: str = "") -> list[int]:
        return ids_of(api.get(f"/jobs?{query}"))

    assert found() == [waits.pk, failed.pk, old.pk]
    assert found(f"cron_id={job.pk}") == [failed.pk, old.pk]
    assert found("status=FAILED") == [failed.pk]
    assert found("status=FAILED&status=PENDING") == [waits.pk, failed.pk]
    assert found("handler=sample1") == [waits.pk]
    assert found("source=manual") == [failed.pk]
    day_ago = (now - timedelta(days=1)).isoformat()
    assert found(f"from_date={quote(day_ago)}") == [waits.pk, failed.pk]
    assert found(f"from_date={day_ago}") == [waits.pk, failed.pk]  # the plus sign reads as a space
    assert found(f"to_date={quote(day_ago)}") == [old.pk]
    assert found("to_date=2001-01-01") == []
    assert found(f"cron_id={job.pk}&status=SUCCESS&source=cron&from_date=2001-01-01") == [old.pk]


def test_day_filter_is_the_whole_day_in_the_configured_zone(api: Program, job: CronJob, settings):
    settings.TIME_ZONE = "Asia/Seoul"
    from datetime import UTC, datetime

    runs = [
        make_run(job, now=datetime(2026, 3, day, hour, tzinfo=UTC))
        for day, hour in ((9, 14), (9, 15), (10, 14), (10, 15))
    ]

    within = ids_of(api.get("/jobs?from_date=2026-03-10&to_date=2026-03-10"))

    assert within == [runs[2].pk, runs[1].pk]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=DONE", "status.0"), ("source=x", "source"), ("cron_id=0", "cron_id"),
        ("cron_id=99999999999999999999", "cron_id"), ("from_date=yesterday", "from_date"),
        ("from_date=2026-02-30", "from_date"), ("to_date=2026-01-01T00:00:00", "to_date"),
        ("to_date=9999-12-31", "to_date"), ("cursor=1.", "cursor"),
        ("cursor=999999999999999999.1", "cursor"), ("handler=%00", "handler"),
        ("order=id", "order"), ("page=101&size=100", "page"),
    ],
)  # fmt: skip
def test_a_bad_filter_is_refused_at_its_field(api: Program, query: str, field: str):
    assert list(error_of(api.get(f"/jobs?{query}"), 400)["fields"]) == [field]


@on_each_database
def test_cursor_pages_through_executions_with_the_same_time(api: Program):
    now = database_now()
    made = [make_run(None, now=now) for _ in range(3)]
    made += [make_run(None, now=now - timedelta(microseconds=5)) for _ in range(2)]
    newest_first = [made[2], made[1], made[0], made[4], made[3]]
    seen: list[int] = []
    cursor = ""

    while cursor is not None:
        answer = ok(api.get(f"/jobs?size=2{cursor and '&cursor=' + cursor}"))
        seen += [item["id"] for item in answer["items"]]
        assert (answer["total"] is None) == bool(cursor)
        cursor = answer["next_cursor"]

    assert seen == [run.pk for run in newest_first]


def test_counting_stops_at_a_limit_and_says_so(api: Program, monkeypatch):
    monkeypatch.setattr(paging, "COUNT_LIMIT", 3)
    for _ in range(5):
        make_run(None)

    answer = ok(api.get("/jobs?size=2"))

    assert (answer["total"], answer["total_is_capped"], answer["pages"]) == (3, True, 2)
    assert list(error_of(api.get("/jobs?size=2&page=3"), 400)["fields"]) == ["page"]


def test_list_needs_few_queries_and_loads_no_params(api: Program, job: CronJob):
    now = database_now()
    for number in range(30):
        make_run(job, params={"message": "hi"}, now=now - timedelta(seconds=number))
    api.get("/jobs")

    with CaptureQueriesContext(
        connection,
    ) as queries:
        ok(api.get("/jobs?size=30"))

    assert len(queries) <= 5  # token, clock, page, count
    assert not any('"params"' in query["sql"] for query in queries)


# --- one -------------------------------------------------------------------------------------


@on_each_database
def test_one_execution_with_its_attempts_and_log(api: Program, job: CronJob):
    now = database_now()
    run = make_run(
        job,
        RunStatus.FAILED,
        params={"api_key": "k", "to": "x"},
        result={"token": "t", "count": 2},
        error_message="it went wrong",
        attempt=1,
        failures=1,
    )
    JobAttempt.objects.create(
        execution=run, attempt=1, lease_token="t", worker="w@h", started_at=now,
        ended_at=now + timedelta(seconds=2), outcome="FAILED", error="wrong", traceback="Trace...",
        exception_class="shop.errors.NoStock",
    )  # fmt: skip
    for seq in range(3):
        JobLog.objects.create(
            execution=run, attempt=1, seq=seq, at=now, level="INFO", message=f"line {seq}"
        )

    shown = ok(api.get(f"/jobs/{run.pk}"))
    assert shown["params"] == {"api_key": MASK, "to": "x"}
    assert shown["result"] == {"token": MASK, "count": 2}
    assert shown["error_message"] == "it went wrong"
    assert shown["retry_count"] == 1
    assert shown["duration_seconds"] == 5.0
    assert "." in shown["scheduled_time"], "an instant keeps its microseconds"

    (attempt,) = ok(api.get(f"/jobs/{run.pk}/attempts"))["items"]
    assert attempt["traceback"] == "Trace..."
    assert attempt["duration_seconds"] == 2.0
    assert attempt["exception_class"] == "shop.errors.NoStock"

    first = ok(api.get(f"/jobs/{run.pk}/logs?size=2"))
    assert [line["message"] for line in first["items"]] == ["line 0", "line 1"]
    assert first["is_complete"] is False
    rest = ok(api.get(f"/jobs/{run.pk}/logs?size=2&cursor={first['next_cursor']}"))
    assert [line["message"] for line in rest["items"]] == ["line 2"]
    assert rest["is_complete"] is True
    end = ok(api.get(f"/jobs/{run.pk}/logs?cursor={rest['next_cursor']}"))
    assert (end["items"], end["next_cursor"]) == ([], rest["next_cursor"])
    assert error_of(api.get(f"/jobs/{run.pk}/logs?cursor=x"), 400)["fields"]

    viewer = program(person("vera", "view_jobexecution"))
    seen = ok(viewer.get(f"/jobs/{run.pk}"))
    assert (seen["params"], seen["result"]) == (None, None)
    assert ok(viewer.get(f"/jobs/{run.pk}/attempts"))["items"][0]["traceback"] is None
    assert error_of(viewer.get(f"/jobs/{run.pk}/logs"), 403)["code"] == "FORBIDDEN"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""), ("DELETE", ""), ("GET", "/attempts"), ("GET", "/logs"), ("POST", "/retry"),
        ("POST", "/cancel"), ("POST", "/replay"),
    ],
)  # fmt: skip
def test_missing_execution_returns_404(api: Program, method: str, path: str):
    assert error_of(api.send(method, f"/jobs/999999{path}"), 404)["code"] == "JOB_NOT_FOUND"


# --- verbs -----------------------------------------------------------------------------------


@on_each_database
def test_failed_execution_is_retried_with_new_attempts(api: Program, job: CronJob):
    run = make_run(job, RunStatus.TIMEOUT, attempt=4, failures=4)

    retried = ok(api.post(f"/jobs/{run.pk}/retry"))

    assert (retried["status"], retried["retry_count"], retried["attempt"]) == ("PENDING", 0, 4)
    assert error_of(api.post(f"/jobs/{run.pk}/retry"), 400)["code"] == "NOT_RETRYABLE"
    assert Activity.objects.filter(verb="retried", target_id=run.pk).count() == 1


@pytest.mark.parametrize("status", [RunStatus.SUCCESS, RunStatus.PENDING, RunStatus.RUNNING])
def test_execution_that_did_not_fail_is_not_retried(api: Program, status: RunStatus):
    run = make_run(None, status)
    assert str(status) in error_of(api.post(f"/jobs/{run.pk}/retry"), 400)["message"]


@on_each_database
def test_cancel_ends_a_waiting_run_and_requests_a_stop_of_a_running_one(api: Program):
    waits, runs = make_run(None, RunStatus.PENDING), make_run(None, RunStatus.RUNNING)

    cancelled = ok(api.post(f"/jobs/{waits.pk}/cancel", {"reason": "a mistake"}))
    reason = "cancelled by alice: a mistake"
    assert (cancelled["status"], cancelled["error_message"]) == ("CANCELLED", reason)
    asked = ok(api.post(f"/jobs/{runs.pk}/cancel"))
    assert asked["status"] == "RUNNING"
    assert asked["cancel_requested_at"] is not None
    assert error_of(api.post(f"/jobs/{waits.pk}/cancel"), 409)["code"] == "NOT_POSSIBLE"


@on_each_database
def test_slot_of_a_deleted_execution_does_not_run_again(api: Program, job: CronJob):
    earlier = database_now() - timedelta(hours=1)
    ended, runs = make_run(job, now=earlier), make_run(job, RunStatus.RUNNING)

    ok(api.delete(f"/jobs/{ended.pk}"), 204)
    assert error_of(api.delete(f"/jobs/{runs.pk}"), 409)["code"] == "NOT_POSSIBLE"
    assert list(JobExecution.objects.values_list("id", flat=True)) == [runs.pk]


@on_each_database
def test_a_run_is_replayed_with_its_parameters_or_others(api: Program, job: CronJob):
    run = make_run(job, RunStatus.FAILED, params={"message": "hi", "password": "p"})

    again = ok(api.post(f"/jobs/{run.pk}/replay"), 201)
    assert again["id"] != run.pk
    assert again["status"] == "PENDING"
    assert again["params"] == {"message": "hi", "password": MASK}
    given = {"params": {"message": "ho", "password": MASK}}
    other = ok(api.post(f"/jobs/{run.pk}/replay", given), 201)
    stored = JobExecution.objects.get(pk=other["id"]).params
    assert stored == {"message": "ho", "password": "p"}
    wrong = {"params": {"token": MASK}}
    assert error_of(api.post(f"/jobs/{run.pk}/replay", wrong), 400)["fields"]


@on_each_database
def test_several_executions_at_once_each_with_its_outcome(api: Program):
    waits, ended = make_run(None, RunStatus.PENDING), make_run(None)
    answer = ok(api.post("/jobs/bulk/cancel", {"ids": [waits.pk, ended.pk, 999999]}))
    assert [item["ok"] for item in answer["items"]] == [True, False, False]
    assert answer["items"][0]["status"] == "CANCELLED"
    codes = [item["error"]["code"] for item in answer["items"][1:]]
    assert codes == ["NOT_POSSIBLE", "JOB_NOT_FOUND"]

    answer = ok(api.post("/jobs/bulk/retry", {"ids": [waits.pk, ended.pk]}))
    assert (answer["done"], answer["refused"]) == (1, 1)
    assert answer["items"][1]["error"]["code"] == "NOT_RETRYABLE"


# --- events ----------------------------------------------------------------------------------


@on_each_database
def test_event_creates_a_run(api: Program):
    run = ok(api.post("/events", {"handler": "sample", "params": {"message": "hi"}}), 201)

    assert run["status"] == "PENDING"
    assert run["param_source"] == "event"
    assert run["params"] == {"message": "hi"}
    assert run["job_id"] is None


@on_each_database
def test_parameters_of_an_event_override_those_of_the_job(api: Program):
    job = make_job(handler_params={"message": "job", "count": 1})
    event = {"job_id": job.pk, "params": {"message": "event"}}

    run = ok(api.post("/events", event), 201)

    assert run["params"] == {"message": "event", "count": 1}
    assert run["handler_name"] == "sample"
    assert run["job_id"] == job.pk


def test_event_with_a_time_waits_until_then(api: Program):
    at = ok(api.post("/events", {"handler": "sample", "at": "2030-01-31T18:00:00+09:00"}), 201)
    after = ok(api.post("/events", {"handler": "sample", "after_seconds": 1.5}), 201)

    assert (at["status"], at["available_at"]) == ("PENDING", "2030-01-31T09:00:00Z")
    start, made = (datetime.fromisoformat(after[name]) for name in ("available_at", "created_at"))
    assert start - made == timedelta(seconds=1.5)


@on_each_database
def test_events_with_the_same_key_create_one_run(api: Program):
    event = {"handler_name": "sample", "idempotency_key": "order-1"}

    first = ok(api.post("/events", event), 201)
    second = ok(api.post("/events", event), 200)
    by_header = api.post("/events", {"handler": "sample"}, **{"Idempotency-Key": "order-1"})

    assert first["id"] == second["id"] == ok(by_header, 200)["id"]
    assert JobExecution.objects.count() == 1
    assert Activity.objects.filter(verb="event").count() == 1
    another = api.post("/events", {**event, "params": {"message": "x"}})
    assert error_of(another, 409)["code"] == "IDEMPOTENCY_KEY_IN_USE"
    clash = api.post("/events", event, **{"Idempotency-Key": "order-2"})
    assert list(error_of(clash, 400)["fields"]) == ["idempotency_key"]


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({}, "handler_name"),
        ({"handler": "nobody"}, "handler_name"),
        ({"handler": "sample", "handler_name": "sample1"}, "handler"),
        ({"handler": "sample", "params": [1]}, "params"),
        ({"handler": "sample", "params": {"x": "y" * 70_000}}, "params"),
        ({"handler": "sample", "idempotency_key": ""}, "idempotency_key"),
        ({"handler": "sample", "idempotency_key": "k" * 256}, "idempotency_key"),
        ({"handler": "sample", "job_id": "1"}, "job_id"),
        ({"handler": "sample", "parms": {}}, "parms"),
        ({"handler": "sample", "at": "2020-01-01T00:00:00Z"}, "at"),
        ({"handler": "sample", "at": "2030-01-01T00:00:00"}, "at"),
        ({"handler": "sample", "at": 1893456000}, "at"),
        ({"handler": "sample", "after_seconds": "60"}, "after_seconds"),
        ({"handler": "sample", "after_seconds": -1}, "after_seconds"),
        (
            {"handler": "sample", "at": "2030-01-01T00:00:00Z", "after_seconds": 1},
            "after_seconds",
        ),
    ],
)
def test_a_bad_event_is_refused_at_its_field(api: Program, event: dict[str, Any], field: str):
    error = error_of(api.post("/events", event), 400)

    assert list(error["fields"]) == [field]
    assert not JobExecution.objects.exists()


def test_event_for_a_missing_job_returns_404(api: Program):
    error = error_of(api.post("/events", {"handler": "sample", "job_id": 999999}), 404)
    assert error["code"] == "CRON_NOT_FOUND"
