"""A module of handlers that makes a Celery app: jobu goes on with its own and says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.harness.process_helpers import SHORT, insert_job, insert_run, wait_until_final
from tests.harness.system import System, deep_merge

MODULE = """
from celery import Celery, current_app, shared_task
from handlers import BaseHandler, handler

app = Celery("shop", broker="amqp://nobody@127.0.0.1:1//")


@shared_task(name="shop.add")
def add(a: int, b: int) -> int:
    return a + b


@handler("makes_another")
class MakesAnother(BaseHandler):
    async def execute(self, params):
        Celery("at run time")
        return {"current": current_app.main}
"""

TASKS = """
from celery import shared_task


@shared_task(name="mails.send", bind=True)
def send(self, to, subject="", *, copies=1):
    "Sends a mail."
"""


@pytest.mark.processes
def test_beat_and_worker_keep_jobus_app_and_the_log_names_the_module(system: Any, tmp_path: Path):
    package = tmp_path / "shop" / "shop_jobs"
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "shop_mails.py").write_text(TASKS)
    (tmp_path / "shop" / "shop_broken.py").write_text("import no_such_module\n")
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "nightly.py").write_text(MODULE)
    given = {"handler_packages": ["shop_jobs"], "task_modules": ["shop_broken", "shop_mails"]}
    config = deep_merge(SHORT, {"worker": given})
    jobu: System = system(config=config, handler_paths=(package.parent,))

    jobu.manage("migrate", "--verbosity=0")
    assert "no issues" in jobu.manage("check")
    # A command has imported no task: it does when it looks for the first one.
    listed = {
        each["name"]: each
        for each in json.loads(jobu.manage("handlers", "list", "--json"))["items"]
    }
    assert listed["celery:mails.send"] == {
        "name": "celery:mails.send", "description": "Sends a mail.", "module": "shop_mails",
        "databases": [],
        "params": [
            {"name": "to", "required": True},
            {"name": "subject", "required": False},
            {"name": "copies", "required": False},
        ],
    }  # fmt: skip
    insert_job(jobu, "every second", handler_name="makes_another")
    beat, worker = jobu.start_beat(), jobu.start_worker(pool="threads")
    jobu.wait_until(
        lambda: jobu.sql("SELECT id FROM job_executions WHERE status = 'SUCCESS'"), 40, "a success"
    )
    # The app that the handler has made is current on the thread of all handlers by now.
    run = insert_run(jobu, "celery:shop.add", params='{"a": 2, "b": 3}')
    row = wait_until_final(jobu, run, 30)

    assert row["status"] == "SUCCESS", row["error_message"]
    assert "the Celery tasks of shop_broken are missing" in worker.log()
    for part in (beat, worker):
        assert "shop_jobs.nightly makes the Celery app 'shop'" in part.log()
