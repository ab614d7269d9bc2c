"""The call of a Celery task as a handler and its params: positional arguments get their names."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Final

from celery import Task

from handlers import HandlerNotFoundError, get_handler
from scheduler.moving.entries import Finding, Reason, differs, impossible
from scheduler.operations.celery_app import own_app
from scheduler.operations.param_words import no_handler

PREFIX: Final = "celery:"
_MOST_RETRIES: Final = 10
_NAMED: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


def columns_of_call(
    task_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Finding]]:
    """Returns handler_name and handler_params, and what is wrong with them."""
    handler = PREFIX + task_name
    values: dict[str, Any] = {"handler_name": handler, "handler_params": dict(kwargs)}
    try:
        get_handler(handler)
    except HandlerNotFoundError as error:
        return values, [impossible(Reason.REFUSED, problem=no_handler(error))]
    if not args:
        return values, []
    names, takes_any = _positional(own_app().tasks[task_name])
    if takes_any and len(args) > len(names):
        text = "*args has no name, and params of a job have"
        return values, [impossible(Reason.ARGUMENTS, problem=text)]
    if len(args) > len(names):
        text = f"takes {len(names)} positional arguments, {len(args)} are given"
        return values, [impossible(Reason.ARGUMENTS, problem=text)]
    named = dict(zip(names, args, strict=False))
    if twice := sorted(named.keys() & kwargs.keys()):
        text = f"given twice: {', '.join(twice)}"
        return values, [impossible(Reason.ARGUMENTS, problem=text)]
    values["handler_params"] = {**named, **kwargs}
    return values, []


def retries_of(task_name: str, findings: list[Finding]) -> dict[str, Any]:
    """Returns `max_retry`: Celery repeats a task only if the task asks for it.

    A task that is bound may call `self.retry()`, which nobody sees from outside.
    """
    task = own_app().tasks.get(task_name)
    if task is None or not (getattr(task, "autoretry_for", ()) or _is_bound(task)):
        return {"max_retry": 0}
    old = task.max_retries
    new = _MOST_RETRIES if old is None else min(int(old), _MOST_RETRIES)
    if new:
        most = "any number" if old is None else old
        findings.append(differs(Reason.TASK_RETRIES, old=most, new=new))
    return {"max_retry": new}


def _positional(task: Task) -> tuple[list[str], bool]:
    try:
        parameters = inspect.signature(task.run).parameters.values()
    except (TypeError, ValueError):
        return [], True
    takes_any = any(each.kind == inspect.Parameter.VAR_POSITIONAL for each in parameters)
    return [each.name for each in parameters if each.kind in _NAMED], takes_any


def _is_bound(task: Task) -> bool:
    return inspect.ismethod(getattr(task, "run", None)) and "self" in _names_of(task)


def _names_of(task: Task) -> list[str]:
    function = getattr(task.run, "__func__", task.run)
    return list(getattr(function, "__code__", _NO_CODE).co_varnames[:1])


class _NoCode:
    co_varnames: tuple[str, ...] = ()


_NO_CODE: Final = _NoCode()
