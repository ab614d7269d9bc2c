"""Rules about how runs end, evaluated from the rows by real dispatchers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from scheduler.alert_rules import AlertRules
from scheduler.alert_states import AlertEnd, AlertKind, AlertState
from scheduler.alerts import ended_runs
from scheduler.conf import AlertSettings
from scheduler.models import Alert, AlertCursor, CronJob, JobExecution
from scheduler.states import ReasonCode, RunStatus
from scheduler.store.recent_runs import recent_runs
from tests.harness.scheduler_harness import SchedulerHarness

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

CHANNEL = {"kind": "webhook", "url": "https://hooks.example.com/x", "secret": "a" * 32}


@pytest.fixture
def alerting(system: SchedulerHarness) -> SchedulerHarness:
    """Rules of jobs hold, and beat has looked once."""
    configure(system, rules={})
    look(system)
    return system


@pytest.fixture
def small_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look takes fewer ends, so that a test need not make a thousand."""
    monkeypatch.setattr(ended_runs, "LIMIT", 60)


def configure(system: SchedulerHarness, **alerts: Any) -> None:
    channels = {"channels": {"hook": CHANNEL}, "default_channels": ["hook"]}
    system.configure(alerts=AlertSettings.model_validate({**channels, **alerts}))


def look(system: SchedulerHarness, seconds: float = 31) -> None:
    """One look. The default is more than a slow machine has to wait after a look that was slow."""
    system.clock.advance(seconds)
    system.tick()


def ended(system: SchedulerHarness, job: CronJob, status: RunStatus, **values: Any) -> JobExecution:
    """A run that has ended just now."""
    system.clock.advance(0.01)
    now = system.clock.now()
    return system.execution(
        job, status=status.value, finished_at=now, started_at=now, attempt=1, **values
    )


def quiet_job(system: SchedulerHarness, **values: Any) -> CronJob:
    """A job that has no slot during the test."""
    return system.job(**{"cron_expression": "0 0 1 1 *", "handler_params": {}, **values})


def open_kinds() -> list[str]:
    return sorted(Alert.objects.exclude(state="closed").values_list("kind", flat=True))


def test_a_failed_run_opens_one_alert_that_the_next_success_closes(alerting: SchedulerHarness):
    job = quiet_job(alerting, alert_rules={"failed": True, "recovered": True}, owner="ana")
    first = ended(alerting, job, RunStatus.FAILED, error_message="no stock\nat line 3")
    look(alerting)
    ended(alerting, job, RunStatus.TIMEOUT)
    last = ended(alerting, job, RunStatus.FAILED)
    look(alerting)

    (alert,) = Alert.objects.all()
    assert (alert.kind, alert.job_id, alert.job_name) == ("failed", job.pk, job.name)
    assert (alert.owner, alert.state, alert.count) == ("ana", "open", 3)
    assert (alert.execution_id, alert.last_execution_id) == (first.pk, last.pk)
    assert alert.facts["error"] == "no stock"

    good = ended(alerting, job, RunStatus.SUCCESS)
    look(alerting)
    look(alerting)

    alert.refresh_from_db()
    assert alert.state == "closed"
    assert alert.open_key is None
    assert first.finished_at
    assert good.finished_at
    assert (alert.close_reason, alert.closed_at) == (AlertEnd.RECOVERED, good.finished_at)
    assert alert.facts["recovered_by"] == good.pk
    assert alert.facts["lasted_seconds"] == pytest.approx(
        (good.finished_at - first.finished_at).total_seconds()
    )
    assert Alert.objects.count() == 1


def test_secrets_of_the_run_are_not_in_the_alert(alerting: SchedulerHarness):
    job = quiet_job(alerting, alert_rules={"failed": True})
    ended(
        alerting,
        job,
        RunStatus.FAILED,
        params={"password": "hunter22"},
        error_message="login with hunter22 refused",
    )
    look(alerting)

    assert "hunter22" not in str(Alert.objects.get().facts)


def test_a_blip_between_two_looks_is_one_episode_with_its_end(alerting: SchedulerHarness):
    job = quiet_job(alerting, alert_rules={"failed": True})
    for status in (RunStatus.FAILED, RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.SUCCESS):
        ended(alerting, job, status)
    ended(alerting, job, RunStatus.FAILED)
    look(alerting)
    look(alerting)

    assert list(Alert.objects.order_by("id").values_list("state", flat=True)) == [
        "closed", "closed", "open",
    ]  # fmt: skip


def test_the_general_rules_hold_for_jobs_and_tags_that_say_nothing_else(system: SchedulerHarness):
    configure(
        system,
        rules={"failed": True},
        tags={"quiet": {"failed": False}, "night": {"failed_in_a_row": 2}},
    )
    look(system)
    plain, loud = quiet_job(system), quiet_job(system, alert_rules={"failed": True})
    quiet, night = quiet_job(system), quiet_job(system, alert_rules={"failed": None})
    for job, tag in ((loud, "quiet"), (quiet, "quiet"), (night, "night")):
        job.tag_rows.create(tag=tag)
    for _ in range(2):
        for job in (plain, loud, quiet, night):
            ended(system, job, RunStatus.FAILED)
    look(system)

    found = set(Alert.objects.values_list("job_id", "kind"))
    assert found == {
        (plain.pk, "failed"), (loud.pk, "failed"), (night.pk, "failed_in_a_row"),
    }  # fmt: skip


def test_failed_in_a_row_counts_over_skipped_slots_and_not_over_a_success(
    alerting: SchedulerHarness,
):
    job = quiet_job(alerting, alert_rules={"failed_in_a_row": 3})
    start = alerting.clock.now()
    order = (
        RunStatus.FAILED, RunStatus.FAILED, RunStatus.SUCCESS, RunStatus.FAILED,
        RunStatus.SKIPPED, RunStatus.TIMEOUT,
    )  # fmt: skip
    for status in order:
        ended(alerting, job, status, scheduled_time=alerting.clock.now())
        look(alerting)
    assert open_kinds() == []

    ended(alerting, job, RunStatus.FAILED, scheduled_time=alerting.clock.now())
    look(alerting)

    (alert,) = Alert.objects.all()
    assert (alert.kind, alert.count, alert.facts["runs"]) == ("failed_in_a_row", 3, 3)
    assert alert.opened_at > start


def test_skipped_slots_are_told_by_their_reason(alerting: SchedulerHarness):
    rules = {"missed": True, "skipped": ["overlap_running"]}
    job, other = quiet_job(alerting, alert_rules=rules), quiet_job(alerting, alert_rules=rules)
    ended(alerting, job, RunStatus.SKIPPED, reason_code=ReasonCode.MISFIRE)
    ended(alerting, job, RunStatus.SKIPPED, reason_code=ReasonCode.OVERLAP_WAITING)
    ended(alerting, other, RunStatus.SKIPPED, reason_code=ReasonCode.OVERLAP_RUNNING)
    look(alerting)

    assert set(Alert.objects.values_list("job_id", "kind")) == {
        (job.pk, "missed"), (other.pk, "skipped"),
    }  # fmt: skip


def test_an_end_that_is_committed_late_is_counted_once(alerting: SchedulerHarness):
    job = quiet_job(alerting, alert_rules={"failed": True})
    ended(alerting, job, RunStatus.FAILED)
    look(alerting)
    late = ended(alerting, job, RunStatus.FAILED)
    looked_at = AlertCursor.objects.get(name=ended_runs.CURSOR).at
    assert looked_at
    late_at = looked_at - timedelta(seconds=1)
    JobExecution.objects.filter(pk=late.pk).update(finished_at=late_at)
    for _ in range(3):
        look(alerting)

    assert Alert.objects.get().count == 2


def test_another_beat_repeats_nothing_and_a_beat_that_was_away_loses_nothing(
    alerting: SchedulerHarness,
):
    others = [alerting.new_dispatcher() for _ in range(2)]
    job = quiet_job(alerting, alert_rules={"failed": True})
    ended(alerting, job, RunStatus.FAILED)
    alerting.clock.advance(3600)  # no beat is there
    ended(alerting, job, RunStatus.FAILED)
    for _ in range(3):
        alerting.clock.advance(31)
        for beat in (alerting.dispatcher, *others):
            beat.tick()

    assert Alert.objects.get().count == 2


@pytest.mark.usefixtures("small_looks")
def test_more_ends_than_one_look_reads_are_all_counted(alerting: SchedulerHarness):
    job = quiet_job(alerting, alert_rules={"failed": True})
    now, number = alerting.clock.advance(1), ended_runs.LIMIT + 25
    JobExecution.objects.bulk_create(
        JobExecution(
            job=job, job_name=job.name, handler_name="ok", status="FAILED", attempt=1,
            scheduled_time=now.replace(microsecond=at), started_at=now, finished_at=now,
        )
        for at in range(number)
    )  # fmt: skip
    for _ in range(3):
        look(alerting)

    assert Alert.objects.get().count == number


def ends(job: CronJob, statuses: str, at: datetime, step: timedelta) -> None:
    """Ends of a job, one after the other: F failed, S succeeded."""
    JobExecution.objects.bulk_create(
        JobExecution(
            job=job, job_name=job.name, handler_name="ok", attempt=1,
            status={"F": "FAILED", "S": "SUCCESS"}[status],
            scheduled_time=at + number * step, started_at=at, finished_at=at + number * step,
        )
        for number, status in enumerate(statuses)
    )  # fmt: skip


def look_at_ends(system: SchedulerHarness, read: AlertCursor | None = None) -> AlertCursor:
    """One look at the ended runs, two seconds later. Returns the cursor that it has read."""
    system.clock.advance(2)
    cursor = read or AlertCursor.objects.get(name=ended_runs.CURSOR)
    ended_runs.look(cursor, system.settings.alerts, now=system.clock.now())
    return cursor


@pytest.mark.usefixtures("small_looks")
def test_of_a_job_that_succeeds_hundreds_of_times_a_second_failures_are_told(
    alerting: SchedulerHarness,
):
    job = quiet_job(alerting, alert_rules={"failed": True})
    look_at_ends(alerting)
    many = ended_runs.LIMIT + 40
    ends(job, "F" + "S" * many + "F", alerting.clock.now(), timedelta(milliseconds=1))
    for _ in range(3):
        look_at_ends(alerting)
    assert list(Alert.objects.order_by("id").values_list("state", "count")) == [
        ("closed", 1), ("open", 1),
    ]  # fmt: skip

    ends(job, "S" * many + "F", alerting.clock.now(), timedelta(milliseconds=1))
    for _ in range(3):
        look_at_ends(alerting)

    assert list(Alert.objects.order_by("id").values_list("state", "count")) == [
        ("closed", 1), ("closed", 1), ("open", 1),
    ]  # fmt: skip


@pytest.mark.usefixtures("small_looks")
def test_two_beats_that_have_read_the_same_place_write_it_once(alerting: SchedulerHarness):
    job = quiet_job(alerting, alert_rules={"failed": True})
    look_at_ends(alerting)
    # More than one look takes, all of them committed late.
    number = ended_runs.LIMIT + 10
    late = alerting.clock.now() - timedelta(seconds=5)
    ends(job, "F" * number, late, timedelta(microseconds=1))

    read = look_at_ends(alerting)
    look_at_ends(alerting, read)
    assert Alert.objects.get().count == ended_runs.LIMIT
    for _ in range(3):
        look_at_ends(alerting)

    assert Alert.objects.get().count == number


def test_failures_in_a_row_are_counted_up_to_each_end(alerting: SchedulerHarness):
    job = quiet_job(alerting, alert_rules={"failed_in_a_row": 3})
    look_at_ends(alerting)
    ends(job, "FSFFF", alerting.clock.now(), timedelta(milliseconds=100))
    look_at_ends(alerting)

    (alert,) = Alert.objects.all()
    last = JobExecution.objects.filter(job=job).order_by("-finished_at")[0]
    assert (alert.execution_id, alert.count, alert.facts["runs"]) == (last.pk, 3, 3)


def test_after_a_long_outage_a_look_reads_a_part_and_the_next_ones_the_rest(
    alerting: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ended_runs, "_MOST_ENDS", 50)
    job = quiet_job(alerting, alert_rules={"failed": True})
    look_at_ends(alerting)
    ends(job, ("S" * 60 + "F") * 2, alerting.clock.now(), timedelta(seconds=1))
    alerting.clock.advance(3600)
    look_at_ends(alerting)
    assert not Alert.objects.exists()

    for _ in range(3):
        look_at_ends(alerting)

    assert [alert.state for alert in Alert.objects.order_by("id")] == ["closed", "open"]


def test_the_last_runs_of_more_jobs_than_sqlite_joins_in_one_statement(system: SchedulerHarness):
    job = quiet_job(system)
    run = ended(system, job, RunStatus.FAILED)

    found = recent_runs([*range(job.pk, job.pk + 600)], 5)

    assert {job_id: [each.execution_id for each in runs] for job_id, runs in found.items()} == {
        job.pk: [run.pk]
    }


def test_jobs_without_rules_cost_one_number_of_statements_whatever_ends(
    alerting: SchedulerHarness,
):
    job = quiet_job(alerting)
    quiet_job(alerting, alert_rules={"failed": True})
    idle = _statements(alerting)
    now = alerting.clock.now()
    JobExecution.objects.bulk_create(
        [
            JobExecution(
                job=job, job_name=job.name, handler_name="ok",
                status=("SUCCESS", "FAILED")[at % 2], attempt=1,
                scheduled_time=now.replace(microsecond=at), started_at=now, finished_at=now,
            )
            for at in range(500)
        ],
    )  # fmt: skip

    assert _statements(alerting) == idle
    assert not Alert.objects.exists()


def _statements(system: SchedulerHarness) -> int:
    """How many statements one look at the ended runs takes."""
    system.clock.advance(3)
    cursor = AlertCursor.objects.get(name=ended_runs.CURSOR)
    with CaptureQueriesContext(
        connection,
    ) as captured:
        ended_runs.look(cursor, system.settings.alerts, now=system.clock.now())
    return len(captured)


def test_a_fault_in_the_evaluation_stops_no_tick(alerting: SchedulerHarness):
    AlertCursor.objects.filter(name=ended_runs.CURSOR).update(facts={"seen": 7})
    job = alerting.job()
    alerting.tick()
    alerting.clock.advance(60)

    alerting.tick()

    assert JobExecution.objects.filter(job=job).exists()


def test_rules_that_sql_has_typed_and_are_none_stop_nobody(alerting: SchedulerHarness):
    broken = quiet_job(alerting, alert_rules={"fialed": 3})
    job = quiet_job(alerting, alert_rules={"failed": True})
    for each in (broken, job):
        ended(alerting, each, RunStatus.FAILED)
    look(alerting)

    assert Alert.objects.get().job_id == job.pk


def test_the_usual_rules_hold_as_soon_as_there_is_a_default_channel():
    channels = {"channels": {"hook": CHANNEL}}

    assert not AlertSettings().default_rules.asks_for_alerts
    assert not AlertSettings.model_validate(channels).default_rules.asks_for_alerts
    usual = AlertSettings.model_validate({**channels, "default_channels": ["hook"]}).default_rules
    assert isinstance(usual, AlertRules)
    assert (usual.failed, usual.recovered, usual.not_started_seconds) == (True, True, 600)


def test_an_alert_that_a_person_has_closed_opens_again_with_the_next_failure(
    alerting: SchedulerHarness,
):
    job = quiet_job(alerting, alert_rules={"failed": True})
    ended(alerting, job, RunStatus.FAILED)
    look(alerting)
    Alert.objects.update(state=AlertState.CLOSED, open_key=None, closed_at=alerting.clock.now())
    look(alerting)
    assert open_kinds() == []

    ended(alerting, job, RunStatus.FAILED)
    look(alerting)

    assert open_kinds() == [AlertKind.FAILED]
