"""The management commands: every action with good and bad input, as text and as JSON."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db.models import JSONField, Value

from scheduler.management import inputs, output
from scheduler.models import Activity, Backfill, CronJob, JobExecution, JobLog
from scheduler.operations.control import InvalidJob
from scheduler.operations.history import changes_of
from scheduler.operations.masking import MASK
from scheduler.operations.who import who_switched_off
from scheduler.states import BackfillState, RunStatus
from tests.conftest import SystemFactory
from tests.harness.fork_server import the_fork_server
from tests.harness.scheduler_harness import START, SchedulerHarness, fail, ok
from tests.harness.system import ROOT
from tests.scheduler.conftest import own_registry

__all__ = ["own_registry"]  # a fixture

SECRET = "hunter2-s3cr3t"


@pytest.fixture
def world(settings: Any, transactional_db: None, own_registry: None) -> Iterator[SchedulerHarness]:
    """A scheduler harness. The commands use the clock of the database, not its clock."""
    made = SchedulerHarness(settings)
    made.configure(default_timezone="UTC", min_cron_interval_seconds=60)
    made.handler("ok", ok)
    made.handler("fail", fail)
    yield made
    made.close()


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(*arguments: object) -> Done:
    """Runs a command in this process, with the result that a shell would get."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    try:
        call_command(*map(str, arguments), stdout=out, stderr=err)
    except SystemExit as error:
        code = int(error.code or 0)
    except CommandError as error:
        # A real process exits with 2 after wrong usage; call_command() raises instead.
        is_usage = str(error).startswith("Error: ")
        code, text = (2 if is_usage else error.returncode), str(error)
        err.write(text)
    return Done(code, out.getvalue(), err.getvalue())


def ran(*arguments: object) -> Done:
    done = run(*arguments)
    assert done.code == 0, done.err
    return done


def refused(*arguments: object) -> str:
    done = run(*arguments)
    assert done.code == 1, done
    assert done.err
    if "--json" in arguments:
        answer = done.json
        assert answer.get("error") or answer["refused"]
    else:
        assert done.out == ""
    return done.err


# --- jobs ----------------------------------------------------------------------------------------


@pytest.mark.database
def test_a_job_is_created_shown_changed_cloned_and_deleted(world: SchedulerHarness):
    made = ran(
        "jobs", "create", "nightly", "--cron", "0 3 * * *", "--handler", "ok", "--timezone",
        "Asia/Seoul", "--param", "count=3", "--param", "name=Ann", "--max-retry", 1,
        "--overlap-policy", "skip", "--start-at", "2026-02-01 09:00", "--json",
    ).json  # fmt: skip
    assert made["handler_params"] == {"count": 3, "name": "Ann"}
    assert (made["max_retry"], made["overlap_policy"], made["state"]) == (1, "skip", "enabled")
    assert made["start_at"] == "2026-02-01T00:00:00Z"  # 09:00 in Seoul, the configured zone

    answer = ran("jobs", "create", "other", "--cron", "@daily", "--handler", "ok", "--disabled").out
    assert answer.startswith("created job ")
    ran("jobs", "update", "nightly", "--param", "count=4", "--start-at", "none", "--name", "n2")
    shown = ran("jobs", "show", made["id"], "--json").json
    assert shown["handler_params"] == {"count": 4, "name": "Ann"}
    assert (shown["name"], shown["start_at"]) == ("n2", None)
    assert len(shown["next_slots"]) == 5
    assert "03:00" in shown["words"]

    copy = ran("jobs", "clone", "n2", "--name", "n3", "--json").json
    assert (copy["state"], copy["cron_expression"]) == ("disabled", "0 3 * * *")
    assert ran("jobs", "delete", "n2", "n3").out == "n2: removed\nn3: removed\n"
    assert [job["name"] for job in ran("jobs", "list", "--json").json["items"]] == ["other"]


def test_mistakes_of_a_new_job_are_reported_by_field(world: SchedulerHarness):
    wrong = (
        "jobs",
        "create",
        "x",
        "--cron",
        "61 * * * *",
        "--handler",
        "okk",
        "--timezone",
        "Soul",
    )

    text = refused(*wrong)
    fields = run(*wrong, "--json").json["error"]["fields"]

    assert "did you mean 'ok'" in text
    assert "timezone:" in text or "cron_expression:" in text
    assert set(fields) >= {"handler_name"}
    assert not CronJob.objects.exists()


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["--params", "[1]"], "params"),
        (["--params", "{"], "params"),
        (["--params", "@/no/such/file"], "params"),
        (["--param", "novalue"], "param"),
        (["--params", json.dumps({"password": MASK})], "params"),
        (["--start-at", "soon"], "start_at"),
        (["--start-at", "2026-13-01"], "start_at"),
        (["--description", "x" * 501], "description"),
        (["--as", "bad\x1bname"], "as"),
    ],
)
def test_bad_values_are_refused_and_their_option_is_named(
    world: SchedulerHarness, arguments: list[str], field: str
):
    done = run("jobs", "create", "x", "--cron", "@daily", "--handler", "ok", "--json", *arguments)

    assert done.code == 1
    assert list(done.json["error"]["fields"]) == [field]
    assert not CronJob.objects.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["jobs"],
        ["jobs", "nonsense"],
        ["jobs", "create", "x"],
        ["jobs", "create", "x", "--cron", "@daily", "--handler", "ok", "--max-retry", "11"],
        ["jobs", "create", "x", "--cron", "@daily", "--handler", "ok", "--overlap-policy", "often"],
        ["jobs", "list", "--limit", "0"],
        ["jobs", "pause", "x", "--for", "1h", "--until", "now"],
        ["executions", "show", "abc"],
        ["executions", "cancel"],
        ["executions", "show", "9223372036854775808"],
        ["backfill", "start", "x"],
        ["preview"],
        ["handlers", "show"],
        ["probe", "--min-workers", "-1"],
    ],
)
def test_wrong_usage_ends_with_2(db: None, arguments: list[str]):
    assert run(*arguments).code == 2


def test_jobs_are_listed_by_state_name_and_handler_a_page_at_a_time(world: SchedulerHarness):
    for name in ("a", "b", "c"):
        world.job(name=name)
    world.job(name="off", is_enabled=False)
    world.job(name="rest", is_enabled=False, pause_reason="holiday")
    world.job(name="broken", is_enabled=False, schedule_error="no slot")

    def names(*arguments: object) -> list[str]:
        return [item["name"] for item in ran("jobs", "list", "--json", *arguments).json["items"]]

    assert names("--state", "enabled") == ["a", "b", "c"]
    assert names("--state", "disabled") == ["off"]
    assert names("--state", "paused") == ["rest"]
    assert names("--state", "error") == ["broken"]
    assert names("--search", "RES") == ["rest"]
    assert names("--handler", "fail") == []
    page = ran("jobs", "list", "--limit", 2, "--json").json
    assert page["next_after"] == "b"
    assert names("--after", "b", "--limit", 1) == ["broken"]
    assert "--after 'b'" in ran("jobs", "list", "--limit", 2).err


@pytest.mark.database
def test_jobs_are_switched_off_and_on_several_at_once(world: SchedulerHarness):
    first, second = world.job(name="one"), world.job(name="two")

    done = run("jobs", "disable", "one", "nobody", second.pk)

    assert done.code == 1
    assert done.out == f"one: disabled\n{second.pk}: disabled\n"
    assert "nobody: there is no job 'nobody'" in done.err
    assert not CronJob.objects.filter(is_enabled=True).exists()
    answer = ran("jobs", "enable", "one", "two", "--json").json
    assert (answer["done"], answer["refused"]) == (2, 0)
    assert answer["items"][0] == {"name": "one", "ok": True, "id": first.pk, "state": "enabled"}


def test_a_pause_has_a_reason_and_an_end(world: SchedulerHarness):
    job = world.job(name="one")

    ran("jobs", "pause", "one", "--reason", "moving house", "--for", "2h")
    job.refresh_from_db()
    assert (job.is_enabled, job.pause_reason) == (False, "moving house")
    assert job.paused_until is not None
    assert "moving house" in ran("jobs", "show", "one").out
    assert "must be in the future" in refused("jobs", "pause", "one", "--until", "2020-01-01")
    ran("jobs", "resume", "one")
    assert CronJob.objects.get(pk=job.pk).is_enabled


def test_enable_with_missed_all_runs_the_missed_slots(world: SchedulerHarness):
    job = world.job(name="one", is_enabled=False)
    now = world_now()
    CronJob.objects.filter(pk=job.pk).update(missed_from=now - timedelta(minutes=10))

    ran("jobs", "enable", "one", "--missed", "all")

    assert JobExecution.objects.filter(job=job, status=RunStatus.PENDING).count() >= 9


def world_now() -> Any:
    from scheduler.operations.control import Control

    return Control().clock.now()


def test_a_job_is_found_by_exact_name_or_id_only(world: SchedulerHarness):
    first = world.job(name="one")
    world.job(name=str(first.pk))

    assert "name:" in refused("jobs", "disable", first.pk)
    assert ran("jobs", "show", f"id:{first.pk}", "--json").json["name"] == "one"
    assert ran("jobs", "show", f"name:{first.pk}", "--json").json["name"] == str(first.pk)
    assert "did you mean 'one'?" in refused("jobs", "show", "onne")
    assert "there is no job" in refused("jobs", "show", "99999999999999999999")


def test_a_command_never_takes_another_name_for_the_one_that_was_given(world: SchedulerHarness):
    for name in ("report", "\U0001f600"):
        ran("jobs", "create", name, "--cron", "@daily", "--handler", "ok")

    for other in ("REPORT", "\U0001f680"):
        refused("jobs", "delete", other)
        refused("jobs", "show", other)
    assert "U+202E" in refused("jobs", "create", "a\u202eb", "--cron", "@daily", "--handler", "ok")
    assert len(ran("jobs", "list", "--json").json["items"]) == 2


def test_secrets_are_masked_and_a_saved_mask_keeps_the_stored_secret(world: SchedulerHarness):
    world.job(name="one", handler_params={"password": SECRET, "n": 1})

    for arguments in (["show", "one"], ["show", "one", "--json"], ["list", "--json"]):
        text = ran("jobs", *arguments).out
        assert SECRET not in text
    assert MASK in text
    ran("jobs", "update", "one", "--params", json.dumps({"password": MASK, "n": 2}))
    assert CronJob.objects.get().handler_params == {"password": SECRET, "n": 2}
    assert SECRET not in ran("jobs", "run", "one", "--json").out
    assert SECRET not in ran("executions", "show", JobExecution.objects.get().pk, "--json").out


def test_params_come_from_a_file(world: SchedulerHarness, tmp_path: Path):
    file = tmp_path / "params.json"
    file.write_text('{"name": "안녕", "n": [1]}', encoding="utf-8")
    world.job(name="one")

    ran("jobs", "run", "one", "--params", f"@{file}", "--param", 'text="3"', "--param", "n=x=y")

    assert JobExecution.objects.get().params == {"name": "안녕", "n": "x=y", "text": "3"}


@pytest.mark.parametrize("depth", [21, 400, 700, 900])
def test_params_nested_too_deep_are_refused(world: SchedulerHarness, depth: int):
    world.job(name="one")
    deep = "[" * depth + "]" * depth

    for verb in ("run", "update"):
        for given in (["--params", f'{{"a": {deep}}}'], ["--param", f"a={deep}"]):
            answer = refused("jobs", verb, "one", *given)
            assert "deeper than 20 levels" in answer or "not JSON" in answer


@pytest.mark.parametrize("stored", [[1, 2], Value(None, JSONField()), "text"], ids=str)
def test_job_whose_params_are_not_an_object_cannot_run_until_they_are_replaced(
    world: SchedulerHarness, stored: Any
):
    job = world.job(name="one")
    CronJob.objects.filter(pk=job.pk).update(handler_params=stored)

    assert "must be a JSON object" in refused("jobs", "run", "one")
    ran("jobs", "run", "one", "--param", "a=1")
    ran("jobs", "update", "one", "--param", "a=1")

    assert JobExecution.objects.get().params == {"a": 1}
    assert CronJob.objects.get().handler_params == {"a": 1}


def test_update_without_changes_is_refused(world: SchedulerHarness):
    world.job(name="one")
    assert "nothing to change" in refused("jobs", "update", "one")


def test_control_characters_are_escaped_in_the_output(world: SchedulerHarness):
    world.job(name="red \x1b[31m\nline", handler_params={"a": "\x1b[2J"})

    assert "red \\x1b[31m line" in ran("jobs", "list").out
    assert "\x1b" not in ran("jobs", "show", CronJob.objects.get().pk).out


# --- executions ----------------------------------------------------------------------------------


@pytest.mark.database
def test_executions_are_listed_newest_first_and_filtered(world: SchedulerHarness):
    job = world.job(name="one")
    rows = [world.execution(job), world.execution(handler_name="fail"), world.execution(job)]

    def ids(*arguments: object) -> list[int]:
        found = ran("executions", "list", "--json", *arguments).json["items"]
        return [item["id"] for item in found]

    newest_first = [row.pk for row in rows[::-1]]
    assert ids() == newest_first
    assert ids("--job", "one") == [rows[2].pk, rows[0].pk]
    assert ids("--handler", "fail") == [rows[1].pk]
    assert ids("--status", "FAILED") == []
    assert ids("--source", "cron", "--status", "PENDING", "--status", "RUNNING") == newest_first
    assert ids("--before", rows[1].pk) == [rows[0].pk]
    assert ids("--since", START.isoformat()) == []
    assert len(ids("--until", START.isoformat())) == 3
    assert ran("executions", "list", "--limit", 1, "--json").json["next_before"] == rows[2].pk
    assert "--before" in ran("executions", "list", "--limit", 1).err


def test_a_list_never_counts_a_large_table(world: SchedulerHarness):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    world.execution()
    with CaptureQueriesContext(connection) as asked:
        ran("executions", "list")

    selects = [query["sql"] for query in asked if "job_executions" in query["sql"]]
    assert len(selects) == 1
    assert "LIMIT 51" in selects[0]
    assert "COUNT(" not in selects[0].upper()


def test_an_execution_shows_its_attempts_and_the_traceback(world: SchedulerHarness):
    job = world.job(name="one", handler_name="fail", max_retry=0)
    row = world.execution(job)
    world.tick()
    world.deliver()

    text = ran("executions", "show", row.pk).out
    facts = ran("executions", "show", row.pk, "--json").json

    assert "it went wrong" in text
    assert "Traceback" in text
    assert facts["status"] == "FAILED"
    (attempt,) = facts["attempts"]
    assert "RuntimeError" in attempt["traceback"]
    assert attempt["outcome"] == "FAILED"
    assert "there is no execution 999" in refused("executions", "show", 999)


@pytest.mark.database
def test_the_history_shows_the_commands_of_a_user(world: SchedulerHarness):
    bob = get_user_model().objects.create_user("bob")

    def entries(*arguments: object) -> list[tuple[str, str, int | None, str]]:
        Activity.objects.all().delete()
        ran(*arguments, "--as", "bob")
        for entry in Activity.objects.all():
            assert (entry.actor, entry.user_id, entry.door) == ("bob", str(bob.pk), "command")
        items = ran("history", "--json").json["items"]
        return [(e["verb"], e["target_kind"], e["target_id"], e["text"]) for e in items]

    new = ("--cron", "0 * * * *", "--handler", "ok")
    ((verb, kind, job_id, text),) = entries("jobs", "create", "report", *new)
    assert (verb, kind, text) == ("created", "job", "Created")
    assert job_id == CronJob.objects.get().pk

    def of_job(verb: str, text: str) -> list[tuple[str, str, int | None, str]]:
        return [(verb, "job", job_id, text)]

    assert entries("jobs", "update", "report", "--max-retry", 2) == of_job(
        "changed", "Changed retries"
    )
    assert changes_of(Activity.objects.get(), sees_params=True)[0].new == "2"
    assert entries("jobs", "enable", "report") == of_job("enabled", "Enabled")
    assert entries("jobs", "disable", "report") == of_job("disabled", "Disabled")
    paused = entries("jobs", "pause", "report", "--reason", "shop moves")
    assert paused == of_job("paused", "Paused: shop moves")
    assert who_switched_off(CronJob.objects.get()) == "bob"
    assert entries("jobs", "resume", "report") == of_job("enabled", "Enabled")
    cloned = entries("jobs", "clone", "report", "--name", "copy")
    copy_id = CronJob.objects.get(name="copy").pk
    assert cloned == [("cloned", "job", copy_id, "Cloned from report")]
    deleted = entries("jobs", "delete", "copy", "--yes")
    assert deleted == [("deleted", "job", copy_id, "Deleted")]
    ran_now = entries("jobs", "run", "report")
    row = JobExecution.objects.get()
    assert ran_now == of_job("run", f"Run now: execution #{row.pk}")

    cancelled = entries("executions", "cancel", row.pk, "--reason", "wrong day")
    assert cancelled == [("cancelled", "execution", row.pk, "Cancelled: wrong day")]
    retried = entries("executions", "retry", row.pk)
    assert retried == [("retried", "execution", row.pk, "Retried")]
    again = entries("executions", "replay", row.pk)
    made = JobExecution.objects.latest("id")
    text = f"Replayed from execution #{row.pk}"
    assert again == [("replayed", "execution", made.pk, text)]
    ran("executions", "cancel", row.pk)
    ((verb, kind, target_id, text),) = entries(
        "executions", "retry", "--since", "2026-01-01", "--status", "CANCELLED", "--job", "report"
    )
    assert (verb, kind, target_id) == ("retried_range", "execution", None)
    assert text.startswith("Retried 1 execution from 2026-01-01 00:00:00")

    hours = ("--since", "2026-01-01T00:00Z", "--until", "2026-01-01T02:00Z")
    started = entries("backfill", "start", "report", *hours)
    number = Backfill.objects.get().pk
    assert started == [("started", "backfill", number, "Started: 3 slots")]
    paused = entries("backfill", "pause", number)
    assert paused == [("paused", "backfill", number, "Paused")]
    resumed = entries("backfill", "resume", number)
    assert resumed == [("resumed", "backfill", number, "Resumed")]
    stopped = entries("backfill", "cancel", number, "--running", "--yes")
    assert stopped == [("cancelled", "backfill", number, "Cancelled, with what was running")]
    assert entries("jobs", "list") == []


def test_history_names_the_system_user_for_a_command_without_as(
    world: SchedulerHarness, monkeypatch: Any
):
    get_user_model().objects.create_user("root")
    monkeypatch.setattr("getpass.getuser", lambda: "root")
    world.job(name="report")

    ran("jobs", "disable", "report")
    ran("jobs", "enable", "report", "--as", "a stranger")

    found = Activity.objects.order_by("id").values_list("verb", "actor", "user_id", "door")
    assert list(found) == [
        ("disabled", "root", None, "command"),
        ("enabled", "a stranger", None, "command"),
    ]
    assert who_switched_off(CronJob.objects.get()) == ""


def test_refused_command_is_not_in_the_history(world: SchedulerHarness):
    get_user_model().objects.create_user("bob")
    row = world.execution()
    ran("executions", "cancel", row.pk)
    Activity.objects.all().delete()

    refused("executions", "cancel", row.pk, "--as", "bob")

    assert not Activity.objects.exists()


def test_the_history_is_listed_page_by_page_and_by_row(world: SchedulerHarness):
    world.job(name="one")
    world.job(name="two")
    ran("jobs", "disable", "one", "two", "--as", "ann")
    ran("jobs", "enable", "one", "--as", "bob")

    table = ran("history").out
    assert "Enabled" in table
    assert "Disabled" in table
    first = ran("history", "--limit", 1, "--json").json
    assert [e["actor"] for e in first["items"]] == ["bob"]
    rest = ran("history", "--before", first["next_before"], "--json").json
    assert [(e["actor"], e["target_name"]) for e in rest["items"]] == [
        ("ann", "two"),
        ("ann", "one"),
    ]
    of_two = ran("history", "--job", "two", "--json").json["items"]
    assert [e["verb"] for e in of_two] == ["disabled"]
    assert ran("history", "--actor", "ann", "--verb", "enabled", "--json").json["items"] == []
    assert ran("history", "--execution", 1, "--json").json["items"] == []


@pytest.mark.database
def test_an_event_runs_a_handler_now_or_later(world: SchedulerHarness) -> None:
    job = world.job(name="nightly", handler_params={"a": 1, "b": 1})

    made = run("executions", "event", "--job", "nightly", "--param", "b=2", "--at", "in 2h",
               "--key", "order 7", "--json").json  # fmt: skip
    again = run("executions", "event", "--job", "nightly", "--param", "b=2", "--key", "order 7")
    after = run("executions", "event", "--handler", "ok", "--after", "1h")
    over = run("executions", "event", "--handler", "ok", "--at", "2h ago")
    both = run("executions", "event", "--handler", "ok", "--at", "in 2h", "--after", "2h")

    row, second = JobExecution.objects.order_by("id")
    assert (made["id"], made["is_new"], made["params"]) == (row.pk, True, {"a": 1, "b": 2})
    assert row.job_id == job.pk
    assert timedelta(hours=1.9) < row.available_at - row.created_at <= timedelta(hours=2)
    assert second.available_at - second.created_at == timedelta(hours=1)
    assert (after.code, after.out) == (0, f"execution {second.pk}\n")
    assert again.code == 1
    assert "another event was sent with this idempotency key" in again.err
    assert (over.code, "at: is in the past" in over.err) == (1, True)
    assert (both.code, "after_seconds: contradicts “at”" in both.err) == (1, True)


def test_executions_are_cancelled_retried_and_replayed(world: SchedulerHarness):
    job = world.job(name="one")
    first, second = world.execution(job, params={"n": 1}), world.execution(job)

    done = run(
        "executions", "cancel", first.pk, 999, second.pk, "--reason", "wrong day", "--as", "ann"
    )
    assert done.code == 1
    assert done.out == f"{first.pk}: CANCELLED\n{second.pk}: CANCELLED\n"
    assert "999: there is no execution 999" in done.err
    first.refresh_from_db()
    assert (first.status, first.error_message) == ("CANCELLED", "cancelled by ann: wrong day")
    assert "is CANCELLED already" in refused("executions", "cancel", first.pk)
    assert ran("executions", "retry", first.pk).out == f"{first.pk}: PENDING\n"
    assert "only" in refused("executions", "retry", first.pk, "--json")
    made = ran(
        "executions", "replay", second.pk, "--param", "n=2", "--as", "ann", "--json"
    ).json["items"][0]["execution_id"]  # fmt: skip
    copy = JobExecution.objects.get(pk=made)
    assert (copy.params, copy.requested_by, copy.param_source) == ({"n": 2}, "ann", "manual")


def test_failed_executions_of_a_range_are_retried(world: SchedulerHarness):
    job = world.job(name="one")
    ended = {"finished_at": START}
    rows = [world.execution(job, status="FAILED", **ended) for _ in range(3)]
    world.execution(world.job(name="two"), status="FAILED", **ended)

    answer = ran("executions", "retry", "--since", "2026-01-01", "--job", "one", "--json").json

    assert answer == {"retried": 3, "more": False}
    assert {JobExecution.objects.get(pk=row.pk).status for row in rows} == {"PENDING"}
    assert ran("executions", "retry", "--since", "2026-01-01").out == "1 sent back\n"
    assert "since" in refused("executions", "retry")
    assert "not both" in refused("executions", "retry", rows[0].pk, "--since", "now")


def test_log_of_a_run_is_shown_whole_by_attempt_or_only_its_last_lines(world: SchedulerHarness):
    row = world.execution(status="SUCCESS", finished_at=START)
    for attempt, seq in ((1, 1), (1, 2), (2, 1)):
        JobLog.objects.create(
            execution=row, attempt=attempt, seq=seq, at=START, level="INFO",
            message=f"line {attempt}.{seq}\x1b[31m",
        )  # fmt: skip

    def messages(*arguments: object) -> list[str]:
        lines = ran("executions", "logs", row.pk, *arguments).out.splitlines()
        return [line.split("line ")[1] for line in lines]

    assert messages() == ["1.1\\x1b[31m", "1.2\\x1b[31m", "2.1\\x1b[31m"]
    assert messages("--attempt", 1) == messages()[:2]
    assert messages("--tail", 1) == messages()[2:]
    assert messages("-f", "--tail", 2) == messages()[1:]
    assert messages("-f", "--tail", 0) == []
    whole = ran("executions", "logs", row.pk, "--json").json["items"]
    assert [line["seq"] for line in whole] == [1, 2, 1]
    lines = ran("executions", "logs", row.pk, "-f", "--json").out.splitlines()
    assert [json.loads(line)["at"] for line in lines] == ["2026-01-12T10:00:30Z"] * 3


def test_wait_ends_when_the_runs_end_or_at_its_timeout(world: SchedulerHarness):
    good = world.execution(status="SUCCESS", finished_at=START)
    bad = world.execution(status="FAILED", finished_at=START, error_message="it went wrong")
    waiting = world.execution()

    assert "SUCCESS" in ran("executions", "wait", good.pk).out
    done = run("executions", "wait", good.pk, bad.pk)
    assert done.code == 1
    assert "it went wrong" in done.err
    done = run("executions", "wait", waiting.pk, "--timeout", "0s")
    assert done.code == 1
    assert "is still PENDING" in done.err
    done = run("executions", "wait", waiting.pk, "--timeout", "0s", "--json")
    assert [row["status"] for row in done.json["items"]] == ["PENDING"]
    assert run("jobs", "run", "one", "--wait", "--timeout", "long").code == 2


def test_run_is_requested_by_the_system_user_unless_as_names_another(
    world: SchedulerHarness, monkeypatch: Any
):
    monkeypatch.setenv("LOGNAME", "opsuser")
    world.job(name="one")

    ran("jobs", "run", "one")
    ran("jobs", "run", "one", "--as", "ann")

    names = JobExecution.objects.order_by("id").values_list("requested_by", flat=True)
    assert list(names) == ["opsuser", "ann"]


# --- backfills -----------------------------------------------------------------------------------


@pytest.mark.database
def test_a_backfill_is_previewed_started_paused_resumed_and_cancelled(world: SchedulerHarness):
    world.job(name="one", cron_expression="0 * * * *")
    span = ("--since", "2026-01-01T00:00Z", "--until", "2026-01-01T05:00Z")

    shown = ran("backfill", "preview", "one", *span, "--json").json
    assert shown["total"] == 6
    assert shown["slots"][0] == "2026-01-01T00:00:00Z"
    assert "2026-01-01 09:00:00 KST" in ran("backfill", "preview", "one", *span).out
    made = ran("backfill", "start", "one", *span, "--parallelism", 2, "--as", "ann", "--json").json
    assert (made["state"], made["total"], made["requested_by"]) == ("active", 6, "ann")
    number = made["id"]
    assert ran("backfill", "pause", number).out == f"{number}: paused\n"
    assert "not active" in refused("backfill", "pause", number)
    assert ran("backfill", "resume", number, "--json").json["items"][0]["state"] == "active"
    assert ran("backfill", "cancel", number).out == f"{number}: cancelled\n"
    assert [row["id"] for row in ran("backfill", "list", "--json").json["items"]] == [number]
    assert "one" in ran("backfill", "list", "--job", "one", "--state", "cancelled").out
    assert ran("backfill", "show", number, "--json").json["progress"] == {}
    assert "cancelled" in ran("backfill", "show", number).out


def test_an_impossible_backfill_is_refused(world: SchedulerHarness):
    world.job(name="one", cron_expression="0 * * * *")

    assert "since" in refused("backfill", "start", "one", "--since", "now", "--until", "2h ago")
    assert "no slot" in refused(
        "backfill", "start", "one", "--since", "2026-01-01T00:01Z", "--until", "2026-01-01T00:02Z"
    )
    assert "there is no backfill 7" in refused("backfill", "show", 7)
    assert "there is no backfill 7" in refused("backfill", "cancel", 7, "--json")
    assert not Backfill.objects.exists()


def test_follow_of_a_finished_backfill_returns_at_once(world: SchedulerHarness):
    job = world.job(name="one", cron_expression="0 * * * *")
    made = Backfill.objects.create(
        job=job, since=START, until=START, total=2, made=2, state=BackfillState.DONE
    )
    for _ in range(2):
        world.execution(
            job, backfill=made, status="SUCCESS", finished_at=START,
            started_at=START, param_source="backfill",
        )  # fmt: skip

    done = ran("backfill", "show", made.pk, "--follow")

    assert "100 % done SUCCESS 2" in done.out


# --- preview, handlers ---------------------------------------------------------------------------


def test_preview_shows_slots_in_the_zone_and_in_utc_and_describes_them(db: None):
    done = ran("preview", "0 9 * * MON", "--timezone", "Europe/Berlin", "--count", 3)
    found = ran("preview", "0 9 * * MON", "--timezone", "Europe/Berlin", "--json").json

    assert "At 09:00, on Monday" in done.out
    assert len([line for line in done.out.splitlines() if line.startswith("Mon ")]) == 3
    assert found["words"] == "At 09:00, on Monday"
    assert len(found["slots"]) == 10
    assert found["slots"][0]["utc"].endswith("Z")
    assert found["slots"][0]["local"].endswith(("+01:00", "+02:00"))


def test_preview_warns_of_schedules_that_cannot_be_saved_and_of_clock_changes(db: None):
    often = run("preview", "*/5 * * * * *", "--count", 1)
    night = run("preview", "30 2 * * *", "--timezone", "Europe/Berlin", "--json")

    assert "seconds are required" in often.err
    assert any("Europe/Berlin" in text for text in night.json["warnings"])


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["61 * * * *"], "cron_expression"),
        (["0 0 30 2 *"], "cron_expression"),
        (["@daily", "--timezone", "Mars/Base"], "timezone"),
        (["@daily", "--calendar", "nowhere"], "calendar"),
    ],
)
def test_preview_names_the_field_with_the_mistake(db: None, arguments: list[str], field: str):
    assert f"{field}: " in refused("preview", *arguments)
    assert list(run("preview", *arguments, "--json").json["error"]["fields"]) == [field]


def test_handlers_are_listed_and_shown_with_their_schema(own_registry: None):
    found = ran("handlers", "list", "--json").json["items"]
    sample = ran("handlers", "show", "sample", "--json").json

    assert "sample" in [item["name"] for item in found]
    assert "sample1" in ran("handlers", "list", "--search", "SAMPLE1").out
    assert sample["module"] == "handlers.samples.sample.handler"
    assert sample["params_schema"]["properties"]["sleep_seconds"]
    assert "sleep_seconds" in ran("handlers", "show", "sample").out
    assert "did you mean 'sample'" in refused("handlers", "show", "sampel")


# --- what is typed -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("15min", 900), ("2h", 7200), ("1d", 86400),
     ("1w", 604800)],
)  # fmt: skip
def test_spans(text: str, seconds: int):
    assert inputs.seconds_of(text, "for") == seconds


@pytest.mark.parametrize("text", ["", "h", "1y", "-1h", "1.5h", "999999999w", "٣h"])
def test_invalid_spans_are_refused(text: str):
    with pytest.raises(InvalidJob, match="for"):
        inputs.seconds_of(text, "for")


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-01-12T10:00:30Z", START),
        ("2026-01-12 19:00:30", START),
        ("2026-01-12T19:00:30+09:00", START),
        ("now", START),
        ("30s ago", START - timedelta(seconds=30)),
        ("in 2h", START + timedelta(hours=2)),
    ],
)
def test_instants(text: str, instant: Any):
    assert inputs.instant_of(text, "since", START) == instant


@pytest.mark.parametrize(
    "text",
    [
        "0001-01-01T00:00",
        "0001-01-01T00:00+14:00",
        "9999-12-31T23:59-12:00",
        "1969-12-31",
        "5000w ago",
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Seoul", "America/New_York"])
def test_an_instant_outside_the_range_of_the_database_is_refused(text: str, zone: str):
    from django.utils import timezone

    with timezone.override(zone), pytest.raises(InvalidJob) as caught:
        inputs.instant_of(text, "since", START)
    assert caught.value.problems == {"since": ["is not between 1970 and 9900"]}


def test_a_time_that_the_clocks_show_twice_or_never_needs_its_offset():
    from django.utils import timezone

    with timezone.override("Europe/Berlin"):
        for text in ("2026-10-25 02:30", "2026-03-29 02:30"):
            with pytest.raises(InvalidJob, match="give the offset"):
                inputs.instant_of(text, "since", START)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.125, "0.12 s"),
        (9, "9 s"),
        (75, "1 min 15 s"),
        (3600, "1 h"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations_are_shown_in_short_units(seconds: float | None, text: str):
    assert output.span(seconds) == text


# --- the real thing ------------------------------------------------------------------------------


def manage(
    *arguments: str, environment: dict[str, str], typed: str = ""
) -> subprocess.CompletedProcess[str]:
    return the_fork_server().run(
        [str(ROOT / "manage.py"), *arguments], environment=environment, timeout=60, typed=typed
    )


@pytest.mark.processes
def test_a_shell_gets_exit_codes_tables_and_colours(system: SystemFactory):
    jobu = system()
    env = jobu.environment

    # Without tables, the command prints a sentence and no traceback.
    done = manage("jobs", "list", environment=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the database cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
    jobu.migrate()
    assert manage("jobs", "lost", environment=env).returncode == 2
    made = manage("jobs", "create", "한국 job", "--cron", "@daily", "--handler", "sample",
                  "--params", "@-", environment=env, typed='{"message": "hi"}')  # fmt: skip
    assert made.returncode == 0, made.stderr
    listed = in_a_terminal(["jobs", "list"], env)
    assert "한국 job" in listed
    assert "\x1b[" in listed
    assert "\x1b[3" not in in_a_terminal(["jobs", "list"], env | {"NO_COLOR": "1"})
    asked = in_a_terminal(["jobs", "delete", "1"], env, typed="n\n")
    assert "[y/N]" in asked
    assert "nothing was done" in asked
    assert jobu.sql("SELECT count(*) AS n FROM cron_jobs")[0]["n"] == 1


def in_a_terminal(arguments: list[str], environment: dict[str, str], typed: str = "") -> str:
    """Runs a command in a terminal and returns its output."""
    ours, theirs = pty.openpty()
    environment = {k: v for k, v in environment.items() if k != "NO_COLOR"} | {
        "TERM": "xterm-256color", "COLUMNS": "120", **(
            {"NO_COLOR": "1"} if "NO_COLOR" in environment else {})
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs,
    ) as process:  # fmt: skip
        os.close(theirs)
        if typed:
            os.write(ours, typed.encode())
        seen = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # Linux: the other side is closed
                break
            if not part:
                break
            seen += part
        process.wait(60)
    os.close(ours)
    return seen.decode()


@pytest.mark.processes
def test_a_run_is_started_followed_and_waited_for(system: SystemFactory):
    jobu = system(config={"worker": {"cancel_poll_seconds": 0.5}})
    jobu.migrate()
    jobu.start_beat()
    jobu.start_worker(pool="threads")
    env = jobu.environment
    made = manage(
        "jobs", "create", "one", "--cron", "@yearly", "--handler", "sample", "--max-retry", "0",
        "--json", environment=env,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr

    started = manage("jobs", "run", "one", "--param", "sleep_seconds=4", "--json", environment=env)
    number = json.loads(started.stdout)["items"][0]["execution_id"]
    jobu.wait_until(
        lambda: jobu.sql("SELECT status FROM job_executions")[0]["status"] == "RUNNING",
        40, "the run to begin",
    )  # fmt: skip
    followed = manage("executions", "logs", "-f", "--json", str(number), environment=env)
    waited = manage("executions", "wait", str(number), "--json", environment=env)
    failed = manage(
        "jobs", "run", "one", "--param", "should_fail=true", "--wait", "--timeout", "40s", "--json",
        environment=env,
    )  # fmt: skip

    lines = [json.loads(line) for line in followed.stdout.splitlines()]
    assert lines, followed.stderr
    assert {line["execution_id"] for line in lines} == {number}
    assert [line["seq"] for line in lines] == sorted({line["seq"] for line in lines})
    stored = jobu.sql("SELECT count(*) AS n FROM job_logs WHERE execution_id = %s", number)
    assert stored[0]["n"] == len(lines)
    assert waited.returncode == 0
    assert json.loads(waited.stdout)["items"][0]["status"] == "SUCCESS"
    assert failed.returncode == 1


@pytest.mark.database
def test_owner_and_tags_are_options_and_are_shown(world: SchedulerHarness):
    ran("jobs", "create", "report", "--cron", "0 * * * *", "--handler", "ok",
        "--owner", "alice", "--tags", "pay, monthly")  # fmt: skip

    shown = ran("jobs", "show", "report", "--json").json
    assert (shown["owner"], shown["tags"]) == ("alice", ["monthly", "pay"])
    assert "report" in ran("jobs", "list", "--search", "monthly").out

    ran("jobs", "update", "report", "--tags", "")

    assert ran("jobs", "show", "report", "--json").json["tags"] == []


def test_a_job_becomes_a_shadow_and_none_again(world: SchedulerHarness):
    ran("jobs", "create", "a", "--cron", "@daily", "--handler", "ok", "--disabled")

    done = ran("jobs", "shadow", "a", "on")
    assert "'a' is a shadow" in done.out
    assert "It is off" in done.err
    assert ran("jobs", "show", "a", "--json").json["is_shadow"] is True
    assert ran("jobs", "shadow", "a", "off", "--json").json["is_shadow"] is False
