"""What a person may do, and what is refused, with field and reason, before anything is written."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from scheduler.models import Activity, CronJob, JobExecution, JobGuard
from scheduler.operations.control import InvalidJob, NotPossible, StaleEdit
from scheduler.operations.errors import KeyInUse
from scheduler.operations.history import changes_of
from scheduler.states import RETRYABLE, ActivityVerb, OverlapPolicy, ParamSource, RunStatus
from scheduler.store import executions
from tests.harness.scheduler_harness import START, SchedulerHarness, fresh, reason_of

pytestmark = [pytest.mark.database, pytest.mark.django_db]

GOOD: dict[str, Any] = {
    "name": "nightly report",
    "cron_expression": "0 3 * * *",
    "handler_name": "sample",
}


# --- jobs -----------------------------------------------------------------------------------------


def test_a_job_is_made_of_three_values(system: SchedulerHarness):
    job = system.control.create_job(**GOOD)
    assert CronJob.objects.get() == job
    assert (job.is_enabled, job.next_run_at, job.created_at) == (
        True,
        datetime(2026, 1, 13, 3, 0, tzinfo=UTC),
        START,
    )


BAD_VALUES: list[tuple[dict[str, Any], str, str]] = [
    ({"name": ""}, "name", "must not be empty"),
    ({"name": "   "}, "name", "must not be empty"),
    ({"name": "x" * 101}, "name", "has 101 characters, at most 100"),
    ({"name": "a\x00b"}, "name", "control characters"),
    ({"name": "a\nb"}, "name", "control characters"),
    ({"name": "half \ud800"}, "name", "half of a surrogate pair"),
    ({"name": None}, "name", "must be text"),
    ({"name": 7}, "name", "must be text"),
    ({"description": "x" * 501}, "description", "at most 500"),
    ({"description": None}, "description", "must be text"),
    ({"description": "\x1b[31m"}, "description", "control characters"),
    ({"pause_reason": "x" * 501}, "pause_reason", "at most 500"),
    ({"cron_expression": ""}, "cron_expression", ""),
    ({"cron_expression": "each day"}, "cron_expression", ""),
    ({"cron_expression": "61 * * * *"}, "cron_expression", ""),
    ({"cron_expression": "* " * 300}, "cron_expression", ""),
    ({"cron_expression": None}, "cron_expression", "must be text"),
    ({"cron_expression": "0 0 30 2 *"}, "cron_expression", ""),
    ({"cron_expression": "* * * * * *"}, "cron_expression", "at least 60 seconds"),
    ({"cron_expression": "0,30 0 0 * * *"}, "cron_expression", "at least 60 seconds"),
    ({"timezone": "Asia/Soul"}, "timezone", "Asia/Seoul"),
    ({"timezone": "../../etc/passwd"}, "timezone", ""),
    ({"timezone": None}, "timezone", "must be text"),
    ({"timezone": 9}, "timezone", "must be text"),
    ({"calendar": "martian"}, "calendar", "not configured"),
    ({"calendar": None}, "calendar", "must be text"),
    ({"calendar": "x" * 300}, "calendar", ""),
    ({"handler_name": ""}, "handler_name", "must not be empty"),
    ({"handler_name": "sampel"}, "handler_name", "did you mean 'sample'?"),
    ({"handler_name": None}, "handler_name", ""),
    ({"handler_name": "celery:no.such.task"}, "handler_name", "Handler not found"),
    ({"handler_params": [1]}, "handler_params", "must be a JSON object"),
    ({"handler_params": "text"}, "handler_params", "must be a JSON object"),
    ({"handler_params": None}, "handler_params", "must be a JSON object"),
    ({"handler_params": {"sleep_seconds": -1}}, "handler_params", "sleep_seconds"),
    ({"handler_params": {"x": math.nan}}, "handler_params", "plain JSON"),
    ({"handler_params": {"x": "a\x00"}}, "handler_params", "NUL"),
    ({"handler_params": {"x": "\udfff"}}, "handler_params", "surrogate"),
    ({"handler_params": {"x": "y" * 70_000}}, "handler_params", "bytes"),
    ({"handler_params": {"x": {1}}}, "handler_params", "plain JSON"),
    ({"is_enabled": "maybe"}, "is_enabled", "must be true or false"),
    ({"is_enabled": None}, "is_enabled", "must be true or false"),
    ({"overlap_policy": "sometimes"}, "overlap_policy", "one of allow, skip"),
    ({"misfire_policy": "never"}, "misfire_policy", "one of latest, all, skip"),
    ({"misfire_grace_seconds": -1}, "misfire_grace_seconds", "not between"),
    ({"max_catchup": 10**6}, "max_catchup", "not between"),
    ({"max_retry": -1}, "max_retry", "-1 is not between 0 and 10"),
    ({"max_retry": "3"}, "max_retry", "must be a whole number"),
    ({"max_retry": True}, "max_retry", "must be a whole number"),
    ({"max_retry": 2.5}, "max_retry", "must be a whole number"),
    ({"max_retry": None}, "max_retry", "must be a whole number"),
    ({"max_retry": 10**30}, "max_retry", "not between"),
    ({"timeout_seconds": 0}, "timeout_seconds", "0 is not between 1 and 86400"),
    ({"retry_backoff_seconds": -5}, "retry_backoff_seconds", "not between"),
    (
        {"retry_backoff_seconds": 100, "retry_backoff_max_seconds": 10},
        "retry_backoff_max_seconds",
        "must not be less",
    ),
    ({"priority": 10}, "priority", "not between 0 and 9"),
    ({"jitter_seconds": -1}, "jitter_seconds", "not between"),
    ({"queue": "a queue"}, "queue", "may contain"),
    ({"queue": "x" * 101}, "queue", "may contain"),
    ({"queue": "amq.gen-1"}, "queue", "must not begin with “amq.”"),
    ({"queue": "unacked"}, "queue", "must not begin with"),
    ({"queue": "_kombu.binding.celery"}, "queue", "must not begin with"),
    ({"queue": None}, "queue", "may contain"),
    ({"start_at": "tomorrow"}, "start_at", "must be an instant"),
    ({"start_at": START.replace(tzinfo=None)}, "start_at", "time zone"),
    ({"end_at": START.replace(tzinfo=None)}, "end_at", "time zone"),
    ({"paused_until": 5}, "paused_until", "must be an instant"),
    ({"start_at": datetime(1, 1, 1, tzinfo=UTC)}, "start_at", "not between"),
    ({"end_at": datetime(9999, 12, 31, tzinfo=UTC)}, "end_at", "not between"),
    ({"end_at": START - timedelta(days=1)}, "end_at", "in the past"),
    ({"start_at": START + timedelta(days=2), "end_at": START}, "end_at", "after the start"),
    (
        {"start_at": START, "end_at": START + timedelta(minutes=5)},
        "cron_expression",
        "no slot between",
    ),
    ({"color": "red"}, "color", "is not a field"),
    ({"next_run_at": START}, "next_run_at", "is not a field"),
    ({"id": 5}, "id", "is not a field"),
]


@pytest.mark.parametrize(
    ("values", "field", "reason"),
    BAD_VALUES,
    ids=[ascii(v)[:40] for v, *_ in BAD_VALUES],
)
def test_bad_values_are_refused_with_field_and_reason(
    values: dict[str, Any], field: str, reason: str, system: SchedulerHarness
):
    with pytest.raises(InvalidJob) as caught:
        system.control.create_job(**{**GOOD, **values})
    assert field in caught.value.problems
    assert reason in " ".join(caught.value.problems[field])
    assert not CronJob.objects.exists()

    job = system.control.create_job(**GOOD)
    before = CronJob.objects.values().get()
    with pytest.raises(InvalidJob) as caught:
        system.control.update_job(job.pk, **values)
    assert field in caught.value.problems
    assert CronJob.objects.values().get() == before


def test_all_mistakes_are_reported_at_once(system: SchedulerHarness):
    with pytest.raises(InvalidJob) as caught:
        system.control.create_job(
            name="", cron_expression="x", timezone="y", handler_name="z", max_retry=-1, queue=" "
        )
    assert set(caught.value.problems) >= {"name", "handler_name", "max_retry", "queue"}
    assert "max_retry: -1 is not between 0 and 10" in str(caught.value)


def test_a_name_is_taken_once(system: SchedulerHarness):
    first = system.control.create_job(**GOOD)
    with pytest.raises(InvalidJob, match="name: is taken"):
        system.control.create_job(**GOOD)
    other = system.control.create_job(**{**GOOD, "name": "other"})
    with pytest.raises(InvalidJob, match="name: is taken"):
        system.control.update_job(other.pk, name=first.name)
    system.control.update_job(first.pk, name=first.name, description="the same name is fine")


def test_values_at_the_edges_are_taken(system: SchedulerHarness):
    system.configure(calendars={"closed": {"weekends": True}})
    job = system.control.create_job(
        name="x" * 100,
        cron_expression="0 3 * * *",
        handler_name="sample",
        handler_params={"sleep_seconds": 0, "extra": "\U0001f600"},
        timezone="Asia/Seoul",
        calendar="closed:next",
        max_retry=10,
        timeout_seconds=86_400,
        retry_backoff_seconds=0,
        retry_backoff_max_seconds=0,
        priority=9,
        queue="q-1_2.3",
        start_at=START,
        end_at=START + timedelta(days=2),
        allow_overlap=False,
    )
    stored = CronJob.objects.get(pk=job.pk)
    assert stored.overlap_policy == "skip"
    assert stored.handler_params["extra"] == "\U0001f600"


def test_allow_overlap_stands_for_a_policy(system: SchedulerHarness):
    job = system.control.create_job(**GOOD, allow_overlap=True)
    assert job.overlap_policy == "allow"
    assert system.control.update_job(job.pk, allow_overlap=False).overlap_policy == "skip"


def test_a_stale_editor_is_refused_and_changes_nothing(system: SchedulerHarness):
    job = system.control.create_job(**GOOD)
    seen = job.tick_seq
    system.control.update_job(job.pk, description="first", tick_seq=seen)
    with pytest.raises(StaleEdit):
        system.control.update_job(job.pk, description="second", tick_seq=seen)
    assert CronJob.objects.get(pk=job.pk).description == "first"
    system.control.update_job(job.pk, description="third")  # an editor who saw nothing


def test_an_edit_that_changes_nothing_moves_nothing(system: SchedulerHarness):
    job = system.control.create_job(**GOOD)
    assert system.control.update_job(job.pk, name=job.name).tick_seq == job.tick_seq


@pytest.mark.parametrize(
    ("old", "new"),
    [(1, True), (True, 1), (1, 1.0), (0, False), ([1], [True]), ({"b": 0}, {"b": False})],
    ids=repr,
)
def test_params_that_differ_in_their_type_alone_are_saved_and_told(
    old: Any, new: Any, system: SchedulerHarness
):
    job = system.control.create_job(**GOOD, handler_params={"dry": old})

    system.control.update_job(job.pk, handler_params={"dry": new})

    assert json.dumps(CronJob.objects.get(pk=job.pk).handler_params) == json.dumps({"dry": new})
    entry = Activity.objects.get(verb=ActivityVerb.CHANGED)
    [change] = changes_of(entry, sees_params=True)
    assert "" not in (change.old, change.new)
    assert change.old != change.new


def test_params_that_are_no_json_are_refused_and_differ_from_all_others(system: SchedulerHarness):
    job = system.control.create_job(**GOOD, handler_params={"a": 1})

    for params in ({"a": {1}}, {"a": object()}, {1: 2, "a": 1}):
        with pytest.raises(InvalidJob, match="handler_params"):
            system.control.update_job(job.pk, handler_params=params)

    seq = CronJob.objects.get(pk=job.pk).tick_seq
    assert system.control.update_job(job.pk, handler_params={"a": 1}).tick_seq == seq


def test_a_broken_job_may_be_switched_off_but_not_on(system: SchedulerHarness):
    job = system.job(handler_name="gone")
    assert not system.control.disable(job.pk).is_enabled
    with pytest.raises(InvalidJob, match="handler_name"):
        system.control.enable(job.pk)
    assert not CronJob.objects.get(pk=job.pk).is_enabled


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"handler_name": "gone"}, "handler_name"),
    ({"end_at": START - timedelta(hours=1)}, "end_at"),
    ({"calendar": "martian"}, "calendar"),
    ({"cron_expression": "* * * * * *"}, "cron_expression"),
]


@pytest.mark.parametrize(("values", "field"), BROKEN, ids=[field for _, field in BROKEN])
def test_a_broken_job_may_be_paused_with_a_reason_and_not_be_edited(
    values: dict[str, Any], field: str, system: SchedulerHarness
):
    job = system.job(**values)
    until = START + timedelta(hours=1)

    paused = system.control.pause(job.pk, reason="incident 12", until=until)

    assert (paused.is_enabled, paused.pause_reason) == (False, "incident 12")
    assert paused.paused_until == until
    assert system.control.pause(job.pk, reason="still").pause_reason == "still"
    with pytest.raises(InvalidJob, match=field):
        system.control.update_job(job.pk, pause_reason="x", description="an edit")
    with pytest.raises(InvalidJob, match=field):
        system.control.enable(job.pk)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"pause_reason": "x" * 501}, "pause_reason: has 501 characters"),
        ({"pause_reason": "a\x00b"}, "pause_reason: must not contain control"),
        ({"pause_reason": None}, "pause_reason: must be text"),
        ({"paused_until": "noon"}, "paused_until: must be an instant"),
        ({"paused_until": datetime(9999, 12, 31, tzinfo=UTC)}, "paused_until: is not between"),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("is_enabled", [True, False])
def test_a_pause_is_checked_even_for_a_broken_job(
    is_enabled: bool, values: dict[str, Any], reason: str, system: SchedulerHarness
):
    job = system.job(handler_name="gone", is_enabled=is_enabled)
    before = CronJob.objects.values().get()

    with pytest.raises(InvalidJob, match=reason):
        system.control.update_job(job.pk, is_enabled=False, **values)

    assert CronJob.objects.values().get() == before


def test_a_pause_needs_a_future_and_ends_when_the_job_is_enabled(system: SchedulerHarness):
    job = system.control.create_job(**GOOD)
    for until in (START, START - timedelta(days=1)):
        with pytest.raises(InvalidJob, match="paused_until: must be in the future"):
            system.control.pause(job.pk, reason="x", until=until)
    with pytest.raises(InvalidJob, match="paused_until"):
        system.control.pause(job.pk, reason="x", until=START.replace(tzinfo=None))
    paused = system.control.pause(job.pk, reason="deploy", until=START + timedelta(hours=1))
    assert (paused.is_enabled, paused.pause_reason) == (False, "deploy")
    enabled = system.control.enable(job.pk)
    assert (enabled.is_enabled, enabled.pause_reason, enabled.paused_until) == (True, "", None)


def test_a_paused_job_that_is_disabled_stays_disabled(system: SchedulerHarness):
    job = system.control.create_job(**GOOD)
    system.control.pause(job.pk, reason="deploy", until=START + timedelta(hours=1))
    system.control.disable(job.pk)
    system.clock.advance(7200)
    system.tick()
    assert not CronJob.objects.get(pk=job.pk).is_enabled


def test_editing_a_paused_job_leaves_the_end_of_its_pause(system: SchedulerHarness):
    job = system.control.create_job(**GOOD)
    until = START + timedelta(hours=1)
    system.control.pause(job.pk, reason="deploy", until=until)
    edited = system.control.update_job(job.pk, description="new", is_enabled=False)
    assert (edited.paused_until, edited.pause_reason) == (until, "deploy")
    assert system.control.update_job(job.pk, paused_until=None).paused_until is None


def test_unknown_jobs_and_executions_are_reported(system: SchedulerHarness):
    control = system.control
    of_jobs: tuple[Any, ...] = (control.enable, control.delete_job, control.run_now)
    for verb in of_jobs:
        with pytest.raises(CronJob.DoesNotExist):
            verb(4711)
    of_runs: tuple[Any, ...] = (control.cancel, control.retry, control.delete_execution)
    for verb in of_runs:
        with pytest.raises(JobExecution.DoesNotExist):
            verb(4711)


def test_deleting_a_job_deletes_its_history(system: SchedulerHarness):
    job = system.job()
    system.execution(job)
    system.control.delete_job(job.pk)
    assert not JobExecution.objects.exists()


def test_the_preview_shows_the_next_slots_within_start_and_end(system: SchedulerHarness):
    job = CronJob(
        cron_expression="0 9 * * *",
        timezone="Asia/Seoul",
        start_at=START + timedelta(days=1),
        end_at=START + timedelta(days=3),
    )
    assert system.control.preview(job) == [
        datetime(2026, 1, day, 0, 0, tzinfo=UTC) for day in (14, 15)
    ]
    assert len(system.control.preview(CronJob(cron_expression="* * * * *"), count=20)) == 20


@pytest.mark.parametrize("year", [1, 9999])
@pytest.mark.parametrize("field", ["start_at", "end_at"])
def test_years_at_the_ends_of_the_calendar_do_not_break_the_preview(
    field: str, year: int, system: SchedulerHarness
):
    far = datetime(year, 1, 1, tzinfo=UTC)
    job = CronJob(**{**GOOD, field: far})
    assert "not between" in " ".join(system.control.problems(job)[field])
    has_slots = (field, year) in {("start_at", 1), ("end_at", 9999)}
    assert bool(system.control.preview(job)) == has_slots


# --- runs -----------------------------------------------------------------------------------------


def test_a_manual_run_leaves_the_schedule_alone(system: SchedulerHarness):
    job = system.job(handler_params={"a": 1})
    system.tick()
    before = CronJob.objects.get(pk=job.pk).next_run_at
    plain = system.control.run_now(job.pk)
    edited = system.control.run_now(job.pk, {"b": 2})
    assert (plain.param_source, plain.params, edited.params) == ("manual", {"a": 1}, {"b": 2})
    assert plain.scheduled_time != edited.scheduled_time
    assert {plain.scheduled_time.microsecond, edited.scheduled_time.microsecond} & {0} == set()
    assert CronJob.objects.get(pk=job.pk).next_run_at == before


def test_a_run_of_a_job_that_was_deleted_meanwhile_is_refused(system: SchedulerHarness):
    seen = system.job()
    system.control.delete_job(seen.pk)
    with pytest.raises(CronJob.DoesNotExist):
        executions.create_execution(
            seen, handler_name="ok", params={}, source=ParamSource.MANUAL, now=START
        )
    assert not JobExecution.objects.exists()


@pytest.mark.parametrize("params", [[1], "x", 5, {"sleep_seconds": "no"}, {"x": math.inf}])
def test_a_manual_run_with_params_that_do_not_fit_is_refused(params: Any, system: SchedulerHarness):
    job = system.job(handler_name="sample")
    with pytest.raises(InvalidJob, match="params"):
        system.control.run_now(job.pk, params)
    assert not JobExecution.objects.exists()


def test_an_event_runs_a_handler_with_the_jobs_params_below_its_own(system: SchedulerHarness):
    job = system.job(handler_params={"a": 1, "b": 1}, max_retry=1)
    row, made = system.control.event(handler_name="ok", params={"b": 2}, job_id=job.pk)
    assert made
    assert (row.params, row.param_source, row.max_retry) == ({"a": 1, "b": 2}, "event", 1)
    alone, _ = system.control.event(handler_name="ok", params={})
    assert (alone.job_id, alone.job_name, alone.max_retry, alone.timeout_seconds) == (
        None,
        "",
        3,
        3600,
    )


def test_an_event_of_a_job_whose_params_sql_broke_is_refused(system: SchedulerHarness):
    job = system.job(handler_params=[1])
    with pytest.raises(InvalidJob, match="params: must be a JSON object"):
        system.control.event(handler_name="ok", params={}, job_id=job.pk)


def test_one_idempotency_key_makes_one_run(system: SchedulerHarness):
    first, made = system.control.event(handler_name="ok", params={}, idempotency_key="order 7")
    again, made_again = system.control.event(
        handler_name="ok", params={}, idempotency_key="order 7"
    )
    assert (made, made_again, again.pk) == (True, False, first.pk)
    assert JobExecution.objects.count() == 1


def test_the_idempotency_key_of_another_event_is_refused(system: SchedulerHarness):
    job, other = system.job(name="one"), system.job(name="two")
    event: dict[str, Any] = {"job_id": job.pk, "params": {"x": 1, "y": [1, {"z": None}]}}
    key: dict[str, Any] = {"idempotency_key": "order 7"}
    first, _ = system.control.event(**event, **key)

    changes: list[dict[str, Any]] = [
        {"params": {"x": 2}},
        {"params": {}},
        {"params": {"x": True, "y": [1, {"z": None}]}},
        {"job_id": None, "handler_name": "ok"},
        {"job_id": other.pk},
        {"handler_name": "ok"},
    ]
    for change in changes:
        with pytest.raises(KeyInUse, match="another event"):
            system.control.event(**{**event, **change}, **key)

    # Neither the order of the members nor a later edit of the job makes another event of it.
    CronJob.objects.filter(pk=job.pk).update(handler_name="sample", handler_params={"w": 1})
    same, is_new = system.control.event(
        params={"y": [1, {"z": None}], "x": 1}, job_id=job.pk, **key
    )
    assert (same.pk, is_new) == (first.pk, False)
    assert JobExecution.objects.count() == 1


def test_a_key_whose_row_has_no_digest_is_compared_by_job_and_handler(system: SchedulerHarness):
    key: dict[str, Any] = {"idempotency_key": "order 7"}
    first, _ = system.control.event(handler_name="ok", params={"x": 1}, **key)
    JobExecution.objects.update(dedupe_digest=None)  # as a version before 0.2 wrote it

    assert system.control.event(handler_name="ok", params={"x": 2}, **key) == (first, False)
    with pytest.raises(KeyInUse):
        system.control.event(handler_name="sample", params={}, **key)
    with pytest.raises(KeyInUse):
        system.control.event(params={}, job_id=system.job().pk, **key)


def later(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "time", [{"at": later(90).astimezone(ZoneInfo("Asia/Seoul"))}, {"after_seconds": 90}]
)
def test_an_event_with_a_time_runs_then_and_not_before(
    time: dict[str, Any], system: SchedulerHarness
):
    row, _ = system.control.event(handler_name="ok", params={}, **time)
    assert (row.status, row.available_at) == ("PENDING", later(90))
    system.clock.advance(89)
    system.tick()
    assert (system.wakeups.take(), system.worker.execute(row.pk)) == ([], None)

    system.clock.advance(1)
    system.tick()
    assert system.deliver() == [RunStatus.SUCCESS]


def test_a_key_covers_the_time_of_its_event(system: SchedulerHarness):
    event: dict[str, Any] = {"handler_name": "ok", "params": {}, "idempotency_key": "order 7"}
    first, _ = system.control.event(**event, at=later(60))
    system.clock.advance(3600)

    # A sender that has received no answer repeats what it said, and the time is over by now.
    seoul = later(60).astimezone(ZoneInfo("Asia/Seoul"))
    assert system.control.event(**event, at=seoul) == (first, False)
    for other in ({}, {"at": later(61)}, {"after_seconds": 60}):
        with pytest.raises(KeyInUse):
            system.control.event(**event, **other)
    event["idempotency_key"] = "order 8"
    assert system.control.event(**event, after_seconds=5)[1]
    assert not system.control.event(**event, after_seconds=5.0)[1]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("policy", [OverlapPolicy.QUEUE_ONE, OverlapPolicy.REPLACE])
def test_an_event_for_tomorrow_takes_no_place_from_the_runs_of_today(
    policy: OverlapPolicy, system: SchedulerHarness
):
    job = system.job(overlap_policy=policy)
    system.control.event(job_id=job.pk, params={}, after_seconds=86_400)
    running = system.execution(job, status=RunStatus.RUNNING, attempt=1,
                               lease_token="a", lease_expires_at=later(60),
                               deadline_at=later(60))  # fmt: skip
    JobGuard.objects.create(id=job.pk, running_id=running.pk)
    waits = system.execution(job)
    system.control.event(job_id=job.pk, params={}, after_seconds=86_400)

    assert system.worker.execute(waits.pk) is None
    assert fresh(waits).status == RunStatus.PENDING
    assert reason_of(waits) == ("overlap_held", {"running": running.pk})


def test_idempotency_keys_are_compared_exactly(system: SchedulerHarness):
    keys = ["order-a", "order-A", "\u00f6rder-a", "order-a ", "order-\uff41"]
    for key in keys * 2:
        system.control.event(handler_name="ok", params={}, idempotency_key=key)
    stored = JobExecution.objects.values_list("dedupe_key", flat=True)
    assert (stored.count(), set(stored)) == (len(keys), set(keys))


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({"handler_name": "okk", "params": {}}, "handler_name"),
        ({"handler_name": "", "params": {}}, "handler_name"),
        ({"handler_name": None, "params": {}}, "handler_name"),
        ({"handler_name": "ok", "params": [1]}, "params"),
        ({"handler_name": "ok", "params": None}, "params"),
        ({"handler_name": "ok", "params": "x"}, "params"),
        ({"handler_name": "sample", "params": {"sleep_seconds": "x"}}, "params"),
        ({"handler_name": "ok", "params": {}, "idempotency_key": ""}, "idempotency_key"),
        ({"handler_name": "ok", "params": {}, "idempotency_key": "x" * 256}, "idempotency_key"),
        ({"handler_name": "ok", "params": {}, "idempotency_key": 7}, "idempotency_key"),
        ({"handler_name": "ok", "params": {}, "idempotency_key": "a\x00"}, "idempotency_key"),
        ({"handler_name": "ok", "params": {}, "at": later(-1)}, "at"),
        ({"handler_name": "ok", "params": {}, "at": later(60).replace(tzinfo=None)}, "at"),
        ({"handler_name": "ok", "params": {}, "at": later(60).replace(year=9950)}, "at"),
        ({"handler_name": "ok", "params": {}, "at": "2030-01-01T00:00:00Z"}, "at"),
        ({"handler_name": "ok", "params": {}, "after_seconds": -1}, "after_seconds"),
        ({"handler_name": "ok", "params": {}, "after_seconds": math.nan}, "after_seconds"),
        ({"handler_name": "ok", "params": {}, "after_seconds": 1e300}, "after_seconds"),
        ({"handler_name": "ok", "params": {}, "after_seconds": True}, "after_seconds"),
        (
            {"handler_name": "ok", "params": {}, "at": later(60), "after_seconds": 60},
            "after_seconds",
        ),
    ],
)
def test_a_bad_event_is_refused_with_field_and_reason(
    event: dict[str, Any], field: str, system: SchedulerHarness
):
    with pytest.raises(InvalidJob) as caught:
        system.control.event(**event)
    assert field in caught.value.problems
    assert not JobExecution.objects.exists()


# --- executions -----------------------------------------------------------------------------------


def finished(system: SchedulerHarness, status: RunStatus, **values: Any) -> JobExecution:
    return system.execution(status=status, finished_at=START, **values)


@pytest.mark.parametrize("status", sorted(RETRYABLE))
def test_an_unsuccessful_run_may_be_tried_again_with_a_fresh_budget(
    status: RunStatus, system: SchedulerHarness
):
    row = finished(system, status, attempt=4, failures=4, error_message="why")
    again = system.control.retry(row.pk)
    assert (again.status, again.failures, again.attempt) == (RunStatus.PENDING, 0, 4)
    assert (again.available_at, again.finished_at) == (START, None)
    with pytest.raises(NotPossible, match="is PENDING; only CANCELLED, FAILED"):
        system.control.retry(row.pk)


def test_a_success_is_not_tried_again(system: SchedulerHarness):
    with pytest.raises(NotPossible, match="is SUCCESS"):
        system.control.retry(finished(system, RunStatus.SUCCESS).pk)


@pytest.mark.parametrize("status", sorted({*RETRYABLE, RunStatus.SUCCESS}))
def test_ended_runs_cannot_be_cancelled_but_can_be_deleted(
    status: RunStatus, system: SchedulerHarness
):
    row = finished(system, status)
    with pytest.raises(NotPossible, match=f"is {status} already"):
        system.control.cancel(row.pk)
    system.control.delete_execution(row.pk)
    assert not JobExecution.objects.exists()


def test_unfinished_runs_cannot_be_deleted(system: SchedulerHarness):
    waiting = system.execution()
    with pytest.raises(NotPossible, match="is PENDING; cancel it first"):
        system.control.delete_execution(waiting.pk)
    JobExecution.objects.filter(pk=waiting.pk).update(
        status=RunStatus.RUNNING,
        lease_token="t" * 32,
        lease_expires_at=START,
        deadline_at=START,
    )
    with pytest.raises(NotPossible, match="is RUNNING"):
        system.control.delete_execution(waiting.pk)
    assert system.control.cancel(waiting.pk) == RunStatus.RUNNING
    assert system.control.cancel(waiting.pk) == RunStatus.RUNNING  # asked twice, meant once
    assert fresh(waiting).cancel_requested_at == START


def test_many_are_cancelled_in_a_few_statements_each_with_its_entry(system: SchedulerHarness):
    waiting = [system.execution() for _ in range(30)]
    ended = finished(system, RunStatus.FAILED)
    running = system.execution()
    JobExecution.objects.filter(pk=running.pk).update(
        status=RunStatus.RUNNING,
        lease_token="t" * 32,
        lease_expires_at=START,
        deadline_at=START,
    )
    ids = [*(row.pk for row in waiting), running.pk, ended.pk, 10**9]

    with CaptureQueriesContext(connection) as statements:
        refused = system.control.cancel_all(ids, reason="enough")

    assert len(statements) < 10
    assert refused == {ended.pk: "it is FAILED already", 10**9: "it has been deleted meanwhile"}
    assert {fresh(row).status for row in waiting} == {RunStatus.CANCELLED}
    assert (fresh(running).status, fresh(running).cancel_requested_at) == (RunStatus.RUNNING, START)
    assert fresh(waiting[0]).error_message == "cancelled by a person: enough"
    entries = Activity.objects.filter(verb=ActivityVerb.CANCELLED)
    assert {entry.target_id for entry in entries} == set(ids[:-2])


def test_a_deleted_slot_does_not_run_again(system: SchedulerHarness):
    job = system.job()
    system.tick()
    system.clock.advance(60)
    system.tick()
    row = JobExecution.objects.get(job=job)
    system.control.cancel(row.pk)
    system.control.delete_execution(row.pk)
    system.tick(2)
    assert not JobExecution.objects.exists()
