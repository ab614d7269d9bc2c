"""A call of a task: what is stored of it in the params of its execution, and read again.

    {"args": [7], "kwargs": {"urgent": true}, "task": {"backend": "default", "priority": 42}}

`task` keeps what was asked for: the execution itself has a priority from 0 to 9 and the name of a
queue of the broker. What is missing there has the default of the framework, not of the task, whose
defaults may change in the code.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ConfigDict, StrictInt, StrictStr

from handlers.errors import InvalidParamsError
from handlers.params import checked_mapping
from scheduler.django_tasks.compat import (
    DEFAULT_TASK_PRIORITY,
    DEFAULT_TASK_QUEUE_NAME,
    Task,
)


class AskedFor(BaseModel):
    """What the caller asked for with the task."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    backend: StrictStr | None = None
    priority: StrictInt = DEFAULT_TASK_PRIORITY
    queue_name: StrictStr = DEFAULT_TASK_QUEUE_NAME
    run_after: datetime | None = None
    overlap_key: StrictStr | None = None


class CallParams(BaseModel):
    """The params of an execution that runs a task."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    task: AskedFor = AskedFor()


def params_of(
    task: Task[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    backend: str,
    overlap_key: str | None = None,
) -> dict[str, Any]:
    """Returns the params of a call whose arguments are JSON.

    Raises ValueError for what not every job database stores as it is: NaN, NUL, too much, too deep.
    """
    asked = AskedFor(
        backend=backend,
        priority=int(task.priority),
        queue_name=task.queue_name,
        run_after=task.run_after,
        overlap_key=overlap_key,
    )
    params = {
        "args": list(args),
        "kwargs": dict(kwargs),
        "task": asked.model_dump(mode="json", exclude_defaults=True),
    }
    try:
        return checked_mapping(params)
    except InvalidParamsError as error:
        problems = "; ".join(f"{each.loc} {each.message}".strip() for each in error.errors)
        raise ValueError(f"Arguments that cannot be stored: {problems}") from None


def bind(task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments by their names, with the defaults.

    Raises TypeError, as the call would, if they do not fit the signature.
    """
    context = [None] if task.takes_context else []
    try:
        bound = _signature(task.func).bind(*context, *args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{task.module_path}(): {error}") from None
    bound.apply_defaults()
    return bound.arguments


@lru_cache(maxsize=1024)
def _signature(function: Any) -> inspect.Signature:
    return inspect.signature(function)


def as_called(task: Task[..., Any], asked: AskedFor) -> Task[..., Any]:
    """Returns the task as it was when it was called.

    Unlike `Task.using` it asks no backend: a queue that TASKS no longer names must not keep anybody
    from reading a result, nor a worker from running the call.
    """
    changed = {
        "priority": asked.priority,
        "queue_name": asked.queue_name,
        "run_after": asked.run_after,
        "backend": asked.backend or task.backend,
    }
    called: Task[..., Any] = object.__new__(type(task))
    for field in fields(task):
        value = changed.get(field.name, getattr(task, field.name))
        object.__setattr__(called, field.name, value)
    return called


def priority_of_run(priority: int) -> int:
    """Maps -100..100 to the 0..9 of an execution: 0 and below are 0, 1..100 are 1..9."""
    return 0 if priority <= 0 else math.ceil(priority * 9 / 100)


def queue_of_run(queue_name: str) -> str:
    """The queue of the broker. The framework's default queue is Celery's."""
    return "" if queue_name == DEFAULT_TASK_QUEUE_NAME else queue_name
