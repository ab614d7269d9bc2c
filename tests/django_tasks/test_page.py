"""docs/django-tasks.md: its settings pass the check, its tasks are called, its command is run."""

from __future__ import annotations

import shlex
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from scheduler.django_tasks.compat import FRAMEWORK, task_backends
from scheduler.models import CronJob, JobExecution
from tests.django_tasks.conftest import SetApps
from tests.test_docs import blocks_of, commands_of

PAGE = "django-tasks.md"


@pytest.fixture
def shop(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch, set_apps: SetApps) -> Any:
    """The tasks of the page, in an app that is installed with the settings of the page."""
    configured, tasks = [block.text for block in blocks_of(PAGE) if block.language == "python"][:2]
    given: dict[str, Any] = {}
    exec(configured, given)
    settings.TASKS = given["TASKS"]
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    tasks = tasks.replace("from django.tasks import", f"from {FRAMEWORK} import")
    (tmp_path / "shop" / "tasks.py").write_text(tasks, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    set_apps([*settings.INSTALLED_APPS, "shop"])
    yield
    for name in ("shop", "shop.tasks"):
        sys.modules.pop(name, None)


@pytest.mark.django_db
def test_the_page_works_as_it_is_written(shop: Any):
    assert task_backends["default"].check() == []
    (command,) = commands_of(PAGE)
    call_command(*shlex.split(command)[2:], "--json")
    assert CronJob.objects.get().handler_params == {"args": [1], "kwargs": {"b": 2}}

    tasks = import_module("shop.tasks")
    tasks.add.enqueue(1)
    tasks.confirm.enqueue(7)
    found = JobExecution.objects.order_by("id").values_list(
        "queue", "priority", "max_retry", "timeout_seconds"
    )
    assert list(found) == [("", 0, 2, 600), ("mails", 5, 5, 60)]
