"""Tasks as a shop writes them."""

from __future__ import annotations

import asyncio
import threading
from importlib import import_module
from typing import Any

from django.contrib.auth.models import Group

from scheduler.django_tasks import run_with
from scheduler.django_tasks.compat import FRAMEWORK

task = import_module(FRAMEWORK).task

ran: list[Any] = []


class NoStockError(Exception):
    pass


@task
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    ran.append(("add", a, b, threading.current_thread().name))
    return a + b


@task
async def add_async(a: int, b: int = 1) -> int:
    await asyncio.sleep(0)
    ran.append(("add_async", a, b, threading.current_thread().name))
    return a + b


@task(takes_context=True)
def tell(context: Any, word: str, fail_first: bool = False) -> list[Any]:
    result = context.task_result
    if fail_first and context.attempt == 1:
        raise NoStockError
    return [word, context.attempt, result.id, result.status, len(result.errors), result.worker_ids]


@task(takes_context=True)
async def tell_async(context: Any, word: str, fail_first: bool = False) -> list[Any]:
    result = context.task_result
    if fail_first and context.attempt == 1:
        raise NoStockError
    return [word, context.attempt, result.id, result.status, len(result.errors), result.worker_ids]


@task
@run_with(max_retry=1, timeout_seconds=60)
def fails(text: str) -> None:
    raise NoStockError(text)


@run_with(max_retry=2)
@task(priority=42, queue_name="mails")
def mail() -> None:
    pass


@task
@run_with(overlap_key="order {order_id}")
def ship(order_id: int, part: str = "all") -> None:
    ran.append((order_id, part))


@task
@run_with(overlap_key="order {order}")
def ship_nothing(order_id: int) -> None:
    pass


@task
async def counts_groups() -> int:
    await Group.objects.acreate(name="made by a task")
    return await Group.objects.acount()


@task
def returns(kind: str) -> Any:
    values: dict[str, Any] = {
        "a function": ran.append,
        "NaN": float("nan"),
        "NUL": "a\x00",
        "too much": "x" * 70_000,
        "tuple": (1, (2, "three")),
        "none": None,
    }
    return values[kind]


class Mails:
    @task
    def send() -> str:
        return "sent"


def _named_otherwise() -> None:
    pass


another_name = task(_named_otherwise)


def not_a_task(order_id: int) -> None:
    ran.append(("not a task", order_id))
