"""Beat as Celery runs it: what keeps it alive, and how it sends messages."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import kombu.exceptions
import pytest
from celery import Celery
from django.db import OperationalError, connection
from kombu.transport import memory
from redis.exceptions import ResponseError

from scheduler.beat import JobScheduler
from scheduler.beat.publisher import CeleryPublisher
from scheduler.conf import TASK_NAME
from scheduler.models import SchedulerProcess
from scheduler.store.publishing import Hint
from tests.harness.scheduler_harness import FakeClock, SchedulerHarness, fresh, statuses
from tests.harness.servers import RabbitMQ, Redis
from tests.harness.waiting import wait_until
from tests.scheduler.test_faults import transient_error


@pytest.fixture
def app() -> Iterator[Celery]:
    """A Celery app of its own, with a broker in memory."""
    made = Celery("tested", broker="memory://", set_as_current=False)
    made.conf.broker_transport_options = {"polling_interval": 0.01}
    yield made
    made.close()
    memory.Channel.queues.clear()  # it is one for all apps of a process


def hint(number: int, **values: Any) -> Hint:
    defaults: dict[str, Any] = {
        "execution_id": number,
        "handler_name": "ok",
        "queue": "",
        "timeout_seconds": 60,
        "attempt": 1,
        "publish_count": 1,
    }
    return Hint(**{**defaults, **values})


def messages(app: Celery, queue: str = "celery") -> list[Any]:
    found = []
    with app.connection_for_read() as broker:
        simple = broker.SimpleQueue(queue)
        while simple.qsize():
            found.append(simple.get_nowait())
        for message in found:
            message.ack()
        simple.close()
    return found


# --- publisher ------------------------------------------------------------------------------------


def test_a_message_names_the_execution_and_shows_the_handler(app: Celery):
    publisher = CeleryPublisher(app, FakeClock())
    assert publisher.publish([hint(7, handler_name="mail", timeout_seconds=10)]) == []
    publisher.close()
    (message,) = messages(app)
    assert message.payload[0] == [7]
    headers = message.headers
    assert (headers["task"], headers["shadow"], headers["id"]) == (TASK_NAME, "mail", "jobu-7-1-1")
    assert headers["timelimit"][0] == 55
    assert (headers["eta"], headers["expires"], headers["ignore_result"]) == (None, None, True)


def test_a_jobs_queue_is_where_its_messages_go(app: Celery):
    publisher = CeleryPublisher(app, FakeClock())
    publisher.publish([hint(1, queue="mail"), hint(2)])
    publisher.close()
    assert [m.payload[0] for m in messages(app, "mail")] == [[1]]
    assert [m.payload[0] for m in messages(app)] == [[2]]


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_a_broker_that_is_away_is_reported_once_and_asked_ever_more_rarely(
    caplog: pytest.LogCaptureFixture,
):
    app = Celery("tested", broker=f"redis://127.0.0.1:{closed_port()}/0", set_as_current=False)
    app.conf.broker_transport_options = {"socket_connect_timeout": 1, "socket_timeout": 1}
    clock = FakeClock()
    publisher = CeleryPublisher(app, clock)
    started = time.monotonic()
    with caplog.at_level(logging.INFO, logger="scheduler"):
        for pause in (1, 2, 4, 8, 10, 10):
            assert publisher.ready()
            assert publisher.publish([hint(1), hint(2)]) == [1, 2]
            assert not publisher.ready()
            clock.advance(pause - 0.9)
            assert not publisher.ready()
            clock.advance(0.9)
    assert [r.__dict__["event"] for r in caplog.records] == ["publish.failed"]
    assert time.monotonic() - started < 6 * 2  # a tick must not be held up by a closed port
    app.close()


def test_what_was_sent_before_the_broker_went_is_not_refused(
    app: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    clock = FakeClock()
    publisher = CeleryPublisher(app, clock)
    publisher.publish([hint(1)])
    with caplog.at_level(logging.INFO, logger="scheduler"):
        with refusing(monkeypatch, lambda _queue, message: message != 2, ConnectionResetError):
            assert publisher.publish([hint(2), hint(3), hint(4)]) == [3, 4]
        clock.advance(1)
        assert publisher.publish([hint(3), hint(4)]) == []
    publisher.close()
    assert [m.payload[0][0] for m in messages(app)] == [1, 2, 3, 4]
    assert [r.__dict__["event"] for r in caplog.records] == ["publish.failed", "publish.recovered"]


@contextmanager
def refusing(
    monkeypatch: pytest.MonkeyPatch,
    refuses: Callable[[str, int], bool],
    error: type[Exception] = ResponseError,
) -> Iterator[list[int]]:
    """Make the broker in memory refuse the messages that `refuses(queue, execution)` picks.

    Yields the list of executions whose messages were refused.
    """
    refused: list[int] = []
    channels = SimpleNamespace(put=memory.Channel._put)

    def put(self: Any, queue: str, message: Any, **options: Any) -> Any:
        number = int(message["headers"]["id"].split("-")[1])
        if refuses(queue, number):
            refused.append(number)
            raise error("not this one")
        return channels.put(self, queue, message, **options)

    with monkeypatch.context() as patch:
        patch.setattr(memory.Channel, "_put", put)
        yield refused


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.__dict__["event"] for r in caplog.records]


def test_a_failing_queue_does_not_delay_the_others(
    app: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    publisher = CeleryPublisher(app, FakeClock())
    hints = [hint(1, queue="bad"), hint(2, queue="bad"), hint(3), hint(4, queue="bad"), hint(5)]
    with (
        caplog.at_level(logging.INFO, logger="scheduler"),
        refusing(monkeypatch, lambda queue, _: queue == "bad") as refused,
    ):
        # None is returned: they wait longer each time, like messages that nobody took.
        assert publisher.publish(hints) == []
        assert publisher.ready()
        assert events(caplog) == ["publish.refused"]
        assert "executions 1, 2, 4" in caplog.text
        assert publisher.publish([hint(number, queue="bad") for number in range(10, 20)]) == []
    assert refused == [1, 10, 10]  # not one connection for each of them
    assert publisher.publish([hint(6, queue="bad"), hint(7, queue="bad")]) == []  # it was repaired
    publisher.close()
    assert [m.payload[0][0] for m in messages(app)] == [3, 5]
    assert [m.payload[0][0] for m in messages(app, "bad")] == [6, 7]


def test_several_failing_queues_do_not_count_as_an_outage_for_ever(
    app: Celery, monkeypatch: pytest.MonkeyPatch
):
    clock = FakeClock()
    publisher = CeleryPublisher(app, clock)
    hints = [hint(1, queue="bad"), hint(2, queue="worse"), hint(3, queue="worst"), hint(4)]
    with refusing(monkeypatch, lambda queue, _: queue != "celery"):
        rounds = 0
        while left := publisher.publish(hints):
            hints = [each for each in hints if each.execution_id in left]
            clock.advance(10)
            rounds += 1
            assert rounds < 3
        assert publisher.publish([hint(5, queue="worse")]) == []  # known by now
    publisher.close()
    assert [m.payload[0][0] for m in messages(app)] == [4]


def test_one_message_that_is_refused_holds_up_none_of_its_queue(
    app: Celery, monkeypatch: pytest.MonkeyPatch
):
    publisher = CeleryPublisher(app, FakeClock())
    with refusing(monkeypatch, lambda _, number: number in (1, 3)):
        assert publisher.publish([hint(number) for number in range(1, 6)]) == []
    publisher.close()
    assert [m.payload[0][0] for m in messages(app)] == [2, 4, 5]


def test_a_broker_that_refuses_everything_counts_as_away_and_is_reported_once(
    app: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    clock = FakeClock()
    publisher = CeleryPublisher(app, clock)
    hints = [hint(number, queue=f"queue{number % 4}") for number in range(100)]
    ids = list(range(100))
    with (
        caplog.at_level(logging.INFO, logger="scheduler"),
        refusing(monkeypatch, lambda *_: True) as refused,
    ):
        for _ in range(5):
            assert publisher.publish(hints) == ids
            assert not publisher.ready()
            clock.advance(10)
        assert len(refused) <= 5 * 3
        assert events(caplog) == ["publish.failed"]
    assert publisher.publish(hints) == []
    assert events(caplog) == ["publish.failed", "publish.recovered"]
    publisher.close()


def test_a_kept_connection_that_was_closed_delays_no_message(
    app: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    publisher = CeleryPublisher(app, FakeClock())
    publisher.publish([hint(1)])
    died = iter([True])
    with (
        caplog.at_level(logging.INFO, logger="scheduler"),
        refusing(monkeypatch, lambda *_: next(died, False), ConnectionResetError),
    ):
        assert publisher.publish([hint(2), hint(3)]) == []
    assert events(caplog) == []
    publisher.close()
    assert [m.payload[0][0] for m in messages(app)] == [1, 2, 3]


# --- beat -----------------------------------------------------------------------------------------


@pytest.fixture
def beat(app: Celery, system: SchedulerHarness) -> Iterator[JobScheduler]:
    made = JobScheduler(app, lazy=True)
    clock: Any = system.clock
    made._clock = made._publisher._clock = clock
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


CLEANUP: dict[str, Any] = {"task": "shop.cleanup", "schedule": 60.0}


def beat_with_entries(
    app: Celery, system: SchedulerHarness, **entries: dict[str, Any]
) -> JobScheduler:
    """A beat that sends static entries of Celery and the messages of jobs."""
    app.conf.beat_schedule = entries
    beat = JobScheduler(app, lazy=False)
    clock: Any = system.clock
    beat._clock = beat._publisher._clock = clock
    beat._dispatcher = system.dispatcher
    system.dispatcher.publisher = beat._publisher
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
    assert len(messages(app)) == 1  # beat has a connection
    tries = [0]

    def gone(*_: Any, **__: Any) -> None:
        tries[0] += 1
        raise kombu.exceptions.OperationalError("Connection refused")

    make_entries_due(beat)
    with monkeypatch.context() as patch:
        patch.setattr(beat._publisher._producer, "publish", gone)
        patch.setattr("kombu.connection.Connection.ensure_connection", gone)
        for _ in range(3):
            beat.tick()
    assert (tries, beat.schedule["cleanup"].total_run_count) == ([2], 0)

    system.clock.advance(11)
    beat._heap = None  # its next look at the entry is in five real seconds
    beat.tick()
    assert beat.schedule["cleanup"].total_run_count == 1
    assert [message.headers["task"] for message in messages(app)] == ["shop.cleanup"]
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
        beat.tick()
    assert [entry.total_run_count for entry in beat.schedule.values()] == [1, 1]
    assert [m.headers["task"] for m in messages(app)] == ["shop.cleanup", TASK_NAME]
    assert "publish.failed" not in [getattr(record, "event", "") for record in caplog.records]
    beat.close()


def test_without_static_entries_celerys_own_schedule_is_empty(app: Celery):
    app.conf.result_backend = "cache+memory://"  # for which Celery would add an entry of its own
    beat = JobScheduler(app, lazy=False)
    assert beat.schedule == {}


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_an_execution_that_the_broker_refuses_backs_off_and_the_others_are_sent(
    beat: JobScheduler, app: Celery, system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    system.dispatcher.publisher = beat._publisher
    refused, sent = system.execution(queue="bad", priority=9), system.execution()
    with refusing(monkeypatch, lambda queue, _: queue == "bad"):
        for seconds in (30, 60):
            beat.tick()
            assert fresh(refused).publish_at == system.clock.now() + timedelta(seconds=seconds)
            system.clock.advance(seconds)
    assert [m.payload[0] for m in messages(app)] == [[sent.pk]] * 2
    beat.tick()
    assert [m.payload[0] for m in messages(app, "bad")] == [[refused.pk]]
    assert fresh(refused).publish_count == 3


# --- a real broker, once: it does not depend on the job database ----------------------------------


@pytest.mark.parametrize("queue", ["unacked", "_kombu.binding.celery.pidbox"])
def test_a_key_of_redis_that_is_no_queue_holds_up_no_message(queue: str, redis_server: Redis):
    app = Celery("tested", broker=redis_server.create_database(), set_as_current=False)
    publisher = CeleryPublisher(app, FakeClock())
    with app.connection_for_read() as broker:
        # As a worker leaves them behind: a message that it is at, and where its news go.
        broker.default_channel.client.hset("unacked", "tag", "message")
        broker.default_channel.client.sadd("_kombu.binding.celery.pidbox", "somebody")
        assert publisher.publish([hint(1, queue=queue), hint(2, queue=queue), hint(3)]) == []
        assert publisher.publish([hint(1, queue=queue), hint(4)]) == []
        assert broker.default_channel.client.llen("celery") == 2
    publisher.close()
    app.close()


def test_a_queue_that_rabbitmq_refuses_holds_up_no_message(rabbitmq_server: RabbitMQ):
    app = Celery("tested", broker=rabbitmq_server.create_vhost("queues"), set_as_current=False)
    publisher = CeleryPublisher(app, FakeClock())
    with app.connection_for_write() as broker:
        broker.default_channel.queue_declare("other.kind", durable=False, auto_delete=False)
        bad = [hint(1, queue="amq.mine"), hint(2, queue="other.kind")]
        assert publisher.publish([hint(3), *bad, hint(4)]) == []
        publisher.close()

        def arrived() -> bool:  # on another connection: the broker takes them when it comes to it
            declared = broker.default_channel.queue_declare("celery", passive=True)
            return bool(declared.message_count == 2)

        wait_until(arrived, 20, "both messages")
        broker.default_channel.queue_delete("celery")
        broker.default_channel.queue_delete("other.kind")
    app.close()


def test_a_broker_that_dies_freezes_and_returns_holds_no_tick_for_long(redis_server: Redis):
    app = Celery("tested", broker=redis_server.create_database(), set_as_current=False)
    app.conf.broker_transport_options = {"socket_connect_timeout": 1, "socket_timeout": 1}
    clock = FakeClock()
    publisher = CeleryPublisher(app, clock)
    assert publisher.publish([hint(1)]) == []

    redis_server.freeze()
    started = time.monotonic()
    assert publisher.publish([hint(2)]) == [2]
    assert time.monotonic() - started < 15
    redis_server.thaw()
    clock.advance(30)
    assert publisher.publish([hint(2)]) == []

    redis_server.kill()
    started = time.monotonic()
    assert publisher.publish([hint(3)]) == [3]
    assert time.monotonic() - started < 15
    redis_server.start()
    clock.advance(30)
    assert publisher.publish([hint(3)]) == []
    publisher.close()
    app.close()
