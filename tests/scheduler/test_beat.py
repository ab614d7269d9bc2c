"""Beat as Celery runs it: what keeps it alive, and what becomes of Celery's static entries."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import kombu.exceptions
import pytest
from celery import Celery
from django.db import OperationalError, connection
from kombu.transport import memory

from scheduler.beat import JobScheduler
from scheduler.conf import TASK_NAME
from scheduler.models import SchedulerProcess
from tests.harness.memory_broker import closed_port, messages
from tests.harness.scheduler_harness import SchedulerHarness, statuses
from tests.scheduler.test_faults import transient_error


@pytest.fixture
def beat(app: Celery, system: SchedulerHarness) -> Iterator[JobScheduler]:
    made = JobScheduler(app, lazy=True)
    clock: Any = system.clock
    made._clock = made._sender._clock = clock
    made._dispatcher = system.dispatcher
    yield made
    made.close()


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_a_tick_records_slots_and_says_that_beat_is_alive(
    beat: JobScheduler, system: SchedulerHarness
):
    job = system.job()
    beat.tick()
    system.clock.advance(60)
    assert 0 <= beat.tick() <= system.settings.max_sleep_seconds
    assert statuses(job) == ["PENDING"]
    process = SchedulerProcess.objects.get()
    assert (process.kind, process.heartbeat_at) == ("beat", system.clock.now())
    beat.close()
    assert not SchedulerProcess.objects.exists()


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [OperationalError("gone"), ValueError("a bug"), MemoryError()])
def test_no_exception_ends_beat_and_an_outage_is_reported_once(
    error: Exception, beat: JobScheduler, system: SchedulerHarness, caplog: pytest.LogCaptureFixture
):
    job = system.job()
    beat.tick()
    system.clock.advance(60)

    def fails(*_: Any) -> Any:
        raise error

    with caplog.at_level(logging.INFO, logger="scheduler"), connection.execute_wrapper(fails):
        waits = [beat.tick() for _ in range(6)]
    assert waits == [0.5, 1, 2, 4, 5, 5]
    beat.tick()
    assert statuses(job) == ["PENDING"]
    events = [getattr(r, "event", "") for r in caplog.records]
    assert events.count("tick.failed") == 1
    beat.tick()


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_a_lost_race_does_not_keep_the_rescue_waiting_but_an_outage_does(
    beat: JobScheduler, system: SchedulerHarness
):
    beat.tick()
    healthy = system.dispatcher._healthy_since
    assert healthy is not None

    def tick_with(error: Exception) -> None:
        def fails(*_: Any) -> Any:
            raise error

        with connection.execute_wrapper(fails):
            beat.tick()

    tick_with(transient_error())
    assert system.dispatcher._healthy_since == healthy
    tick_with(OperationalError("server closed the connection"))
    assert system.dispatcher._healthy_since is None


class Slept(threading.Event):
    """Time goes on by itself: a wait takes no time, and the clock shows its end."""

    def __init__(self, system: SchedulerHarness) -> None:
        super().__init__()
        self._clock = system.clock
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        self._clock.advance(timeout or 0.0)
        return False


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_away", [False, True])
def test_beat_gets_ready_just_before_a_slot_and_writes_nothing_then(
    is_away: bool, beat: JobScheduler, system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    job = system.job()
    beat._sleeps, beat._wake = True, (slept := Slept(system))
    while not beat._dispatcher.tick():
        pass  # the first ticks compare all watermarks
    job.refresh_from_db()
    due_at = job.next_run_at
    assert due_at is not None
    system.clock.advance((due_at - system.clock.now()).total_seconds() - 0.6)
    statements: list[str] = []
    get_ready = beat._dispatcher.get_ready

    def watched() -> float:
        def look(execute: Any, sql: str, *rest: Any) -> Any:
            statements.append(sql)
            if is_away:
                raise OperationalError("server closed the connection")
            return execute(sql, *rest)

        with connection.execute_wrapper(look):
            return get_ready()

    monkeypatch.setattr(beat._dispatcher, "get_ready", watched)
    assert beat.tick() == 0.0
    ahead, rest = slept.waits
    assert ahead > 0.5
    assert 0 <= rest <= 0.03
    assert statements
    assert all(sql.lstrip().startswith("SELECT") for sql in statements)
    assert not any("UPDATE" in sql for sql in statements)  # no locks
    assert statuses(job) == []
    # A worker of its queue is awake when the slot comes.
    assert system.wakeups.sent == ([] if is_away else [{job.queue: 1}])
    assert system.wakeups.announced == (None if is_away else due_at)
    system.clock.advance(0.1)
    beat.tick()
    assert statuses(job) == ["PENDING"]


CLEANUP: dict[str, Any] = {"task": "shop.cleanup", "schedule": 60.0}


def beat_with_entries(
    app: Celery, system: SchedulerHarness, **entries: dict[str, Any]
) -> JobScheduler:
    """A beat that sends static entries of Celery and the messages of jobs."""
    app.conf.beat_schedule = entries
    beat = JobScheduler(app, lazy=False)
    clock: Any = system.clock
    beat._clock = beat._sender._clock = clock
    beat._dispatcher = system.dispatcher
    system.dispatcher.sender = beat._sender
    return beat


def make_entries_due(beat: JobScheduler) -> None:
    for entry in beat.schedule.values():
        entry.last_run_at -= timedelta(minutes=2)
    beat._heap = None


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_static_entries_of_celery_keep_working(app: Celery, system: SchedulerHarness):
    beat = beat_with_entries(app, system, cleanup=CLEANUP)
    assert set(beat.schedule) == {"cleanup"}
    assert beat.tick() <= 60
    beat.close()


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(60)
def test_a_static_entry_waits_for_the_broker_and_no_job_waits_with_it(
    app: Celery, system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    app.conf.broker_url = f"redis://127.0.0.1:{closed_port()}/0"
    app.conf.broker_connection_max_retries = None  # as jobu's own is: workers try for ever
    beat = beat_with_entries(app, system, cleanup=CLEANUP)
    make_entries_due(beat)
    job = system.job()
    for _ in range(3):
        assert beat.tick() <= 5
        system.clock.advance(60)
    assert statuses(job) == ["PENDING"] * 2
    assert beat.schedule["cleanup"].total_run_count == 0

    monkeypatch.setattr(beat, "_heap", None)  # its next look at the entry is in five real seconds
    app.conf.broker_url = "memory://"
    beat.tick()
    assert beat.schedule["cleanup"].total_run_count == 1
    assert [message.headers["task"] for message in messages(app)].count("shop.cleanup") == 1
    beat.close()


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(60)
def test_a_static_entry_that_is_the_first_to_meet_a_dead_broker_is_sent_later(
    app: Celery, system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    beat = beat_with_entries(app, system, cleanup=CLEANUP)
    system.execution()
    beat.tick()
    assert messages(app)  # beat has a connection
    tries = [0]

    def gone(*_: Any, **__: Any) -> None:
        tries[0] += 1
        raise kombu.exceptions.OperationalError("Connection refused")

    make_entries_due(beat)
    with monkeypatch.context() as patch:
        patch.setattr(beat._sender._producer, "publish", gone)
        patch.setattr("kombu.connection.Connection.ensure_connection", gone)
        for _ in range(3):
            beat.tick()
    assert (tries, beat.schedule["cleanup"].total_run_count) == ([2], 0)

    system.clock.advance(11)
    beat._heap = None  # its next look at the entry is in five real seconds
    beat.tick()
    assert beat.schedule["cleanup"].total_run_count == 1
    assert [message.headers["task"] for message in messages(app)].count("shop.cleanup") == 1
    beat.close()


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(60)
def test_a_static_entry_that_the_broker_refuses_holds_up_nothing(
    app: Celery,
    system: SchedulerHarness,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    refused = {"task": "shop.refused", "schedule": 60.0, "options": {"queue": "bad"}}
    beat = beat_with_entries(app, system, a=refused, b=CLEANUP)
    make_entries_due(beat)
    put = memory.Channel._put

    def refuses(self: Any, queue: str, message: Any, **options: Any) -> Any:
        if queue == "bad":
            raise kombu.exceptions.OperationalError("WRONGTYPE")
        return put(self, queue, message, **options)

    monkeypatch.setattr(memory.Channel, "_put", refuses)
    with caplog.at_level(logging.INFO):
        for _ in range(4):
            beat.tick()
        system.execution()
        system.clock.advance(2)
        beat.tick()
    assert [entry.total_run_count for entry in beat.schedule.values()] == [1, 1]
    assert {m.headers["task"] for m in messages(app)} == {"shop.cleanup", TASK_NAME}
    assert "publish.failed" not in [getattr(record, "event", "") for record in caplog.records]
    beat.close()


def test_without_static_entries_celerys_own_schedule_is_empty(app: Celery):
    app.conf.result_backend = "cache+memory://"  # for which Celery would add an entry of its own
    beat = JobScheduler(app, lazy=False)
    assert beat.schedule == {}
