"""Any instant of a job has its answer: what became of it and why, from the rows of real beats."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from scheduler.models import Activity, CronJob, JobExecution
from scheduler.operations.actor import Actor
from scheduler.operations.asked_time import read_time, split_time
from scheduler.operations.control import Control
from scheduler.operations.errors import InvalidJob
from scheduler.operations.slot_answer import SlotAnswer, answer, answer_asked
from scheduler.operations.slot_words import sentences
from scheduler.states import (
    JudgedBy,
    ParamSource,
    ReasonCode,
    RunStatus,
    SlotCode,
    SlotObstacle,
)
from tests.harness.scheduler_harness import START, SchedulerHarness

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, day: int = 12) -> datetime:
    return datetime.fromisoformat(f"2026-01-{day:02}T{text}Z")


def job_of(system: SchedulerHarness, expression: str = "0 * * * *", **values: Any) -> CronJob:
    """A job that was made by Bob a minute before the test begins."""
    bob = Control(actor=Actor(name="bob"), clock=system.clock)
    job = bob.create_job(name="report", cron_expression=expression, handler_name="ok", **values)
    made = START - timedelta(minutes=1)
    CronJob.objects.filter(pk=job.pk).update(created_at=made, updated_at=made)
    system.tick()
    return CronJob.objects.get(pk=job.pk)


def asked(system: SchedulerHarness, job: CronJob, instant: datetime) -> SlotAnswer:
    job = CronJob.objects.get(pk=job.pk)
    return answer(job, instant, now=system.clock.now(), settings=system.settings)


def words(found: SlotAnswer) -> str:
    return " ".join(sentences(found, lambda instant: instant.strftime("%d %H:%M")))


def run_until(system: SchedulerHarness, instant: datetime) -> None:
    system.clock.advance_to(instant)
    system.tick()
    system.deliver()


def test_a_slot_ran_waits_or_is_still_to_come(system: SchedulerHarness):
    job = job_of(system)
    run_until(system, at("11:00"))
    system.clock.advance(3600)
    system.tick()

    ran, waits = asked(system, job, at("11:00")), asked(system, job, at("12:00"))
    assert (ran.code, ran.status, ran.is_calm) == (SlotCode.RAN, RunStatus.SUCCESS, True)
    assert words(ran) == f"The slot of 12 11:00 ran: execution #{ran.execution_id}, SUCCESS."
    assert (waits.code, waits.status) == (SlotCode.WAITS, RunStatus.PENDING)
    assert waits.execution_id is not None
    Control(actor=Actor(name="alice"), clock=system.clock).cancel(waits.execution_id)
    stopped = asked(system, job, at("12:00"))
    assert (stopped.code, stopped.by, stopped.is_calm) == (SlotCode.NOT_BEGUN, "alice", True)
    assert "alice cancelled it." in words(stopped)
    ahead = asked(system, job, at("13:00"))
    assert (ahead.code, ahead.obstacles) == (SlotCode.NOT_YET, ())
    none = asked(system, job, at("11:30"))
    assert none.code == SlotCode.NOT_A_SLOT
    assert (none.before, none.after) == (at("11:00"), at("12:00"))
    assert asked(system, job, at("09:00")).code == SlotCode.BEFORE_JOB
    assert words(asked(system, job, at("09:00"))) == (
        "There was no such job at 12 09:00: bob created it at 12 09:59."
    )
    system.clock.advance(3600 + 1)
    assert asked(system, job, at("13:00")).code == SlotCode.OVERDUE


def test_slots_missed_in_a_span_are_found_by_the_row_that_counts_them(system: SchedulerHarness):
    job = job_of(system)
    system.clock.advance(5 * 3600)  # no beat
    system.tick()

    found = asked(system, job, at("12:00"))

    assert (found.code, found.is_calm) == (SlotCode.MISSED_IN_SPAN, False)
    assert (found.first, found.last, found.count) == (at("11:00"), at("14:00"), 4)
    row = JobExecution.objects.get(status=RunStatus.SKIPPED)
    assert found.execution_id == row.pk
    assert words(found) == (
        "The slot of 12 12:00 did not run: 4 slots from 12 11:00 to 12 14:00 were missed; "
        "the misfire policy is “latest”."
    )
    assert asked(system, job, at("15:00")).code == SlotCode.WAITS


def test_a_pause_answers_with_who_since_when_and_why(system: SchedulerHarness):
    job = job_of(system)
    alice = Control(actor=Actor(name="alice"), clock=system.clock)
    alice.pause(job.pk, reason="release", until=at("13:30"))

    ahead = asked(system, job, at("12:00"))
    assert (ahead.code, ahead.obstacles) == (SlotCode.NOT_YET, (SlotObstacle.PAUSED,))
    assert asked(system, job, at("14:00")).obstacles == ()
    system.clock.advance_to(at("12:30"))
    paused = asked(system, job, at("12:00"))
    assert (paused.code, paused.is_calm) == (SlotCode.PAUSED, True)
    assert (paused.by, paused.reason, paused.since, paused.until) == (
        "alice", "release", START, at("13:30"),
    )  # fmt: skip

    system.clock.advance_to(at("13:31"))
    system.tick()  # the pause has ended, and its slots have a row
    over = asked(system, job, at("12:00"))
    assert over.code == SlotCode.PAUSED
    assert over.execution_id == JobExecution.objects.get(status=RunStatus.SKIPPED).pk
    assert (over.by, over.reason, over.first, over.last) == (
        "alice", "release", at("11:00"), at("13:00"),
    )  # fmt: skip
    assert "alice switched it off at 12 10:00, until 12 13:30." in words(over)


def test_a_skip_by_overlap_or_of_a_shadow_is_worded_from_its_code(system: SchedulerHarness):
    job = job_of(system)
    values: dict[str, Any] = {"status": RunStatus.SKIPPED, "finished_at": START, "started_at": None}
    rows: dict[str, dict[str, Any]] = {
        "11:00": {"reason_code": ReasonCode.OVERLAP_RUNNING, "reason_facts": {"running": 77}},
        "12:00": {"reason_code": ReasonCode.SHADOW, "reason_facts": {}},
        "13:00": {"error_message": "typed by SQL"},
        "14:00": {"reason_code": ReasonCode.MISFIRE, "reason_facts": {"first": 7, "count": "x"}},
    }
    for hour, reason in rows.items():
        system.execution(job, scheduled_time=at(hour), param_source="cron", **values, **reason)
    found = {hour: asked(system, job, at(hour)) for hour in rows}

    assert [each.code for each in found.values()] == [
        SlotCode.OVERLAP, SlotCode.SHADOW, SlotCode.SKIPPED, SlotCode.SKIPPED,
    ]  # fmt: skip
    assert "execution #77 of the job was still running" in words(found["11:00"])
    assert "another system runs this slot" in words(found["12:00"])
    assert words(found["13:00"]) == "The slot of 12 13:00 did not run: typed by SQL."
    assert "slots were missed" in words(found["14:00"])


@pytest.mark.parametrize(
    ("rule", "moved_to"), [("skip", None), ("next", at("08:00", 19)), ("previous", at("08:00", 16))]
)
def test_a_calendar_leaves_a_slot_out_or_moves_it(
    system: SchedulerHarness, rule: str, moved_to: datetime | None
):
    system.configure(calendars={"office": {"weekends": True}})
    job = job_of(system, "0 8 * * *", calendar=f"office:{rule}")

    found = asked(system, job, at("08:00", 17))  # a Saturday

    assert (found.code, found.calendar, found.moved_to) == (SlotCode.CALENDAR, "office", moved_to)
    if moved_to is not None:
        assert found.instead is not None
        assert found.instead.code == SlotCode.NOT_YET
    assert asked(system, job, at("09:00", 17)).code == SlotCode.NOT_A_SLOT


def test_a_slot_is_judged_by_the_schedule_of_its_time(system: SchedulerHarness):
    job = job_of(system, "0 * * * *")
    run_until(system, at("11:00"))
    run_until(system, at("11:20"))
    system.control.update_job(job.pk, cron_expression="30 * * * *")
    run_until(system, at("12:45"))
    JobExecution.objects.all().delete()

    lost, none = asked(system, job, at("11:00")), asked(system, job, at("10:30"))

    assert (lost.code, lost.judged_by) == (SlotCode.NO_RECORD, JudgedBy.HISTORY)
    assert (none.code, none.is_slot_today) == (SlotCode.NOT_A_SLOT, True)
    none = asked(system, job, at("11:10"))
    assert (none.code, none.is_slot_today) == (SlotCode.NOT_A_SLOT, False)
    Activity.objects.all().delete()
    unknown = asked(system, job, at("11:00"))
    assert (unknown.code, unknown.judged_by) == (SlotCode.NOT_A_SLOT, JudgedBy.TODAY)
    assert "judged by today's schedule" in words(unknown)


def test_what_is_pruned_outside_or_unusable_says_so(system: SchedulerHarness):
    job = job_of(system, start_at=at("12:00"), end_at=at("15:00"))
    assert asked(system, job, at("11:00")).code == SlotCode.OUTSIDE
    assert asked(system, job, at("16:00")).code == SlotCode.OUTSIDE
    CronJob.objects.filter(pk=job.pk).update(cron_expression="nonsense")
    assert asked(system, job, at("11:00")).code == SlotCode.NO_SCHEDULE

    CronJob.objects.filter(pk=job.pk).update(
        cron_expression="0 * * * *", start_at=None, created_at=START - timedelta(days=400)
    )
    long_ago = START.replace(minute=0, second=0) - timedelta(days=300)
    found = asked(system, job, long_ago)
    assert (found.code, found.judged_by) == (SlotCode.PRUNED, JudgedBy.TODAY)


def test_a_time_in_a_gap_says_what_ran_instead_and_a_doubled_time_says_so(
    system: SchedulerHarness,
):
    job = job_of(system, "30 2 * * *", timezone="Europe/Berlin")

    def ask(text: str) -> SlotAnswer:
        time = read_time(text, now=system.clock.now(), zone=BERLIN)
        return answer_asked(job, time, now=system.clock.now(), settings=system.settings)

    gap = ask("2026-03-29 02:30")
    assert (gap.code, gap.at) == (SlotCode.IN_GAP, datetime(2026, 3, 29, 1, tzinfo=UTC))
    assert gap.instead is not None
    assert gap.instead.code == SlotCode.NOT_YET
    assert "did not show this time: it went from 2026-03-29 02:00 to 2026-03-29 03:00" in words(gap)
    doubled = ask("2026-10-25 02:30")
    assert doubled.code == SlotCode.NOT_YET  # the first pass runs
    assert doubled.other_pass == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)


def test_runs_that_stand_for_the_slot_are_named(system: SchedulerHarness):
    job = job_of(system)
    run = system.execution(
        job, scheduled_time=START, logical_time=at("11:00"), param_source=ParamSource.BACKFILL
    )
    found = asked(system, job, at("11:00"))
    assert found.stand_ins == (run.pk,)
    assert f"Execution #{run.pk} stands for this slot." in words(found)


@pytest.mark.parametrize(
    ("text", "wall"),
    [
        ("2026-11-27 03:00", "2026-11-27T03:00"),
        ("2026-11-27T03:00:05", "2026-11-27T03:00:05"),
        ("03:00", "2026-01-12T03:00"),
        ("yesterday 03:00", "2026-01-11T03:00"),
        ("3pm yesterday", "2026-01-11T15:00"),
        ("어제 03:00", "2026-01-11T03:00"),
        ("어제 오후 3시 반", "2026-01-11T15:30"),
        ("내일 새벽 2시 15분", "2026-01-13T02:15"),
        ("tomorrow 12:30 am", "2026-01-13T00:30"),
    ],
)
def test_times_are_read_as_people_write_them(text: str, wall: str):
    found = read_time(text, now=START, zone=BERLIN)
    assert found.wall == datetime.fromisoformat(wall)
    assert found.instants == (found.wall.replace(tzinfo=BERLIN).astimezone(UTC),)


@pytest.mark.parametrize(
    "text", ["2026-11-27 03:00Z", "2026-11-27T12:00+09:00", "2026-11-27 03:00 utc",
             "2026-11-27 12:00 Asia/Seoul", "2026-11-26 22:00 -05:00"],
)  # fmt: skip
def test_a_zone_may_be_written_behind_the_time(text: str):
    (instant,) = read_time(text, now=START, zone=BERLIN).instants
    assert instant == datetime(2026, 11, 27, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0001-01-01 00:00", "is not between 1970 and 9900"),
        ("9999-12-31 23:59", "is not between 1970 and 9900"),
        ("2026-11-01 03:00 to 2026-11-30 03:00", "asks for a span"),
        ("03:00~04:00", "asks for a span"),
        ("nonsense", "is no time"),
        ("2026-02-30 03:00", "is no time"),
        ("25:00", "is no time"),
        ("2026-11-27", "is no time"),
        ("2026-11-27 03:00 Europe/Berlni", "Europe/Berlin"),
        ("2026-11-27 03:00 +99:99", "is no time"),
        ("", "is no time"),
        ("\x00", "is no time"),
        ("0" * 10_000, "is too long"),
    ],
)
def test_what_is_no_time_is_refused_with_what_would_be_right(text: str, problem: str):
    with pytest.raises(InvalidJob) as refused:
        read_time(text, now=START, zone=BERLIN)
    assert problem in " ".join(refused.value.problems["at"])


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("report 03:00 yesterday", "report"),
        ("yesterday 03:00 nightly report", "nightly report"),
        ("report 2026-11-27 03:00 Asia/Seoul", "report"),
        ("리포트 어제 오후 3시 30분", "리포트"),
    ],
)
def test_a_search_may_end_or_begin_with_a_time(text: str, rest: str):
    split = split_time(text, now=START, zone=BERLIN)
    assert split is not None
    assert split[0] == rest


@pytest.mark.parametrize("text", ["report", "03:00", "report now", "a" * 10_000, "x " * 3000, ""])
def test_other_searches_stay_what_they_are(text: str):
    assert split_time(text, now=START, zone=BERLIN) is None
