"""Events of runs, as a program that listens to the broker receives them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from scheduler.worker.board import Board
from scheduler.worker.run_events import RunEvents, run_uuid
from tests.harness.servers import Redis
from tests.harness.waiting import wait_until

UUID = run_uuid(17, 3)


class Listener:
    """Receives events as Flower does, in a thread that connects again."""

    def __init__(self, app: Celery) -> None:
        self.events: list[dict[str, Any]] = []
        self.app = app
        self.is_closed = False
        self.ready = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()
        assert self.ready.wait(10)

    def _run(self) -> None:
        while not self.is_closed:
            try:
                with self.app.connection() as connection:
                    receiver = self.app.events.Receiver(
                        connection, handlers={"*": self.events.append}
                    )
                    receiver.on_consume_ready = lambda *_, **__: self.ready.set()
                    receiver.capture(limit=None, timeout=None, wakeup=False)
            except Exception:  # noqa: BLE001  whatever the broker's client raises
                threading.Event().wait(0.1)

    def of(self, uuid: str) -> list[str]:
        return [event["type"] for event in list(self.events) if event["uuid"] == uuid]


@pytest.fixture
def app(request: pytest.FixtureRequest) -> Celery:
    """A Celery app on Redis, unless a test says more."""
    url = (
        request.getfixturevalue("rabbitmq_server").create_vhost("events")
        if getattr(request, "param", "") == "rabbitmq"
        else request.getfixturevalue("redis_server").create_database()
    )
    return Celery("events", broker=url, set_as_current=False)


@pytest.fixture
def board() -> Board:
    board = Board()
    board.events_on = True
    return board


@pytest.fixture
def events(app: Celery, board: Board) -> Iterator[RunEvents]:
    events = RunEvents(board)
    yield events
    events.close()


def start(events: RunEvents, app: Celery) -> None:
    events.start(app, "worker@here", monotonic=time.monotonic, has_children=True)


def report_a_run(events: RunEvents, uuid: str = UUID) -> None:
    params = {"password": "hunter2", "to": "a@example.org"}
    events.received(uuid, "mail", lambda: params, 3, "mails")
    events.started(uuid)
    events.succeeded(uuid, 1.5)


@pytest.mark.parametrize("app", ["redis", "rabbitmq"], indirect=True)
@pytest.mark.parametrize("in_child", [False, True])
def test_listener_sees_a_run_and_no_value_of_its_params(
    app: Celery, events: RunEvents, in_child: bool
):
    listener = Listener(app)
    if in_child:
        child = os.fork()
        if child == 0:
            report_a_run(events)
            os._exit(0)
        os.waitpid(child, 0)
    start(events, app)
    if not in_child:
        report_a_run(events)

    wait_until(lambda: len(listener.events) == 3, 10, "three events")
    received, started, succeeded = listener.events
    assert [event["type"] for event in listener.events] == [
        "task-received",
        "task-started",
        "task-succeeded",
    ]
    assert received["kwargs"] == "{'password': '***', 'to': '***'}"
    assert {event["name"] for event in listener.events} == {"mail"}
    assert {event["hostname"] for event in listener.events} == {"worker@here"}
    assert (received["retries"], received["routing_key"]) == (2, "mails")
    assert (started["uuid"], succeeded["runtime"]) == (UUID, 1.5)
    assert succeeded["result"] == "'see execution 17'"
    assert (received["pid"] == os.getpid()) is not in_child


def test_long_error_of_a_child_is_cut_and_arrives(app: Celery, events: RunEvents):
    listener = Listener(app)
    child = os.fork()
    if child == 0:
        events.failed(UUID, "글" * 100_000, "line\n" * 100_000 + "ValueError: last", 0.5)
        os._exit(0)
    os.waitpid(child, 0)
    start(events, app)

    wait_until(lambda: listener.events, 10, "the event")
    (failed,) = listener.events
    assert failed["exception"].startswith("글글글")
    assert failed["traceback"].endswith("ValueError: last")


def test_nothing_is_made_while_nobody_wants_events(app: Celery, board: Board, events: RunEvents):
    def params() -> object:
        raise AssertionError("they were looked at")

    listener = Listener(app)
    board.events_on = False
    start(events, app)

    events.received(UUID, "mail", params, 1, "mails")
    events.failed(UUID, "error", "traceback", 1.0)
    board.events_on = True
    events.started("jobu-18-1")

    wait_until(lambda: listener.events, 10, "the event")
    assert [event["uuid"] for event in listener.events] == ["jobu-18-1"]


def test_reporting_never_raises_whatever_the_params_are(
    app: Celery, events: RunEvents, board: Board
):
    def broken() -> object:
        raise ValueError("params")

    start(events, app)
    events.received(UUID, "mail", broken, 1, "")
    events.received(UUID, "mail", lambda: [1, 2], 1, "")
    events.received("no-uuid", "\ud800", lambda: {1: object(), "\ud800": 2}, 1, "")


def test_final_events_are_sent_again_after_the_broker_was_away(
    redis_server: Redis, app: Celery, events: RunEvents
):
    listener = Listener(app)
    start(events, app)
    report_a_run(events, "jobu-1-1")
    wait_until(lambda: listener.of("jobu-1-1"), 10, "the first run")
    redis_server.kill()
    report_a_run(events, "jobu-2-1")
    threading.Event().wait(0.5)
    report_a_run(events, "jobu-3-1")
    redis_server.start()
    report_a_run(events, "jobu-4-1")

    wait_until(lambda: "task-succeeded" in listener.of("jobu-2-1"), 30, "what was sent meanwhile")
    wait_until(lambda: "task-succeeded" in listener.of("jobu-3-1"), 30, "the other")
    wait_until(lambda: "task-succeeded" in listener.of("jobu-4-1"), 30, "the last")
    final = [e for e in listener.events if e["uuid"] == "jobu-2-1"]
    assert {event["name"] for event in final} == {"mail"}
