"""The signals of the framework. A receiver that raises is logged by Django and changes no run."""

from __future__ import annotations

from typing import Any

from django.dispatch import Signal

from scheduler.django_tasks.compat import (
    FRAMEWORK,
    TaskResult,
    task_backends,
    task_enqueued,
    task_finished,
    task_started,
)
from scheduler.limits import without_limits


def enqueued(result: TaskResult[Any]) -> None:
    """In the caller's transaction. A receiver that raises stops the caller, as in Django's own."""
    task_enqueued.send(_sender(result), task_result=result)


def started(result: TaskResult[Any]) -> None:
    """In the thread of a task that is a plain function."""
    task_started.send_robust(_sender(result), task_result=result)


async def started_async(result: TaskResult[Any]) -> None:
    """On the loop. Receivers of the shop run in a thread, because they may use the ORM."""
    sender = _sender(result)
    if _has_receivers_of_the_shop(task_started, sender):
        await task_started.asend_robust(sender, task_result=result)
    else:
        task_started.send_robust(sender, task_result=result)


def finished(result: TaskResult[Any]) -> None:
    """In a worker's thread, after the commit."""
    sender = _sender(result)
    if not _has_receivers_of_the_shop(task_finished, sender):
        task_finished.send_robust(sender, task_result=result)
        return
    # The limits of our own statements are not for the shop's.
    with without_limits():
        task_finished.send_robust(sender, task_result=result)


def _sender(result: TaskResult[Any]) -> type[Any]:
    return type(task_backends[result.backend])


def _has_receivers_of_the_shop(signal: Signal, sender: type[Any]) -> bool:
    """Whether there are receivers beside the framework's own, which only log."""
    receivers, async_receivers = signal._live_receivers(sender)
    return bool(async_receivers) or any(
        getattr(receiver, "__module__", "") != f"{FRAMEWORK}.signals" for receiver in receivers
    )
