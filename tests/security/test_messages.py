"""Messages of an attacker in the broker: the worst effect is a line in a worker's log."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import amqp
import pytest
import redis
from kombu.connection import Connection

from jobu_project.brokers.folder import Folder
from tests.harness.fork_server import the_fork_server
from tests.harness.process_helpers import HANDLERS, SHORT, insert_job, insert_run
from tests.harness.servers import Redis
from tests.harness.servers.base import ServerUnavailableError
from tests.harness.servers.pool import start_server
from tests.harness.system import Part, System, deep_merge
from tests.plugin import skip_without_server
from tests.security.attacks import SECRET, SECRETS
from tests.security.hostile_messages import call, hostile, message, unreadable

pytestmark = pytest.mark.processes

PASSWORD = "hunter2-of-the-broker"


@pytest.fixture
def broker() -> Iterator[str]:
    """Returns the URL of a separate Redis with a password."""
    try:
        server = start_server(Redis)
    except ServerUnavailableError as error:
        skip_without_server(str(error))
    if not server.is_restartable:
        server.close()
        pytest.skip("the password of somebody else's Redis is not ours to set")
    with redis.Redis.from_url(server.url) as client:
        client.config_set("requirepass", PASSWORD)
    yield urlsplit(server.url)._replace(netloc=f":{PASSWORD}@127.0.0.1:{server.port}").geturl()
    server.close()


@pytest.fixture
def guarded_system(system: Any, ledger: Any) -> Callable[[str | None], System]:
    """Makes a migrated system on a broker. None: the broker in files."""

    def make(url: str | None) -> System:
        made: System = system(
            broker_url=url,
            config=deep_merge(
                SHORT, {"worker": {"handler_packages": ["ledger_handlers", "handlers.samples"]}}
            ),
            handler_paths=(HANDLERS,),
            environment={"JOBU_TEST_LEDGER": str(ledger.path)},
        )
        made.migrate()
        return made

    return make


@pytest.fixture
def guarded(guarded_system: Callable[[str | None], System], broker: str) -> System:
    """A system whose broker has a password."""
    return guarded_system(broker)


class Queue(Protocol):
    """The queue of the workers, as somebody reaches it who is not jobu."""

    url: str | None  # None: the folder below the data directory of the system
    pool: str

    def put(self, jobu: System, text: str | bytes) -> bool:
        """Returns False if this broker itself refuses such a thing."""


class RedisQueue:
    pool = "prefork"

    def __init__(self, url: str) -> None:
        self.url: str | None = url

    def put(self, jobu: System, text: str | bytes) -> bool:
        with redis.Redis.from_url(str(self.url)) as client:
            client.lpush("celery", text)
        return True


class FileQueue:
    pool = "threads"
    url: str | None = None

    def put(self, jobu: System, text: str | bytes) -> bool:
        folder = Folder(jobu.data_dir / "broker")
        folder.add_queue("celery")
        name = f"9-{time.time_ns():020d}-{os.urandom(16).hex()}.json"
        folder.write(
            folder.queue("celery") / name, text.encode() if isinstance(text, str) else text
        )
        return True


class RabbitQueue:
    """One connection for all messages. RabbitMQ itself knows what a message is."""

    pool = "threads"

    def __init__(self, url: str) -> None:
        self.url: str | None = url
        self._connection = Connection(url)

    def put(self, jobu: System, text: str | bytes) -> bool:
        try:
            whole = json.loads(text)
            properties = {
                key: whole["properties"][key] for key in ("correlation_id", "reply_to", "priority")
            }
            letter = amqp.Message(
                base64.b64decode(whole["body"]),
                content_type=whole["content-type"],
                content_encoding=whole["content-encoding"],
                application_headers=whole["headers"],
                **properties,
            )
            channel = self._connection.default_channel
            channel.queue_declare("celery", durable=True, auto_delete=False)
            channel.basic_publish(letter, exchange="", routing_key="celery")
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            return False
        return True

    def gossip(self, routing_key: str, body: str) -> None:
        """Says something in the name of another worker, to all of them."""
        letter = amqp.Message(body, content_type="application/json", content_encoding="utf-8")
        self._connection.default_channel.basic_publish(
            letter, exchange="celeryev", routing_key=routing_key
        )

    def close(self) -> None:
        self._connection.release()


@pytest.fixture(params=["redis", "rabbitmq", "files"])
def queue(request: pytest.FixtureRequest) -> Iterator[Queue]:
    if request.param == "redis":
        yield RedisQueue(request.getfixturevalue("broker"))
    elif request.param == "files":
        yield FileQueue()
    else:
        rabbit = RabbitQueue(request.getfixturevalue("rabbitmq_server").create_vhost("hostile"))
        yield rabbit
        rabbit.close()


def assert_still_works(jobu: System, queue: Queue, number: int, worker: Part, what: str) -> None:
    """A run is claimed by the very same worker; its message comes after all that was put before."""
    run = insert_run(
        jobu, "ledger", scheduled_time=f"2026-01-01 00:00:00.{number:06}", status="PENDING"
    )
    queue.put(jobu, message(call(run)))

    def is_done() -> bool:
        assert worker.is_alive, f"{what}: the worker ended\n{worker.log_tail()}"
        (row,) = jobu.sql("SELECT status FROM job_executions WHERE id = %s", run)
        return bool(row["status"] == "SUCCESS")

    jobu.wait_until(is_done, 30, f"a run after: {what}")


def test_no_message_runs_code_or_ends_a_worker(
    guarded_system: Callable[[str | None], System], queue: Queue, tmp_path: Path
):
    canary = tmp_path / "canary"
    guarded = guarded_system(queue.url)
    # One place: a message that kept it would stop everything that comes after.
    worker = guarded.start_worker(pool=queue.pool, concurrency=1)
    worker.wait_for_log("ready")
    tables = "SELECT count(*) AS n FROM cron_jobs"
    insert_job(guarded, "bystander", is_enabled=False)

    letters = [*hostile(canary).items(), *unreadable().items()]
    for number in range(0, len(letters), 8):
        names = [name for name, text in letters[number : number + 8] if queue.put(guarded, text)]
        assert_still_works(guarded, queue, number, worker, ", ".join(names))
    if isinstance(queue, RabbitQueue):
        for key in ("worker.heartbeat", "worker.elect", "worker.elect.ack", "worker.x"):
            for body in ("null", "[]", "5", "{}", '{"hostname": 5, "type": []}', "{"):
                queue.gossip(key, body)
        assert_still_works(guarded, queue, 900_000, worker, "false news of other workers")

    assert not canary.exists()
    assert guarded.sql(tables) == [{"n": 1}]
    log = worker.log()
    assert PASSWORD not in log
    assert "x" * 5000 not in log
    assert "\n12:00 ERROR forged" not in log


def test_neither_secrets_nor_forged_lines_reach_the_logs(guarded: System, broker: str):
    name = "job\n2026-01-01 CRITICAL forged: x\x1b[31m\u2028forged"
    params = json.dumps({**SECRETS, "message": [SECRET], "sleep_seconds": SECRET})
    insert_job(guarded, name, handler_params=json.dumps(SECRETS))  # refused for its name
    insert_job(guarded, "good", handler_params=json.dumps(SECRETS))
    for number, handler in enumerate(("sample", "ledger"), start=1):
        insert_run(
            guarded, handler, params=params, job_name=name, max_retry=0,
            scheduled_time=f"2026-01-01 00:00:00.00000{number}",
        )  # fmt: skip
    worker = guarded.start_worker("--loglevel=DEBUG", pool="threads")
    beat = guarded.start_beat("--loglevel=DEBUG")

    def ended() -> list[str]:
        rows = guarded.sql("SELECT param_source, status FROM job_executions")
        return sorted({f"{row['param_source']} {row['status']}" for row in rows})

    guarded.wait_until(
        lambda: {"cron SUCCESS", "event FAILED"} <= set(ended()) and "event PENDING" not in ended(),
        40,
        "two failures and a success",
    )
    for part in (worker, beat):
        assert SECRET not in part.log()
        assert PASSWORD not in part.log()
        assert "\x1b[31m" not in part.log()
        assert not [line for line in part.log().splitlines() if line.startswith("2026-01-01 CRI")]
    (refused,) = guarded.sql(
        "SELECT error_message FROM job_executions WHERE handler_name = 'sample'"
    )
    assert "sleep_seconds" in refused["error_message"]
    assert SECRET not in refused["error_message"]


@pytest.mark.parametrize(
    ("url", "code"),
    [("redis://192.0.2.1:6379/0", "jobu.E008"), ("amqp://guest:guest@192.0.2.1//", "jobu.E009")],
)
def test_remote_broker_without_a_password_is_refused(system: Any, url: str, code: str):
    jobu: System = system(broker_url=url)
    for part in ("worker", "beat"):
        # Beside each other they would only take longer.
        done = the_fork_server().run(
            ["-m", "celery", "-A", "jobu_project", part], environment=jobu.environment, timeout=100
        )
        assert done.returncode == 1, done.stdout + done.stderr
        assert code in done.stdout + done.stderr
