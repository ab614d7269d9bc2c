"""What is logged: one line per event, for machines or for people, and no secrets."""

from __future__ import annotations

import ast
import json
import logging
import re
import string
import sys
from typing import Any

import pytest

from handlers import BaseHandler, HandlerParams
from jobu_project.config import LoggingConfig
from jobu_project.logs import (
    ConsoleFormatter,
    JsonLineFormatter,
    RunFilter,
    dict_config,
    style_of,
)
from scheduler.events import EVENTS, emit, lines_of_run
from tests.harness.scheduler_harness import SchedulerHarness, fresh
from tests.harness.system import ROOT

SECRET = "hunter2-s3cr3t"


def record(message: str, level: int = logging.INFO, **extra: Any) -> logging.LogRecord:
    made = logging.getLogger("worker").makeRecord(
        "worker", level, __file__, 1, message, (), None, extra=extra
    )
    made.created, made.msecs = 1736503200.0, 0.0  # 2025-01-10T10:00:00Z
    return made


def test_a_json_line_has_the_agreed_shape():
    line = JsonLineFormatter().format(record("Job started", job_id=123))
    assert json.loads(line) == {
        "timestamp": "2025-01-10T10:00:00Z",
        "level": "INFO",
        "name": "worker",
        "job_id": 123,
        "message": "Job started",
    }


@pytest.mark.parametrize(
    "text", ["two\nlines", "\x1b[31mred", "\x00", '"quoted" \\', "한국어", "\u2028", "{braces} %s"]
)
def test_a_json_line_is_one_line_whatever_it_says(text: str):
    line = JsonLineFormatter().format(record(text, job=text))
    assert "\n" not in line
    assert json.loads(line)["message"] == json.loads(line)["job"] == text


def test_a_console_line_shows_time_level_and_name():
    line = ConsoleFormatter().format(record("Job started"))
    assert line == "10:00:00.000 INFO    worker: Job started"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines", "two\\nlines"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("fake\r10:00:00 ERROR", "fake\\r10:00:00 ERROR"),
        ("\x00\x07\x9b", "\\x00\\x07\\x9b"),
        ("left\u202eright", "left\\u202eright"),
        ("한국어 ok", "한국어 ok"),
    ],
)
def test_control_characters_are_escaped_on_the_console(text: str, shown: str):
    assert ConsoleFormatter().format(record(text)).endswith(f": {shown}")


def test_a_traceback_on_the_console_keeps_its_lines_but_no_escape_sequences():
    try:
        raise RuntimeError("\x1b[2J gone\x07")
    except RuntimeError:
        made = record("it failed")
        made.exc_info = sys.exc_info()
    line = ConsoleFormatter().format(made)
    assert line.count("\n") >= 3
    assert all(char.isprintable() or char == "\n" for char in line)
    assert "\\x1b[2J gone" in line


def test_quiet_third_parties_and_chosen_levels():
    made = dict_config(LoggingConfig(style="json", level="DEBUG", loggers={"kombu": "DEBUG"}))
    assert made["root"]["level"] == "DEBUG"
    assert made["handlers"]["out"]["formatter"] == "json"
    assert made["loggers"]["kombu"]["level"] == "DEBUG"
    assert made["loggers"]["asyncio"]["level"] == "WARNING"


@pytest.mark.parametrize(
    ("style", "is_terminal", "chosen"),
    [
        ("auto", True, "console"),
        ("auto", False, "json"),
        ("console", False, "console"),
        ("json", True, "json"),
    ],
)
def test_the_style_is_as_configured_or_as_the_output_suggests(
    style: Any, is_terminal: bool, chosen: str
):
    assert style_of(LoggingConfig(style=style), is_terminal=is_terminal) == chosen


def test_lines_of_a_run_say_which_run_it_is_and_others_do_not():
    plain = record("outside")
    RunFilter().filter(plain)
    with lines_of_run(execution_id=7, job_id=3, attempt=2, worker="w1"):
        inside = record("inside")
        RunFilter().filter(inside)
        own = record("own", attempt=9)
        RunFilter().filter(own)

    assert "execution_id" not in json.loads(JsonLineFormatter().format(plain))
    line = json.loads(JsonLineFormatter().format(inside))
    assert {k: line[k] for k in ("execution_id", "job_id", "attempt", "worker")} == {
        "execution_id": 7,
        "job_id": 3,
        "attempt": 2,
        "worker": "w1",
    }
    assert line.keys() == {
        "timestamp", "level", "name", "message", "execution_id", "job_id", "attempt", "worker"
    }  # fmt: skip
    assert json.loads(JsonLineFormatter().format(own))["attempt"] == 9
    assert ConsoleFormatter().format(plain).endswith("worker: outside")
    assert ConsoleFormatter().format(inside).endswith("inside [execution 7, attempt 2]")


def test_an_exception_in_json_is_a_field_of_the_one_line():
    try:
        raise RuntimeError("two\nlines")
    except RuntimeError:
        made = record("it failed")
        made.exc_info = sys.exc_info()
    line = JsonLineFormatter().format(made)
    assert "\n" not in line
    assert "RuntimeError: two\nlines" in json.loads(line)["exc_info"]


@pytest.mark.django_db(transaction=True)
def test_a_held_execution_is_logged_once_and_then_only_at_debug_level(
    system: SchedulerHarness, caplog: pytest.LogCaptureFixture
):
    job = system.job(overlap_policy="queue_one")
    running = system.execution(job)
    waiting = system.execution(job)
    system.claim(running)
    with caplog.at_level(logging.DEBUG, logger="scheduler"):
        for _ in range(3):
            system.worker.execute(waiting.pk)
            system.clock.advance(61)
    levels = [r.levelname for r in caplog.records if "waits behind" in r.getMessage()]
    assert levels == ["INFO", "DEBUG", "DEBUG"]


# --- events ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", list(EVENTS))
def test_every_event_can_be_logged_in_both_formats(event: str, caplog: pytest.LogCaptureFixture):
    _, template = EVENTS[event]
    names = {name for _, name, _, _ in string.Formatter().parse(template) if name}
    numbers = {name for _, name, spec, _ in string.Formatter().parse(template) if name and spec}
    fields: dict[str, Any] = {name: 1.5 if name in numbers else "x{y}%s" for name in names}
    with caplog.at_level(logging.DEBUG, logger="scheduler"):
        emit(event, **fields)
    (made,) = caplog.records
    assert made.__dict__["event"] == event
    assert "x{y}%s" in made.getMessage() or numbers == names
    assert json.loads(JsonLineFormatter().format(made))["event"] == event
    assert ConsoleFormatter().format(made)


def test_every_event_is_emitted_somewhere():
    emitted = set()
    for path in (ROOT / "scheduler").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "emit":
                event = node.args[0]
                names = [event.body, event.orelse] if isinstance(event, ast.IfExp) else [event]
                emitted |= {ast.literal_eval(name) for name in names}
    assert emitted == set(EVENTS)


def test_an_unknown_event_is_a_programming_mistake():
    with pytest.raises(KeyError):
        emit("no.such.event")


# --- secrets --------------------------------------------------------------------------------------


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", ["raises", "quotes", "invalid", "reports", "times-out"])
def test_no_value_of_a_parameter_is_seen_in_the_log_of_a_failing_run(
    way: str, system: SchedulerHarness, caplog: pytest.LogCaptureFixture
):
    class Params(HandlerParams):
        password: str
        number: int = 0

    async def execute(self: BaseHandler, params: Params) -> Any:
        if way == "raises":
            raise KeyError("no such account")
        if way == "quotes":
            raise ValueError(f"login with {params.password} was refused")
        if way == "reports":
            return {"success": False, "error": f"refused: {params.password}"}
        import asyncio

        await asyncio.Event().wait()
        return None

    system.handler("login", execute, params=Params)
    params: dict[str, Any] = {"password": SECRET}
    if way == "invalid":
        params["number"] = SECRET
    job = system.job(handler_name="login", handler_params=params, max_retry=1, timeout_seconds=1)
    row = system.execution(job, timeout_seconds=1)
    with caplog.at_level(logging.DEBUG):
        system.tick()
        system.deliver()
        system.clock.advance(60)
        system.worker.execute(row.pk)
    assert fresh(row).failures >= 1
    logged = "\n".join(
        JsonLineFormatter().format(r) for r in caplog.records if r.name != "django.db.backends"
    )
    assert re.search(r"ended|try again", logged)
    assert SECRET not in logged


def test_a_module_of_handlers_that_cannot_be_imported_is_logged_and_stops_no_other(
    caplog: pytest.LogCaptureFixture, settings: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
):

    from django.apps import apps

    package = tmp_path / "broken_handlers"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "bad.py").write_text("import no_such_module_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    settings.JOBU = settings.JOBU.model_copy(
        update={"handler_packages": ("broken_handlers", "handlers.samples")}
    )
    with caplog.at_level(logging.ERROR):
        apps.get_app_config("scheduler").ready()
    assert "handler module broken_handlers.bad cannot be imported" in caplog.text
