"""The file broker: no message is lost, doubled or incomplete, whichever process is killed."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.exceptions import ChannelError
from kombu.messaging import Consumer, Producer

from jobu_project import brokers
from jobu_project.brokers import folder
from jobu_project.brokers.folder import VOLATILE_TTL_SECONDS, Binding, Folder, file_name
from tests.harness.fork_server import ForkedProcess, the_fork_server
from tests.harness.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent
OLD_NS = time.time_ns() - (VOLATILE_TTL_SECONDS + 5) * 10**9

brokers.register()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "broker"


@contextmanager
def connected(root: Path, polling_interval: float = 0.02) -> Iterator[Connection]:
    options = folder.transport_options(root, polling_interval)
    with Connection("jobufs://", transport_options=options) as connection:
        yield connection


def queue_of(name: str) -> Queue:
    return Queue(name, Exchange("work", type="direct"), routing_key=name)


def publish(connection: Connection, queue: Queue, *bodies: Any, priority: int = 0) -> None:
    producer = Producer(connection.default_channel)
    for body in bodies:
        producer.publish(
            body,
            exchange=queue.exchange,
            routing_key=queue.routing_key,
            declare=[queue],
            priority=priority,
        )


def receive_all(connection: Connection, *queues: Queue) -> list[Any]:
    """Receives all waiting messages and returns them in order."""
    bodies: list[Any] = []

    def on_message(body: Any, message: Any) -> None:
        bodies.append(body)
        message.ack()

    with Consumer(connection.channel(), queues, callbacks=[on_message]):
        while True:
            try:
                connection.drain_events(timeout=0.1)
            except TimeoutError:
                return bodies


def raw_message(root: Path, queue: str, content: bytes, at_ns: int | None = None) -> Path:
    """Writes a message file that another program or an older version may have left."""
    Folder(root).add_queue(queue)
    name = f"9-{at_ns or time.time_ns():020d}-{os.urandom(16).hex()}.json"
    path = root / "queues" / file_name(queue) / name
    path.write_bytes(content)
    return path


# --- one message ----------------------------------------------------------------------------------


def test_message_arrives_once_and_leaves_no_file(root: Path) -> None:
    queue = queue_of("mail")

    with connected(root) as connection:
        publish(connection, queue, {"execution_id": 7, "text": "한국어"})

        assert receive_all(connection, queue) == [{"execution_id": 7, "text": "한국어"}]
        assert receive_all(connection, queue) == []
    assert [path for path in root.rglob("*") if path.suffix == ".json"] == [
        root / "exchanges" / "work.json"
    ]


def test_message_published_before_any_consumer_exists_waits(root: Path) -> None:
    queue = queue_of("mail")
    with connected(root) as connection:
        publish(connection, queue, 1)

    with connected(root) as later:
        assert receive_all(later, queue) == [1]


def test_messages_are_served_in_order_of_priority_then_time(root: Path) -> None:
    queue = queue_of("mail")

    with connected(root) as connection:
        publish(connection, queue, "first", "second")
        publish(connection, queue, "urgent", priority=9)
        publish(connection, queue, "soon", priority=5)

        assert receive_all(connection, queue) == ["urgent", "soon", "first", "second"]


def test_message_taken_but_not_acknowledged_returns_when_its_consumer_closes(root: Path) -> None:
    queue = queue_of("mail")
    with connected(root) as connection:
        publish(connection, queue, 1)
        assert queue(connection.channel()).get() is not None

    with connected(root) as later:
        assert receive_all(later, queue) == [1]


def test_broken_message_is_dropped_with_an_error_and_the_next_one_served(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queue = queue_of("mail")
    broken = [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"properties": {}}',
        b'{"properties": {"delivery_tag": "x", "body_encoding": "base64"}, "body": 3}',
        b'{"properties": {"delivery_tag": "x", "delivery_info": {}}, "body": ""}',
        b"[" * 100_000,
    ]

    with connected(root) as connection:
        for content in broken:
            raw_message(root, "mail", content)
        publish(connection, queue, "good")

        assert receive_all(connection, queue) == ["good"]
    assert caplog.text.count("dropped unreadable message") == len(broken)
    assert list((root / "queues" / "mail").glob("*.json")) == []


def test_file_that_cannot_be_taken_is_reported_once_and_the_next_one_served(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queue = queue_of("mail")

    with connected(root) as connection:
        path = raw_message(root, "mail", b"")
        path.unlink()
        path.mkdir()
        publish(connection, queue, "good")

        assert receive_all(connection, queue) == ["good"]
    assert caplog.text.count("cannot take message") == 1


def test_purge_and_size_count_the_waiting_messages(root: Path) -> None:
    queue = queue_of("mail")

    with connected(root) as connection:
        publish(connection, queue, 1, 2, 3)
        channel = connection.default_channel

        assert channel.queue_declare("mail").message_count == 3
        assert channel.queue_purge("mail") == 3
        assert channel.queue_declare("mail").message_count == 0


def test_publishing_to_a_full_or_forbidden_disk_is_a_channel_error(
    root: Path, tmp_path: Path
) -> None:
    with connected(root) as connection:
        queue = queue_of("mail")
        publish(connection, queue, 1)
        (root / "tmp").rmdir()
        (root / "tmp").write_text("a file where the directory was")

        with pytest.raises(ChannelError, match="cannot publish to queue 'mail'"):
            publish(connection, queue, 2)


# --- names ----------------------------------------------------------------------------------------


def test_queues_with_similar_names_do_not_get_messages_of_each_other(root: Path) -> None:
    names = ["b", "a.b", "a/b", "a%2fb", "B", ".b", "b.json", "a b", "b-1", "나"]

    with connected(root) as connection:
        for name in names:
            publish(connection, queue_of(name), name)

        for name in names:
            assert receive_all(connection, queue_of(name)) == [name]


@pytest.mark.parametrize("name", ["../evil", "..", ".", "/etc/passwd", "a\x00b", "C:\\evil"])
def test_no_queue_name_leads_outside_the_folder(root: Path, tmp_path: Path, name: str) -> None:
    queue = Queue(name, Exchange(name, type="direct"), routing_key="key")

    with connected(root) as connection:
        publish(connection, queue, 1)

        assert receive_all(connection, queue) == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["broker"]
    assert {path.name for path in root.iterdir()} == {"queues", "exchanges", "tmp"}
    assert len(list((root / "queues").iterdir())) == 1


@pytest.mark.parametrize("name", ["", "x" * 201, "한" * 23])
def test_name_that_no_file_can_have_is_refused(name: str) -> None:
    with pytest.raises(ChannelError, match="not usable as the name"):
        file_name(name)


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


@given(names, names)
def test_names_that_differ_only_in_case_have_different_files(one: str, other: str) -> None:
    assert (file_name(one).lower() == file_name(other).lower()) == (one == other)
    assert "/" not in file_name(one)
    assert not file_name(one).startswith(".")


# --- the folder -----------------------------------------------------------------------------------


def test_all_files_are_readable_by_the_owner_only(root: Path) -> None:
    with connected(root) as connection:
        publish(connection, queue_of("mail"), 1)

    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    assert {oct(path.stat().st_mode & 0o777) for path in folders} == {"0o700"}


def test_publisher_and_consumer_survive_a_wipe_of_the_folder(root: Path) -> None:
    queue = queue_of("mail")
    with connected(root) as publisher, connected(root) as consumer:
        publish(publisher, queue, "lost")
        folder.wipe(root)

        assert receive_all(consumer, queue) == []
        publish(publisher, queue, "kept")
        assert receive_all(consumer, queue) == ["kept"]


def test_publisher_that_was_wiped_restores_the_bindings_it_made(root: Path) -> None:
    queue = queue_of("mail")
    with connected(root) as connection:
        producer = Producer(connection.default_channel)
        queue(connection.default_channel).declare()
        folder.wipe(root)

        # The test does not declare the queue again: Celery does so once per connection.
        producer.publish(1, exchange=queue.exchange, routing_key="mail")

        assert Folder(root).message_names("mail")


def test_consumer_reports_an_unreadable_folder_as_a_broker_outage(root: Path) -> None:
    queue = queue_of("mail")
    with connected(root) as connection, Consumer(connection.channel(), [queue]):
        (root / "queues").rename(root / "elsewhere")
        (root / "queues").write_text("a file where the directory was")

        with pytest.raises(connection.recoverable_connection_errors) as outage:
            connection.drain_events(timeout=1)

        assert not isinstance(outage.value, TimeoutError)
        (root / "queues").unlink()
        publish(connection, queue, 1)
        assert receive_all(connection, queue) == [1]


def test_connection_without_a_folder_says_what_is_missing() -> None:
    with (
        Connection("jobufs://", transport_options={}) as connection,
        pytest.raises(ValueError, match="transport option 'folder'"),
    ):
        connection.connect()


# --- broadcast, events, remote control ------------------------------------------------------------


def test_fanout_reaches_every_bound_queue(root: Path) -> None:
    exchange = Exchange("celery.pidbox", type="fanout")
    boxes = [Queue(f"w{n}@host.celery.pidbox", exchange) for n in range(3)]

    with connected(root) as connection:
        for box in boxes:
            box(connection.default_channel).declare()
        Producer(connection.default_channel, exchange).publish("hello", declare=[exchange])

        assert [receive_all(connection, box) for box in boxes] == [["hello"]] * 3


def test_topic_reaches_the_queues_whose_pattern_matches(root: Path) -> None:
    exchange = Exchange("celeryev", type="topic")
    everything = Queue("celeryev.all", exchange, routing_key="#")
    tasks = Queue("celeryev.tasks", exchange, routing_key="task.*")

    with connected(root) as connection:
        for queue in (everything, tasks):
            queue(connection.default_channel).declare()
        for key in ("worker.heartbeat", "task.sent"):
            Producer(connection.default_channel, exchange).publish(key, routing_key=key)

        assert receive_all(connection, everything) == ["worker.heartbeat", "task.sent"]
        assert receive_all(connection, tasks) == ["task.sent"]


def test_control_message_is_dropped_after_a_minute(root: Path) -> None:
    box = Queue("w@host.celery.pidbox", Exchange("celery.pidbox", type="fanout"))
    with connected(root) as connection:
        publish(connection, box, "fresh")
        (fresh,) = (root / "queues" / file_name(box.name)).glob("*.json")
        raw_message(root, box.name, fresh.read_bytes().replace(b"fresh", b"stale"), OLD_NS)

        assert receive_all(connection, box) == ["fresh"]


def test_task_message_is_never_dropped_because_of_its_age(root: Path) -> None:
    queue = queue_of("mail")
    with connected(root) as connection:
        publish(connection, queue, "old")
        (path,) = (root / "queues" / "mail").glob("*.json")
        path.rename(path.with_name(f"9-{OLD_NS:020d}-{'0' * 32}.json"))
        os.utime(path.parent, ns=(OLD_NS, OLD_NS))

        assert Folder(root).sweep(time.time_ns()) == []
        assert receive_all(connection, queue) == ["old"]


def test_sweep_removes_only_files_of_killed_processes(root: Path) -> None:
    folder = Folder(root)
    for name in ("celeryev.dead", "celeryev.silent", "celeryev.alive", "mail"):
        folder.add_queue(name)
        folder.bind("celeryev", Binding("#", "^.*?$", name))
    raw_message(root, "celeryev.dead", b"{}", OLD_NS)
    os.utime(folder.queue("celeryev.silent"), ns=(OLD_NS, OLD_NS))
    half, fresh_half = folder.tmp / "half", folder.tmp / "fresh"
    half.write_bytes(b"{")
    fresh_half.write_bytes(b"{")
    os.utime(half, ns=(OLD_NS, OLD_NS))

    gone = folder.sweep(time.time_ns())

    assert sorted(gone) == ["celeryev.dead", "celeryev.silent"]
    assert sorted(path.name for path in folder.queues.iterdir()) == ["celeryev.alive", "mail"]
    assert [row.queue for row in folder.table("celeryev")] == ["celeryev.alive", "mail"]
    assert list(folder.tmp.iterdir()) == [fresh_half]


def test_consumer_whose_queue_was_swept_receives_messages_again(root: Path) -> None:
    exchange = Exchange("celeryev", type="topic")
    queue = Queue("celeryev.flower", exchange, routing_key="#")
    heard: list[Any] = []
    with (
        connected(root) as connection,
        Consumer(
            connection.channel(), [queue], no_ack=True, callbacks=[lambda b, m: heard.append(b)]
        ),
    ):
        os.utime(root / "queues" / queue.name, ns=(OLD_NS, OLD_NS))
        assert Folder(root).sweep(time.time_ns()) == [queue.name]

        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.05)
        Producer(connection.default_channel, exchange).publish("event", routing_key="x")
        connection.drain_events(timeout=1)

    assert heard == ["event"]


def test_event_for_a_consumer_that_was_swept_is_not_kept(root: Path) -> None:
    queue = Queue("celeryev.gone", Exchange("celeryev", type="topic"), routing_key="#")
    with connected(root) as connection:
        queue(connection.default_channel).declare()
        (root / "queues" / queue.name / "bells").rmdir()
        (root / "queues" / queue.name).rmdir()

        Producer(connection.default_channel, queue.exchange).publish("event", routing_key="x")

    assert not (root / "queues" / queue.name).exists()
    assert list((root / "tmp").iterdir()) == []


# --- waking ---------------------------------------------------------------------------------------


def test_sleeping_consumer_is_woken_by_a_message_at_once(root: Path) -> None:
    queue = queue_of("mail")
    got: list[Any] = []
    with connected(root, polling_interval=30) as consumer, connected(root) as publisher:
        with Consumer(
            consumer.channel(), [queue], no_ack=True, callbacks=[lambda b, m: got.append(b)]
        ):
            timer = threading.Timer(0.2, publish, args=(publisher, queue, "wake up"))
            timer.start()

            began = time.monotonic()
            consumer.drain_events(timeout=20)

            assert time.monotonic() - began < 5
        timer.join()
    assert got == ["wake up"]


def test_consumer_at_its_prefetch_limit_is_woken_by_an_acknowledgement(root: Path) -> None:
    queue = queue_of("mail")
    got: list[Any] = []
    with connected(root, polling_interval=30) as connection:
        publish(connection, queue, 1, 2)
        channel = connection.channel()
        consumer = Consumer(channel, [queue], callbacks=[lambda body, message: got.append(message)])
        consumer.qos(prefetch_count=1)
        with consumer:
            connection.drain_events(timeout=1)
            timer = threading.Timer(0.2, got[0].ack)
            timer.start()

            began = time.monotonic()
            connection.drain_events(timeout=20)

            assert time.monotonic() - began < 5
            timer.join()
            got[1].ack()
    assert [message.payload for message in got] == [1, 2]


def test_publisher_removes_the_bell_of_a_dead_consumer(root: Path) -> None:
    queue = queue_of("mail")
    with connected(root) as connection:
        queue(connection.default_channel).declare()
        os.mkfifo(root / "queues" / "mail" / "bells" / "dead")

        publish(connection, queue, 1)

        assert list((root / "queues" / "mail" / "bells").iterdir()) == []
        assert receive_all(connection, queue) == [1]


def test_waiting_ends_with_a_timeout_if_no_message_comes(root: Path) -> None:
    queue = queue_of("mail")
    with connected(root) as connection, Consumer(connection.channel(), [queue]):
        began = time.monotonic()
        with pytest.raises(socket.timeout):
            connection.drain_events(timeout=0.2)

        assert 0.15 < time.monotonic() - began < 2


# --- many processes -------------------------------------------------------------------------------

NUMBERS = itertools.count()
PROGRAM = """
import sys
from pathlib import Path
from kombu import Connection, Consumer, Exchange, Producer, Queue
from jobu_project import brokers
from jobu_project.brokers import folder
brokers.register()
what, root, *arguments = sys.argv[1:]
options = folder.transport_options(Path(root), 0.02)
connection = Connection("jobufs://", transport_options=options)
queue = Queue("mail", Exchange("work", type="direct"), routing_key="mail")
if what == "publish":
    me, count, size = arguments[0], int(arguments[1]), int(arguments[2])
    producer = Producer(connection.channel())
    for number in range(count):
        body = [me, number, "x" * size]
        producer.publish(body, exchange=queue.exchange, routing_key="mail", declare=[queue])
if what == "consume":
    def on_message(body, message):
        assert set(body[2]) <= {"x"}
        message.ack()
        print(body[0], body[1], len(body[2]), flush=True)
    with Consumer(connection.channel(), [queue], callbacks=[on_message]):
        while True:
            connection.drain_events(timeout=float(arguments[0]))
if what == "bind":
    channel = connection.channel()
    for number in range(int(arguments[1])):
        Queue(f"{arguments[0]}-{number}", queue.exchange, routing_key="key")(channel).declare()
"""


class Program:
    """A process that runs PROGRAM. It writes to files below `root`, beside the queues."""

    def __init__(self, root: Path, *arguments: str) -> None:
        place = root.parent / f"program {next(NUMBERS)}"
        place.mkdir()
        (place / "program.py").write_text(PROGRAM, encoding="ascii")
        self._output, self._errors = place / "output", place / "errors"
        self.process = the_fork_server().start(
            [str(place / "program.py"), arguments[0], str(root), *arguments[1:]],
            environment=os.environ,
            output=self._output,
            errors=self._errors,
        )

    def lines(self) -> list[str]:
        """Waits for its end."""
        code, errors = self.process.wait(60), self._errors.read_text()
        # A consumer ends only with this timeout: no message came for a while.
        assert code == 0 or "TimeoutError" in errors.splitlines()[-1], errors
        return self._output.read_text().splitlines()


@pytest.mark.processes
def test_four_publishers_and_three_consumers_neither_lose_nor_repeat_a_message(root: Path) -> None:
    consumers = [Program(root, "consume", "3") for _ in range(3)]
    publishers = [Program(root, "publish", f"p{n}", "250", "2000") for n in range(4)]

    for publisher in publishers:
        publisher.lines()
    shares = [consumer.lines() for consumer in consumers]

    received = [line for share in shares for line in share]
    assert sorted(received) == sorted(f"p{n} {i} 2000" for n in range(4) for i in range(250))
    assert all(shares), "one consumer got nothing"
    assert list((root / "tmp").iterdir()) == []


@pytest.mark.processes
def test_publisher_killed_while_it_writes_leaves_no_half_message(root: Path) -> None:
    folder = root / "queues" / "mail"
    for number in range(4):
        publisher = Program(root, "publish", f"p{number}", "100000", "500000")
        wait_until(lambda: any(folder.glob("*.json")), 20, "a first message")
        publisher.process.send_signal(signal.SIGKILL)
        publisher.process.wait(10)

        received = Program(root, "consume", "0.5").lines()

        assert received
        assert {line.split()[2] for line in received} == {"500000"}


@pytest.mark.processes
def test_binding_from_many_processes_at_once_loses_none(root: Path) -> None:
    for process in [Program(root, "bind", f"p{n}", "30") for n in range(5)]:
        process.lines()

    queues = {binding.queue for binding in Folder(root).table("work")}

    assert queues == {f"p{n}-{i}" for n in range(5) for i in range(30)}


# --- Celery ---------------------------------------------------------------------------------------

APP = """
import os, time
from pathlib import Path
from celery import Celery
from jobu_project import brokers
from jobu_project.brokers import folder
brokers.register()
app = Celery("fileapp", broker="jobufs://", set_as_current=False)
app.conf.broker_transport_options = folder.transport_options(Path(os.environ["BROKER"]))
app.conf.worker_prefetch_multiplier = 1

# not shared: a shared task would be registered in every other app of the process
@app.task(ignore_result=True, shared=False)
def note(number):
    with open(os.environ["NOTES"], "a") as file:
        file.write(f"{number}\\n")

# not shared: a shared task would be registered in every other app of the process
@app.task(ignore_result=True, shared=False)
def sleep(seconds):
    time.sleep(seconds)  # the task must still run when it is revoked
"""


class Shop:
    """A separate Celery app with workers on the file broker."""

    CELERY = ("-m", "celery", "-A", "fileapp")

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "fileapp.py").write_text(APP)
        self.notes = tmp_path / "notes"
        self.notes.touch()
        self.root = tmp_path / "broker"
        # Importing the broker configures jobu's logging, which does not log each task.
        config = tmp_path / "config"
        config.mkdir()
        loud = {"celery.app.trace": "INFO", "celery.worker.strategy": "INFO"}
        (config / "logging.yaml").write_text(json.dumps({"logging": {"loggers": loud}}))
        environment = {
            "JOBU_CONFIG_DIR": str(config),
            "BROKER": str(self.root),
            "NOTES": str(self.notes),
            "PYTHONPATH": f"{tmp_path}:{ROOT}",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.syspath_prepend(str(tmp_path))
        scope: dict[str, Any] = {"__name__": "fileapp"}
        exec(APP, scope)
        self.app = scope["app"]
        self.note, self.sleep = scope["note"], scope["sleep"]
        self.workers: list[ForkedProcess] = []
        self.log = tmp_path / "workers.log"

    def start_worker(self, name: str, *options: str) -> ForkedProcess:
        quick = ["--without-gossip", "--without-mingle"]
        worker = the_fork_server().start(
            [*self.CELERY, "worker", "-E", "-l", "INFO", f"-n{name}@here", *quick, *options],
            environment=os.environ,
            output=self.log,
        )
        self.workers.append(worker)
        return worker

    def nodes(self) -> set[str]:
        return {name for answer in self.app.control.ping(timeout=0.5) for name in answer}

    def noted(self) -> list[int]:
        return [int(line) for line in self.notes.read_text().split()]

    def close(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait(10)
        self.app.close()


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    shop = Shop(tmp_path, monkeypatch)
    yield shop
    shop.close()


@pytest.mark.processes
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_two_workers_share_tasks_and_answer_remote_control(shop: Shop, pool: str) -> None:
    for name in ("one", "two"):
        shop.start_worker(name, "-P", pool, "-c", "2")
    wait_until(
        lambda: shop.nodes() == {"one@here", "two@here"}, 40, "both", details=shop.log.read_text
    )
    events: list[str] = []
    receiver = shop.app.events.Receiver(
        shop.app.connection_for_read(),
        handlers={"task-succeeded": lambda event: events.append(event["hostname"])},
    )
    with receiver.consumer_context() as (connection, _, _):
        for number in range(120):
            shop.note.delay(number)
        while len(events) < 120:
            connection.drain_events(timeout=20)

    assert sorted(shop.noted()) == list(range(120))
    assert set(events) == {"one@here", "two@here"}
    assert set(shop.app.control.inspect(timeout=1).stats()) == {"one@here", "two@here"}


@pytest.mark.processes
def test_running_task_is_revoked_and_a_warm_stop_waits_for_the_next(shop: Shop) -> None:
    worker = shop.start_worker("one", "-c", "1")
    wait_until(lambda: shop.nodes() == {"one@here"}, 40, "the worker", details=shop.log.read_text)

    def active() -> list[Any]:
        return list((shop.app.control.inspect(timeout=0.5).active() or {}).get("one@here", []))

    result = shop.sleep.delay(60)
    wait_until(lambda: active(), 10, "the task to start")
    shop.app.control.revoke(result.id, terminate=True, signal="SIGKILL")
    wait_until(lambda: not active(), 10, "the task to be revoked", details=shop.log.read_text)
    shop.sleep.delay(2)
    wait_until(lambda: active(), 10, "the second task to start")
    worker.send_signal(signal.SIGTERM)

    assert worker.wait(30) == 0
    assert "succeeded" in shop.log.read_text()


@pytest.mark.processes
def test_stopped_worker_keeps_no_task_in_its_queues(shop: Shop) -> None:
    """A task that a stopping worker had prefetched goes to the next worker."""
    first = shop.start_worker("one", "-c", "1")
    wait_until(lambda: shop.nodes() == {"one@here"}, 40, "the worker", details=shop.log.read_text)
    shop.sleep.delay(2)
    for number in range(5):
        shop.note.delay(number)
    wait_until(lambda: "sleep" in shop.log.read_text().split("ready.")[-1], 10, "the sleep")
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) == 0

    shop.start_worker("two", "-c", "1")

    wait_until(lambda: len(shop.noted()) >= 5, 40, "the rest", details=shop.log.read_text)
    assert sorted(shop.noted()) == list(range(5))


def test_messages_are_json(root: Path) -> None:
    with connected(root) as connection:
        publish(connection, queue_of("mail"), {"id": 1})
    (path,) = (root / "queues" / "mail").glob("*.json")

    message = json.loads(path.read_bytes())

    assert message["content-type"] == "application/json"
