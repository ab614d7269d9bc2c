"""Something became runnable: who is woken after a commit, and what a trouble costs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import pytest
from django.db import connection, transaction

from scheduler import wakeups
from scheduler.models import CronJob
from scheduler.states import RunStatus
from scheduler.store.executions import FailedRange
from scheduler.wakeups import became_runnable
from tests.harness.scheduler_harness import START, SchedulerHarness

pytestmark = pytest.mark.django_db(transaction=True)


class Broker:
    """Keeps what it is sent. `away`: it is known to be away; `broken`: its client raises."""

    def __init__(self) -> None:
        self.sent: list[Mapping[str, int]] = []
        self.away = self.broken = False

    def ready(self) -> bool:
        return not self.away

    def send(self, times: Mapping[str, int], slot_at: datetime | None = None) -> None:
        if self.broken:
            raise RuntimeError("a bug of the client")
        self.sent.append(times)

    def take(self) -> list[str]:
        """The queues that were woken since the last call."""
        assert wakeups._post is not None
        wakeups._post.flush(20)
        taken, self.sent = self.sent, []
        return sorted(queue for times in taken for queue in times)


@pytest.fixture
def broker() -> Iterator[Broker]:
    made = Broker()
    wakeups.send_through(lambda: made)
    yield made
    wakeups.send_through(None)


def test_wake_ups_follow_the_commit_and_a_rollback_sends_none(broker: Broker):
    became_runnable("a")
    assert broker.take() == ["a"]
    with transaction.atomic():
        became_runnable("b")
        became_runnable("")
        assert len(connection.run_on_commit) == 1
        assert broker.take() == []
    assert broker.take() == ["", "b"]
    with transaction.atomic():
        became_runnable("c")
        transaction.set_rollback(True)
    assert broker.take() == []


def test_a_savepoint_that_is_rolled_back_takes_no_wake_up_of_others_along(broker: Broker):
    with transaction.atomic():
        with transaction.atomic():
            became_runnable("a")
            transaction.set_rollback(True)
        became_runnable("b")
        with transaction.atomic():
            became_runnable("c")
    assert broker.take() == ["b", "c"]


def test_a_commit_wakes_each_queue_once_whatever_it_made(broker: Broker):
    with transaction.atomic():
        for number in range(1000):
            became_runnable(f"{number % 2}")
    assert broker.take() == ["0", "1"]


def test_a_burst_of_commits_costs_a_few_messages(broker: Broker):
    for _ in range(1000):
        became_runnable("a")
    assert len(broker.take()) < 500
    wakeups.wake("a", times=2)
    broker.take()
    wakeups.wake("a", times=2)
    wakeups.wake("a")
    assert wakeups._post is not None
    wakeups._post.flush(20)
    assert max(times["a"] for times in broker.sent) == 2


def test_a_broker_in_trouble_ends_nothing(broker: Broker, caplog: pytest.LogCaptureFixture):
    broker.away = True
    became_runnable("a")
    assert broker.take() == []
    broker.away, broker.broken = False, True
    became_runnable("b")
    assert broker.take() == []
    assert "a bug of the client" in caplog.text
    broker.broken = False
    became_runnable("c")
    assert broker.take() == ["c"]


def test_a_child_sends_its_own_wake_ups(broker: Broker):
    became_runnable("a")
    assert broker.take() == ["a"]
    child = os.fork()
    if child == 0:
        wakeups.wake("b")
        os._exit(0 if broker.take() == ["b"] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_each_door_that_makes_a_run_wakes_the_workers(system: SchedulerHarness, broker: Broker):
    job: CronJob = system.job(queue="mail")
    event: dict[str, Any] = {"handler_name": "ok", "params": {}}
    system.control.run_now(job.pk)
    assert broker.take() == ["mail"]
    assert broker.take() == []
    first, _ = system.control.event(**event, idempotency_key="7")
    assert broker.take() == [""]
    system.control.event(**event, idempotency_key="7")
    system.control.event(**event, after_seconds=60)
    assert broker.take() == []
    system.control.cancel(first.pk)
    system.control.retry(first.pk)
    assert broker.take() == [""]
    system.control.replay(first.pk)
    assert broker.take() == [""]
    failed = system.execution(queue="mail", status=RunStatus.FAILED, finished_at=START)
    at, statuses = failed.scheduled_time, frozenset({RunStatus.FAILED})
    system.control.retry_range(FailedRange(since=at, until=at, statuses=statuses))
    assert broker.take() == ["mail"]
