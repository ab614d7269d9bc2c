"""Messages of an attacker in the broker: the worst effect is a line in a worker's log."""

from __future__ import annotations

import base64
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from tests.harness.fork_server import the_fork_server
from tests.harness.process_helpers import HANDLERS, SHORT, insert_job, insert_run
from tests.harness.servers import Redis
from tests.harness.servers.base import ServerUnavailableError
from tests.harness.servers.pool import start_server
from tests.harness.system import Part, System, deep_merge
from tests.plugin import skip_without_server
from tests.security.attacks import SECRET, SECRETS

pytestmark = pytest.mark.processes

PASSWORD = "hunter2-of-the-broker"
TASK = "scheduler.execute"


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


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.canary}",)


def message(
    content: bytes | str, kind: str = "application/json", encoding: str = "utf-8", **changes: Any
) -> str:
    """Returns a message as kombu writes it into a Redis list; `changes` replace its parts."""
    raw = content.encode() if isinstance(content, str) else content
    tag = base64.b64encode(os.urandom(9)).decode()
    headers = {
        "lang": "py", "task": TASK, "id": tag, "root_id": tag, "parent_id": None, "group": None,
        "argsrepr": "()", "kwargsrepr": "{}", "retries": 0, "timelimit": [None, None],
        "expires": None, "eta": None, "shadow": None, "ignore_result": True,
    } | changes.pop("headers", {})  # fmt: skip
    properties = {
        "correlation_id": tag, "reply_to": "x", "delivery_mode": 2, "delivery_tag": tag,
        "delivery_info": {"exchange": "", "routing_key": "celery"}, "priority": 0,
        "body_encoding": "base64",
    } | changes.pop("properties", {})  # fmt: skip
    whole = {
        "body": base64.b64encode(raw).decode(), "content-encoding": encoding,
        "content-type": kind, "headers": headers, "properties": properties,
    } | changes  # fmt: skip
    return json.dumps({key: value for key, value in whole.items() if value != "(left out)"})


def call(*args: Any, **embedded: Any) -> str:
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None} | embedded
    return json.dumps([list(args), {}, embed])


def hostile(canary: Path) -> dict[str, str | bytes]:
    """Returns hostile messages by name."""
    shell = f"!!python/object/apply:os.system ['touch {canary}']"
    bomb = pickle.dumps(Bomb(canary))
    forged = {"task": "scheduler.execute", "args": [1], "kwargs": {}, "options": {}}
    return {
        "pickle": message(bomb, "application/x-python-serialize", "binary"),
        "pickle by another name": message(bomb, "application/pickle", "binary"),
        "pickle that says json": message(bomb, encoding="binary"),
        "yaml": message(shell, "application/x-yaml"),
        "msgpack": message(b"\x93\x91\x01\x80\x80", "application/x-msgpack", "binary"),
        "no such type": message("[]", "text/x-nothing"),
        "unknown task": message(call(1), headers={"task": "os.system"}),
        "no task": message(call(1), headers={"task": None}),
        "task of several lines": message(call(1), headers={"task": "x\n12:00 ERROR forged"}),
        "no reply address": message(call(1), properties={"reply_to": None}),
        "headers are a text": json.dumps(json.loads(message(call(1))) | {"headers": "text"}),
        "headers are missing": message(call(1), **{"content-type": "(left out)"}),
        "body is no list": message('{"a": 1}'),
        "body is a number": message("7"),
        "body is no json": message("{"),
        "body is no base64": message(call(1), body="!!!"),
        "body is missing": message(call(1), body="(left out)"),
        "args are a text": message(json.dumps(["x", {}, {}])),
        "embed is a text": message(json.dumps([[1], {}, "x"])),
        "nested deeply": message("[" * 200_000),
        "eta is no time": message(call(1), headers={"eta": "tomorrow"}),
        "eta is far": message(call(1), headers={"eta": "9999-12-31T23:59:59.999999+00:00"}),
        "expires is no time": message(call(1), headers={"expires": "never"}),
        "timelimit is a text": message(call(1), headers={"timelimit": ["a", "b"]}),
        "timelimit is negative": message(call(1), headers={"timelimit": [-1, -1]}),
        "retries are a text": message(call(1), headers={"retries": "x"}),
        "a callback": message(call(1, callbacks=[forged])),
        "a callback that is none": message(call(1, callbacks=["x"])),
        "a chain": message(call(1, chain=[forged | {"task": "os.system"}])),
        "reply to somebody": message(call(1), properties={"reply_to": "celery"}),
        "keywords": message(json.dumps([[], {"execution_id": 1, "self": 2}, {}])),
        "10 MB": message(call("x" * 10_000_000)),
        "100 000 keys": message(json.dumps([[{str(n): n for n in range(100_000)}], {}, {}])),
        **{
            f"id {junk!r:.20}": message(call(junk))
            for junk in (
                0, -1, 2**63, 2**200, 1.5, True, None, "1 OR 1=1", "1; DROP TABLE cron_jobs", "",
                [], [1], {}, {"id": 1}, "\u0000", "x" * 1000,
            )
        },
        "two ids": message(call(1, 2)),
    }  # fmt: skip


def unreadable() -> dict[str, bytes | str]:
    """Returns data that are not messages."""
    return {
        "no json": b"not json",
        "binary": b"\x80\x04\xff\xfe",
        "empty": b"",
        "a list": "[1, 2]",
        "null": "null",
        "nested deeply": "[" * 200_000,
        "no properties": json.dumps(json.loads(message(call(1))) | {"properties": None}),
        "no delivery tag": json.dumps(json.loads(message(call(1))) | {"properties": {}}),
        "no delivery info": message(call(1), properties={"delivery_info": None}),
        "an encoding that does not exist": message(call(1), properties={"body_encoding": "x"}),
    }


@pytest.fixture
def guarded(system: Any, broker: str, ledger: Any) -> System:
    """A system whose broker requires a password."""
    made: System = system(
        broker_url=broker,
        config=deep_merge(
            SHORT, {"worker": {"handler_packages": ["ledger_handlers", "handlers.samples"]}}
        ),
        handler_paths=(HANDLERS,),
        environment={"JOBU_TEST_LEDGER": str(ledger.path)},
    )
    made.migrate()
    return made


def put(broker: str, text: str | bytes) -> None:
    with redis.Redis.from_url(broker) as client:
        client.lpush("celery", text)


def assert_still_works(jobu: System, broker: str, number: int, worker: Part, what: str) -> None:
    """Checks that the same worker runs a job after the hostile messages."""
    run = insert_run(
        jobu, "ledger", scheduled_time=f"2026-01-01 00:00:00.{number:06}", status="PENDING"
    )
    put(broker, message(call(run)))

    def is_done() -> bool:
        assert worker.is_alive, f"{what}: the worker ended\n{worker.log_tail()}"
        (row,) = jobu.sql("SELECT status FROM job_executions WHERE id = %s", run)
        return bool(row["status"] == "SUCCESS")

    jobu.wait_until(is_done, 30, f"a run after: {what}")


def test_no_message_runs_code_or_ends_a_worker(guarded: System, broker: str, tmp_path: Path):
    canary = tmp_path / "canary"
    worker = guarded.start_worker(pool="prefork", concurrency=1)
    worker.wait_for_log("ready")
    tables = "SELECT count(*) AS n FROM cron_jobs"
    insert_job(guarded, "bystander", is_enabled=False)

    for text in hostile(canary).values():
        put(broker, text)
    assert_still_works(guarded, broker, 1, worker, "hostile messages")
    for number, (name, text) in enumerate(unreadable().items(), start=2):
        put(broker, text)
        assert_still_works(guarded, broker, number, worker, name)

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
