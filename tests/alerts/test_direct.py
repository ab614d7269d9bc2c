"""Alerts that workers would not deliver: the process that sees the trouble tells it, once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from scheduler.alert_states import AlertKind
from scheduler.alerts import direct
from scheduler.alerts.announcing import tell_directly
from scheduler.alerts.condition import Condition
from scheduler.models import AlertMessage
from scheduler.states import RunStatus
from scheduler.store.connection import database_now
from tests.alerts.test_delivery import alert, configure, tell
from tests.harness.receivers import Receiver, answer, http_server
from tests.harness.scheduler_harness import SchedulerHarness
from tests.harness.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with http_server() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    yield
    wait_until(
        lambda: not [t for t in threading.enumerate() if t.name == "jobu-alert"], 20, "threads"
    )


def no_worker(system: SchedulerHarness) -> Any:
    key = "queue:reports"
    return alert(system, key, kind=AlertKind.NO_WORKER, job_id=None, job_name="", queue="reports")


def test_this_process_sends_it_and_the_run_finds_nothing_left_to_do(
    system: SchedulerHarness, hook: Receiver
):
    configure(system, hook)
    tell(system, no_worker(system))
    wait_until(lambda: AlertMessage.objects.filter(state="sent").exists(), 20, "the message")

    assert system.deliver() == []  # the run waits for a minute
    system.clock.advance_to(database_now() + 2 * direct.FALLBACK_AFTER)
    assert system.deliver() == [RunStatus.SUCCESS]
    assert [request.json["kind"] for request in hook.requests] == ["no_worker"]


def test_what_this_process_cannot_send_a_run_delivers_later(
    system: SchedulerHarness, hook: Receiver
):
    configure(system, hook)
    hook.behave = lambda request: answer(request, 500)
    tell(system, no_worker(system))
    wait_until(lambda: AlertMessage.objects.exclude(error="").exists(), 20, "the error")
    hook.behave = lambda request: answer(request, 200)

    system.clock.advance(61)
    assert system.deliver() == [RunStatus.SUCCESS]

    assert AlertMessage.objects.get().state == "sent"


def test_without_a_database_each_process_tells_it_once_and_does_not_wait_for_the_receiver(
    system: SchedulerHarness, hook: Receiver, monkeypatch: pytest.MonkeyPatch
):
    configure(system, hook)
    monkeypatch.setattr(direct, "_told_at", {})
    is_over = threading.Event()

    def slowly(request: BaseHTTPRequestHandler) -> None:
        is_over.wait(5)
        answer(request, 200)

    hook.behave = slowly
    condition = Condition(kind=AlertKind.DATABASE, subject_key="database")

    started = time.monotonic()
    tell_directly(condition, opened=True)
    assert time.monotonic() - started < 1
    is_over.set()
    wait_until(lambda: len(hook.requests) == 1, 20, "the message")
    for _ in range(3):
        tell_directly(condition, opened=True)
    tell_directly(condition, opened=False)
    wait_until(lambda: len(hook.requests) == 2, 20, "the end")

    assert [r.json["event"] for r in hook.requests] == ["opened", "closed"]
    assert not AlertMessage.objects.exists()
