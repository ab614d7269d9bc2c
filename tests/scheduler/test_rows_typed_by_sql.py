"""Rows that an SQL client inserted, so that nobody has checked them.

Good ones work. Bad ones show what is wrong and stop no other row.
"""

from __future__ import annotations

import contextlib
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from scheduler.models import Backfill, CronJob, JobExecution
from scheduler.states import RunStatus
from tests.harness.scheduler_harness import START, SchedulerHarness, statuses
from tests.harness.system import ROOT

pytestmark = [pytest.mark.database, pytest.mark.django_db]


def sql(statement: str, *parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def insert(name: str, **columns: object) -> None:
    values = {"cron_expression": "* * * * *", "handler_name": "ok", **columns, "name": name}
    marks = ", ".join(["%s"] * len(values))
    sql(f"INSERT INTO cron_jobs ({', '.join(values)}) VALUES ({marks})", *values.values())


def named(name: str) -> CronJob:
    return CronJob.objects.get(name=name)


@pytest.mark.django_db(transaction=True)
def test_three_columns_make_a_job_that_runs(system: SchedulerHarness):
    insert("typed in")
    system.tick()
    system.minutes(3)
    assert statuses(named("typed in")) == ["SUCCESS"] * 3
    row = JobExecution.objects.filter(job=named("typed in"))[0]
    assert (row.max_retry, row.timeout_seconds, row.params) == (3, 3600, {})


def test_what_the_columns_are_by_default(system: SchedulerHarness):
    insert("plain")
    job = named("plain")
    assert (job.is_enabled, job.overlap_policy, job.misfire_policy) == (True, "allow", "latest")
    assert (job.max_retry, job.timeout_seconds, job.max_catchup, job.tick_seq) == (3, 3600, 100, 0)
    assert abs((job.created_at - datetime.now(UTC)).total_seconds()) < 300  # noqa: TID251


BAD = {
    "unparsable": ({"cron_expression": "every now and then"}, "cron_expression: "),
    "empty": ({"cron_expression": ""}, "cron_expression: "),
    "never fires": ({"cron_expression": "0 0 31 2 *"}, "cron_expression: "),
    "too frequent": ({"cron_expression": "*/10 * * * * *"}, "at least 60 seconds"),
    "unknown zone": ({"timezone": "Europe/Berln"}, "timezone: "),
    "unknown calendar": ({"calendar": "martian"}, "calendar: "),
    "unknown handler": ({"handler_name": "okk"}, "did you mean 'ok'?"),
    "params are a list": ({"handler_params": "[1]"}, "handler_params: must be a JSON object"),
    "params are null": ({"handler_params": "null"}, "handler_params: must be a JSON object"),
    "params do not fit": (
        {"handler_name": "sample", "handler_params": '{"sleep_seconds": "long"}'},
        "sleep_seconds",
    ),
    "end before start": (
        {"start_at": "2026-02-02 00:00:00", "end_at": "2026-02-01 00:00:00"},
        "end_at: must be after the start",
    ),
    "ended long ago": ({"end_at": "2020-01-01 00:00:00"}, "end_at: is in the past"),
    "bad queue": ({"queue": "a queue"}, "queue: "),
    "no name": ({}, "name: must not be empty"),
}


def test_bad_rows_are_disabled_with_the_reason_and_the_others_go_on(
    system: SchedulerHarness, caplog: pytest.LogCaptureFixture
):
    good = system.job()
    for name, (columns, _) in BAD.items():
        insert(" " if name == "no name" else name, **columns)
    insert("after them")
    with caplog.at_level(logging.INFO, logger="scheduler"):
        for _ in range(4):
            system.tick(2)
            system.clock.advance(60)
    for name, (_, reason) in BAD.items():
        job = named(" " if name == "no name" else name)
        assert (job.is_enabled, job.next_run_at) == (False, None), name
        assert reason in job.schedule_error, name
        assert statuses(job) == [], name
    assert statuses(good) == statuses(named("after them")) == ["PENDING"] * 3
    disabled = [r for r in caplog.records if getattr(r, "event", "") == "job.disabled"]
    assert len(disabled) == len(BAD)  # each is reported once


only_sqlite = pytest.mark.database("sqlite")  # which takes bytes for text; the others refuse them

UNREADABLE = [
    # Valid JSON for the database, but Python gives up on it. MariaDB ends at 32 levels.
    pytest.param(
        "handler_params",
        '{"a": ' + "[" * 980 + "]" * 980 + "}",
        id="deep params",
        marks=pytest.mark.database("sqlite", "postgres"),
    ),
    pytest.param("handler_params", '{"a": ' + "9" * 5000 + "}", id="a number of 5000 digits"),
    *(
        pytest.param(column, b"A\xff", id=column, marks=only_sqlite)
        for column in ("description", "handler_name", "queue", "name", "cron_expression")
    ),
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("state", ["new", "planned", "paused"])
@pytest.mark.parametrize(("column", "value"), UNREADABLE)
def test_a_row_that_cannot_be_read_stops_nobody(
    state: str, column: str, value: str | bytes, system: SchedulerHarness
):
    good, bad = system.job(), system.job()
    if state != "new":
        system.tick()
    if state == "paused":
        system.control.pause(bad.pk, reason="deploy", until=START + timedelta(seconds=10))
    typed = "CAST(%s AS TEXT)" if isinstance(value, bytes) else "%s"
    sql(f"UPDATE cron_jobs SET {column} = {typed} WHERE id = %s", value, bad.pk)
    for _ in range(3):
        system.tick(2)
        system.clock.advance(60)
    assert statuses(good) == ["PENDING"] * 2
    assert set(system.wakeups.take()) == {""}
    after = CronJob.objects.values("is_enabled", "schedule_error").get(pk=bad.pk)
    # Whatever is only read by those who look at the job does not keep it from running.
    assert after["schedule_error"] or column in ("handler_params", "description")
    assert after["is_enabled"] == (not after["schedule_error"])


@only_sqlite
@pytest.mark.django_db(transaction=True)
def test_a_backfill_of_a_row_that_cannot_be_read_is_ended(system: SchedulerHarness):
    bad = system.job(is_enabled=False)
    made = Backfill.objects.create(job=bad, since=START, until=START, total=1)
    sql("UPDATE cron_jobs SET description = CAST(%s AS TEXT)", b"A\xff")
    system.tick(2)
    made.refresh_from_db()
    assert made.state == "cancelled"
    assert "description" in made.error


def test_a_job_that_breaks_later_is_disabled_at_its_slot(system: SchedulerHarness):
    job, good = system.job(), system.job()
    system.tick()
    sql("UPDATE cron_jobs SET cron_expression = 'nonsense' WHERE id = %s", job.pk)
    system.clock.advance(60)
    system.tick()
    broken = CronJob.objects.get(pk=job.pk)
    assert not broken.is_enabled
    assert broken.schedule_error.startswith("cron_expression: ")
    assert statuses(good) == ["PENDING"]


def test_a_repaired_row_runs_again_once_it_is_enabled(system: SchedulerHarness):
    insert("repaired", cron_expression="nonsense")
    system.tick()
    sql(
        "UPDATE cron_jobs SET cron_expression = '* * * * *', is_enabled = %s WHERE name = %s",
        True,
        "repaired",
    )
    system.tick()
    system.clock.advance(60)
    system.tick()
    assert statuses(named("repaired")) == ["PENDING"]
    assert named("repaired").schedule_error == ""


def test_a_bad_row_whose_pause_is_over_is_not_enabled_again_and_again(
    system: SchedulerHarness, caplog: pytest.LogCaptureFixture
):
    insert("paused", cron_expression="nonsense", paused_until="2026-01-01 00:00:00")
    with caplog.at_level(logging.INFO, logger="scheduler"):
        for _ in range(5):
            system.tick()
            system.clock.advance(3)
    assert len([r for r in caplog.records if getattr(r, "event", "") == "job.disabled"]) == 1
    assert not named("paused").is_enabled


REFUSED = {
    "negative retries": {"max_retry": -1},
    "too many retries": {"max_retry": 11},
    "no timeout": {"timeout_seconds": 0},
    "negative timeout": {"timeout_seconds": -5},
    "huge timeout": {"timeout_seconds": 10**9},
    "negative grace": {"misfire_grace_seconds": -1},
    "negative jitter": {"jitter_seconds": -1},
    "priority 10": {"priority": 10},
    "unknown overlap": {"overlap_policy": "maybe"},
    "unknown misfire": {"misfire_policy": "maybe"},
    "null params": {"handler_params": None},
    "params are no JSON": {"handler_params": "{not json"},
    "null expression": {"cron_expression": None},
    "null handler": {"handler_name": None},
}


@pytest.mark.parametrize("columns", list(REFUSED.values()), ids=list(REFUSED))
def test_values_that_no_column_may_hold_are_refused_by_the_database(
    columns: dict[str, Any], system: SchedulerHarness
):
    with pytest.raises(DatabaseError), transaction.atomic():
        insert("refused", **columns)


# --- watermarks typed in --------------------------------------------------------------------------


def watermarks() -> dict[str, Any]:
    strange: dict[str, Any] = {
        "the year 1": "0001-01-01 00:00:00",
        "the year 2": "0002-01-01 00:00:00",
        "the year 1969": "1969-12-31 23:59:59",
        "the year 9999": "9999-12-31 23:59:59",
        "odd microseconds": "2026-01-12 10:00:31.123456",
    }
    if connection.vendor == "postgresql":
        strange |= {"infinity": "infinity", "-infinity": "-infinity", "44 BC": "0044-03-15 BC"}
        strange |= {"the year 20000": "20000-01-01"}
    if connection.vendor == "sqlite":
        strange |= {"empty": "", "words": "tomorrow", "no date": "2026-01-12 10:00:99"}
        strange |= {"zero": 0, "seconds": 1768212060, "a part": 1.5, "bytes": b"\x00\xff"}
    return strange


@pytest.mark.django_db(transaction=True)
def test_strange_watermarks_are_refused_or_stop_nobody(system: SchedulerHarness):
    good = system.job()
    system.tick()
    bad = {name: system.job(name=name) for name in watermarks()}
    refused = set()
    for name, value in watermarks().items():
        try:
            sql("UPDATE cron_jobs SET next_run_at = %s WHERE name = %s", value, name)
        except DatabaseError:
            refused.add(name)
    for _ in range(5):
        system.clock.advance(60)
        system.tick(2)
    assert statuses(good) == ["PENDING"] * 5
    for name in bad.keys() - refused:
        found = CronJob.objects.filter(name=name).values("is_enabled", "schedule_error").get()
        # Either it could be read as an instant, or it says what is wrong with it.
        assert found["is_enabled"] or found["schedule_error"], name


@pytest.mark.parametrize("column", ["start_at", "end_at", "paused_until", "missed_from"])
@pytest.mark.django_db(transaction=True)
def test_strange_bounds_are_refused_or_stop_nobody(column: str, system: SchedulerHarness):
    good = system.job()
    for name, value in watermarks().items():
        system.job(name=name)
        with contextlib.suppress(DatabaseError):
            sql(f"UPDATE cron_jobs SET {column} = %s WHERE name = %s", value, name)
    for _ in range(4):
        system.tick(2)
        system.clock.advance(60)
    assert statuses(good) == ["PENDING"] * 3


@pytest.mark.parametrize("column", ["since", "until", "cursor", "created_at", "ended_at"])
@pytest.mark.django_db(transaction=True)
def test_an_instant_of_a_backfill_that_python_cannot_hold_is_refused(
    column: str, system: SchedulerHarness
):
    job = system.job()
    made = Backfill.objects.create(job=job, since=START, until=START, total=0)
    quoted = connection.ops.quote_name(column)
    for value in watermarks().values():
        # Before the year 1970 or behind 9900, or no instant at all: what is taken can be read.
        with contextlib.suppress(DatabaseError):
            sql(f"UPDATE jobu_backfills SET {quoted} = %s WHERE id = %s", value, made.pk)
        with contextlib.suppress(ValueError, TypeError):  # SQLite takes 2026-01-12 10:00:99
            instant = getattr(Backfill.objects.get(pk=made.pk), column)
            assert instant is None or 1970 <= instant.year <= 9900
        sql(
            f"UPDATE jobu_backfills SET {quoted} = %s WHERE id = %s", "2026-01-12 10:00:00", made.pk
        )


@pytest.mark.django_db(transaction=True)
def test_a_job_that_is_deleted_by_sql_takes_what_belongs_to_it_along(system: SchedulerHarness):
    job = system.job()
    system.minutes(2)
    Backfill.objects.create(job=job, since=START, until=START, total=0)
    sql("DELETE FROM cron_jobs WHERE id = %s", job.pk)
    assert not JobExecution.objects.exists()
    assert not Backfill.objects.exists()


def test_a_million_mile_old_watermark_is_a_missed_slot_and_no_flood(system: SchedulerHarness):
    job = system.job(next_run_at=datetime(1999, 1, 1, tzinfo=UTC))
    system.tick()
    assert statuses(job) in (["SKIPPED", "PENDING"], ["SKIPPED"])
    after = CronJob.objects.get(pk=job.pk)
    assert after.next_run_at is not None
    assert after.next_run_at > START


# --- executions typed in --------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_an_event_typed_in_waits_for_its_time(system: SchedulerHarness):
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    sql(page.partition("```sql")[2].partition("```")[0])
    system.clock.advance_to(datetime(2026, 12, 24, 16, 59, 59, tzinfo=UTC))
    system.tick()
    assert system.deliver() == []

    system.clock.advance(1)
    system.tick()
    assert system.deliver() == [RunStatus.SUCCESS]


@pytest.mark.django_db(transaction=True)
def test_an_execution_typed_in_runs_with_the_columns_defaults(system: SchedulerHarness):
    sql(
        "INSERT INTO job_executions (handler_name, scheduled_time) VALUES (%s, %s)",
        "ok",
        "2026-01-12 10:00:00",
    )
    system.clock.advance_to(datetime.now(UTC))  # noqa: TID251 - the default is the database's time
    system.clock.advance(60)
    system.tick()
    system.deliver()
    assert statuses() == ["SUCCESS"]
