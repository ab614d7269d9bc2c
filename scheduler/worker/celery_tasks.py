"""Any Celery task as a handler: `celery:<task name>`. The job's params are its arguments by name.

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
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded
from celery.signals import task_retry
from celery.utils.time import maybe_make_aware

from handlers import HandlerNotFoundError, RetryLaterError, current
from handlers.base import BaseHandler
from handlers.json_safe import text_of
from handlers.registry import add_resolver
from scheduler.operations.celery_app import own_app
from scheduler.store.connection import database_now
from scheduler.worker import task_modules, task_params
from scheduler.worker.soft_limit import limit_body, soft_limit_of

PREFIX = "celery:"


def install() -> None:
    """Make the registry of handlers find `celery:` names."""
    add_resolver(PREFIX, resolve, names)


def names() -> Iterable[str]:
    return [PREFIX + name for name in _own_tasks().tasks if _is_of_the_project(name)]


def resolve(handler_name: str) -> type[BaseHandler] | None:
    """A handler class for the task. None: the project has no such task.

    Raises HandlerNotFoundError if the task may be in a module that cannot be imported.
    """
    name = handler_name.removeprefix(PREFIX)
    task = _own_tasks().tasks.get(name)
    if task is None or not _is_of_the_project(name):
        broken = task_modules.broken()
        if broken and name and _is_of_the_project(name):
            raise HandlerNotFoundError(handler_name, broken_modules=broken)
        return None
    return _handler_for(task)


def _own_tasks() -> Celery:
    app = own_app()
    task_modules.load(app)
    return app


def _is_of_the_project(task_name: str) -> bool:
    """Whether a task is the project's own. Celery's and jobu's are no handlers: `celery.map`, for
    one, runs any other task, and `scheduler.work` is a wake-up.
    """
    return not task_name.startswith(("celery.", "scheduler."))


@lru_cache(maxsize=1024)
def _handler_for(task: Task) -> type[BaseHandler]:
    class CeleryTaskHandler(BaseHandler):
        handler_name = PREFIX + task.name
        description = _first_line(task.__doc__) or f"Celery task {task.name}"
        params_model = task_params.params_model(task)
        takes_dict = True

        def execute(self, params: dict[str, Any]) -> dict[str, Any]:
            return _run(task, params)

    _end_when_replaced(type(task))
    if task.soft_time_limit:
        limit_body(task)
    # `handlers list` shows where the task is.
    CeleryTaskHandler.__module__ = type(task).__module__
    return CeleryTaskHandler


def _first_line(text: str | None) -> str:
    # A task without a docstring inherits that of Celery's class.
    return "" if text in (None, Task.__doc__) else text.strip().partition("\n")[0].strip()


def _run(task: Task, params: dict[str, Any]) -> dict[str, Any]:
    args, kwargs = task_params.as_call(task, params)
    try:
        # Eager: in this thread and with its own request, which counts the attempts of the run.
        _retry_asked.value = None
        with soft_limit_of(task):
            outcome = task.apply(args, kwargs, throw=False, retries=current().attempt - 1)
        if _retry_asked.value is not None:
            raise _retry_later(_retry_asked.value)
        value = outcome.result
        if isinstance(value, _Replaced):
            return {"action": task.name, "data": value.value}
        if isinstance(value, Ignore | Reject):
            return {"action": task.name, "ignored": str(value)}
        if outcome.failed():
            if isinstance(value, SoftTimeLimitExceeded) and not value.args:
                value.args = (task.soft_time_limit,)
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


class _Replaced(Ignore):  # type: ignore[misc]
    """The task has replaced itself by another one, which has returned `value` in this run."""

    def __init__(self, value: Any) -> None:
        self.value = value
        super().__init__()


def _end_when_replaced(cls: type[Task]) -> None:
    """Makes `raise self.replace(...)` end the task in a run, as it does in a worker of Celery.

    An eager task receives the value of the other one instead, and cannot raise that.
    """
    original = cls.replace

    def replace(self: Task, sig: Any) -> Any:
        if not (self.request.is_eager and _is_run()):
            return original(self, sig)
        raise _Replaced(original(self, sig))

    cls.replace = replace


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
