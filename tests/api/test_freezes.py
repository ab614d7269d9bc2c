"""Freezes and approvals through the API, the command and the pages."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from scheduler.models import Activity, JobExecution, JobFreeze
from scheduler.operations.control import Control
from scheduler.states import ReasonCode, RunStatus
from scheduler.store.connection import database_now
from tests.admin.test_admin import make_job
from tests.api.conftest import Program, error_of, ok

pytestmark = pytest.mark.django_db


def command(*arguments: str) -> Any:
    out = StringIO()
    call_command("freezes", *arguments, "--json", stdout=out)
    return json.loads(out.getvalue())


def hours(count: float) -> str:
    return (database_now() + timedelta(hours=count)).isoformat()


@pytest.fixture
def client(django_user_model: type[User]) -> Client:
    found = Client()
    found.force_login(django_user_model.objects.create_superuser("root"))
    return found


def test_a_freeze_through_the_api(api: Program) -> None:
    job = make_job(cron_expression="* * * * *", tags=["dwh"])
    given = {
        "name": "year end", "reason": "the books close", "since": hours(-1), "until": hours(2),
        "tags": ["dwh"], "blocked_slots": "latest",
    }  # fmt: skip
    times = {name: given[name] for name in ("since", "until", "tags", "blocked_slots")}
    [will] = ok(api.post("/freezes/preview", times))["items"]
    assert will["cron_name"] == job.name
    assert will["runs_at"] is not None

    made = ok(api.post("/freezes", given), 201)
    assert made["holds_until"] == made["until"]
    assert made["created_by"] == "alice"
    assert error_of(api.post("/freezes", given), 400)["fields"].keys() == {"name"}
    slots = ok(api.get(f"/crons/{job.pk}/next"))["slots"]
    assert {slot["frozen_by"] for slot in slots} == {"year end"}

    refused = error_of(api.post(f"/crons/{job.pk}/run"), 409)
    assert refused["code"] == "FROZEN"
    assert "year end" in refused["message"]
    ok(api.post(f"/crons/{job.pk}/run", {"despite_freeze": True}), 201)
    entry = Activity.objects.get(verb="run")
    assert entry.facts["despite_freeze"] == "year end"

    url = f"/freezes/{made['id']}"
    assert ok(api.send("patch", url, {"reason": "other"}))["reason"] == "other"
    assert set(error_of(api.send("patch", url, {"until": None}), 400)["fields"]) == {"until"}
    assert ok(api.post(f"{url}/end"))["holds_until"] is None
    assert error_of(api.post(f"{url}/end"), 409)
    assert api.delete(url).status_code == 204
    assert error_of(api.get(url), 404)["code"] == "FREEZE_NOT_FOUND"


def test_freezes_by_the_command() -> None:
    job = make_job(cron_expression="* * * * *")
    command("add", "now", "--reason", "r", "--until", "in 2h")
    command(
        "add", "weekends", "--reason", "r", "--hours", "Fri 18:00 - Mon 06:00",
        "--hours", "daily 03:00 - 04:00", "--timezone", "Asia/Seoul", "--tag", "x",
    )  # fmt: skip
    found = {item["name"]: item for item in command("list")["items"]}
    assert found["now"]["holds_until"] == found["now"]["until"]
    assert found["weekends"]["hours"] == "Fri 18:00 - Mon 06:00\ndaily 03:00 - 04:00"
    told = StringIO()
    with pytest.raises(SystemExit):
        call_command("jobs", "run", job.name, stderr=told)
    assert "the freeze “now” holds" in told.getvalue()
    call_command("jobs", "run", job.name, "--despite-freeze", stdout=StringIO())
    command("end", "now")
    call_command("jobs", "run", job.name, stdout=StringIO())
    command("delete", "weekends", "--yes")
    for wrong in (("end", "now"), ("end", "none"), ("add", "x", "--reason", "r")):
        with pytest.raises(CommandError):
            command(*wrong)
    assert [row.name for row in JobFreeze.objects.all()] == ["now"]


def test_a_freeze_on_its_pages(client: Client) -> None:
    job = make_job(cron_expression="* * * * *")
    given = {
        "name": "move", "reason": "the centre moves", "hours": "daily 00:00 - 23:59\r\n",
        "timezone": "UTC", "tags": " ", "blocked_slots": "skip", "is_enabled": "on",
    }  # fmt: skip
    add = reverse("admin:freeze-add")
    assert client.get(add).status_code == 200
    preview = client.post(add, {**given, "preview": "1"})
    assert job.name in preview.content.decode()
    assert not JobFreeze.objects.exists()
    wrong = client.post(add, {**given, "hours": "Fry 1:00 - 2:00", "save": "1"})
    assert "Fri" in str(wrong.context["form"].errors["hours"])
    assert client.post(add, {**given, "save": "1"}).status_code == 302
    made = JobFreeze.objects.get()
    assert (made.hours, made.tags, made.created_by) == ("daily 00:00 - 23:59", [], "root")

    page = client.get(reverse("admin:freezes")).content.decode()
    assert "the centre moves" in page
    for name in ("index", "timeline"):
        assert client.get(reverse(f"admin:{name}")).status_code == 200
    assert "the centre moves" in client.get(reverse("admin:index")).content.decode()
    overview = reverse("admin:scheduler_cronjob_overview", args=[job.pk])
    assert "move" in client.get(overview).content.decode()
    table = client.get(reverse("admin:timeline"), {"view": "table"}).content.decode()
    assert "frozen by “move”" in table
    data = client.get(reverse("admin:timeline-data")).json()
    assert [row[1] for row in data["frozen"]] == ["move"]

    run = reverse("admin:scheduler_cronjob_run_now", args=[job.pk])
    assert "despite_freeze" in client.get(run).content.decode()
    client.post(run, {"params": "{}"})
    assert not JobExecution.objects.exists()
    client.post(run, {"params": "{}", "despite_freeze": "on"})
    assert JobExecution.objects.count() == 1
    edit = reverse("admin:freeze", args=[made.pk])
    seen = {"seen_at": client.get(edit).context["form"]["seen_at"].value()}
    assert client.post(edit, {**given, **seen, "reason": "new", "save": "1"}).status_code == 302
    for stale in (seen, {}, {"seen_at": "x"}):
        answer = client.post(edit, {**given, **stale, "reason": "of another", "save": "1"})
        assert "Somebody else has changed it" in answer.content.decode()
    client.post(reverse("admin:freeze-end", args=[made.pk]))
    made.refresh_from_db()
    assert (made.reason, made.is_enabled) == ("new", False)
    assert client.get(reverse("admin:freeze-delete", args=[made.pk])).status_code == 405
    client.post(reverse("admin:freeze-delete", args=[made.pk]))
    assert not JobFreeze.objects.exists()
    assert "move" in client.get(reverse("admin:activity")).content.decode()


def test_the_api_does_not_overwrite_what_somebody_else_has_changed(api: Program) -> None:
    hours = {"hours": "daily 12:00 - 13:00", "tags": ["dwh"]}
    made = ok(api.post("/freezes", {"name": "noon", "reason": "r", **hours}), 201)
    assert made["warnings"] == ["no job has the tag dwh: it blocks nothing until one has it"]
    address, seen = f"/freezes/{made['id']}", {"updated_at": made["updated_at"]}
    ok(api.send("PATCH", address, {**seen, "reason": "lunch"}))

    error = error_of(api.send("PATCH", address, {**seen, "reason": "siesta"}), 409)
    assert error["code"] == "STALE_EDIT"
    assert ok(api.get(address))["reason"] == "lunch"
    assert ok(api.send("PATCH", address, {"reason": "siesta"}))["reason"] == "siesta"


@pytest.mark.parametrize("tags", [5, "dwh", [1, None]])
def test_a_freeze_that_sql_has_written_is_shown_with_what_is_wrong(
    client: Client, api: Program, tags: object
) -> None:
    row = JobFreeze.objects.create(name="w", reason="r", hours="daily 1:00 - 2:00", tags=tags)
    page = client.get(reverse("admin:freezes")).content.decode()
    assert "tags: must be a list of texts" in page
    assert client.get(reverse("admin:freeze", args=[row.pk])).status_code == 200
    (shown,) = ok(api.get("/freezes"))["items"]
    assert (shown["tags"], shown["problem"]) == ([], "tags: must be a list of texts")
    assert command("list")["items"][0]["problem"] == shown["problem"]
    out = StringIO()
    call_command("freezes", "list", stdout=out)
    assert "cannot be read: tags: must be a list of texts" in out.getvalue()


def test_who_may_see_jobs_sees_freezes_and_changes_none(django_user_model: type[User]) -> None:
    made = JobFreeze.objects.create(name="w", reason="r", hours="Fri 18:00 - Mon 06:00")
    user = django_user_model.objects.create_user("bob", is_staff=True)
    client = Client()
    client.force_login(user)
    assert client.get(reverse("admin:freezes")).status_code == 403
    user.user_permissions.set(Permission.objects.filter(codename="view_cronjob"))

    page = client.get(reverse("admin:freezes")).content.decode()
    assert "Fri 18:00" in page
    assert "freezes/add" not in page
    for name in ("freeze-end", "freeze-delete"):
        assert client.post(reverse(f"admin:{name}", args=[made.pk])).status_code == 403


def test_the_form_says_that_a_run_by_hand_is_approved_at_once(client: Client) -> None:
    job = make_job(approval_seconds=3600)
    url = reverse("admin:scheduler_cronjob_run_now", args=[job.pk])

    assert "approved by you" in client.get(url).content.decode()
    client.post(url, {"params": "{}"})

    run = JobExecution.objects.get()
    assert (run.status, run.reason_code) == (RunStatus.PENDING, None)


def asking(job_name: str) -> JobExecution:
    job = make_job(name=job_name, approval_seconds=3600)
    return Control().run_now(job.pk)


def test_a_run_is_approved_through_the_api_once(api: Program) -> None:
    run = asking("a")
    approval = ok(api.get(f"/jobs/{run.pk}"))["approval"]
    assert approval["state"] == "waiting"

    stale = {"digest": "x"}
    assert "changed" in error_of(api.post(f"/jobs/{run.pk}/approve", stale), 409)["message"]
    given = {"digest": approval["digest"], "note": "fine"}
    done = ok(api.post(f"/jobs/{run.pk}/approve", given))
    assert (done["approval"]["state"], done["approval"]["decided_by"]) == ("approved", "alice")
    assert error_of(api.post(f"/jobs/{run.pk}/reject", given), 409)
    assert ok(api.get("/crons"))["items"][0]["approval_seconds"] == 3600
    bad = {"approval_seconds": 99_999_999}
    assert set(error_of(api.put(f"/crons/{run.job_id}", bad), 400)["fields"]) == {
        "approval_seconds"
    }


def test_a_run_is_approved_or_rejected_on_its_page_by_a_post(client: Client) -> None:
    wanted, unwanted = asking("a"), asking("b")
    page = reverse("admin:scheduler_jobexecution_change", args=[wanted.pk])
    assert "approve/" in client.get(page).content.decode()

    for run, verb in ((wanted, "approve"), (unwanted, "reject")):
        url = reverse(f"admin:scheduler_jobexecution_{verb}", args=[run.pk])
        form = client.get(url).context["form"]
        run.refresh_from_db()
        assert run.reason_code == ReasonCode.AWAITS_APPROVAL  # looking changes nothing
        client.post(url, {"digest": form["digest"].value(), "note": "n"})
        run.refresh_from_db()

    assert (wanted.status, wanted.reason_code) == (RunStatus.PENDING, None)
    assert (unwanted.status, unwanted.reason_code) == (RunStatus.SKIPPED, ReasonCode.REJECTED)
    shown = client.get(page).content.decode()
    assert "root" in shown
    assert "approve/" not in shown
