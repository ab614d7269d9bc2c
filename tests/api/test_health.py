"""The checks of health.py with real servers that stop, freeze and come back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from celery import current_app
from django.db import connection

from dbpools.config import parse_database
from scheduler.models import JobExecution, SchedulerProcess
from scheduler.operations import health
from scheduler.operations import liveness as liveness_module
from scheduler.operations.health import DatabaseState, check_broker, check_database, database_state
from scheduler.operations.liveness import liveness
from scheduler.states import ProcessKind
from scheduler.store.connection import database_now
from tests.harness.servers import MariaDB, Postgres, Redis
from tests.harness.waiting import wait_until

# A readiness probe may take this long to see that a server went away.
SECONDS = 5.0


def within(seconds: float, question: Callable[[], object]) -> object:
    start = time.monotonic()
    answer = question()
    assert time.monotonic() - start < seconds
    return answer


@pytest.fixture
def broker(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    monkeypatch.setitem(
        current_app.conf,
        "broker_transport_options",
        {"socket_timeout": 5, "socket_connect_timeout": 3},
    )
    monkeypatch.setitem(current_app.conf, "broker_url", redis_server.url)
    yield redis_server
    redis_server.heal()


@contextmanager
def pointed_at(url: str) -> Iterator[None]:
    """Makes Django's connection use the server of the test within the block."""
    from jobu_project.config import get_config
    from jobu_project.databases import django_entry

    entry = django_entry(get_config(), parse_database("server", {"dsn": url}))
    shared = connection.settings_dict  # by all threads
    before = dict(shared)
    shared.update(entry)
    try:
        yield
    finally:
        shared.clear()
        shared.update(before)


@pytest.mark.django_db
@pytest.mark.database
def test_the_database_and_the_embedded_broker_answer():
    assert check_database() is None
    assert database_state() is DatabaseState.CONNECTED
    assert check_broker() is None


@pytest.mark.database("postgres", "mysql")
@pytest.mark.processes
@pytest.mark.django_db
def test_outage_and_return_of_the_database_are_detected_in_time(
    job_server: Postgres | MariaDB, job_database_url: str
):
    with pointed_at(job_database_url):
        assert check_database() is None

        job_server.freeze()
        assert within(SECONDS, check_database)
        assert within(2, lambda: database_state(timeout=0.5)) is DatabaseState.BUSY
        job_server.thaw()
        wait_until(lambda: check_database() is None, SECONDS, "the thawed server")

        job_server.kill()
        assert within(SECONDS, check_database)
        assert within(SECONDS, database_state) is DatabaseState.DISCONNECTED
        job_server.start()
        wait_until(lambda: check_database() is None, SECONDS, "the started server")


@pytest.mark.processes
def test_outage_and_return_of_the_broker_are_detected_in_time(broker: Redis):
    assert check_broker() is None

    broker.freeze()
    assert within(SECONDS, check_broker)
    broker.thaw()
    wait_until(lambda: check_broker() is None, SECONDS, "the thawed broker")

    broker.kill()
    assert "refused" in str(within(SECONDS, check_broker))
    broker.start()
    wait_until(lambda: check_broker() is None, SECONDS, "the started broker")


@pytest.mark.database("sqlite")
@pytest.mark.django_db
def test_health_check_does_not_create_a_missing_sqlite_file(tmp_path, monkeypatch):
    gone = tmp_path / "gone.sqlite3"
    monkeypatch.setitem(connection.settings_dict, "NAME", str(gone))

    assert "gone.sqlite3" in str(check_database())
    assert database_state() is DatabaseState.DISCONNECTED
    assert not gone.exists()


def test_a_folder_of_the_embedded_broker_that_cannot_be_written_is_a_problem(tmp_path, monkeypatch):
    blocked = tmp_path / "broker"
    blocked.write_text("a file stands where the folder should be")
    monkeypatch.setitem(
        current_app.conf, "broker_transport_options", {"folder": str(blocked / "folder")}
    )

    assert check_broker()


def test_callers_share_a_check_that_hangs():
    from threading import Event

    asked: list[int] = []
    go_on = Event()

    def ask() -> None:
        asked.append(1)
        go_on.wait(20)

    question = health.Question("test", ask)
    assert isinstance(question.answer(0.01), TimeoutError)
    assert isinstance(question.answer(0.01), TimeoutError)
    assert len(asked) == 1

    go_on.set()
    assert question.answer(5) is None


@pytest.mark.django_db
@pytest.mark.database
def test_liveness_is_read_from_the_tables():
    now = database_now()
    for name, kind, age in (
        ("beat1", ProcessKind.BEAT, 3),
        ("beat2", ProcessKind.BEAT, 90),
        ("worker1", ProcessKind.WORKER, 90),
    ):
        at = now - timedelta(seconds=age)
        SchedulerProcess.objects.create(
            name=name, kind=kind, host="h", pid=1, started_at=at, heartbeat_at=at
        )
    for late in (-60, 5, 40):
        due = now - timedelta(seconds=late)
        JobExecution.objects.create(handler_name="sample", scheduled_time=due, available_at=due)

    seen = liveness(now)

    assert (seen.beats_alive, seen.workers_alive) == (1, 0)
    assert seen.beat_age_seconds == pytest.approx(3)
    assert seen.oldest_waiting_seconds == pytest.approx(40)
    assert (seen.pending, seen.running) == (3, 0)


@pytest.mark.django_db
def test_count_of_waiting_runs_stops_at_a_limit(monkeypatch: pytest.MonkeyPatch):
    now = database_now()
    for late in (1, 2, 3):
        due = now - timedelta(seconds=late)
        JobExecution.objects.create(handler_name="sample", scheduled_time=due, available_at=due)
    monkeypatch.setattr(liveness_module, "COUNTED_UP_TO", 2)

    assert liveness(now).pending == 2


@pytest.mark.django_db
def test_ages_are_none_without_beats_and_runs():
    seen = liveness(database_now())

    assert seen.beat_age_seconds is None
    assert seen.oldest_waiting_seconds is None
