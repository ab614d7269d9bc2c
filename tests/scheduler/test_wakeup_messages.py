"""How wake-ups reach a queue: how many, what they look like, and what a bad queue costs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from kombu.transport import memory
from redis.exceptions import ResponseError

from scheduler.beat.courier import Courier
from scheduler.conf import TASK_NAME
from scheduler.wakeup_messages import MOST_WAITING, CelerySender, slot_of
from tests.harness.memory_broker import closed_port, messages
from tests.harness.scheduler_harness import FakeClock
from tests.harness.servers import RabbitMQ, Redis
from tests.harness.waiting import wait_until


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def sender(app: Celery, clock: FakeClock) -> Iterator[CelerySender]:
    made = CelerySender(app, clock)
    yield made
    made.close()


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.__dict__["event"] for r in caplog.records]


@contextmanager
def refusing(
    monkeypatch: pytest.MonkeyPatch,
    refuses: Callable[[str], bool],
    error: type[Exception] = ResponseError,
) -> Iterator[list[str]]:
    """Make the broker in memory refuse the messages to some queues. Yields which, one by one."""
    refused: list[str] = []
    channels = SimpleNamespace(put=memory.Channel._put)

    def put(self: Any, queue: str, message: Any, **options: Any) -> Any:
        if refuses(queue):
            refused.append(queue)
            raise error("not this one")
        return channels.put(self, queue, message, **options)

    with monkeypatch.context() as patch:
        patch.setattr(memory.Channel, "_put", put)
        yield refused


def test_a_wake_up_is_our_task_without_arguments_and_nobody_sees_it(
    sender: CelerySender, app: Celery
):
    app.conf.task_send_sent_event = True
    sender.send({"": 1})
    (message,) = messages(app)
    assert message.payload == [[], {}, {}]
    assert message.headers["task"] == TASK_NAME
    assert message.headers["ignore_result"] is True
    assert messages(app, "celeryev") == []


def test_no_more_than_a_few_ever_wait_in_a_queue(sender: CelerySender, app: Celery):
    for _ in range(3):
        sender.send({"": MOST_WAITING, "mail": 1})
    assert (len(messages(app)), len(messages(app, "mail"))) == (MOST_WAITING, 3)
    sender.send({"": 1})
    assert len(messages(app)) == 1


def test_a_queue_is_not_asked_again_for_what_is_known(
    sender: CelerySender, app: Celery, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
):
    asked: list[str] = []
    size = memory.Channel._size

    def counted(self: Any, queue: str) -> int:
        asked.append(queue)
        return int(size(self, queue))

    monkeypatch.setattr(memory.Channel, "_size", counted)
    for times in (1, MOST_WAITING):
        sender.send({"": times})
    assert asked == ["celery"]
    sender.send({"": 1})  # as many wait as may wait, or some were taken meanwhile
    clock.advance(1)
    sender.send({"": 1})
    assert asked == ["celery"] * 3
    monkeypatch.undo()
    assert len(messages(app)) == MOST_WAITING


def test_beat_lets_the_first_worker_begin_before_it_wakes_others():
    sent: list[dict[str, int]] = []
    done = threading.Event()

    class Sender:
        def ready(self) -> bool:
            return True

        def send(self, times: Mapping[str, int], slot_at: datetime | None = None) -> None:
            sent.append(dict(times))
            if times.get("mail") != 1:
                done.set()

    courier = Courier(Sender(), wake=lambda: None)
    courier.send({"mail": MOST_WAITING, "": 1})
    assert done.wait(5)
    assert sent == [{"mail": 1, "": 1}, {"mail": MOST_WAITING - 1}]


def test_the_queue_of_the_app_is_the_default(sender: CelerySender, app: Celery):
    app.conf.task_default_queue = "shop"
    sender.send({"": 1})
    assert len(messages(app, "shop")) == 1


def test_a_broker_that_is_away_is_reported_once_and_asked_ever_more_rarely(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
):
    app = Celery("tested", broker=f"redis://127.0.0.1:{closed_port()}/0", set_as_current=False)
    sender = CelerySender(app, clock)
    started = time.monotonic()
    with caplog.at_level(logging.INFO, logger="scheduler"):
        for pause in (1, 2, 4, 8, 10, 10):
            assert sender.ready()
            sender.send({"": 1, "mail": 1})
            assert not sender.ready()
            clock.advance(pause - 0.9)
            assert not sender.ready()
            clock.advance(0.9)
    assert events(caplog) == ["publish.failed"]
    assert time.monotonic() - started < 6 * 2
    app.close()


def test_a_broker_that_is_back_is_found_although_nothing_is_to_be_sent(
    sender: CelerySender, app: Celery, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(app, "connection_for_write", lambda: 1 / 0)
        sender.send({"": 1})
    assert sender.away_seconds is not None

    sender.look()  # too soon: the next message may say more
    assert sender.away_seconds is not None
    clock.advance(12)
    sender.look()

    assert sender.away_seconds is None


def test_a_queue_that_is_refused_is_reported_once_and_disturbs_no_other(
    sender: CelerySender,
    app: Celery,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    with (
        caplog.at_level(logging.INFO, logger="scheduler"),
        refusing(monkeypatch, lambda queue: queue in ("bad", "worse")) as refused,
    ):
        for _ in range(25):
            sender.send({"bad": 4, "worse": 1, "": 1})
            assert len(messages(app)) == 1
            clock.advance(1)
        # Not one connection for each of them.
        assert sorted(refused) == ["bad"] * 3 + ["worse"] * 3
        assert events(caplog) == ["publish.refused"] * 2
        assert sender.ready()
    clock.advance(10)
    sender.send({"bad": 1})  # it was repaired
    assert len(messages(app, "bad")) == 1
    with refusing(monkeypatch, lambda queue: queue == "bad"):
        sender.send({"bad": 1})
    assert events(caplog) == ["publish.refused"] * 3  # and broken again


def test_a_queue_that_the_project_does_not_make_is_refused(
    sender: CelerySender, app: Celery, caplog: pytest.LogCaptureFixture
):
    app.conf.task_create_missing_queues = False
    with caplog.at_level(logging.INFO, logger="scheduler"):
        sender.send({"unknown": 1, "": 1})
    assert events(caplog) == ["publish.refused"]
    assert len(messages(app)) == 1


def test_a_kept_connection_that_was_closed_delays_nothing(
    sender: CelerySender,
    app: Celery,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    sender.send({"": 1})
    died = iter([True])
    with caplog.at_level(logging.INFO, logger="scheduler"):
        with refusing(monkeypatch, lambda _: next(died, False), ConnectionResetError):
            sender.send({"": 1})
        assert events(caplog) == []
        with refusing(monkeypatch, lambda _: True, ConnectionResetError):
            sender.send({"": 1})
        clock.advance(1)
        sender.send({"": 1})
    assert len(messages(app)) == 3
    assert events(caplog) == ["publish.failed", "publish.recovered"]


# --- real brokers, once: they do not depend on the job database -----------------------------------


@pytest.mark.parametrize("queue", ["unacked", "_kombu.binding.celery.pidbox"])
def test_a_key_of_redis_that_is_no_queue_disturbs_no_other(queue: str, redis_server: Redis):
    app = Celery("tested", broker=redis_server.create_database(), set_as_current=False)
    sender = CelerySender(app, clock := FakeClock())
    with app.connection_for_read() as broker:
        # As a worker leaves them behind: a message that it is at, and where its news go.
        broker.default_channel.client.hset("unacked", "tag", "message")
        broker.default_channel.client.sadd("_kombu.binding.celery.pidbox", "somebody")
        for _ in range(2):
            sender.send({queue: 4, "": 1})
        assert broker.default_channel.client.llen("celery") == 2
        broker.default_channel.client.flushdb()
        clock.advance(1)
        sender.send({"": 4})
        assert broker.default_channel.client.llen("celery") == MOST_WAITING
    assert sender.ready()
    sender.close()
    app.close()


def test_a_queue_that_rabbitmq_refuses_disturbs_no_other(
    rabbitmq_server: RabbitMQ, caplog: pytest.LogCaptureFixture
):
    app = Celery("tested", broker=rabbitmq_server.create_vhost("queues"), set_as_current=False)
    sender = CelerySender(app, FakeClock())

    def waiting(broker: Any) -> int:
        declared = broker.default_channel.queue_declare("celery", passive=True)
        return int(declared.message_count)

    with app.connection_for_write() as broker:
        sender.send({"amq.mine": 4, "": 3})
        assert events(caplog) == ["publish.refused"]
        # On another connection: the broker takes them when it comes to it.
        wait_until(lambda: waiting(broker) == 3, 20, "the wake-ups")
        sender.send({"": 4})
        wait_until(lambda: waiting(broker) == MOST_WAITING, 20, "the wake-ups")
        broker.default_channel.queue_delete("celery")
        sender.send({"": 4})  # a queue that was deleted is made again
        wait_until(lambda: waiting(broker) == MOST_WAITING, 20, "the wake-ups")
        broker.default_channel.queue_delete("celery")
    sender.close()
    app.close()


def test_a_broker_that_dies_freezes_and_returns_holds_nothing_for_long(redis_server: Redis):
    app = Celery("tested", broker=redis_server.create_database(), set_as_current=False)
    clock = FakeClock()
    sender = CelerySender(app, clock)

    def sends() -> bool:
        started = time.monotonic()
        sender.send({"": 1})
        assert time.monotonic() - started < 5
        return sender.ready()

    assert sends()
    redis_server.freeze()
    assert not sends()
    redis_server.thaw()
    clock.advance(30)
    assert sends()
    redis_server.kill()
    assert not sends()
    redis_server.start()
    clock.advance(30)
    assert sends()
    sender.close()
    app.close()


def test_a_wake_up_before_a_slot_names_its_instant(sender: CelerySender, app: Celery):
    slot_at = datetime(2026, 1, 12, 10, 1, tzinfo=UTC)
    sender.send({"": 1}, slot_at)
    (message,) = messages(app)
    assert slot_of(message.headers) == slot_at
    sender.send({"": 2})
    assert [slot_of(other.headers) for other in messages(app)] == [None] * 2
