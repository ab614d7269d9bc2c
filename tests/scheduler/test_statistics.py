"""The dashboard's numbers, on each job database, against small sets that can be counted by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from scheduler.conf import SchedulerSettings
from scheduler.models import CronJob, JobExecution, JobFreeze, JobTag, SchedulerProcess
from scheduler.operations.liveness import OVERDUE_AFTER
from scheduler.states import FINAL, BlockedSlots, ReasonCode, RunStatus, WaitsFor
from scheduler.store import (
    coming_runs,
    deliveries,
    forecast,
    job_trends,
    planned_slots,
    schedule_groups,
    statistics,
    waiting,
)
from scheduler.store import hours as by_hour
from scheduler.store.hours import HOUR

pytestmark = [pytest.mark.database, pytest.mark.django_db]

NOW = datetime(2026, 6, 10, 12, 34, 56, tzinfo=UTC)
THIS_HOUR = NOW.replace(minute=0, second=0)
SETTINGS = SchedulerSettings(
    default_timezone="UTC",
    calendars={"office": {"weekends": True}},
)

_numbers = count(1)


def make_job(**values: Any) -> CronJob:
    number = next(_numbers)
    given = {"name": f"job {number}", "cron_expression": "0 3 * * *", "handler_name": "sample"}
    return CronJob.objects.create(**{**given, **values})


def make_run(
    status: RunStatus = RunStatus.SUCCESS,
    *,
    ago: timedelta = timedelta(minutes=1),
    took: float | None = 1.0,
    job: CronJob | None = None,
    **values: Any,
) -> JobExecution:
    """A run that ended `ago` before NOW and took `took` seconds. None: it never started."""
    ended = NOW - ago
    given: dict[str, Any] = {"available_at": ended, "created_at": ended}
    if status in FINAL:
        given |= {
            "finished_at": ended,
            "started_at": None if took is None else ended - timedelta(seconds=took),
        }
    elif status == RunStatus.RUNNING:
        until = NOW + timedelta(minutes=5)
        given |= {
            "started_at": ended,
            "lease_token": f"t{next(_numbers)}",
            "lease_expires_at": until,
            "deadline_at": until,
        }
    return JobExecution.objects.create(
        job=job,
        job_name=job.name if job else "",
        handler_name="sample",
        scheduled_time=ended - timedelta(microseconds=next(_numbers)),
        status=status,
        **{**given, **values},
    )


def never() -> bool:
    return False


# --- now ------------------------------------------------------------------------------------------


def test_an_empty_database_has_empty_statistics():
    assert statistics.running_count().value == 0
    assert statistics.waiting(NOW) == statistics.Waiting(by={}, oldest_at=None)
    assert statistics.waiting(NOW).all == statistics.Capped(value=0)
    assert statistics.ended_since(NOW - timedelta(days=1)).counts == {}
    assert statistics.longest_running(10) == []
    assert job_trends.failing_jobs(10) == ([], statistics.Capped(value=0))
    assert job_trends.speeds(NOW, 10) == job_trends.Speeds(slowest=[], slowing=[])
    hours = by_hour.hours_until(THIS_HOUR, 3, is_late=never)
    assert [hour.counts for hour in hours.hours if hour] == [{}, {}, {}]
    planned = forecast.planned_by_hour(NOW, THIS_HOUR, 3, settings=SETTINGS, is_late=never)
    assert planned == forecast.Forecast(counts=(0, 0, 0), uncounted_jobs=0)
    assert coming_runs.next_runs(NOW, 10, settings=SETTINGS, is_late=never) == []


def make_waiting(code: ReasonCode | None = None, **values: Any) -> JobExecution:
    """A run that no worker may claim yet."""
    return make_run(RunStatus.PENDING, ago=-timedelta(minutes=3), reason_code=code, **values)


def test_runs_that_wait_are_counted_by_what_they_wait_for():
    make_run(RunStatus.PENDING, ago=timedelta(minutes=20), reason_code=ReasonCode.LIMIT_REACHED)
    make_run(RunStatus.PENDING, ago=timedelta(minutes=3), queue="reports", priority=5)
    make_waiting(ReasonCode.HANDLER_FAILED)  # backs off
    make_waiting(queue="reports")  # asked for later
    for code in (
        ReasonCode.LIMIT_REACHED, ReasonCode.RATE_REACHED, ReasonCode.OVERLAP_HELD,
        ReasonCode.AWAITS_APPROVAL, ReasonCode.UPSTREAM_AWAITED, ReasonCode.FROZEN_HELD,
    ):  # fmt: skip
        make_waiting(code, queue="" if code == ReasonCode.LIMIT_REACHED else code)
    make_run(RunStatus.RUNNING)
    parent = make_run(RunStatus.RUNNING)
    make_waiting(ReasonCode.WAITS_FOR_PARENT, parent=parent, shard=0)  # a part of another run

    found = statistics.waiting(NOW)

    assert {what: count.value for what, count in found.by.items()} == {
        WaitsFor.WORKER: 2, WaitsFor.LIMIT: 2, WaitsFor.OVERLAP: 1, WaitsFor.APPROVAL: 1,
        WaitsFor.UPSTREAM: 1, WaitsFor.FREEZE: 1, WaitsFor.TIME: 2,
    }  # fmt: skip
    assert found.all == statistics.Capped(value=10)
    listed = JobExecution.objects.filter(deliveries.COUNTED)
    for what, counted in found.by.items():
        assert listed.filter(waiting.waits_for(what, NOW)).count() == counted.value, what
    assert found.oldest_at == NOW - timedelta(minutes=20)
    assert statistics.running_count().value == 2


def test_counts_stop_at_their_limit_and_say_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(statistics, "COUNT_LIMIT", 2)
    monkeypatch.setattr(statistics, "ENDED_LIMIT", 2)
    for _ in range(3):
        make_run(RunStatus.RUNNING)
        make_run(RunStatus.SUCCESS)

    assert statistics.running_count() == statistics.Capped(value=2, is_capped=True)
    assert statistics.ended_since(NOW - timedelta(days=1)).is_capped


def test_what_ended_is_counted_by_status():
    for status in (
        RunStatus.SUCCESS,
        RunStatus.SUCCESS,
        RunStatus.FAILED,
        RunStatus.TIMEOUT,
        RunStatus.SKIPPED,
    ):
        make_run(status)
    make_run(RunStatus.FAILED, ago=timedelta(hours=25))

    found = statistics.ended_since(NOW - timedelta(days=1))

    assert found.counts == {"SUCCESS": 2, "FAILED": 1, "TIMEOUT": 1, "SKIPPED": 1}
    assert found.of(RunStatus.FAILED, RunStatus.TIMEOUT) == 2
    assert not found.is_capped


def test_each_job_is_counted_once():
    make_job(next_run_at=NOW + HOUR)
    make_job(next_run_at=NOW - HOUR)
    make_job(is_enabled=False)
    make_job(is_enabled=False, pause_reason="month end")
    make_job(is_enabled=False, paused_until=NOW + HOUR)
    make_job(is_enabled=False, schedule_error="minute: 'x' cannot be read", pause_reason="old")

    assert statistics.job_counts(overdue_before=NOW - OVERDUE_AFTER) == statistics.JobCounts(
        enabled=2, paused=2, disabled=1, broken=1, overdue=1
    )


def test_the_longest_running_comes_first():
    young = make_run(RunStatus.RUNNING, ago=timedelta(minutes=1))
    old = make_run(RunStatus.RUNNING, ago=timedelta(minutes=9))

    assert statistics.longest_running(5) == [old, young]
    assert statistics.longest_running(1) == [old]


def test_processes_are_listed_with_beats_first():
    for name, kind in (("w1", "worker"), ("b1", "beat")):
        SchedulerProcess.objects.create(
            name=name, kind=kind, host="h", pid=1, started_at=NOW, heartbeat_at=NOW
        )

    assert [process.name for process in statistics.processes(10)] == ["b1", "w1"]


# --- the past -------------------------------------------------------------------------------------


def test_an_hour_counts_by_status_and_knows_its_durations():
    into = timedelta(minutes=34, seconds=56)  # NOW into its hour
    for seconds in range(1, 21):
        make_run(took=float(seconds), ago=into - timedelta(minutes=5))
    make_run(RunStatus.FAILED, took=900.0, ago=timedelta(minutes=1))
    make_run(RunStatus.SKIPPED, took=None)
    make_run(took=77.0, ago=into + timedelta(microseconds=1))  # the hour before

    hour = by_hour.hour(THIS_HOUR)

    assert hour.counts == {"SUCCESS": 20, "FAILED": 1, "SKIPPED": 1}
    assert hour.percentile(50) == pytest.approx(10, rel=0.06)
    assert hour.percentile(95) == pytest.approx(19, rel=0.06)
    assert hour.percentile(100) == pytest.approx(20, rel=0.06)
    assert not hour.is_capped


def test_the_percentile_of_equal_durations_is_exact():
    for _ in range(5):
        make_run(took=2.5)

    hour = by_hour.hour(THIS_HOUR)

    assert hour.percentile(50) == pytest.approx(2.5, abs=0.001)
    assert hour.percentile(95) == pytest.approx(2.5, abs=0.001)


def test_an_hour_without_successful_runs_has_no_percentile():
    make_run(RunStatus.FAILED)

    assert by_hour.hour(THIS_HOUR).percentile(50) is None


def test_a_run_that_took_no_time_has_a_duration():
    make_run(took=0.0)

    assert by_hour.hour(THIS_HOUR).percentile(50) == pytest.approx(0, abs=0.001)


def test_a_crowded_hour_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(by_hour, "HOUR_LIMIT", 2)
    for _ in range(5):
        make_run()

    assert by_hour.hour(THIS_HOUR).is_capped


def test_hours_that_are_over_are_counted_once():
    make_run(ago=timedelta(hours=2))
    first = by_hour.hours_until(THIS_HOUR, 4, is_late=never)

    make_run()  # in the hour that goes on
    with CaptureQueriesContext(connection) as statements:
        second = by_hour.hours_until(THIS_HOUR, 4, is_late=never)

    assert [hour and dict(hour.counts) for hour in first.hours] == [{}, {"SUCCESS": 1}, {}, {}]
    assert [hour and dict(hour.counts) for hour in second.hours] == [
        {}, {"SUCCESS": 1}, {}, {"SUCCESS": 1},
    ]  # fmt: skip
    assert len(statements) == 1


def test_when_it_is_late_the_newest_hours_are_there_and_the_rest_follows():
    answers = iter([False, True, True, True])

    part = by_hour.hours_until(THIS_HOUR, 5, is_late=lambda: next(answers, True))
    rest = by_hour.hours_until(THIS_HOUR, 5, is_late=never)

    assert [hour is None for hour in part.hours] == [True, True, False, False, False]
    assert (part.missing, part.counted) == (2, 2)
    assert (rest.missing, rest.counted) == (0, 2)


def test_each_late_call_counts_at_least_one_more_hour():
    parts = [by_hour.hours_until(THIS_HOUR, 5, is_late=lambda: True) for _again in range(5)]

    assert [part.missing for part in parts] == [3, 2, 1, 0, 0]
    assert [part.counted for part in parts] == [1, 1, 1, 1, 0]


def test_a_failing_job_fails_since_the_first_failure_in_a_row():
    job = make_job(last_status="TIMEOUT", last_run_at=NOW - timedelta(minutes=10))
    make_run(RunStatus.FAILED, job=job, ago=timedelta(hours=9))
    make_run(RunStatus.SUCCESS, job=job, ago=timedelta(hours=8))
    make_run(RunStatus.FAILED, job=job, ago=timedelta(hours=7))
    make_run(
        RunStatus.SKIPPED, job=job, ago=timedelta(hours=6), took=None
    )  # did not run: says nothing
    newest = make_run(RunStatus.TIMEOUT, job=job, ago=timedelta(minutes=10))
    make_run(RunStatus.PENDING, job=job)
    make_job(last_status="SUCCESS", last_run_at=NOW)
    make_job(last_status="FAILED", last_run_at=NOW, is_enabled=False)

    found, total = job_trends.failing_jobs(10)

    assert total.value == 1
    assert [one.job for one in found] == [job]
    assert found[0].since == NOW - timedelta(hours=7)
    assert found[0].failures == 2
    assert found[0].last_execution_id == newest.pk
    assert not found[0].is_longer


def test_a_failing_job_without_history_fails_since_its_last_run():
    job = make_job(last_status="FAILED", last_run_at=NOW - timedelta(days=40))

    (found,), _total = job_trends.failing_jobs(10)

    assert (found.since, found.failures) == (job.last_run_at, 1)


def test_slow_jobs_and_jobs_that_get_slower():
    steady, slower = make_job(), make_job()
    for hours in (30, 50, 70):
        make_run(job=steady, took=20.0, ago=timedelta(hours=hours))
        make_run(job=slower, took=4.0, ago=timedelta(hours=hours))
    make_run(job=slower, took=400.0, ago=timedelta(days=9))  # too long ago to compare with
    make_run(job=steady, took=21.0)
    make_run(job=slower, took=8.0)
    make_run(job=slower, took=12.0)
    make_run(RunStatus.FAILED, job=slower, took=500.0)

    found = job_trends.speeds(NOW, 10)

    assert [(speed.job_id, speed.runs) for speed in found.slowest] == [
        (steady.pk, 1),
        (slower.pk, 2),
    ]
    (slowing,) = found.slowing
    assert slowing.name == slower.name
    assert slowing.mean_seconds == pytest.approx(10, abs=0.01)
    assert slowing.max_seconds == pytest.approx(12, abs=0.01)
    assert slowing.earlier_mean_seconds == pytest.approx(4, abs=0.01)
    assert slowing.times_slower == pytest.approx(2.5, abs=0.01)


# --- what comes -----------------------------------------------------------------------------------


def planned(hours: int = 25, now: datetime = NOW) -> tuple[int, ...]:
    this_hour = now.replace(minute=0, second=0)
    found = forecast.planned_by_hour(now, this_hour, hours, settings=SETTINGS, is_late=never)
    assert found.uncounted_jobs == 0
    return found.counts


def test_planned_runs_of_this_hour_are_those_still_to_come():
    make_job(cron_expression="*/10 * * * *")

    assert planned(3) == (2, 6, 6)  # 12:40 and 12:50


def test_jobs_in_two_zones_are_planned_by_their_own_clocks():
    make_job(cron_expression="30 9 * * *", timezone="Asia/Seoul")  # 00:30 UTC
    make_job(cron_expression="30 9 * * *", timezone="Asia/Kolkata")  # 04:00 UTC
    make_job(cron_expression="15,45 * * * *", timezone="Asia/Kolkata")  # at :45 and :15 UTC
    make_job(cron_expression="0 3 * * *", is_enabled=False)

    found = planned()

    assert found[12] == 3
    assert found[16] == 3
    assert sum(found) == 2 + 1 + 24 * 2


@pytest.mark.parametrize(
    "expression", ["*/7 * * * *", "*/20 */5 * * * *", "0 4 10,11 * *", "@daily"]
)
@pytest.mark.parametrize("timezone", ["UTC", "Asia/Kathmandu", "America/New_York"])
@pytest.mark.parametrize("calendar", ["", "office"])
@pytest.mark.parametrize(
    "now",
    [NOW, datetime(2026, 3, 7, 20, 10, 30, tzinfo=UTC), datetime(2026, 10, 31, 20, 0, tzinfo=UTC)],
    ids=["summer", "clocks go on", "clocks go back"],
)
def test_planned_runs_are_the_slots(expression: str, timezone: str, calendar: str, now: datetime):
    start_at = now + timedelta(hours=2, minutes=3)
    end_at = now + timedelta(hours=20, minutes=17)
    make_job(
        cron_expression=expression,
        timezone=timezone,
        calendar=calendar,
        start_at=start_at,
        end_at=end_at,
    )
    columns = schedule_groups._Columns("", expression, timezone, calendar, start_at, now)
    schedule = schedule_groups.schedule_for(columns, SETTINGS)
    this_hour = now.replace(minute=0, second=0)
    by_hour = [0] * 25
    slot = schedule.next_after(start_at - timedelta(microseconds=1))
    while slot is not None and slot <= end_at:
        by_hour[(slot - this_hour) // HOUR] += 1
        slot = schedule.next_after(slot)

    assert planned(now=now) == tuple(by_hour)


def test_jobs_with_the_same_schedule_are_computed_once(monkeypatch: pytest.MonkeyPatch):
    for _ in range(5):
        make_job(cron_expression="0 * * * *")
    asked = []

    def is_late() -> bool:
        asked.append(1)
        return False

    found = forecast.planned_by_hour(NOW, THIS_HOUR, 3, settings=SETTINGS, is_late=is_late)

    assert found.counts == (0, 5, 5)
    assert len(asked) == 1


def test_a_plan_that_is_cut_off_says_how_many_jobs_it_lacks():
    for _ in range(3):
        make_job(cron_expression="0 * * * *")
    make_job(cron_expression="5 * * * *")
    make_job(cron_expression="6 * * * *")
    answers = iter([False, True])

    found = forecast.planned_by_hour(
        NOW, THIS_HOUR, 3, settings=SETTINGS, is_late=lambda: next(answers, True)
    )

    # The schedule of most jobs was first.
    assert found == forecast.Forecast(counts=(0, 3, 3), uncounted_jobs=2)


def test_slots_that_are_settled_are_not_planned_again():
    # The calendar has changed: what it moves to today has run before.
    make_job(cron_expression="0 18 * * *", calendar="office:previous", next_run_at=NOW + HOUR * 30)
    owed = make_job(cron_expression="0 18 * * *", calendar="office:previous")
    at_18 = THIS_HOUR.replace(hour=18)

    assert sum(planned()) == 1
    assert runs_of_hour(at_18) == [("18:00", owed.pk)]


def test_a_schedule_that_cannot_be_read_does_not_hide_the_others():
    make_job(cron_expression="nonsense", next_run_at=NOW + timedelta(minutes=1))
    make_job(timezone="Mars/Olympus")
    make_job(cron_expression="0 * * * *", next_run_at=NOW + timedelta(minutes=26))

    assert planned(3) == (0, 1, 1)
    assert len(coming_runs.next_runs(NOW, 2, settings=SETTINGS, is_late=never)) == 2


def test_the_next_runs_of_all_jobs_soonest_first():
    often = make_job(cron_expression="*/10 * * * *", next_run_at=THIS_HOUR.replace(minute=40))
    hourly = make_job(cron_expression="5 * * * *", next_run_at=THIS_HOUR + timedelta(minutes=65))
    make_job(cron_expression="1 * * * *", next_run_at=NOW - HOUR)  # overdue: not a plan
    make_job(cron_expression="1 * * * *", next_run_at=None)

    found = coming_runs.next_runs(NOW, 5, settings=SETTINGS, is_late=never)

    assert [(run.at.strftime("%H:%M"), run.job_id) for run in found] == [
        ("12:40", often.pk),
        ("12:50", often.pk),
        ("13:00", often.pk),
        ("13:05", hourly.pk),
        ("13:10", often.pk),
    ]
    assert {run.timezone for run in found} == {"UTC"}


def test_the_next_runs_end_with_the_job():
    make_job(
        cron_expression="* * * * *",
        next_run_at=THIS_HOUR.replace(minute=40),
        end_at=THIS_HOUR.replace(minute=41, second=30),
    )

    assert len(coming_runs.next_runs(NOW, 5, settings=SETTINGS, is_late=never)) == 2


def runs_of_hour(start: datetime, limit: int = 30) -> list[tuple[str, int]]:
    found = coming_runs.runs_of_hour(NOW, start, limit, settings=SETTINGS, is_late=never)
    return [(run.at.strftime("%H:%M"), run.job_id) for run in found]


def test_the_runs_of_an_hour_soonest_first():
    late = make_job(cron_expression="45 * * * *")
    twins = [make_job(cron_expression="30 14 * * *") for _ in range(2)]
    bounded = make_job(cron_expression="*/20 * * * *", end_at=THIS_HOUR + HOUR * 2.5)
    make_job(cron_expression="0 15 * * *")
    make_job(cron_expression="nonsense")
    make_job(cron_expression="* * * * *", is_enabled=False)

    found = runs_of_hour(THIS_HOUR + HOUR * 2)

    assert found == [
        ("14:00", bounded.pk),
        ("14:20", bounded.pk),
        ("14:30", twins[0].pk),
        ("14:30", twins[1].pk),
        ("14:45", late.pk),
    ]
    assert runs_of_hour(THIS_HOUR + HOUR * 2, limit=3) == found[:3]


def test_the_runs_of_this_hour_are_those_still_to_come():
    job = make_job(cron_expression="*/15 * * * *")

    assert runs_of_hour(THIS_HOUR) == [("12:45", job.pk)]


# --- without what freezes will block -------------------------------------------------------------


def make_freeze(since: datetime, until: datetime, *tags: str, **values: Any) -> JobFreeze:
    given = {"name": f"freeze {next(_numbers)}", "reason": "the books close", "tags": list(tags)}
    return JobFreeze.objects.create(
        **{**given, "since": since, "until": until, "blocked_slots": BlockedSlots.SKIP, **values}
    )


def make_tagged(*tags: str, **values: Any) -> CronJob:
    job = make_job(tags=list(tags), **values)
    JobTag.objects.bulk_create(JobTag(job_id=job.pk, tag=tag) for tag in tags)
    return job


def soonest(limit: int) -> list[tuple[str, int]]:
    found = coming_runs.next_runs(NOW, limit, settings=SETTINGS, is_late=never)
    return [(run.at.strftime("%H:%M"), run.job_id) for run in found]


def at(hour: int, minute: int = 0) -> datetime:
    return NOW.replace(hour=hour, minute=minute, second=0)


def test_slots_that_a_freeze_will_block_are_planned_nowhere():
    every = {"cron_expression": "*/15 * * * *", "next_run_at": at(12, 45)}
    plain, books = make_tagged(**every), make_tagged("books", "bi", **every)
    make_freeze(at(12, 45), at(13, 30), "books")
    make_freeze(at(13, 15), at(13, 45), "books")  # overlaps
    make_freeze(at(14, 0), at(14, 15))  # of all jobs; 14:15 is free
    make_freeze(at(12), at(20), is_enabled=False)
    make_freeze(at(12), at(20), "other")

    assert planned(4) == (1, 4 + 1, 3 + 3, 4 + 4)
    assert runs_of_hour(at(13)) == [
        ("13:00", plain.pk), ("13:15", plain.pk), ("13:30", plain.pk),
        ("13:45", plain.pk), ("13:45", books.pk),
    ]  # fmt: skip
    assert soonest(8) == [
        ("12:45", plain.pk), ("13:00", plain.pk), ("13:15", plain.pk), ("13:30", plain.pk),
        ("13:45", plain.pk), ("13:45", books.pk), ("14:15", plain.pk), ("14:15", books.pk),
    ]  # fmt: skip


def test_the_next_runs_are_found_behind_jobs_that_are_all_frozen():
    for _ in range(5):
        make_tagged("books", cron_expression="* * * * *", next_run_at=at(12, 35))
    late = make_job(cron_expression="0 15 * * *", next_run_at=at(15))
    make_freeze(at(12), at(16), "books")

    assert soonest(3)[0] == ("15:00", late.pk)
    assert [text for text, _job in soonest(3)[1:]] == ["16:00", "16:00"]


def test_a_weekly_freeze_is_subtracted_too_and_a_seconds_schedule_is_cut_exactly():
    make_job(cron_expression="*/10 * * * * *", next_run_at=at(12, 35))
    make_freeze(None, None, hours="Mon-Sun 13:00 - 13:59", timezone="UTC")  # type: ignore[arg-type]
    make_freeze(at(14, 0) + timedelta(seconds=5), at(14, 59) + timedelta(seconds=50))

    assert planned(4) == (150, 6, 2, 360)


def test_what_another_system_runs_is_not_planned():
    shadow = make_job(cron_expression="*/20 * * * *", next_run_at=at(12, 40), is_shadow=True)

    found = planned_slots.slots_of([shadow], NOW, NOW + HOUR, NOW, settings=SETTINGS, is_late=never)

    assert (planned(3), soonest(3), runs_of_hour(THIS_HOUR)) == ((0, 0, 0), [], [])
    assert found.slots == {}


def test_the_runs_of_an_hour_without_time_are_none():
    make_job(cron_expression="* * * * *")

    found = coming_runs.runs_of_hour(NOW, THIS_HOUR, 30, settings=SETTINGS, is_late=lambda: True)

    assert found == []
