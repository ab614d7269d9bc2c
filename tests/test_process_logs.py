"""Parses every JSON log line of real beats, workers and web servers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SystemFactory
from tests.harness.process_helpers import insert_run, wait_until_final
from tests.harness.system import System

JSON = {"JOBU_LOG_STYLE": "json", "CELERY_QUIET": "1"}
HANDLER = """
import asyncio, logging, warnings
from handlers import BaseHandler, handler

logger = logging.getLogger("shop")

@handler("chatty")
class Chatty(BaseHandler):
    async def execute(self, params):
        logger.info("from the loop\\n\\x1b[31m")
        await asyncio.to_thread(logger.warning, "from a thread")
        warnings.warn("old way")
        try:
            1 / 0
        except ZeroDivisionError:
            logger.exception("it broke", extra={"shop": 7})
        raise RuntimeError("told to fail")

@handler("chatty_plain")
class ChattyPlain(BaseHandler):
    def execute(self, params):
        logger.info("from a plain one")
"""

Line = dict[str, Any]


def parsed(text: str) -> list[Line]:
    """Parses all lines, and checks that each is an object with the four keys."""
    # Celery prints this to standard output without logging; the log is on standard error.
    text = text.replace("\nworker: Warm shutdown (MainProcess)\n", "")
    assert [line for line in text.splitlines() if not line.startswith("{")] == []
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        assert line.keys() >= {"timestamp", "level", "name", "message"}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line["timestamp"])
        assert line["level"] in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    return lines


def chatty_system(system: SystemFactory, tmp_path: Path) -> System:
    package = tmp_path / "shop_handlers"
    package.mkdir()
    (package / "__init__.py").write_text(HANDLER, encoding="utf-8")
    jobu = system(
        config={"worker": {"handler_packages": ["shop_handlers"]}},
        handler_paths=(tmp_path,),
        environment=JSON,
    )
    jobu.migrate()
    return jobu


@pytest.mark.processes
@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_every_log_line_of_beat_and_worker_is_json_and_names_its_run(
    system: SystemFactory, tmp_path: Path, pool: str
):
    jobu = chatty_system(system, tmp_path)
    number = insert_run(jobu, "chatty", max_retry=0)
    plain = insert_run(jobu, "chatty_plain", scheduled_time="2026-01-01 00:00:00.000002")

    beat, worker = jobu.start_beat(), jobu.start_worker(pool=pool, concurrency=1)
    wait_until_final(jobu, number, 60)
    wait_until_final(jobu, plain, 60)
    # Until beat has set its own handlers of signals: Celery's begin one more scheduler.
    jobu.wait_until(
        lambda: jobu.sql("SELECT id FROM scheduler_process WHERE kind = 'beat'"), 60, "a beat"
    )
    for part in (beat, worker):
        part.terminate()
        part.wait(40)

    assert parsed(beat.log())
    lines = parsed(worker.log())
    assert [line for line in lines if line["name"].startswith("celery")]
    by_handler = [line for line in lines if line["name"] in ("shop", "py.warnings")]
    of_run = [line for line in by_handler if line.get("execution_id") == number]
    assert len(of_run) == 4
    for line in of_run:
        assert line["job_id"] is None
        assert line["attempt"] == 1
        assert "worker" in line["worker"]
    messages = [line["message"] for line in of_run]
    assert messages[:2] == ["from the loop\n\x1b[31m", "from a thread"]
    assert "old way" in messages[2]
    assert "ZeroDivisionError" in of_run[3]["exc_info"]
    assert of_run[3]["shop"] == 7
    (of_plain,) = [line for line in by_handler if line.get("execution_id") == plain]
    assert of_plain["message"] == "from a plain one"
    (claimed,) = [
        line for line in lines
        if line.get("event") == "execution.claimed" and line.get("execution_id") == number
    ]  # fmt: skip
    assert claimed.keys() >= {"job_id", "execution_id", "attempt", "worker"}
    # A line that belongs to no run has no keys of a run.
    assert [line for line in lines if "execution_id" not in line]


@pytest.mark.processes
def test_every_log_line_of_the_launcher_web_and_flower_is_json(tmp_path: Path):
    from tests.test_script_server import Server

    server = Server(tmp_path)
    try:
        server.start("web", "flower", JOBU_LOG_STYLE="json", JOBU_ADMIN_PASSWORD="a long password")
        server.wait_until_running()
        server.stop()
        # Skip the first lines: the shell script prints them before the launcher starts.
        lines = parsed(server.log[server.log.index("{") :])
    finally:
        server.close()

    names = {line["name"] for line in lines}
    assert names >= {"jobu", "gunicorn.error"}
    assert any(name.startswith("flower") for name in names)
    assert not any("a long password" in line["message"] for line in lines)
