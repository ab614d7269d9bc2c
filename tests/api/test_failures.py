"""Kinds of failures, workers and approvals through the API and by commands, as on the pages."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from scheduler.models import Activity, FailedRun, FailureGroup, JobExecution, SchedulerProcess
from scheduler.operations.approvals import digest_of_params
from scheduler.states import ReasonCode, RunStatus
from scheduler.store import failures
from scheduler.store.connection import database_now
from tests.admin.test_admin import make_job
from tests.api.conftest import Program, error_of, make_failure, ok
from tests.api.test_permissions import a_run_that_asks
from tests.test_commands import run

pytestmark = [pytest.mark.django_db, pytest.mark.database]


# --- failures ------------------------------------------------------------------------------------


def test_kinds_of_failures_are_listed_by_the_newest_and_filtered(api: Program) -> None:
    job, now = make_job(), database_now()
    first = make_failure(job)
    for number in range(3):
        make_failure(last_at=now - timedelta(hours=number + 1), is_open=number == 0)

    pages, cursor = [], ""
    while cursor is not None:
        page = ok(api.get(f"/failures?size=1{cursor and f'&cursor={cursor}'}"))
        pages += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"] and page["next_cursor"].replace("+", "%2B")

    newest = FailureGroup.objects.order_by("-last_at", "-id")
    assert pages == [group.pk for group in newest]
    assert len(ok(api.get("/failures?is_open=true"))["items"]) == 2
    assert len(ok(api.get("/failures?q=ORDER+7&handler=sample&days=2"))["items"]) == 4
    assert ok(api.get("/failures?handler=other"))["items"] == []
    one = ok(api.get(f"/failures/{first}"))
    assert (one["text"], one["runs"], one["is_open"]) == ("no order <n>", 1, True)
    assert one["execution_ids"] == list(FailedRun.objects.filter(group_id=first).values_list(
        "execution_id", flat=True
    ))  # fmt: skip
    assert error_of(api.get("/failures/999999"), 404)
    for wrong in ("cursor=x", "cursor=2026-01-01_1", "days=0", "is_open=maybe", "state=open"):
        assert error_of(api.get(f"/failures?{wrong}"), 400), wrong


def test_a_kind_is_seen_and_retried_once_whoever_comes_second(api: Program) -> None:
    group = make_failure(make_job())

    assert ok(api.post(f"/failures/{group}/seen")) == {"id": group, "is_open": False}
    error_of(api.post(f"/failures/{group}/seen"), 409)
    assert ok(api.post(f"/failures/{group}/retry")) == {"retried": 1, "more": False}
    error_of(api.post(f"/failures/{group}/retry"), 409)
    error_of(api.post("/failures/999999/retry"), 404)

    assert JobExecution.objects.get().status == RunStatus.PENDING
    verbs = Activity.objects.filter(target_kind="failure").order_by("id")
    assert list(verbs.values_list("verb", "door")) == [("seen", "api"), ("retried", "api")]


def test_the_command_does_the_same_with_kinds_of_failures() -> None:
    group, other = make_failure(make_job()), make_failure()

    [newest, _oldest] = run("failures", "list", "--json").json["items"]
    assert (newest["id"], newest["text"]) == (other, "no order <n>")
    assert "no order <n>" in run("failures", "list", "--text", "order").out
    assert run("failures", "list", "--job", "report", "--json").json["items"] == []
    shown = run("failures", "show", str(group), "--json").json
    assert len(shown["execution_ids"]) == 1
    assert run("failures", "show", str(group)).code == 0
    assert run("failures", "seen", str(group)).code == 0
    assert [each["id"] for each in run("failures", "list", "--json").json["items"]] == [other]
    assert run("failures", "seen", str(group), str(other), "--json").json["refused"] == 1
    assert run("failures", "retry", str(group), "--yes", "--json").json["items"][0]["retried"] == 1
    for wrong in (
        ("show", "999999"),
        ("retry", str(group)),
        ("seen", "999999"),
        ("list", "--days", "0"),
    ):
        assert run("failures", *wrong).code != 0, wrong


def test_a_kind_whose_runs_were_deleted_meanwhile_is_shown_and_says_so(
    api: Program, django_user_model: type[User]
) -> None:
    group = make_failure()
    client = Client()
    client.force_login(django_user_model.objects.create_superuser("root"))
    asked = client.get(f"/admin/failures/{group}/retry/")
    assert asked.status_code == 200
    JobExecution.objects.all().delete()

    assert client.get("/admin/failures/").status_code == 200
    page = client.get(f"/admin/failures/{group}/")
    assert "None is left" in page.content.decode()
    listed = client.get(reverse("admin:scheduler_jobexecution_changelist"), {"failure": group})
    assert (listed.status_code, listed.context["cl"].result_count) == (200, 0)
    answer = client.post(f"/admin/failures/{group}/retry/", follow=True)
    assert "No failed run of this kind is left" in answer.content.decode()
    error_of(api.post(f"/failures/{group}/retry"), 409)
    assert "No failed run" in run("failures", "retry", str(group)).err
    assert not Activity.objects.filter(target_kind="failure").exists()
    # And then the kind itself.
    FailureGroup.objects.filter(pk=group).update(last_at=database_now() - timedelta(days=9_000))
    assert failures.prune(database_now() - timedelta(days=90), 100) == 1
    for path in (f"/admin/failures/{group}/", f"/admin/failures/{group}/retry/"):
        assert client.get(path).status_code == 404
    assert client.post(f"/admin/failures/{group}/seen/").status_code == 404
    error_of(api.post(f"/failures/{group}/seen"), 404)


def test_two_people_act_on_one_kind_and_the_second_is_told(django_user_model: type[User]) -> None:
    group = make_failure()
    clients = {name: Client() for name in ("alice", "bob")}
    for name, client in clients.items():
        client.force_login(django_user_model.objects.create_superuser(name))
        assert client.get(f"/admin/failures/{group}/retry/").status_code == 200

    seen = [
        client.post(f"/admin/failures/{group}/seen/", follow=True).content.decode()
        for client in clients.values()
    ]
    retried = [
        client.post(f"/admin/failures/{group}/retry/", follow=True).content.decode()
        for client in clients.values()
    ]

    assert "alice has marked it as seen already" in seen[1]
    assert "alice has marked it as seen already" not in seen[0]
    assert "1 execution waits for a worker again" in retried[0]
    assert "No failed run of this kind is left" in retried[1]
    who = Activity.objects.filter(target_kind="failure").values_list("actor", "verb")
    assert sorted(who) == [("alice", "retried"), ("alice", "seen")]


# --- workers -------------------------------------------------------------------------------------


def make_worker(name: str, age: float = 1) -> SchedulerProcess:
    now = database_now()
    return SchedulerProcess.objects.create(
        name=name, kind="worker", host="host", pid=1, started_at=now,
        heartbeat_at=now - timedelta(seconds=age), running=2, places=4, queues=["", "slow"],
    )  # fmt: skip


def test_the_command_lists_and_drains_workers() -> None:
    make_worker("one@host")
    make_worker("gone@host", age=3_600)

    gone, one = run("workers", "list", "--json").json["items"]
    assert (one["name"], one["running"], one["places"]) == ("one@host", 2, 4)
    assert (one["queues"], one["is_alive"], gone["is_alive"]) == (["", "slow"], True, False)
    assert "(default), slow" in run("workers", "list").out
    assert run("workers", "drain", "one@host", "--as", "kim").code == 0
    drained = SchedulerProcess.objects.get(name="one@host")
    assert (drained.drained_by, drained.drained_at is not None) == ("kim", True)
    assert "kim" in run("workers", "list").out
    for wrong in (("drain", "one@host"), ("drain", "gone@host"), ("undrain", "nobody@host")):
        assert run("workers", *wrong).code == 1, wrong
    assert run("workers", "undrain", "one@host").code == 0
    assert SchedulerProcess.objects.get(name="one@host").drained_at is None
    entries = Activity.objects.filter(target_kind="worker").order_by("id")
    assert list(entries.values_list("verb", "door")) == [
        ("drained", "command"), ("resumed", "command"),
    ]  # fmt: skip


# --- approvals -----------------------------------------------------------------------------------


def test_the_command_approves_and_rejects_what_waits_for_it(api: Program) -> None:
    wanted, unwanted = a_run_that_asks(), a_run_that_asks()

    waiting = run("executions", "list", "--waits-for", "approval", "--json").json["items"]
    assert [each["id"] for each in waiting] == [unwanted.pk, wanted.pk]
    through_api = ok(api.get("/jobs?waits_for=approval"))["items"]
    assert [each["id"] for each in through_api] == [unwanted.pk, wanted.pk]
    assert ok(api.get("/jobs?waits_for=worker"))["items"] == []
    shown = run("executions", "show", str(wanted.pk), "--json").json["approval"]
    assert (shown["state"], shown["digest"]) == ("waiting", digest_of_params(wanted))

    blind = run("executions", "approve", str(wanted.pk))
    stale = run("executions", "approve", str(wanted.pk), "--digest", "0" * 64)
    assert (blind.code, "digest" in blind.err) == (1, True)
    assert (stale.code, "have changed" in stale.err) == (1, True)
    done = run(
        "executions", "approve", str(wanted.pk), "--digest", shown["digest"], "--note", "checked",
        "--as", "kim",
    )  # fmt: skip
    assert done.code == 0
    wanted.refresh_from_db()
    assert (wanted.status, wanted.reason_code) == (RunStatus.PENDING, None)
    assert wanted.available_at <= database_now()
    approved = run("executions", "show", str(wanted.pk), "--json").json["approval"]
    assert (approved["state"], approved["decided_by"]) == ("approved", "kim")

    refused = run("executions", "reject", str(unwanted.pk), str(wanted.pk), "--yes", "--json")
    assert (refused.json["done"], refused.json["refused"]) == (1, 1)
    unwanted.refresh_from_db()
    assert (unwanted.status, unwanted.reason_code) == (RunStatus.SKIPPED, ReasonCode.REJECTED)
    assert run("executions", "approve", "999999", "--yes").code == 1
