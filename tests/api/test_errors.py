"""Errors have one format: for invalid JSON, unknown addresses, and unexpected exceptions."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client

from jobu_project import middleware
from scheduler.api import crons
from scheduler.models import CronJob, JobExecution
from scheduler.operations import health
from scheduler.operations.backfills import BackfillControl
from scheduler.operations.control import Control
from scheduler.store.connection import database_now
from tests.api.conftest import Program, error_of, make_alert, make_failure, make_freeze, ok

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"{", "line 1"),
        (b"nothing", "line 1"),
        (b'{"handler": "sample", "handler": "sample1"}', "twice"),
        (b'{"handler": "sample", "params": {"a": 1, "a": 2}}', "twice"),
        (b'{"handler": "sample", "params": {"x": NaN}}', "NaN"),
        (b'{"handler": "sample", "params": {"x": -Infinity}}', "Infinity"),
        (b'{"handler": "sample", "params": {"x": 1e999}}', "too large"),
        (b'{"handler": "sample", "params": {"x": "a\\u0000b"}}', "NUL"),
        (b'{"handler": "sample", "params": {"a\\u0000b": 1}}', "NUL"),
        (b'{"handler": "sample", "params": {"x": "\\ud800"}}', "surrogate"),
        (b'{"handler": "sample", "params": {"\\udfff": 1}}', "surrogate"),
        (b'{"handler": "sample\xff"}', "UTF-8"),
        (b'{"handler": "sample", "params": {"x": ' + b"1" * 5000 + b"}}", "too long"),
        (b"[" * 100 + b"]" * 100, "deep"),
        (b"[" * 100_000 + b"]" * 100_000, "deep"),
    ],
    ids=range(15),
)
@pytest.mark.parametrize("path", ["/events", "/crons"])
def test_body_that_is_not_strict_json_is_refused(api: Program, body: bytes, word: str, path: str):
    error = error_of(api.send("POST", path, raw=body), 400)

    assert error["code"] == "INVALID_JSON"
    assert word in error["message"]
    assert not JobExecution.objects.exists()
    assert not CronJob.objects.exists()


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"5", b"null", b"true", b""])
def test_body_that_is_not_an_object_is_refused(api: Program, body: bytes):
    assert error_of(api.send("POST", "/crons", raw=body), 400)["code"] == "VALIDATION_ERROR"


def test_a_body_that_is_too_large_is_refused(api: Program):
    body = {"handler": "sample", "params": {"x": "y" * 300_000}}
    assert error_of(api.post("/events", body), 413)["code"] == "BODY_TOO_LARGE"
    huge = json.dumps({"x": "y" * 10_000_000}).encode()
    assert error_of(api.send("POST", "/events", raw=huge), 413)["code"] == "BODY_TOO_LARGE"


def test_body_without_json_content_type_is_refused(api: Program):
    answer = Client().post(
        "/api/events",
        data={"handler": "sample"},
        headers={"Authorization": f"Bearer {api.key}"},
    )
    assert error_of(answer, 415)["code"] == "UNSUPPORTED_MEDIA_TYPE"


def test_params_with_many_keys_are_accepted(api: Program):
    params = {f"k{number}": 1 for number in range(5000)}
    ok(api.post("/events", {"handler": "sample", "params": params}), 201)


@pytest.mark.parametrize(
    "path",
    ["/nowhere", "/crons/", "/crons/abc", "/crons/-1", "/v1/nowhere", "/crons/1/nothing", "/", ""],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_unknown_address_returns_404(api: Program, path: str, method: str):
    error = error_of(api.send(method, f"/api{path}"), 404)
    assert error["code"] == "NOT_FOUND"


def test_unsupported_method_returns_405(api: Program):
    answer = api.delete("/crons")
    assert error_of(answer, 405)["code"] == "METHOD_NOT_ALLOWED"
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "POST"}


def test_id_above_the_range_is_refused(api: Program):
    assert error_of(api.get(f"/crons/{2**63}"), 400)["fields"].keys() == {"cron_id"}


def test_unexpected_error_has_the_same_format_and_hides_details(
    api: Program, job: CronJob, monkeypatch
):
    def bug(*_: Any) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(crons, "shown", bug)
    answer = api.get(f"/crons/{job.pk}")

    assert error_of(answer, 500)["code"] == "INTERNAL_ERROR"
    assert b"hunter2" not in answer.content


def test_unavailable_database_is_reported(api: Program, job: CronJob, monkeypatch):
    def lost(*_: Any) -> None:
        raise OperationalError("connection to 10.0.0.7 lost")

    monkeypatch.setattr(crons, "shown", lost)
    answer = api.get(f"/crons/{job.pk}")

    assert error_of(answer, 503)["code"] == "DATABASE_UNAVAILABLE"
    assert answer.headers["Retry-After"]
    assert b"10.0.0.7" not in answer.content


@pytest.mark.parametrize("path", ["/api/crons", "/admin/"])
def test_hanging_database_is_reported_with_retry_after(monkeypatch, path: str):
    monkeypatch.setattr(middleware, "_UNCHECKED_REQUESTS", 0)
    monkeypatch.setattr(health, "check_database", lambda **_options: "it hangs")
    answer = Client().get(path)

    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    if path.startswith("/api/"):
        assert error_of(answer, 503)["code"] == "DATABASE_UNAVAILABLE"


def addresses_to_get(api: Program, job: CronJob) -> list[str]:
    """The address of each operation that answers GET, of something that there is."""
    run = Control().run_now(job.pk)
    now = database_now()
    backfill = BackfillControl().start(job.pk, since=now - timedelta(days=2), until=now)
    ids = {
        "cron_id": job.pk,
        "execution_id": run.pk,
        "backfill_id": backfill.pk,
        "alert_id": make_alert().pk,
        "freeze_id": make_freeze().pk,
        "failure_id": make_failure(job),
        "instant": "2026-11-27T03:00:00Z",
        "name": "sample",
    }
    document = ok(api.get("/openapi.json"))
    paths = [
        path.removeprefix("/api").format(**ids)
        for path, operations in document["paths"].items()
        if "get" in operations
    ]
    assert f"/jobs/{run.pk}/logs" in paths
    return paths


def test_head_is_answered_wherever_get_is_and_nobody_may_keep_an_answer(api: Program, job: CronJob):
    for path in [*addresses_to_get(api, job), "/openapi.json", "/metrics", "/jobs/0"]:
        got, head = api.get(path), api.send("HEAD", path)
        assert head.status_code == got.status_code, path
        assert head.headers["Content-Type"] == got.headers["Content-Type"], path
        assert head.content == b"", path
        for answer in (got, head):
            assert "no-store" in answer.headers["Cache-Control"], path
    assert "no-store" in api.post(f"/crons/{job.pk}/run").headers["Cache-Control"]
    assert api.send("HEAD", "/events").status_code == 405


def test_a_whole_number_may_be_written_with_a_point(api: Program, job: CronJob):
    changed = ok(api.put(f"/crons/{job.pk}", {"timeout_seconds": 216.0, "priority": 3e0}))
    assert (changed["timeout_seconds"], changed["priority"]) == (216, 3)
    ok(api.post("/crons/bulk/disable", {"ids": [float(job.pk)]}))
    for value in (216.5, "216", True, 1e300, -0.5):
        answer = api.put(f"/crons/{job.pk}", {"timeout_seconds": value})
        assert list(error_of(answer, 400)["fields"]) == ["timeout_seconds"], value


def test_unknown_query_parameter_is_refused(api: Program, job: CronJob):
    for path in addresses_to_get(api, job):
        ok(api.get(path))
        error = error_of(api.get(f"{path}?nonsense=1"), 400)
        assert (error["code"], list(error["fields"])) == ("VALIDATION_ERROR", ["nonsense"]), path


def test_unknown_host_is_refused(api: Program):
    answer = Client().get("/api/crons", headers={"Host": "evil.example"})
    assert error_of(answer, 400)["code"] == "BAD_REQUEST"


def test_both_address_prefixes_serve_the_same_api(api: Program, job: CronJob):
    old, new = ok(api.get("/api/crons")), ok(api.get("/api/v1/crons"))
    assert old == new
    assert old["items"][0]["id"] == job.pk
    documents = [ok(api.get(f"/api{version}/openapi.json")) for version in ("", "/v1")]
    paths = [
        {path.removeprefix(prefix) for path in document["paths"]}
        for document, prefix in zip(documents, ("/api", "/api/v1"), strict=True)
    ]
    assert paths[0] == paths[1]
