"""Any Celery task as a handler: `celery:<name>`, its params are the keyword arguments."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from celery.exceptions import Ignore

from handlers import HandlerNotFoundError, get_handler
from handlers.registry import handler_names
from scheduler.states import RunStatus
from scheduler.store.connection import database_now
from tests.harness.scheduler_harness import SchedulerHarness, fresh, outcomes

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def task() -> Iterator[Any]:
    """task(function, **options): a Celery task of this test's own."""
    made: list[str] = []

    def make(function: Any, **options: Any) -> str:
        name = f"shop.{function.__name__}"
        current_app.task(name=name, **options)(function)
        made.append(name)
        assert name in current_app.tasks
        return f"celery:{name}"

    yield make
    for name in made:
        current_app.tasks.pop(name, None)


def run(system: SchedulerHarness, handler_name: str, **values: Any) -> Any:
    row = system.execution(system.job(handler_name=handler_name, **values))
    system.worker.execute(row.pk)
    return fresh(row)


def test_a_task_runs_with_the_params_as_its_arguments(system: SchedulerHarness, task: Any):
    def add(a: int, b: int = 1) -> int:
        return a + b

    row = run(system, task(add), handler_params={"a": 2, "b": 3})
    assert row.status == RunStatus.SUCCESS
    assert row.result == {"action": "shop.add", "data": 5}


def test_a_task_that_raises_fails_and_is_tried_again_by_the_row(
    system: SchedulerHarness, task: Any
):
    def breaks() -> None:
        raise ValueError("no stock")

    row = run(system, task(breaks), max_retry=1)
    assert (row.status, row.error_message) == (RunStatus.PENDING, "ValueError: no stock")
    system.clock.advance(60)
    system.worker.execute(row.pk)
    assert (fresh(row).status, fresh(row).failures) == (RunStatus.FAILED, 2)
    assert outcomes(row) == ["FAILED", "FAILED"]


def test_arguments_that_do_not_fit_are_a_failure_of_the_run(system: SchedulerHarness, task: Any):
    def takes_nothing() -> None: ...

    row = run(system, task(takes_nothing), handler_params={"x": 1}, max_retry=0)
    assert row.status == RunStatus.FAILED
    assert "TypeError" in (row.error_message or "")


def test_a_task_that_retries_itself_waits_in_its_row_for_its_countdown(
    system: SchedulerHarness, task: Any
):
    tries: list[int] = []

    def stubborn(self: Any) -> str:
        tries.append(self.request.retries)
        if len(tries) < 3:
            raise self.retry(countdown=300 * len(tries), max_retries=5)
        return "at last"

    row = run(system, task(stubborn, bind=True))

    waits = []
    while row.status == RunStatus.PENDING:
        waits.append((row.available_at - system.clock.now()).total_seconds())
        system.clock.advance(waits[-1])
        system.worker.execute(row.pk)
        row = fresh(row)
    assert waits == [300, 600]
    assert (row.status, row.attempt, tries) == (RunStatus.SUCCESS, 3, [0, 1, 2])
    assert row.result == {"action": "shop.stubborn", "data": "at last"}


def test_an_automatic_retry_and_a_retry_at_an_instant_wait_as_well(
    system: SchedulerHarness, task: Any
):
    later = database_now() + timedelta(hours=1)

    def fails() -> None:
        raise ConnectionError("no answer")

    def at_an_instant(self: Any) -> None:
        self.retry(eta=later, exc=ValueError("too early"))

    automatic = run(
        system,
        task(fails, autoretry_for=(ConnectionError,), retry_backoff=120, retry_jitter=False),
    )
    planned = run(system, task(at_an_instant, bind=True))

    assert (automatic.available_at - system.clock.now()).total_seconds() == 120
    assert "ConnectionError: no answer" in (automatic.error_message or "")
    assert 3500 < (planned.available_at - system.clock.now()).total_seconds() <= 3600
    assert "ValueError: too early" in (planned.error_message or "")


def test_a_task_that_gives_up_retrying_fails(system: SchedulerHarness, task: Any):
    def never(self: Any) -> None:
        raise self.retry(exc=RuntimeError("still no stock"), countdown=0, max_retries=2)

    row = run(system, task(never, bind=True), max_retry=0)
    assert row.status == RunStatus.FAILED
    assert "still no stock" in (row.error_message or "")


def test_an_ignored_task_says_so(system: SchedulerHarness, task: Any):
    def ignores() -> None:
        raise Ignore("nothing to do")

    row = run(system, task(ignores))
    assert row.status == RunStatus.SUCCESS
    assert row.result["ignored"] == "nothing to do"


def test_a_task_uses_the_database_in_its_own_thread(system: SchedulerHarness, task: Any):
    from scheduler.models import CronJob

    def counts() -> int:
        return CronJob.objects.count()

    assert run(system, task(counts)).result["data"] == 1


def test_unknown_tasks_and_our_own_cannot_be_scheduled(system: SchedulerHarness, task: Any):
    for name in ("celery:no.such.task", "celery:", "celery:scheduler.execute"):
        with pytest.raises(HandlerNotFoundError):
            get_handler(name)
    for name in current_app.tasks:
        if name.startswith(("celery.", "scheduler.")):  # celery.map would run scheduler.execute
            assert f"celery:{name}" not in handler_names()
            with pytest.raises(HandlerNotFoundError):
                get_handler(f"celery:{name}")


def test_a_new_task_is_offered_by_name(task: Any):
    def offered() -> None: ...

    name = task(offered)
    assert name in handler_names()
    with pytest.raises(HandlerNotFoundError, match=r"celery:shop\.offered"):
        get_handler("celery:shop.ofered")
