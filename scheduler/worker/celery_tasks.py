"""Any Celery task as a handler: `celery:<task name>`. The job's params are the task's kwargs.

The body of the task runs inside the execution, which has its row, timeout, retries and history like
any other. It runs in a thread, like handlers with a plain `def execute`, whose connections of
Django are closed after it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any

from celery import Celery, Task
from celery.exceptions import Ignore, Reject, Retry
from celery.signals import task_retry
from celery.utils.time import maybe_make_aware

from handlers import RetryLaterError, current
from handlers.base import BaseHandler
from handlers.json_safe import text_of
from handlers.registry import add_resolver
from scheduler.operations.celery_app import own_app
from scheduler.store.connection import database_now

PREFIX = "celery:"


def install() -> None:
    """Make the registry of handlers find `celery:` names."""
    add_resolver(PREFIX, resolve, names)


def names() -> Iterable[str]:
    return [PREFIX + name for name in own_app().tasks if _is_of_the_project(name)]


def resolve(handler_name: str) -> type[BaseHandler] | None:
    """A handler class for the task. None: no such task is registered in this process."""
    app = own_app()
    task = app.tasks.get(handler_name.removeprefix(PREFIX))
    if task is None or not _is_of_the_project(task.name):
        return None
    return _handler_for(app, task.name)


def _is_of_the_project(task_name: str) -> bool:
    """Whether a task is the project's own. Celery's and jobu's are no handlers: `celery.map`, for
    one, runs any other task, and `scheduler.execute` any run.
    """
    return not task_name.startswith(("celery.", "scheduler."))


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
    try:
        # Eager: in this thread and with its own request, which counts the attempts of the run.
        _retry_asked.value = None
        outcome = task.apply(kwargs=kwargs, throw=False, retries=current().attempt - 1)
        if _retry_asked.value is not None:
            raise _retry_later(_retry_asked.value)
        value = outcome.result
        if isinstance(value, Ignore | Reject):
            return {"action": task.name, "ignored": str(value)}
        if outcome.failed():
            raise value
        return {"action": task.name, "data": value}
    finally:
        _retry_asked.value = None


class _RetryAsked(threading.local):
    """The retry that the task of this thread has asked for."""

    value: Retry | None = None


_retry_asked = _RetryAsked()


@task_retry.connect  # type: ignore[untyped-decorator]
def _keep_retry(request: Any = None, reason: Any = None, **_: Any) -> None:
    """`self.retry()` ends the attempt, and the run waits in its row.

    Without a signature in its exception, an eager task would run again at once, in this thread.
    """
    if getattr(request, "is_eager", False) and isinstance(reason, Retry) and _is_run():
        reason.sig = None
        _retry_asked.value = reason


def _is_run() -> bool:
    try:
        current()
    except RuntimeError:
        return False
    return True


def _retry_later(retry: Retry) -> RetryLaterError:
    # `when` is a countdown in seconds or an instant. Celery fills in the task's default.
    when = retry.when
    if isinstance(when, datetime):
        seconds = (maybe_make_aware(when) - database_now()).total_seconds()
    else:
        seconds = float(when or 0)
    text, cause = "the task asked for a retry", retry.exc
    if isinstance(cause, BaseException):
        text += f": {type(cause).__name__}: {text_of(cause)}"
    error = RetryLaterError(text, seconds=seconds)
    error.__cause__ = cause if isinstance(cause, BaseException) else None
    return error
