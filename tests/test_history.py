"""The history has one entry per action, whether it came by admin, API or command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import translation

from scheduler.models import Activity, CronJob, JobExecution
from scheduler.operations.actor import Actor
from scheduler.operations.backfills import BackfillControl
from scheduler.operations.control import Control, FailedRange, NotPossible
from scheduler.operations.history import changes_of, describe, describe_door, facts_of
from scheduler.operations.masking import MASK
from scheduler.states import ActivityVerb, Door, RunStatus, TargetKind
from scheduler.store.connection import database_now
from tests.admin.test_admin import form_of, make_run, save
from tests.api.conftest import Program, make_job, ok, person, program
from tests.test_commands import run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]
once = pytest.mark.database("sqlite")  # asks no question to which databases have different answers

ALICE = Actor(name="alice", door=Door.API)


class Doors:
    """Lets Alice act through the admin, the API and commands."""

    def __init__(self) -> None:
        self.alice = User.objects.create_superuser("alice")
        self.admin = Client()
        self.admin.force_login(self.alice)
        self.api = program(self.alice)

    def press(self, page: str, row_id: int, **answers: str) -> None:
        address = reverse(f"admin:scheduler_{page}", args=[row_id])
        assert self.admin.post(address, answers).status_code == 302

    def edit(self, job: CronJob, **typed: str) -> None:
        assert save(self.admin, job, form_of(self.admin, job) | typed).status_code == 302

    def command(self, *arguments: object) -> None:
        done = run(*arguments, "--as", "alice")
        assert done.code == 0, done.err


@pytest.fixture
def doors(db: None) -> Doors:
    return Doors()


Way = Callable[[Doors, CronJob, JobExecution], object]
# For each verb: how to do it through the admin, the API and a command.
WAYS: dict[str, tuple[Way, Way, Way]] = {
    "disabled": (
        lambda at, job, _run: at.press("cronjob_disable", job.pk),
        lambda at, job, _run: ok(at.api.post(f"/crons/{job.pk}/disable")),
        lambda at, job, _run: at.command("jobs", "disable", job.name),
    ),
    "paused": (
        lambda at, job, _run: at.press("cronjob_pause", job.pk, reason="moving"),
        lambda at, job, _run: ok(at.api.post(f"/crons/{job.pk}/pause", {"reason": "moving"})),
        lambda at, job, _run: at.command("jobs", "pause", job.name, "--reason", "moving"),
    ),
    "changed": (
        lambda at, job, _run: at.edit(job, description="new"),
        lambda at, job, _run: ok(at.api.put(f"/crons/{job.pk}", {"description": "new"})),
        lambda at, job, _run: at.command("jobs", "update", job.name, "--description", "new"),
    ),
    "run": (
        lambda at, job, _run: at.press("cronjob_run_now", job.pk, params="{}"),
        lambda at, job, _run: ok(at.api.post(f"/crons/{job.pk}/run"), 201),
        lambda at, job, _run: at.command("jobs", "run", job.name),
    ),
    "cloned": (
        lambda at, job, _run: at.press("cronjob_clone", job.pk, name="copy"),
        lambda at, job, _run: ok(at.api.post(f"/crons/{job.pk}/clone", {"name": "copy"}), 201),
        lambda at, job, _run: at.command("jobs", "clone", job.name, "--name", "copy"),
    ),
    "deleted": (
        lambda at, job, _run: at.press("cronjob_delete", job.pk, post="yes"),
        lambda at, job, _run: ok(at.api.delete(f"/crons/{job.pk}"), 204),
        lambda at, job, _run: at.command("jobs", "delete", job.name, "--yes"),
    ),
    "retried": (
        lambda at, _job, run: at.press("jobexecution_retry", run.pk),
        lambda at, _job, run: ok(at.api.post(f"/jobs/{run.pk}/retry")),
        lambda at, _job, run: at.command("executions", "retry", run.pk),
    ),
    "replayed": (
        lambda at, _job, run: at.press("jobexecution_replay", run.pk, params="{}"),
        lambda at, _job, run: ok(at.api.post(f"/jobs/{run.pk}/replay"), 201),
        lambda at, _job, run: at.command("executions", "replay", run.pk),
    ),
}


def entry_of(doors: Doors, way: Way) -> Activity:
    """Returns the one history entry that `way` writes about a new job and execution."""
    CronJob.objects.all().delete()
    job = make_job()
    execution = make_run(job, RunStatus.FAILED)
    Activity.objects.all().delete()
    way(doors, job, execution)
    entry = Activity.objects.get()
    # Ids differ each time. Replace them by names, so that the entries can be compared.
    row = job if entry.target_kind == TargetKind.JOB else execution
    entry.target_name = "the row" if entry.target_id == row.pk else "a new row"
    if "source_id" in entry.facts:
        assert entry.facts.pop("source_id") == row.pk
    if "execution_id" in entry.facts:
        assert entry.facts.pop("execution_id") == JobExecution.objects.latest("id").pk
    return entry


@pytest.mark.parametrize("verb", WAYS)
def test_admin_api_and_commands_write_the_same_entry(doors: Doors, verb: str):
    entries = [entry_of(doors, way) for way in WAYS[verb]]

    assert [entry.door for entry in entries] == ["admin", "api", "command"]
    assert [entry.facts.pop("token", "") for entry in entries] == ["", "a program", ""]
    for entry in entries:
        assert (entry.verb, entry.actor, entry.user_id) == (verb, "alice", str(doors.alice.pk))
        entry.facts.pop("since", None)
    first, *others = [(e.target_kind, e.target_name, e.facts) for e in entries]
    assert others == [first, first]
    assert not LogEntry.objects.exists(), "Django's own log is no longer written"


@once
def test_refused_action_is_not_in_the_history(db: None):
    job = make_job()
    done = make_run(job)
    Activity.objects.all().delete()

    with pytest.raises(NotPossible):
        Control(actor=ALICE).retry(done.pk)
    with pytest.raises(NotPossible):
        Control(actor=ALICE).cancel(done.pk)
    with pytest.raises(CronJob.DoesNotExist):
        Control(actor=ALICE).delete_job(job.pk + 1)

    assert not Activity.objects.exists()


def test_edit_without_a_change_is_not_in_the_history(db: None):
    job = make_job()

    Control(actor=ALICE).update_job(job.pk, name=job.name)

    assert not Activity.objects.filter(verb=ActivityVerb.CHANGED.value).exists()


def test_history_of_an_edit_has_both_full_definitions_without_secrets(db: None):
    long = "x" * 5000
    job = make_job(handler_params={"note": "a", "token": "hunter2", "list": [{"key": "k1"}]})

    Control(actor=ALICE).update_job(
        job.pk,
        handler_params={"note": long, "token": "hunter3", "list": [{"key": "k2"}]},
        timeout_seconds=60,
    )

    entry = Activity.objects.get(verb="changed")
    before, after = entry.facts["before"], entry.facts["after"]
    assert (before["timeout_seconds"], after["timeout_seconds"]) == (3600, 60)
    assert (before["name"], after["cron_expression"]) == ("report", "0 3 * * *")
    assert after["handler_params"] == {"note": long, "token": MASK, "list": [{"key": MASK}]}
    for secret in ("hunter2", "hunter3", "k1", "k2"):
        assert secret not in str(entry.facts)
    changes = {c.field: (c.old, c.new) for c in changes_of(entry, sees_params=True)}
    assert changes == {
        "timeout": ("3600", "60"),
        "parameters: note": ("a", long),
        "parameters: token": (MASK, MASK),
        "parameters: list": (MASK, MASK),
    }
    cut = {c.field: c.new for c in changes_of(entry, sees_params=True, longest=100)}
    assert len(cut["parameters: note"]) == 100
    unseen = {c.field: (c.old, c.new) for c in changes_of(entry, sees_params=False)}
    assert unseen == {"timeout": ("3600", "60"), "parameters": ("hidden", "hidden")}
    hidden = facts_of(entry, sees_params=False)
    assert hidden["before"]["handler_params"] is hidden["after"]["handler_params"] is None
    assert "secrets" not in hidden


def test_edit_of_params_that_were_nested_too_deep_is_in_the_history(db: None):
    deep: Any = "bottom"
    for _ in range(30):
        deep = {"a": deep}
    job = make_job()
    CronJob.objects.filter(pk=job.pk).update(handler_params=deep)

    Control(actor=ALICE).update_job(job.pk, handler_params={"message": "flat"})
    Control(actor=ALICE).delete_job(job.pk)

    found = Activity.objects.filter(target_id=job.pk).order_by("id")
    assert [entry.verb for entry in found] == ["created", "changed", "deleted"]
    assert found[2].facts["before"]["handler_params"] == {"message": "flat"}
    assert [c.field for c in changes_of(found[1], sees_params=True)]


def test_retry_of_a_range_is_one_entry_with_a_growing_count(
    db: None, monkeypatch: pytest.MonkeyPatch
):
    from scheduler.operations import retrying

    monkeypatch.setattr(retrying, "RETRY_BATCH", 2)
    job = make_job()
    for _ in range(5):
        make_run(job, RunStatus.FAILED)
    now = database_now()
    failed = FailedRange(
        since=now.replace(year=now.year - 1),
        until=now.replace(year=now.year + 1),
        statuses=frozenset({RunStatus.FAILED}),
    )

    assert Control(actor=ALICE).retry_range(failed) == (5, False)
    assert Control(actor=ALICE).retry_range(failed) == (0, False)

    entry = Activity.objects.get(verb="retried_range")
    assert (entry.facts["retried"], entry.target_id) == (5, None)
    assert describe(entry, str).startswith("Retried 5 executions from ")


def test_every_action_on_a_backfill_is_in_the_history(db: None):
    job = make_job()
    control = BackfillControl(actor=ALICE)
    now = database_now()

    started = control.start(job.pk, since=now.replace(year=now.year - 1), until=now)
    control.pause(started.pk)
    control.resume(started.pk)
    control.cancel(started.pk)
    control.delete(started.pk)

    found = Activity.objects.filter(target_kind=TargetKind.BACKFILL.value).order_by("id")
    assert [(e.verb, e.target_id, e.target_name) for e in found] == [
        (verb, started.pk, "report")
        for verb in ("started", "paused", "resumed", "cancelled", "deleted")
    ]


@once
def test_an_entry_is_shown_in_the_language_of_the_reader(db: None):
    job = make_job()
    Control(actor=Actor(name="alice", door=Door.API, token="ci")).disable(job.pk)

    entry = Activity.objects.get(verb="disabled")

    assert (describe(entry, str), describe_door(entry)) == ("Disabled", "api, token ci")
    with translation.override("ko"):
        assert (describe(entry, str), describe_door(entry)) == ("비활성화함", "API, 토큰 ci")


@once
@pytest.mark.parametrize("facts", [[], "text", {"before": 1, "until": "soon", "slots": "many"}])
@pytest.mark.parametrize("verb", [*ActivityVerb, "of a newer release"])
def test_unexpected_facts_in_the_table_cause_no_error(db: None, verb: str, facts: Any):
    entry = Activity.objects.create(
        actor="sql", door="sql", verb=verb, target_kind="job", target_id=1, facts=facts
    )

    assert describe(entry, str)
    assert describe_door(entry) == "sql"
    assert changes_of(entry, sees_params=True) == []
    assert isinstance(facts_of(entry, sees_params=False), dict)


# --- through the API -----------------------------------------------------------------------------


def test_api_shows_each_user_only_entries_they_have_permission_for(doors: Doors):
    job = make_job(handler_params={"message": "classified"})
    control = Control(actor=ALICE)
    control.update_job(job.pk, handler_params={"message": "open"})
    execution = control.run_now(job.pk)
    control.cancel(execution.pk)
    seeing_jobs = program(person("vera", "view_cronjob"))

    everything = ok(doors.api.get("/history"))["items"]
    jobs_alone = ok(seeing_jobs.get("/history"))["items"]
    changed = ok(seeing_jobs.get(f"/crons/{job.pk}/history"))["items"][1]

    assert [e["verb"] for e in everything] == ["cancelled", "run", "changed", "created"]
    assert everything[2]["facts"]["before"]["handler_params"] == {"message": "classified"}
    assert [e["verb"] for e in jobs_alone] == ["run", "changed", "created"]
    assert changed["text"] == "Changed parameters"
    assert changed["facts"]["before"]["handler_params"] is None
    assert seeing_jobs.get(f"/jobs/{execution.pk}/history").status_code == 403
    of_run = ok(doors.api.get(f"/jobs/{execution.pk}/history"))["items"]
    assert [e["verb"] for e in of_run] == ["cancelled"]


def test_the_api_filters_and_pages_the_history(doors: Doors):
    job = make_job()
    Control(actor=ALICE).disable(job.pk)
    Control(actor=Actor(name="bob")).enable(job.pk)

    by_bob = ok(doors.api.get("/history?actor=bob"))["items"]
    disabled = ok(doors.api.get("/history?verb=disabled"))["items"]
    first = ok(doors.api.get("/history?size=1"))
    rest = ok(doors.api.get(f"/history?cursor={first['next_cursor']}"))

    assert [e["verb"] for e in by_bob] == ["enabled"]
    assert [e["actor"] for e in disabled] == ["alice"]
    assert [e["verb"] for e in first["items"] + rest["items"]] == ["enabled", "disabled", "created"]
    assert doors.api.get("/history?verb=enabeld").status_code == 400
    assert doors.api.get("/crons/999999/history").status_code == 404
    assert Program(None).get("/history").status_code == 401


# --- tokens --------------------------------------------------------------------------------------


def test_history_of_a_token_does_not_contain_its_key(doors: Doors):
    made = doors.admin.post(
        reverse("admin:scheduler_apitoken_add"),
        {"name": "ci", "user": str(doors.alice.pk), "scopes": ["read"]},
        follow=True,
    )
    entry = Activity.objects.get(target_kind="token", target_name="ci")
    doors.press("apitoken_revoke", entry.target_id or 0)

    found = Activity.objects.filter(target_kind="token", target_name="ci").order_by("id")
    assert [(e.verb, e.actor, e.facts["scopes"]) for e in found] == [
        ("created", "alice", ["read"]),
        ("revoked", "alice", ["read"]),
    ]
    key = made.context["key"]
    assert not any(key in str(e.facts) for e in found)
    url = reverse("admin:scheduler_apitoken_history", args=[entry.target_id])
    assert "Revoked" in doors.admin.get(url).content.decode()
