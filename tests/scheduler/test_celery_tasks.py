"""Any Celery task as a handler: `celery:<name>`, its params are the keyword arguments."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, Task, chain, current_app
from celery.exceptions import Ignore, SoftTimeLimitExceeded
from celery.signals import before_task_publish, task_prerun
from pydantic import BaseModel

from handlers import HandlerNotFoundError, get_handler
from handlers.registry import handler_names
from handlers.validation import json_schema
from scheduler.models import CronJob, JobAttempt
from scheduler.operations.control import Control, InvalidJob
from scheduler.states import RunStatus
from scheduler.store.connection import database_now
from scheduler.worker import task_modules
from tests.harness.scheduler_harness import SchedulerHarness, fresh, outcomes

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def task() -> Iterator[Any]:
    """task(function, **options): a Celery task of this test's own."""
    made: list[str] = []

    def make(function: Any, **options: Any) -> str:
        name = f"shop.{function.__name__}"
        # Not shared: other apps of this process, which tests make later, would get it as well.
        current_app.task(name=name, shared=False, **options)(function)
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


def test_params_are_bound_to_the_signature_when_a_job_is_saved(system: SchedulerHarness, task: Any):
    def mail(self: Any, to: str, _copies: int = 1, *ignored: str) -> None: ...

    name = task(mail, bind=True)
    system.job(handler_name=name, handler_params={"to": "a", "_copies": 2})

    for params, problem in (
        ({}, "to: Field required"),
        ({"to": "a", "self": 1}, "self: Extra inputs are not permitted"),
        ({"to": "a", "_copie": 2}, "(did you mean '_copies'?)"),
    ):
        with pytest.raises(InvalidJob, match=re.escape(problem)):
            Control().create_job(
                name="j", cron_expression="@daily", handler_name=name, handler_params=params
            )


def test_params_that_do_not_fit_any_more_are_a_failure_of_the_run(
    system: SchedulerHarness, task: Any
):
    def takes_nothing() -> None: ...

    job = system.job(handler_name=task(takes_nothing))
    CronJob.objects.filter(pk=job.pk).update(handler_params={"x": 1})
    row = system.execution(job, params={"x": 1})
    system.worker.execute(row.pk)

    assert fresh(row).status == RunStatus.FAILED
    assert "x: Extra inputs are not permitted" in (fresh(row).error_message or "")


def test_signatures_of_every_kind_are_called_as_they_want(system: SchedulerHarness, task: Any):
    def every(first: int, second: int = 2, /, third: int = 3, *more: int, json: str, **rest: Any):
        return [first, second, third, more, json, rest]

    name = task(every)

    given = {"first": 1, "json": "j", "p0": "kept"}
    assert run(system, name, handler_params=given).result["data"] == [
        1, 2, 3, [], "j", {"p0": "kept"},
    ]  # fmt: skip
    schema = json_schema(get_handler(name))
    assert schema["required"] == ["first", "json"]
    assert schema["properties"]["third"] == {"default": 3, "title": "third", "type": "integer"}


class Order(BaseModel):
    number: int


def test_a_task_of_pydantic_is_checked_by_its_models(system: SchedulerHarness, task: Any):
    def ship(order: Order, note: Order | None = None) -> Order:
        return Order(number=order.number + 1)

    name = task(ship, pydantic=True)

    assert run(system, name, handler_params={"order": {"number": 1}}).result["data"] == {
        "number": 2
    }
    with pytest.raises(InvalidJob, match=re.escape("order.number: Input should be a valid int")):
        system.control.create_job(
            name="j",
            cron_expression="@daily",
            handler_name=name,
            handler_params={"order": {"number": "x"}},
        )


def test_the_traceback_of_a_task_is_kept(system: SchedulerHarness, task: Any):
    def breaks_in_the_middle() -> None:
        raise LookupError("no such shop")

    row = run(system, task(breaks_in_the_middle), max_retry=0)

    attempt = JobAttempt.objects.get(execution=row)
    assert "in breaks_in_the_middle" in attempt.traceback
    assert "LookupError: no such shop" in attempt.traceback


@pytest.mark.database("sqlite")  # three seconds in which nothing touches a row
def test_the_soft_limit_of_a_task_is_raised_inside_it(system: SchedulerHarness, task: Any):
    def spins() -> None:
        while True:
            pass

    def cleans_up() -> str:
        try:
            spins()
        except SoftTimeLimitExceeded:
            return "cleaned"
        return "never"

    ended = run(system, task(spins, soft_time_limit=0.05), max_retry=0)
    cleaned = run(system, task(cleans_up, soft_time_limit=0.05))

    assert ended.status == RunStatus.FAILED
    assert ended.error_message == "SoftTimeLimitExceeded: SoftTimeLimitExceeded(0.05,)"
    assert cleaned.result["data"] == "cleaned"


def test_the_soft_limit_begins_with_the_body_of_a_task(system: SchedulerHarness, task: Any):
    struck: list[str] = []

    def spin(where: str, seconds: float) -> str:
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                pass
        except SoftTimeLimitExceeded:
            struck.append(where)
            raise
        return "never"

    class Careful(Task):  # type: ignore[misc]
        def before_start(self, *_: Any) -> None:
            spin("before_start", 0.1)

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return super().__call__(*args, **kwargs)

    def slow(self: Any) -> str:
        return spin(self.name, 20)

    def tried_again(self: Any) -> str:
        return spin(self.name, 20)

    def prepare(**_: Any) -> None:
        spin("receiver of task_prerun", 0.1)

    names = [
        task(slow, bind=True, soft_time_limit=0.05, base=Careful),
        task(tried_again, bind=True, soft_time_limit=0.05, autoretry_for=(Exception,)),
    ]
    task_prerun.connect(prepare)
    try:
        rows = [run(system, name, max_retry=1) for name in names]
    finally:
        task_prerun.disconnect(prepare)

    # The first one waits for the retry of its row, the second one for that of its task.
    assert struck == ["shop.slow", "shop.tried_again"]
    assert [row.status for row in rows] == [RunStatus.PENDING, RunStatus.PENDING]
    assert "the task asked for a retry: SoftTimeLimitExceeded" in rows[1].error_message


def test_a_task_starts_a_chain_and_replaces_itself(system: SchedulerHarness, task: Any):
    sent: list[str] = []

    def add(a: int, b: int) -> int:
        return a + b

    def starts() -> str:
        signature = current_app.tasks["shop.add"].s
        return str(chain(signature(1, 2), signature(3)).apply_async().id)

    def replaced(self: Any) -> Any:
        raise self.replace(current_app.tasks["shop.add"].s(4, 5))

    task(add)

    def remember(sender: str, **_: Any) -> None:
        sent.append(sender)

    before_task_publish.connect(remember)
    try:
        started = run(system, task(starts))
    finally:
        before_task_publish.disconnect(remember)

    assert (started.status, sent) == (RunStatus.SUCCESS, ["shop.add"]), started.error_message
    result = run(system, task(replaced, bind=True)).result
    assert result["data"] == 9


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
    for name in ("celery:no.such.task", "celery:", "celery:scheduler.work"):
        with pytest.raises(HandlerNotFoundError):
            get_handler(name)
    for name in current_app.tasks:
        if name.startswith(("celery.", "scheduler.")):  # celery.map would run scheduler.work
            assert f"celery:{name}" not in handler_names()
            with pytest.raises(HandlerNotFoundError):
                get_handler(f"celery:{name}")


def test_a_new_task_is_offered_by_name(task: Any):
    def offered() -> None: ...

    name = task(offered)
    assert name in handler_names()
    with pytest.raises(HandlerNotFoundError, match=r"celery:shop\.offered"):
        get_handler("celery:shop.ofered")


def test_a_module_of_tasks_that_cannot_be_imported_is_named_and_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "broken_shop.py").write_text("import no_such_module\n")
    (tmp_path / "whole_shop.py").write_text("LOADED = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(task_modules, "_broken", {})
    other = Celery("other", set_as_current=False, include=["broken_shop", "whole_shop"])

    task_modules.load(other)

    assert "whole_shop" in sys.modules
    assert task_modules.broken() == {"broken_shop": "ModuleNotFoundError"}
    with pytest.raises(HandlerNotFoundError, match=r"broken_shop cannot be imported \(ModuleNot"):
        get_handler("celery:broken_shop.mail")


def test_the_look_up_of_a_task_does_not_set_up_django_again(monkeypatch: pytest.MonkeyPatch):
    """That would configure the log anew, in the middle of a request."""
    set_up: list[str] = []
    monkeypatch.setattr("django.setup", lambda: set_up.append("again"))
    monkeypatch.setattr(task_modules, "_loaded", [])

    assert handler_names()
    assert task_modules._loaded
    assert set_up == []
