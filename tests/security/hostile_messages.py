"""What somebody who reaches the broker may put into a queue, as Redis and files hold it."""

from __future__ import annotations

import base64
import json
import os
import pickle
from pathlib import Path
from typing import Any

TASK = "scheduler.work"
# A task of Celery itself that takes anything, in place of a task of the project.
OTHER_TASK = "celery.accumulate"


class Bomb:
    """Unpickled, it leaves a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.canary}",)


def message(
    content: bytes | str, kind: str = "application/json", encoding: str = "utf-8", **changes: Any
) -> str:
    """A message as kombu lays it into a Redis list; `changes` replace its parts."""
    raw = content.encode() if isinstance(content, str) else content
    tag = base64.b64encode(os.urandom(9)).decode()
    headers = {
        "lang": "py", "task": TASK, "id": tag, "root_id": tag, "parent_id": None, "group": None,
        "argsrepr": "()", "kwargsrepr": "{}", "retries": 0, "timelimit": [None, None],
        "expires": None, "eta": None, "shadow": None, "ignore_result": True,
    } | changes.pop("headers", {})  # fmt: skip
    headers = changes.pop("headers_are", headers)
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
    """By name, what stands in the queue."""
    shell = f"!!python/object/apply:os.system ['touch {canary}']"
    bomb = pickle.dumps(Bomb(canary))
    forged = {"task": "scheduler.work", "args": [1], "kwargs": {}, "options": {}}
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
        "two ids": message(call(1, 2)),
        "body is null": message("null"),
        "body is empty": message(""),
        "no id": message(call(1), headers={"id": None}),
        "id is a list": message(call(1), headers={"id": ["x"]}),
        "task is a list": message(call(1), headers={"task": ["x"]}),
        "task is a mapping": message(call(1), headers={"task": {"a": 1}}),
        "unknown task without an id": message(call(1), headers={"task": "no.such", "id": None}),
        "no headers at all": message("null", headers_are={}),
        "older protocol": message(
            json.dumps({"task": TASK, "id": "1", "args": [], "kwargs": []}), headers_are={}
        ),
        "older protocol, task is a list": message(
            json.dumps({"task": ["x"], "id": "1", "args": [], "kwargs": {}}), headers_are={}
        ),
        "type is a number": json.dumps(json.loads(message(call(1))) | {"content-type": 5}),
        "encoding does not exist": message(call(1), encoding="utf-99"),
        **{f"another task: {name}": text for name, text in hostile_to_another_task().items()},
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
    }  # fmt: skip


def hostile_to_another_task() -> dict[str, str]:
    """Headers that Celery uses before or after the task itself, which takes anything."""

    def with_headers(body: str = call(1), **headers: Any) -> str:
        return message(body, headers={"task": OTHER_TASK, "ignore_result": False} | headers)

    return {
        "body is null": with_headers("null"),
        "body is a mapping": with_headers("{}"),
        "body is short": with_headers("[1]"),
        "args and keywords are numbers": with_headers('{"args": 5, "kwargs": 7}'),
        "not finite": with_headers("[[NaN, 1e999], {}, {}]"),
        "nested deeply": with_headers("[" * 200_000),
        "id is a mapping": with_headers(id={"a": 1}),
        "eta is a number": with_headers(eta=5),
        "eta is a list": with_headers(eta=[1]),
        "eta is long ago": with_headers(eta="0001-01-01T00:00:00+14:00"),
        "eta is after all": with_headers(eta="9999-12-31T23:59:59.999999-12:00"),
        "expires is a mapping": with_headers(expires={}),
        "expires is long ago": with_headers(expires="0001-01-01T00:00:00+14:00"),
        "expires is after all": with_headers(expires="9999-12-31T23:59:59-12:00"),
        "timelimit of three": with_headers(timelimit=[1, 2, 3]),
        "timelimit is huge": with_headers(timelimit=[1e300, 1e300]),
        "timelimit is a text": with_headers(timelimit="x"),
        "retries are huge": with_headers(retries=1e300),
        "shadow is a list": with_headers(shadow=["x"]),
        "root_id is a mapping": with_headers(root_id={"a": 1}),
        "parent_id is a list": with_headers(parent_id=[1]),
        "group is a mapping": with_headers(group={"a": 1}),
        "argsrepr is a number": with_headers(argsrepr=5),
        "stamps are numbers": with_headers(stamped_headers=5, stamps=7),
        "stamps are lists": with_headers(stamped_headers=[["x"]], stamps={"x": [{}]}),
        "ignore_result is a list": with_headers(ignore_result=[1]),
        "compressed, but not": with_headers(compression="application/x-gzip"),
        "compressed unknowably": with_headers(compression="nope"),
        "compression is a list": with_headers(compression=["x"]),
        "replaced_task_nesting": with_headers(replaced_task_nesting="x"),
        "origin is a list": with_headers(origin=["x"]),
    }


def unreadable() -> dict[str, bytes | str]:
    """What is no message at all."""
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
        "a delivery tag that is a list": message(call(1), properties={"delivery_tag": ["x"]}),
        "delivery info without a place": message(call(1), properties={"delivery_info": {}}),
        "body is null": message(call(1), body=None),
        "a number that is none, in kombu's JSON": '{"__type__": "decimal", "__value__": "x"}',
        "bytes that are none, in kombu's JSON": '{"__type__": "base64", "__value__": 5}',
    }
