"""The pages of executions: content, permissions and verbs, on each job database."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from scheduler.admin.executions.log import log_text
from scheduler.admin.explain_job import explain_job
from scheduler.models import (
    Activity,
    Backfill,
    CronJob,
    JobAttempt,
    JobExecution,
    JobLog,
    Preference,
    SchedulerProcess,
)
from scheduler.operations import retrying
from scheduler.operations.actor import Actor
from scheduler.operations.control import Control, FailedRange, InvalidJob
from scheduler.states import RunStatus
from scheduler.store import executions, jobs
from scheduler.store.connection import database_now
from tests.admin.test_admin import (
    JOBS,
    RUNS,
    SCRIPT,
    form_of,
    make_job,
    make_run,
    page,
    save,
    texts,
    user_with,
)

pytestmark = pytest.mark.django_db

on_each_database = pytest.mark.database
SECRETS = {"message": "hi", "password": "hunter2"}


@pytest.fixture
def admin(django_user_model: type[User]) -> Client:
    """A client signed in as Alice, a superuser."""
    client = Client()
    client.force_login(django_user_model.objects.create_superuser("alice", "a@example.com"))
    return client


def alive(kind: str, *, running: int = 0) -> None:
    now = database_now()
    SchedulerProcess.objects.create(
        name=kind, kind=kind, host="h", pid=1, started_at=now, heartbeat_at=now, running=running
    )


# --- the page ------------------------------------------------------------------------------------


@on_each_database
def test_page_shows_the_events_of_an_execution_in_order(admin):
    now = database_now() - timedelta(minutes=5)
    run = make_run(
        make_job(), RunStatus.SUCCESS, now=now, attempt=2, failures=1, created_at=now,
        finished_at=now + timedelta(seconds=90), requested_by="bob", param_source="manual",
    )  # fmt: skip
    for number, (start, end, outcome) in enumerate([(5, 10, "FAILED"), (70, 90, "SUCCESS")], 1):
        JobAttempt.objects.create(
            execution=run, attempt=number, lease_token=str(number), worker=f"w{number}@h",
            started_at=now + timedelta(seconds=start), ended_at=now + timedelta(seconds=end),
            outcome=outcome,
        )  # fmt: skip

    response = admin.get(reverse(f"{RUNS}_change", args=[run.pk]))

    timeline = [(event["what"], event["later"]) for event in response.context["timeline"]]
    assert timeline == [
        ("Created", ""),
        ("Attempt 1 claimed", "+5 s"),
        ("Attempt 1 ended", "+5 s"),
        ("Attempt 2 claimed", "+1 min"),
        ("Attempt 2 ended", "+20 s"),
        ("Ended", "+0 s"),
    ]
    waits = [(a["waited"], a["took"]) for a in response.context["attempts"]]
    assert waits == [("5 s", "5 s"), ("1 min", "20 s")]
    html = response.content.decode()
    assert "asked for by bob" in html
    assert "1 of 3 retries used" in html


def test_progress_is_a_progress_bar(admin):
    run = make_run(make_job(), RunStatus.RUNNING, progress=41.6, progress_message="half <b>way</b>")
    html = page(admin, f"{RUNS}_change", run.pk)
    assert 'role="progressbar"' in html
    assert 'aria-valuenow="42"' in html
    assert "half &lt;b&gt;way&lt;/b&gt;" in html


def test_page_of_a_backfill_run_names_the_backfill_and_the_slot(admin):
    job = make_job()
    slot = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
    backfill = Backfill.objects.create(job=job, since=slot, until=slot, total=1)
    run = make_run(job, param_source="backfill", backfill=backfill, logical_time=slot)
    html = page(admin, f"{RUNS}_change", run.pk)
    assert f"#{backfill.pk}" in html
    assert "2026-03-01 12:00:00 KST" in html


def test_list_shows_who_requested_a_run(admin):
    make_run(make_job(), requested_by=f"bob{SCRIPT}")
    assert "bob&lt;script&gt;" in page(admin, f"{RUNS}_changelist")


@pytest.mark.parametrize(
    "permissions", [["view_jobexecution"], ["view_jobexecution", "view_params"]]
)
def test_params_and_results_are_shown_only_with_permission(permissions):
    run = make_run(make_job(), params={"message": "parameter"}, result={"answer": "outcome"})
    html = page(user_with(*permissions), f"{RUNS}_change", run.pk)
    sees = "view_params" in permissions
    assert ("parameter" in html.replace("parameters", "")) == sees
    assert ("outcome" in html) == sees
    assert ("Hidden: you may not see" in html) != sees


@pytest.mark.parametrize("sees", [False, True])
def test_tracebacks_are_shown_only_with_permission_for_params(sees):
    now = database_now()
    run = make_run(make_job(), RunStatus.FAILED, now=now, attempt=1)
    JobAttempt.objects.create(
        execution=run, attempt=1, lease_token="1", started_at=now, ended_at=now, outcome="FAILED",
        error="ValueError", traceback="KeyError: canary",
    )  # fmt: skip
    client = user_with("view_jobexecution", *["view_params"] * sees)
    html = page(client, f"{RUNS}_change", run.pk)
    assert "ValueError" in html
    assert ("canary" in html) == sees


@pytest.mark.parametrize(
    ("permission", "allowed"),
    [
        ("view_jobexecution", set()),
        ("cancel_jobexecution", {"cancel"}),
        ("retry_jobexecution", {"retry"}),
        ("run_cronjob", {"replay"}),
        ("change_cronjob", {"replay"}),
        ("change_jobexecution", {"cancel", "retry"}),
        ("delete_jobexecution", {"delete"}),
    ],
)
def test_each_action_requires_its_own_permission(permission, allowed):
    job = make_job()
    runs = {
        "cancel": make_run(job, RunStatus.PENDING),
        "retry": make_run(job, RunStatus.FAILED, now=database_now() + timedelta(seconds=1)),
    }
    ended = runs["retry"]
    client = user_with("view_jobexecution", permission)
    pages = {
        verb: client.get(reverse(f"{RUNS}_{verb}", args=[runs.get(verb, ended).pk])).status_code
        for verb in ("cancel", "retry", "replay", "delete")
    }
    assert {verb for verb, status in pages.items() if status == 200} == allowed
    assert {status for verb, status in pages.items() if verb not in allowed} <= {403}
    offered = {
        verb
        for verb in ("cancel", "retry", "replay")
        for run in runs.values()
        if f'"{reverse(f"{RUNS}_{verb}", args=[run.pk])}"' in page(client, f"{RUNS}_change", run.pk)
    }
    assert offered == allowed - {"delete"}
    seen = client.get(reverse(f"{RUNS}_retry_range")).status_code == 200
    assert seen == ("retry" in allowed)


# --- the log -------------------------------------------------------------------------------------


def log(run: JobExecution, count: int, level: str = "INFO", attempt: int = 1) -> None:
    now = database_now()
    before = JobLog.objects.filter(execution=run, attempt=attempt).count()
    JobLog.objects.bulk_create(
        JobLog(
            execution=run, attempt=attempt, seq=before + index, at=now, level=level,
            message=f"{level} {attempt}-{before + index};",
        )
        for index in range(count)
    )  # fmt: skip


@on_each_database
def test_the_log_is_filtered_by_level(admin):
    run = make_run(make_job())
    log(run, 3, "INFO")
    log(run, 2, "ERROR")
    html = page(admin, f"{RUNS}_change", run.pk, level="WARNING")
    assert "ERROR 1-4;" in html
    assert "INFO 1-0;" not in html
    assert "INFO 1-0;" in page(admin, f"{RUNS}_change", run.pk, level="nonsense")


@on_each_database
def test_full_log_is_a_download_that_is_read_in_chunks(admin, monkeypatch):
    monkeypatch.setattr("scheduler.admin.executions.log.LOG_CHUNK", 3)
    run = make_run(make_job())
    log(run, 5, attempt=1)
    log(run, 4, attempt=2)
    response = admin.get(reverse(f"{RUNS}_log", args=[run.pk]))
    chunks = [chunk.decode() for chunk in response.streaming_content]
    assert [len(chunk.splitlines()) for chunk in chunks] == [3, 3, 3]
    messages = [line.split(" INFO ")[1] for line in "".join(chunks).splitlines()]
    expected = [f"{attempt}-{seq};" for attempt, count in ((1, 5), (2, 4)) for seq in range(count)]
    assert [message.removeprefix("INFO ") for message in messages] == expected
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert "attachment" in response["Content-Disposition"]
    assert "".join(log_text(run.pk, "ERROR")) == ""


def test_log_requires_permission_for_executions_and_parameters():
    run = make_run(make_job(), RunStatus.RUNNING, lease_owner="w")
    log(run, 1)
    parts = (f"{RUNS}_change", f"{RUNS}_live")

    for blind in (user_with("view_cronjob", "view_params"), user_with("view_jobexecution")):
        assert blind.get(reverse(f"{RUNS}_log", args=[run.pk])).status_code == 403
        for part in parts:
            assert "INFO 1-0;" not in blind.get(reverse(part, args=[run.pk])).content.decode()
    seeing = user_with("view_jobexecution", "view_params")
    assert seeing.get(reverse(f"{RUNS}_log", args=[run.pk + 1])).status_code == 404
    assert seeing.get(reverse(f"{RUNS}_log", args=[run.pk])).status_code == 200
    for part in parts:
        assert "INFO 1-0;" in seeing.get(reverse(part, args=[run.pk])).content.decode()


# --- Flower --------------------------------------------------------------------------------------


def test_task_id_redirects_to_its_execution(admin):
    run = make_run(make_job())
    task = f"jobu-{run.pk}-2"
    assert admin.get(f"/admin/task/{task}/", follow=True).redirect_chain[-1][0] == reverse(
        f"{RUNS}_change", args=[run.pk]
    )
    found = admin.get(reverse(f"{RUNS}_changelist"), {"q": task})
    assert [row.pk for row in found.context["cl"].result_list] == [run.pk]


@pytest.mark.parametrize("task", ["jobu-1", "8c6f9a54-0000", f"jobu-{'9' * 30}-1", "jobu-1-1x"])
def test_unknown_task_id_does_not_lead_to_an_execution(admin, task):
    assert admin.get(reverse(f"{RUNS}_task", args=[task])).status_code == 404


# --- replay --------------------------------------------------------------------------------------


@on_each_database
def test_replay_is_a_new_run_of_the_same_slot_with_its_params():
    slot = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
    job = make_job(queue="fast", priority=4, max_retry=7)
    original = make_run(job, RunStatus.FAILED, now=slot, params=SECRETS)
    CronJob.objects.filter(pk=job.pk).update(handler_params={"message": "other"})
    again = Control(actor=Actor(name="bob")).replay(original.pk)
    assert (again.job_id, again.handler_name, again.params) == (job.pk, "sample", SECRETS)
    assert (again.status, again.param_source, again.requested_by) == ("PENDING", "manual", "bob")
    assert again.logical_time == slot
    assert (again.queue, again.priority, again.max_retry) == ("fast", 4, 7)
    original.refresh_from_db()
    assert original.status == RunStatus.FAILED
    third = Control().replay(again.pk, {"message": "new"})
    assert (third.params, third.logical_time) == ({"message": "new"}, slot)


@on_each_database
def test_run_without_a_job_can_be_replayed():
    original, _ = Control().event(handler_name="sample", params={"message": "x"})
    again = Control().replay(original.pk)
    assert (again.job_id, again.params, again.logical_time) == (None, {"message": "x"}, None)


@pytest.mark.parametrize("params", [{"sleep_seconds": "long"}, [], "text"])
def test_replay_checks_the_params(params):
    original = make_run(make_job())
    with pytest.raises(InvalidJob) as caught:
        Control().replay(original.pk, params)
    assert "params" in caught.value.problems
    assert JobExecution.objects.count() == 1


def test_replay_form_shows_the_params_and_keeps_the_secrets(admin):
    original = make_run(make_job(), params=SECRETS)
    url = reverse(f"{RUNS}_replay", args=[original.pk])
    asked = admin.get(url).content.decode()
    assert "hunter2" not in asked
    assert "&quot;message&quot;: &quot;hi&quot;" in asked
    assert JobExecution.objects.count() == 1
    wrong = admin.post(url, {"params": '{"sleep_seconds": "long"}'})
    assert wrong.context["form"].errors["params"]
    response = admin.post(url, {"params": '{"message": "edited", "password": "********"}'})
    again = JobExecution.objects.exclude(pk=original.pk).get()
    assert response["Location"] == reverse(f"{RUNS}_change", args=[again.pk])
    assert again.params == {"message": "edited", "password": "hunter2"}
    assert again.requested_by == "alice"
    entry = Activity.objects.get(verb="replayed")
    assert (entry.target_id, entry.facts["source_id"]) == (again.pk, original.pk)


def test_replay_without_permission_for_params_uses_the_original_params():
    original = make_run(make_job(), params=SECRETS)
    client = user_with("view_jobexecution", "run_cronjob")
    url = reverse(f"{RUNS}_replay", args=[original.pk])
    assert "hi" not in client.get(url).context["form"].fields
    assert "&quot;hi&quot;" not in client.get(url).content.decode()
    client.post(url, {"params": '{"message": "smuggled"}'})
    assert JobExecution.objects.exclude(pk=original.pk).get().params == SECRETS


# --- retry of a range ----------------------------------------------------------------------------

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def runs_from_noon(job: CronJob | None, *statuses: RunStatus) -> list[JobExecution]:
    return [
        make_run(job, status, now=NOON + timedelta(minutes=index), failures=2)
        for index, status in enumerate(statuses)
    ]


def range_of(**changes: Any) -> FailedRange:
    given = {
        "since": NOON,
        "until": NOON + timedelta(hours=1),
        "statuses": frozenset({RunStatus.FAILED}),
    }
    return FailedRange(**{**given, **changes})


@on_each_database
def test_only_executions_of_the_range_are_retried_in_batches(monkeypatch):
    monkeypatch.setattr(retrying, "RETRY_BATCH", 2)
    job, other = make_job(), make_job(name="other")
    failed = runs_from_noon(job, *[RunStatus.FAILED] * 5)
    others = runs_from_noon(
        other,
        RunStatus.FAILED,
        RunStatus.TIMEOUT,
        RunStatus.SUCCESS,
        RunStatus.PENDING,
    )
    late = make_run(job, RunStatus.FAILED, now=NOON + timedelta(hours=2))
    wanted = range_of(job_id=job.pk)
    assert Control().count_failed(wanted) == 5

    assert Control().retry_range(wanted) == (5, False)

    waiting = JobExecution.objects.filter(status=RunStatus.PENDING).exclude(pk=others[3].pk)
    assert set(waiting.values_list("pk", flat=True)) == {run.pk for run in failed}
    assert set(waiting.values_list("failures", flat=True)) == {0}
    late.refresh_from_db()
    assert late.status == RunStatus.FAILED
    all_jobs = range_of(
        statuses=frozenset({RunStatus.FAILED, RunStatus.TIMEOUT, RunStatus.SUCCESS})
    )
    assert Control().retry_range(all_jobs) == (2, False)
    assert JobExecution.objects.get(pk=others[2].pk).status == RunStatus.SUCCESS


@on_each_database
def test_run_that_fails_again_during_a_range_retry_is_retried_only_once(monkeypatch):
    monkeypatch.setattr(retrying, "RETRY_BATCH", 2)
    runs_from_noon(make_job(), *[RunStatus.FAILED] * 3)
    retried: list[int] = []
    retry_all = executions.retry_all

    def fails_at_once(ids: Any, *, now: datetime) -> int:
        retried.extend(ids)
        done = retry_all(ids, now=now)
        JobExecution.objects.filter(pk__in=ids).update(status=RunStatus.FAILED, finished_at=now)
        return done

    monkeypatch.setattr(executions, "retry_all", fails_at_once)
    assert Control().retry_range(range_of()) == (3, False)
    assert len(retried) == len(set(retried)) == 3


@on_each_database
def test_retry_of_a_range_above_the_limit_reports_that_more_are_left(monkeypatch):
    monkeypatch.setattr(retrying, "RETRY_BATCH", 2)
    monkeypatch.setattr(retrying, "RETRY_LIMIT", 4)
    runs_from_noon(make_job(), *[RunStatus.FAILED] * 5)
    assert Control().count_failed(range_of()) == 5
    assert Control().retry_range(range_of()) == (4, True)
    assert Control().retry_range(range_of()) == (1, False)


RANGE = {
    "statuses": ["FAILED"], "job": "",
    "since_0": "2026-03-01", "since_1": "21:00:00", "until_0": "2026-03-01", "until_1": "22:00:00",
}  # fmt: skip


def test_range_page_shows_the_count_and_retries_after_confirmation(admin):
    job = make_job(overlap_policy="skip")
    runs_from_noon(job, RunStatus.FAILED, RunStatus.FAILED, RunStatus.TIMEOUT)
    url = reverse(f"{RUNS}_retry_range")
    assert admin.get(url).context["form"].initial["statuses"] == ["FAILED", "TIMEOUT"]

    counted = admin.get(url, RANGE | {"job": job.name})
    assert counted.context["count"] == 2
    html = counted.content.decode()
    assert "2 executions of the range did not succeed" in html
    assert "overlap policy is skip" in html
    assert not JobExecution.objects.filter(status=RunStatus.PENDING).exists()

    done = admin.post(url, dict(counted.context["asked"]), follow=True)
    assert any("2 executions wait" in text for text in texts(done))
    assert JobExecution.objects.filter(status=RunStatus.PENDING).count() == 2
    entry = Activity.objects.get(verb="retried_range")
    assert (entry.facts["retried"], entry.facts["job_id"]) == (2, job.pk)
    assert entry.facts["statuses"] == ["FAILED"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"job": "nobody"}, "job"),
        ({"statuses": ["SUCCESS"]}, "statuses"),
        ({"statuses": []}, "statuses"),
        ({"since_0": "yesterday"}, "since"),
        ({"until_0": "2026-02-01"}, "until"),
    ],
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_mistake_in_a_range_is_shown_at_its_field(admin, change, field, method):
    runs_from_noon(make_job(), RunStatus.FAILED)
    response = getattr(admin, method)(reverse(f"{RUNS}_retry_range"), RANGE | change)
    assert response.status_code == 200
    assert list(response.context["form"].errors) == [field]
    assert not JobExecution.objects.filter(status=RunStatus.PENDING).exists()


def test_range_form_names_its_time_zone(admin):
    Preference.objects.create(user=User.objects.get(), timezone="America/New_York")
    assert "In America/New_York." in page(admin, f"{RUNS}_retry_range")


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize(
    ("field", "day", "zone"),
    [("since", "0001-01-01", "Asia/Seoul"), ("until", "9999-12-31", "America/New_York")],
)
def test_range_outside_the_allowed_years_is_refused_at_its_field(admin, method, field, day, zone):
    Preference.objects.create(user=User.objects.get(), timezone=zone)
    response = getattr(admin, method)(reverse(f"{RUNS}_retry_range"), RANGE | {f"{field}_0": day})
    assert response.status_code == 200
    assert list(response.context["form"].errors) == [field]


# --- why is it not running? ----------------------------------------------------------------------


def explanation_of(client: Client, run: JobExecution) -> str:
    response = client.get(reverse(f"{RUNS}_change", args=[run.pk]))
    return " ".join(response.context["explanation"])


def test_a_waiting_execution_explains_what_it_waits_for(admin):
    job = make_job()
    run = make_run(job, RunStatus.PENDING, queue="reports")
    assert "for a worker of queue reports since" in explanation_of(admin, run)
    assert "No beat is running" in explanation_of(admin, run)
    alive("beat")
    assert "No worker is running" in explanation_of(admin, run)
    alive("worker", running=2)
    explanation = explanation_of(admin, run)
    assert "1 worker process is alive and has 2 runs in progress" in explanation
    assert "No " not in explanation
    SchedulerProcess.objects.update(running=0)
    JobExecution.objects.update(available_at=database_now() - timedelta(minutes=5))
    assert "perhaps none of them takes runs from queue reports" in explanation_of(admin, run)
    Control().disable(job.pk)
    assert "Its job is disabled" in explanation_of(admin, run)


def test_a_waiting_retry_explains_its_number_and_time(admin):
    later = database_now() + timedelta(minutes=5)
    run = make_run(
        make_job(), RunStatus.PENDING, attempt=2, failures=2, max_retry=4, available_at=later
    )
    assert "Attempt 2 failed; retry 2 of 4 starts at" in explanation_of(admin, run)


def test_a_cancelled_execution_names_who_cancelled_it(admin):
    job = make_job()
    waiting = make_run(job, RunStatus.PENDING)
    running = make_run(job, RunStatus.RUNNING, now=database_now() + timedelta(seconds=1))
    for run in (waiting, running):
        admin.post(reverse(f"{RUNS}_cancel", args=[run.pk]), {"reason": ""})
    waiting.refresh_from_db()
    assert waiting.error_message == "cancelled by alice"
    assert "alice cancelled it" in explanation_of(admin, waiting)
    assert "by alice" in explanation_of(admin, running)


def why(job: CronJob) -> str:
    job.refresh_from_db()
    return " ".join(explain_job(job, database_now()))


def test_page_of_a_job_explains_why_it_does_not_run(admin):
    job = make_job()
    CronJob.objects.update(next_run_at=None)  # as SQL may leave it
    assert "Beat has not looked at its schedule yet" in why(job)
    assert "No beat is running" in why(job)
    now = database_now()
    CronJob.objects.update(next_run_at=now - timedelta(hours=1))
    assert "is overdue" in why(job)
    CronJob.objects.update(next_run_at=now + timedelta(hours=1))
    assert "its next slot is" in why(job)
    make_run(job, RunStatus.SKIPPED, now=now, error_message=f"too late {SCRIPT}")
    assert "was not run" in why(job)
    assert "too late &lt;script&gt;" in why(job)
    waiting = make_run(job, RunStatus.PENDING, now=now + timedelta(seconds=1), available_at=now)
    assert f"#{waiting.pk}</a>" in why(job)
    assert "waiting for a worker of the default queue since" in why(job)
    CronJob.objects.update(handler_name="gone")
    assert "gone" in why(job)


def test_page_of_a_disabled_job_names_who_disabled_it(admin):
    job = make_job()
    admin.post(reverse("admin:scheduler_cronjob_disable", args=[job.pk]))
    assert "Disabled: no slot is run" in why(job)
    assert "By alice." in why(job)
    Control().pause(job.pk, reason=f"moving {SCRIPT}", until=database_now() + timedelta(days=1))
    assert "Paused until" in why(job)
    assert "moving &lt;script&gt;" in why(job)
    CronJob.objects.update(schedule_error="minute 61", pause_reason="", paused_until=None)
    assert "its schedule cannot be used: minute 61" in why(job)


@on_each_database
def test_a_disabled_job_names_who_disabled_it_last(admin):
    job = make_job()
    bob = user_with("view_cronjob", "change_cronjob")
    for verb in ("disable", "enable"):
        bob.post(reverse(f"{JOBS}_{verb}", args=[job.pk]))
    off = form_of(admin, job)
    del off["is_enabled"]
    save(admin, job, off)
    assert "By alice." in why(job)
    save(admin, job, form_of(admin, job) | {"description": "still off"})
    assert "By alice." in why(job)
    bob.post(reverse(f"{JOBS}_pause", args=[job.pk]), {"reason": "moving"})
    assert "By user-" in why(job)
    save(admin, job, form_of(admin, job) | {"is_enabled": "on"})
    Control().disable(job.pk)
    assert "Disabled" in why(job)
    assert "By " not in why(job)


def test_job_disabled_by_command_names_the_system_user(admin):
    job = make_job()
    admin.post(reverse("admin:scheduler_cronjob_disable", args=[job.pk]))
    ours = Control(actor=Actor(name="bob"))
    ours.enable(job.pk)
    ours.pause(job.pk, reason="shop moves")
    assert "The reason given: shop moves" in why(job)
    assert "By bob." in why(job)
    save(admin, job, form_of(admin, job) | {"description": "still off"})
    assert "By bob." in why(job)


def test_later_history_entries_do_not_hide_who_disabled_a_job(admin):
    job = make_job()
    admin.post(reverse("admin:scheduler_cronjob_disable", args=[job.pk]))
    bob = user_with("view_cronjob", "change_cronjob")
    bob.post(reverse(f"{JOBS}_disable", args=[job.pk]))
    admin.post(reverse(f"{JOBS}_run_now", args=[job.pk]), {"params": "{}"})
    assert "By alice." in why(job)


def test_pause_does_not_name_the_user_of_an_earlier_pause(admin):
    job = make_job()
    admin.post(reverse(f"{JOBS}_pause", args=[job.pk]), {"reason": "moving"})
    assert "By alice." in why(job)
    CronJob.objects.update(paused_until=database_now() - timedelta(seconds=1))
    assert jobs.resume_all(database_now()) == 1
    Control().pause(job.pk, reason="moving")
    assert "moving" in why(job)
    assert "By " not in why(job)


@on_each_database
def test_an_execution_that_was_cancelled_twice_names_who_did_it_last(admin):
    run = make_run(make_job(), RunStatus.PENDING)
    admin.post(reverse(f"{RUNS}_cancel", args=[run.pk]), {"reason": ""})
    Control().retry(run.pk)
    Control(actor=Actor(name="bob")).cancel(run.pk)
    run.refresh_from_db()
    assert run.error_message == "cancelled by bob"
    assert "bob cancelled it" in explanation_of(admin, run)
    assert "alice" not in explanation_of(admin, run)


# --- cost ----------------------------------------------------------------------------------------


@on_each_database
def test_page_needs_the_same_number_of_queries_for_a_long_history(admin):
    run = make_run(make_job())

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            page(admin, f"{RUNS}_change", run.pk)
        return len(captured)

    queries()
    before = queries()
    log(run, 300)
    now = database_now()
    for number in range(1, 9):
        JobAttempt.objects.create(
            execution=run, attempt=number, lease_token=str(number), started_at=now, ended_at=now,
            outcome="FAILED",
        )  # fmt: skip
    assert queries() == before <= 14


@on_each_database
def test_list_is_sorted_by_slot_when_it_is_filtered_by_day(admin):
    job = make_job()
    old = make_run(job, now=NOON + timedelta(days=1))
    new = make_run(job, now=NOON)  # a higher number and an earlier slot
    url = reverse(f"{RUNS}_changelist")
    listed = admin.get(url).context["cl"].result_list
    assert [row.pk for row in listed] == [new.pk, old.pk]
    by_day = admin.get(url, {"scheduled_time_from": "2026-03-01"}).context["cl"].result_list
    assert [row.pk for row in by_day] == [old.pk, new.pk]


def test_page_opens_for_params_that_are_not_an_object(admin):
    run = make_run(make_job(), params=json.loads("[1]"))
    page(admin, f"{RUNS}_change", run.pk)
    page(admin, f"{RUNS}_replay", run.pk)


def test_the_list_shows_deliveries_of_alerts_when_it_is_asked_for_them(admin: Client) -> None:
    now = datetime(2026, 1, 12, 10, tzinfo=UTC)
    for name in ("jobu.alert", "sample", "sample"):
        JobExecution.objects.create(handler_name=name, scheduled_time=now)
    listing = reverse("admin:scheduler_jobexecution_changelist")

    def count(query: str) -> int:
        return int(admin.get(f"{listing}{query}").context["cl"].result_count)

    assert [count(""), count("?handler=jobu.alert"), count("?handler=sample")] == [2, 1, 2]
