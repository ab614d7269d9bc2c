"""/api/crons/{id}/backfills and /api/backfills."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler.models import Backfill, CronJob, JobExecution
from scheduler.operations.masking import MASK
from tests.api.conftest import Program, error_of, make_job, ok, person, program

pytestmark = pytest.mark.django_db
on_each_database = pytest.mark.database

RANGE = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-03T23:59:59Z"}


@on_each_database
def test_a_backfill_is_previewed_started_paused_resumed_and_cancelled(api: Program, job: CronJob):
    url = f"/crons/{job.pk}/backfills"

    preview = ok(api.post(f"{url}/preview", {**RANGE, "params": {"token": "t", "day": "{slot}"}}))
    assert preview["total"] == 3
    assert preview["slots"][0] == "2026-01-01T18:00:00Z"  # 03:00 in Seoul
    assert preview["params_of_first"]["token"] == MASK
    assert preview["params_of_first"]["day"].startswith("2026-01-0")
    assert not Backfill.objects.exists()

    started = ok(api.post(url, {**RANGE, "parallelism": 2, "order": "newest_first"}), 201)
    assert (started["total"], started["made"], started["state"]) == (3, 0, "active")
    assert (started["parallelism"], started["order"]) == (2, "newest_first")
    assert started["requested_by"] == "alice"
    assert started["progress"] == {}
    one = f"/backfills/{started['id']}"
    assert ok(api.get(one)) == started
    assert [item["id"] for item in ok(api.get(url))["items"]] == [started["id"]]
    assert ok(api.get(f"/backfills?cron_id={job.pk}&state=active"))["total"] == 1
    assert ok(api.get("/backfills?state=done"))["total"] == 0

    assert ok(api.post(f"{one}/pause"))["state"] == "paused"
    assert error_of(api.post(f"{one}/pause"), 409)["code"] == "NOT_POSSIBLE"
    assert ok(api.post(f"{one}/resume"))["state"] == "active"
    assert ok(api.post(f"{one}/cancel"))["state"] == "cancelled"
    assert error_of(api.post(f"{one}/cancel"), 409)["code"] == "NOT_POSSIBLE"
    entries = ok(api.get(f"{one}/history"))["items"]
    assert [e["verb"] for e in entries] == ["cancelled", "resumed", "paused", "started"]
    assert not JobExecution.objects.exists(), "beat makes them"


def test_masked_parameter_uses_the_secret_of_the_job(api: Program):
    job = make_job(handler_params={"token": "hunter2"})
    url = f"/crons/{job.pk}/backfills"

    given = {**RANGE, "params": {"token": MASK, "day": "{slot}"}}
    started = ok(api.post(url, given), 201)
    assert Backfill.objects.get(pk=started["id"]).params == {"token": "hunter2", "day": "{slot}"}
    for address in (url, f"{url}/preview"):
        unknown = {**RANGE, "params": {"password": MASK}}
        assert list(error_of(api.post(address, unknown), 400)["fields"]) == ["params"]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"since": "2026-02-01T00:00:00Z"}, "since"),
        ({"until": "2026-01-01T00:00:01Z"}, "until"),  # no slot in between
        ({"until": "2026-01-03"}, "until"),
        ({"until": None}, "until"),
        ({"parallelism": 0}, "parallelism"),
        ({"parallelism": 101}, "parallelism"),
        ({"order": "random"}, "order"),
        ({"params": "x"}, "params"),
        ({"sinse": "x"}, "sinse"),
    ],
)
def test_a_bad_backfill_is_refused_at_its_field(
    api: Program, job: CronJob, given: dict[str, Any], field: str
):
    error = error_of(api.post(f"/crons/{job.pk}/backfills", {**RANGE, **given}), 400)

    assert list(error["fields"]) == [field]
    assert not Backfill.objects.exists()


@pytest.mark.parametrize("verb", ["", "/pause", "/resume", "/cancel"])
def test_missing_backfill_returns_404(api: Program, verb: str):
    answer = api.post(f"/backfills/999999{verb}") if verb else api.get("/backfills/999999")
    assert error_of(answer, 404)["code"] == "BACKFILL_NOT_FOUND"


def test_parameters_are_null_without_permission():
    job = make_job(handler_params={"password": "p"})
    Backfill.objects.create(job=job, total=1, params={"password": "p"}, **RANGE)
    viewer = program(person("vera", "view_cronjob"))

    assert ok(viewer.get("/backfills"))["items"][0]["params"] is None
    assert error_of(viewer.post(f"/crons/{job.pk}/backfills/preview", RANGE), 403)
