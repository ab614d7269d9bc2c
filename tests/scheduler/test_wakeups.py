"""Something became runnable: what is sent after a commit, and what is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from django.db import connection, transaction

from scheduler import wakeups
from scheduler.models import CronJob
from scheduler.store.publishing import Hint
from scheduler.wakeups import MESSAGES_OF_A_COMMIT, became_runnable
from tests.harness.scheduler_harness import SchedulerHarness

pytestmark = pytest.mark.django_db(transaction=True)


class Broker:
    """Keeps what it is sent. `away`: it is known to be away; `broken`: its client raises."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.away = self.broken = False

    def ready(self) -> bool:
        return not self.away

    def publish(self, hints: Sequence[Hint]) -> list[int]:
        if self.broken:
            raise RuntimeError("a bug of the client")
        self.sent += [hint.execution_id for hint in hints]
        return []

    def take(self) -> list[int]:
        assert wakeups._post is not None
        wakeups._post.flush(20)
        taken, self.sent = self.sent, []
        return taken


@pytest.fixture
def broker() -> Iterator[Broker]:
    made = Broker()
    wakeups.send_through(lambda: made)
    yield made
    wakeups.send_through(None)


def wake(execution_id: int) -> None:
    became_runnable(execution_id, handler_name="ok", queue="", timeout_seconds=60)


def test_messages_follow_the_commit_and_a_rollback_sends_none(broker: Broker):
    wake(1)
    assert broker.take() == [1]
    with transaction.atomic():
        wake(2)
        wake(3)
        assert len(connection.run_on_commit) == 1
        assert broker.take() == []
    assert broker.take() == [2, 3]
    with transaction.atomic():
        wake(4)
        transaction.set_rollback(True)
    assert broker.take() == []


def test_a_savepoint_that_is_rolled_back_takes_no_message_of_others_along(broker: Broker):
    with transaction.atomic():
        with transaction.atomic():
            wake(1)
            transaction.set_rollback(True)
        wake(2)
        with transaction.atomic():
            wake(3)
    assert broker.take() == [2, 3]


def test_a_commit_sends_a_few_messages_at_most(broker: Broker):
    with transaction.atomic():
        for number in range(1000):
            wake(number)
    assert len(broker.take()) == MESSAGES_OF_A_COMMIT


def test_a_broker_in_trouble_ends_nothing(broker: Broker, caplog: pytest.LogCaptureFixture):
    broker.away = True
    wake(1)
    assert broker.take() == []
    broker.away, broker.broken = False, True
    wake(2)
    assert broker.take() == []
    assert "a bug of the client" in caplog.text
    broker.broken = False
    wake(3)
    assert broker.take() == [3]


def test_each_door_that_makes_a_run_wakes_the_workers(system: SchedulerHarness, broker: Broker):
    job: CronJob = system.job()
    event: dict[str, Any] = {"handler_name": "ok", "params": {}}
    made = system.control.run_now(job.pk)
    assert broker.take() == [made.pk]
    assert broker.take() == []
    first, _ = system.control.event(**event, idempotency_key="7")
    assert broker.take() == [first.pk]
    system.control.event(**event, idempotency_key="7")
    system.control.event(**event, after_seconds=60)
    assert broker.take() == []
    system.control.cancel(first.pk)
    system.control.retry(first.pk)
    replayed = system.control.replay(first.pk)
    assert broker.take() == [first.pk, replayed.pk]
