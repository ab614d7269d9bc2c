"""Any Celery task as a handler: `celery:<task name>`. The job's params are the task's kwargs.

The body of the task runs inside the execution, which has its row, timeout, retries and history like
any other. It runs in a thread, like handlers with a plain `def execute`. Django's connections are
checked before it and closed after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from celery import Celery, Task, current_app
from celery.exceptions import Ignore, Reject
from django.db import close_old_connections, connections

from handlers.base import BaseHandler
from handlers.registry import add_resolver

PREFIX = "celery:"


def install() -> None:
    """Make the registry of handlers find `celery:` names."""
    add_resolver(PREFIX, resolve, names)


def names() -> Iterable[str]:
    return [
        PREFIX + name
        for name in current_app.tasks
        if not name.startswith(("celery.", "scheduler."))
    ]


def resolve(handler_name: str) -> type[BaseHandler] | None:
    """A handler class for the task. None: no such task is registered in this process."""
    task = current_app.tasks.get(handler_name.removeprefix(PREFIX))
    if task is None or task.name.startswith("scheduler."):
        return None
    return _handler_for(current_app._get_current_object(), task.name)


@lru_cache(maxsize=1024)
def _handler_for(app: Celery, task_name: str) -> type[BaseHandler]:
    class CeleryTaskHandler(BaseHandler):
        handler_name = PREFIX + task_name
        description = f"Celery task {task_name}"
        takes_dict = True

        def execute(self, params: dict[str, Any]) -> dict[str, Any]:
            return _run(app.tasks[task_name], params)

    return CeleryTaskHandler


def _run(task: Task, kwargs: dict[str, Any]) -> dict[str, Any]:
    close_old_connections()
    try:
        # Eager: in this thread and with its own request. self.retry() runs it again here.
        outcome = task.apply(kwargs=kwargs, throw=False)
        value = outcome.result
        if isinstance(value, Ignore | Reject):
            return {"action": task.name, "ignored": str(value)}
        if outcome.failed():
            raise value
        return {"action": task.name, "data": value}
    finally:
        # This thread ends with the run. Its connections must not stay open.
        connections.close_all()
