"""Groups of jobs with limits through API, admin, commands and files: made, shown, refused."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from scheduler.conf import from_mapping
from scheduler.models import Activity, ConcurrencyGroup, JobExecution
from scheduler.states import RunStatus
from scheduler.store import claims, limited_jobs
from scheduler.store.claims import Floors, MostUrgent
from scheduler.store.connection import database_now
from scheduler.worker.overlap import decide
from tests.admin.test_admin import make_run
from tests.api.conftest import Program, error_of, make_job, ok, person, program

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def api(db: None) -> Program:
    return program(User.objects.create_superuser("root"))


def waiting_run() -> JobExecution:
    """One run goes on, and a second one waits for its place."""
    job = make_job(
        name="limited", concurrency_group="dwh", concurrency_key="params.t",
        handler_params={"t": "canary"},
    )  # fmt: skip
    rows = [make_run(job, RunStatus.PENDING, params={"t": "canary"}) for _ in range(2)]
    claim = claims.Claim(owner="w", lease_seconds=60, decide=decide)
    claim.take(MostUrgent([""], 5, Floors()), database_now())
    return JobExecution.objects.get(pk=rows[1].pk)


def test_the_api_makes_shows_changes_and_deletes_groups(api: Program):
    ok(api.put("/concurrency-groups", {"name": "dwh", "max_running_per_key": 1}))
    run = waiting_run()
    (shown,) = ok(api.get("/concurrency-groups"))["items"]
    assert (shown["jobs"], shown["running"], shown["waiting"]) == (1, 1, 1)
    assert shown["keys"] == [{"key": "canary", "running": 1, "waiting": 1}]
    detail = ok(api.get(f"/jobs/{run.pk}"))
    assert detail["reason_code"] == "limit_reached"
    assert detail["reason_facts"]["group"] == "dwh"

    ok(api.put("/concurrency-groups", {"name": "dwh", "max_running_per_key": 2}))
    assert JobExecution.objects.get(pk=run.pk).in_line is None
    assert error_of(api.post("/concurrency-groups/delete", {"name": "dwh"}), 409)
    assert "rate_seconds" in error_of(
        api.put("/concurrency-groups", {"name": "x", "rate_count": 1}), 400
    )["fields"]  # fmt: skip
    ok(api.put(f"/crons/{run.job_id}", {"concurrency_group": "", "concurrency_key": ""}))
    ok(api.post("/concurrency-groups/delete", {"name": "dwh"}), 204)
    verbs = Activity.objects.filter(target_kind="group").order_by("id")
    assert list(verbs.values_list("verb", flat=True)) == ["created", "changed", "deleted"]
    # Keys are parameters.
    ConcurrencyGroup.objects.create(name="dwh", max_running=1)
    viewer = program(person("viewer", "view_cronjob"))
    assert ok(viewer.get("/concurrency-groups"))["items"][0]["keys"] is None


def test_pages_show_limits_and_say_why_a_run_waits():
    ConcurrencyGroup.objects.create(name="dwh", max_running=1)
    ConcurrencyGroup.objects.create(name="fixed", max_running=1, is_of_settings=True)
    run = waiting_run()
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(User.objects.create_superuser("alice"))
    page = client.get(reverse("admin:groups")).content.decode()
    assert "canary: 1, 1" in page
    assert "at most 1 run at once" in page
    address = reverse("admin:scheduler_jobexecution_change", args=[run.pk])
    text = client.get(address).content.decode()
    assert "It waits for a place: group dwh runs at most 1 at once." in text
    assert "It may start at" not in text
    form = reverse("admin:group-change")
    wrong = client.post(form, {"name": "x", "rate_count": "5"})
    assert "is missing: starts in how many seconds?" in wrong.content.decode()
    assert client.post(form, {"name": "x", "max_running": "5"}).status_code == 302
    again = client.post(form, {"name": "x", "max_running": "6"})
    assert "is taken by another group" in again.content.decode()

    def seen(name: str) -> dict[str, str]:
        shown = client.get(form, {"group": name}).context["form"]
        return {"group": name, "seen_at": shown["seen_at"].value()}

    of_both = seen("dwh")
    assert client.post(form, {**of_both, "max_running": "2"}).status_code == 302
    stale = client.post(form, {**of_both, "max_running": "9"})
    assert "Somebody else has changed it" in stale.content.decode()
    assert JobExecution.objects.get(pk=run.pk).in_line is None
    refused = client.post(form, {**seen("fixed"), "max_running": "2"})
    assert "is of the configuration" in refused.content.decode()
    client.post(reverse("admin:group-delete"), {"group": "x"})
    assert set(ConcurrencyGroup.objects.values_list("name", flat=True)) == {"dwh", "fixed"}


def test_the_api_does_not_overwrite_what_somebody_else_has_changed(api: Program):
    made = ok(api.put("/concurrency-groups", {"name": "dwh", "max_running": 1}))
    seen = {"name": "dwh", "updated_at": made["updated_at"]}
    ok(api.put("/concurrency-groups", {**seen, "max_running": 2}))
    error = error_of(api.put("/concurrency-groups", {**seen, "max_running": 9}), 409)
    assert error["code"] == "STALE_EDIT"
    assert ok(api.get("/concurrency-groups"))["items"][0]["max_running"] == 2


def told(*arguments: str) -> dict[str, Any]:
    out = StringIO()
    call_command(*arguments, "--json", stdout=out)
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def test_commands_set_and_list_groups_and_jobs_name_them():
    told("groups", "set", "dwh", "--max-running", "2", "--rate-count", "5", "--rate-seconds", "60")
    told("groups", "set", "dwh", "--max-running", "none")
    (shown,) = told("groups", "list")["items"]
    assert (shown["max_running"], shown["rate_count"]) == (None, 5)
    job = make_job(name="j")
    told("jobs", "update", "j", "--max-running", "3", "--concurrency-group", "dwh")
    job.refresh_from_db()
    assert (job.max_running, job.concurrency_group) == (3, "dwh")
    told("jobs", "update", "j", "--max-running", "none", "--concurrency-group", "")
    told("groups", "delete", "dwh")
    job.refresh_from_db()
    assert (job.max_running, ConcurrencyGroup.objects.count()) == (None, 0)


def test_groups_of_the_configuration_are_rows_that_no_door_changes(api: Program):
    settings = from_mapping({"concurrency_groups": {"dwh": {"max_running": 2}}})
    wanted = {name: each.model_dump() for name, each in settings.concurrency_groups.items()}
    limited_jobs.take_from_settings(wanted, database_now())
    (row,) = limited_jobs.groups()
    assert (row.max_running, row.is_of_settings) == (2, True)
    error_of(api.put("/concurrency-groups", {"name": "dwh", "max_running": 9}), 409)
    error_of(api.post("/concurrency-groups/delete", {"name": "dwh"}), 409)
    limited_jobs.take_from_settings({}, database_now())
    ok(api.put("/concurrency-groups", {"name": "dwh", "max_running": 9}))
