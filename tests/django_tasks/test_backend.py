"""scheduler.django_tasks.JobuBackend: calls become executions, and executions run tasks."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.apps import apps
from django.db import transaction
from django.db.transaction import TransactionManagementError

from handlers import HandlerNotFoundError, get_handler
from scheduler.django_tasks import handler, run_with
from scheduler.django_tasks.calls import priority_of_run
from scheduler.django_tasks.compat import (
    FRAMEWORK,
    InvalidTask,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_backends,
    task_enqueued,
    task_finished,
    task_started,
)
from scheduler.models import JobExecution, JobGuard
from scheduler.operations.control import InvalidJob
from scheduler.states import RunStatus
from tests.django_tasks import tasks_of_a_shop as shop
from tests.django_tasks.conftest import SetApps
from tests.harness.scheduler_harness import SchedulerHarness, fresh, reason_of
from tests.scheduler.conftest import own_registry, system

__all__ = ["own_registry", "system"]  # fixtures

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]
once = pytest.mark.database("sqlite")  # asks no question to which databases have different answers
rolled_back = pytest.mark.django_db  # quicker, for tests without a worker
S = TaskResultStatus
BACKEND = "scheduler.django_tasks.JobuBackend"
NOW = datetime.now(UTC)  # noqa: TID251 - calls are stored with the database's time


@pytest.fixture(autouse=True)
def _tasks(settings: Any) -> None:
    options = {"max_retry": 4, "timeout_seconds": 7}
    settings.TASKS = {
        "default": {"BACKEND": BACKEND, "QUEUES": []},
        "other": {"BACKEND": BACKEND, "OPTIONS": options},
    }
    shop.ran.clear()


def row_of(result: Any) -> JobExecution:
    return JobExecution.objects.get(pk=result.id)


def run(system: SchedulerHarness, result: Any) -> JobExecution:
    """Runs the call as a worker does, at its time."""
    row = row_of(result)
    system.clock.advance_to(max(row.available_at, system.clock.now()))
    system.worker.execute(row.pk)
    return fresh(row)


# --- a call ---------------------------------------------------------------------------------------


def test_a_call_is_an_execution():
    result = shop.add.enqueue(2, b=3)

    row = row_of(result)
    assert (row.handler_name, row.job_id, row.status) == (
        "task:tests.django_tasks.tasks_of_a_shop.add",
        None,
        "PENDING",
    )
    assert row.params == {"args": [2], "kwargs": {"b": 3}, "task": {"backend": "default"}}
    assert (row.priority, row.queue, row.max_retry, row.timeout_seconds) == (0, "", 0, 3600)
    assert (result.status, result.enqueued_at, result.attempts) == (S.READY, row.created_at, 0)
    assert asdict(shop.add.get_result(result.id)) == asdict(result)


@pytest.mark.parametrize("name", ["add", "add_async"])
def test_a_call_runs_and_its_result_is_read_back(name: str, system: SchedulerHarness):
    task = getattr(shop, name)
    result = task.enqueue(2, b=3)
    row = run(system, result)
    assert row.status == RunStatus.SUCCESS, row.error_message

    result.refresh()
    assert (result.status, result.return_value, result.attempts) == (S.SUCCESSFUL, 5, 1)
    assert result.started_at == result.last_attempted_at == row.started_at
    assert (result.finished_at, result.errors) == (row.finished_at, [])
    assert result.worker_ids == ["worker1"]
    assert task.get_result(result.id) == result
    # An async task runs on the loop, a plain function in a thread of its own.
    where = "jobu-loop" if name == "add_async" else f"jobu-run-{row.pk}"
    assert shop.ran == [(name, 2, 3, where)]


@pytest.mark.parametrize("name", ["tell", "tell_async"])
def test_a_task_that_takes_its_context_sees_each_attempt(name: str, system: SchedulerHarness):
    result = getattr(shop, name).using(backend="other").enqueue("hi", fail_first=True)

    row = run(system, result)
    assert (row.status, row.attempt) == (RunStatus.PENDING, 1)
    result.refresh()
    assert (result.status, result.attempts, len(result.errors)) == (S.READY, 1, 1)
    run(system, result)
    result.refresh()
    assert result.return_value == ["hi", 2, result.id, "RUNNING", 1, ["worker1", "worker1"]]


def test_async_callers_and_the_async_orm_of_tasks(system: SchedulerHarness):
    from asgiref.sync import async_to_sync

    async def ask() -> Any:
        result = await shop.counts_groups.aenqueue()
        assert await shop.counts_groups.aget_result(result.id) == result
        return result

    result = async_to_sync(ask)()
    run(system, result)
    async_to_sync(result.arefresh)()
    assert result.return_value == 1


def test_what_was_asked_for_is_kept_and_the_run_has_jobus_values():
    later = NOW + timedelta(hours=1)
    task = shop.mail.using(priority=12, run_after=later)
    result = task.enqueue()

    row = row_of(result)
    assert (row.priority, row.queue, row.available_at) == (2, "mails", later)
    assert task.get_result(result.id).task == task
    assert shop.mail.get_result(shop.mail.enqueue().id).task.priority == 42
    soon = shop.add.using(run_after=timedelta(minutes=5)).enqueue(1)
    waits = row_of(soon).available_at - row_of(soon).created_at
    assert timedelta(minutes=4.9) < waits <= timedelta(minutes=5)
    over = shop.add.using(run_after=NOW - timedelta(days=1)).enqueue(1)
    assert row_of(over).available_at == row_of(over).created_at


@once
@rolled_back
@pytest.mark.parametrize(
    ("asked", "priority"), [(-100, 0), (0, 0), (1, 1), (11, 1), (12, 2), (50, 5), (89, 9), (100, 9)]
)
def test_priorities_are_mapped(asked: int, priority: int):
    assert priority_of_run(asked) == priority


# --- transactions ---------------------------------------------------------------------------------


class Rolled(Exception):
    pass


def test_a_call_is_rolled_back_with_its_transaction():
    with transaction.atomic():
        shop.add.enqueue(1)
        transaction.set_rollback(True)
    assert not JobExecution.objects.exists()

    with transaction.atomic():
        kept = shop.add.enqueue(1)
        with transaction.atomic():
            shop.add.enqueue(2)
            transaction.set_rollback(True)
    assert [str(row.pk) for row in JobExecution.objects.all()] == [kept.id]


def test_a_broken_transaction_takes_no_call():
    with transaction.atomic():
        with pytest.raises(Rolled), transaction.atomic(savepoint=False):
            raise Rolled
        with pytest.raises(TransactionManagementError):
            shop.add.enqueue(1)
        transaction.set_rollback(False)
        # What is refused before the INSERT breaks no transaction.
        for bad in (float("nan"), "a\x00", {1: 2}):
            with pytest.raises(ValueError, match="cannot be stored"):
                shop.add.enqueue(bad)
        shop.add.enqueue(1)
    assert JobExecution.objects.count() == 1


def test_a_call_costs_two_statements_and_no_savepoint(django_assert_num_queries: Any):
    with transaction.atomic(), django_assert_num_queries(2):  # the clock, and one INSERT
        shop.add.enqueue(0)


# --- errors, retries, results ---------------------------------------------------------------------


def test_errors_keep_the_class_and_the_traceback_of_each_attempt(system: SchedulerHarness):
    result = shop.fails.enqueue("none left")
    assert (row_of(result).max_retry, row_of(result).timeout_seconds) == (1, 60)
    run(system, result)
    run(system, result)

    result.refresh()
    assert (result.status, result.attempts, len(result.errors)) == (S.FAILED, 2, 2)
    for error in result.errors:
        assert error.exception_class is shop.NoStockError
        assert "NoStockError: none left" in error.traceback
        assert "tasks_of_a_shop.py" in error.traceback
    with pytest.raises(ValueError, match="Task failed"):
        _ = result.return_value


@pytest.mark.parametrize(
    ("status", "outcome", "error"),
    [
        ("TIMEOUT", "TIMEOUT", "builtins.TimeoutError"),
        ("FAILED", "LOST", "scheduler.django_tasks.results.WorkerLost"),
        ("CANCELLED", "CANCELLED", "scheduler.django_tasks.results.RunCancelled"),
    ],
)
def test_an_attempt_that_raised_nothing_has_an_error_too(status: str, outcome: str, error: str):
    result = shop.add.enqueue(1)
    row = row_of(result)
    now = row.created_at
    JobExecution.objects.update(status=status, attempt=1, finished_at=now)
    row.attempts.create(
        attempt=1, lease_token="a", worker="w", started_at=now, ended_at=now, outcome=outcome,
        error="why",
    )  # fmt: skip
    result.refresh()
    assert (result.status, result.errors[0].exception_class_path) == (S.FAILED, error)
    assert issubclass(result.errors[0].exception_class, Exception)
    assert result.errors[0].traceback == "why"


@pytest.mark.parametrize(("kind", "value"), [("tuple", [1, [2, "three"]]), ("none", None)])
def test_return_values_are_those_of_json(kind: str, value: Any, system: SchedulerHarness):
    result = shop.returns.enqueue(kind)
    run(system, result)
    result.refresh()
    assert result.return_value == value


@once
@pytest.mark.parametrize("kind", ["a function", "NaN", "NUL", "too much"])
def test_a_value_that_would_be_read_back_as_another_one_fails_without_a_retry(
    kind: str, system: SchedulerHarness
):
    result = shop.returns.using(backend="other").enqueue(kind)
    assert run(system, result).status == RunStatus.FAILED
    result.refresh()
    assert issubclass(result.errors[0].exception_class, TypeError)
    assert "return value" in result.errors[0].traceback


# --- calls that must not overlap ------------------------------------------------------------------


def test_calls_with_one_key_run_one_after_another(system: SchedulerHarness):
    first, second, third = (shop.ship.enqueue(7, part=part) for part in "abc")
    other = shop.ship.enqueue(8)
    system.clock.advance_to(row_of(other).available_at)
    system.claim(row_of(first))

    system.tick()
    for waits in (third, second):  # the order of the messages does not matter
        assert system.worker.execute(int(waits.id)) is None
        assert reason_of(row_of(waits)) == ("overlap_held", {"running": int(first.id)})
    assert run(system, other).status == RunStatus.SUCCESS

    for _ in range(8):  # the worker of the first one is lost
        system.clock.advance(30)
        system.tick()
    assert row_of(first).status == RunStatus.FAILED
    assert row_of(second).available_at <= system.clock.now()
    assert run(system, second).status == RunStatus.SUCCESS
    assert row_of(third).available_at <= system.clock.now()
    assert run(system, third).status == RunStatus.SUCCESS
    assert shop.ran == [(8, "all"), (7, "b"), (7, "c")]
    assert not JobGuard.objects.exists()  # a key may never come again


@once
@rolled_back
def test_a_key_that_does_not_fit_the_arguments_is_refused():
    with pytest.raises(InvalidTask, match=r"overlap_key 'order \{order\}' does not fit"):
        shop.ship_nothing.enqueue(7)
    assert row_of(shop.ship.enqueue(7)).params["task"]["overlap_key"] == "order 7"


# --- options --------------------------------------------------------------------------------------


@once
def test_options_of_the_backend_give_way_to_those_of_the_task():
    def options(result: Any) -> tuple[int, int]:
        return row_of(result).max_retry, row_of(result).timeout_seconds

    assert options(shop.add.using(backend="other").enqueue(1)) == (4, 7)
    assert options(shop.fails.using(backend="other").enqueue("x")) == (1, 60)
    assert options(shop.mail.enqueue()) == (2, 3600)


@once
def test_a_wrong_option_is_found_at_the_decorator_and_by_the_check(
    settings: Any, set_apps: SetApps
):
    with pytest.raises(InvalidTask, match="max_retry: 11 is not between 0 and 10"):
        shop.task(run_with(max_retry=11)(shop.not_a_task))
    del shop.not_a_task.jobu_run_options  # type: ignore[attr-defined]
    assert task_backends["default"].check() == []

    settings.TASKS = {
        "default": {"BACKEND": BACKEND, "OPTIONS": {"max_retrys": 1}, "QUEUES": ["amq.x"]}
    }
    texts = [str(message.msg) for message in task_backends["default"].check()]
    assert "did you mean 'max_retry'?" in texts[0]
    assert "'amq.x' must not begin with" in texts[1]
    set_apps([app for app in settings.INSTALLED_APPS if app != "scheduler"])
    assert [message.id for message in task_backends["default"].check()] == ["jobu.E040"]


if FRAMEWORK == "django.tasks":  # Django 5.2 has no tasks of its own

    @once
    def test_the_check_says_that_two_frameworks_read_one_setting(settings: Any, set_apps: SetApps):
        pytest.importorskip("django_tasks")
        set_apps([*settings.INSTALLED_APPS, "django_tasks"])
        assert "jobu.W040" in [message.id for message in task_backends["default"].check()]


# --- bad calls ------------------------------------------------------------------------------------


@once
@rolled_back
@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: shop.add.enqueue(), TypeError, "missing a required argument: 'a'"),
        (lambda: shop.add.enqueue(1, c=2), TypeError, "unexpected keyword argument 'c'"),
        (lambda: shop.tell.enqueue(), TypeError, "missing a required argument: 'word'"),
        (lambda: shop.add.enqueue(NOW), TypeError, "Unsupported type"),
        (lambda: shop.add.enqueue("x" * 70_000), ValueError, "more than 65536"),
        (lambda: shop.another_name.enqueue(), InvalidTask, "no worker would find it"),
        (lambda: shop.add.using(queue_name="a queue"), InvalidTask, "Queue 'a queue' may contain"),
        (lambda: shop.add.using(queue_name="amq.x"), InvalidTask, "Queue 'amq.x' must not begin"),
        (lambda: shop.add.using(run_after=NOW.replace(year=9950)), InvalidTask, "is not between"),
        (lambda: shop.add.using(run_after=NOW.replace(tzinfo=None)), InvalidTask, "aware datetime"),
        (lambda: shop.add.using(run_after=timedelta.max).enqueue(1), InvalidTask, "out of range"),
        (lambda: shop.add.using(backend="other", queue_name="x"), InvalidTask, "is not valid"),
        (lambda: shop.add.using(priority=101), InvalidTask, "whole number between"),
        (lambda: shop.task(shop.Mails().__class__), InvalidTask, "module level"),
        (lambda: shop.add.get_backend().enqueue(shop.not_a_task, (), {}), InvalidTask, "no task"),
    ],
)
def test_a_bad_call_is_refused_and_makes_no_row(call: Any, error: type[Exception], text: str):
    with pytest.raises(error, match=text):
        call()
    assert not JobExecution.objects.exists()


@once
def test_a_path_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shop.add.func, "__qualname__", "a" * 250)
    with pytest.raises(InvalidTask, match="characters, at most 250"):
        shop.add.enqueue(1)


def test_ids_of_other_things_are_no_results(system: SchedulerHarness):
    event, _ = system.control.event(handler_name="ok", params={})
    by_other = shop.add.using(backend="other").enqueue(1)
    ids: list[Any] = [by_other.id, event.pk, "999999", "", "-1", "x", "1" * 30, "\u0661"]
    for id_ in ids:
        with pytest.raises(TaskResultDoesNotExist):
            shop.add.get_result(id_)
    assert task_backends["other"].get_result(by_other.id).id == by_other.id


# --- the worker -----------------------------------------------------------------------------------


@once
def test_no_other_importable_name_can_be_called(system: SchedulerHarness):
    here = shop.__name__
    for path in (f"{here}.not_a_task", f"{here}.another_name", f"{here}._named_otherwise", here,
                 "os.system", "builtins.print", "no.such.module.task", "..", ""):  # fmt: skip
        with pytest.raises(InvalidJob, match="Handler not found"):
            system.control.event(handler_name=f"task:{path}", params={"args": [1]})
        row = system.execution(handler_name=f"task:{path}", params={"args": [1]})
        system.worker.execute(row.pk)
        assert (fresh(row).status, fresh(row).reason_code) == ("FAILED", "handler_not_found")
    assert shop.ran == []


@once
def test_a_door_imports_no_module_and_a_worker_imports_that_of_the_task(
    system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    result = shop.add.enqueue(1)
    name = shop.__name__
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(sys.modules["tests.django_tasks"], "tasks_of_a_shop")

    with pytest.raises(HandlerNotFoundError):
        get_handler(f"task:{name}.add")
    assert run(system, result).status == RunStatus.SUCCESS
    assert get_handler(f"task:{name}.add").description == "Add two numbers."


@once
def test_a_module_that_breaks_is_reported_and_fails_the_run(
    system: SchedulerHarness, tmp_path: Any, monkeypatch: Any, caplog: Any
):
    (tmp_path / "broken_tasks_of_a_shop.py").write_text("raise SystemExit('no settings')\n")
    monkeypatch.syspath_prepend(tmp_path)
    row = system.execution(handler_name="task:broken_tasks_of_a_shop.add", params={})
    system.worker.execute(row.pk)
    assert fresh(row).status == RunStatus.FAILED
    assert "broken_tasks_of_a_shop cannot be imported: SystemExit: no settings" in caplog.text


def test_a_job_runs_a_task_on_its_schedule(system: SchedulerHarness):
    name = f"task:{shop.__name__}.add"
    job = system.control.create_job(
        name="sums", cron_expression="* * * * *", handler_name=name,
        handler_params={"args": [1], "kwargs": {"b": 1}},
    )  # fmt: skip
    system.minutes(1)
    row = JobExecution.objects.get(job=job)
    assert (row.status, row.result["data"]) == ("SUCCESS", 2)
    assert shop.add.get_result(str(row.pk)).return_value == 2
    with pytest.raises(InvalidJob, match="missing a required argument"):
        system.control.update_job(job.pk, handler_params={"kwargs": {}})


def test_a_class_of_a_module_may_hold_tasks(system: SchedulerHarness):
    assert run(system, shop.Mails.send.enqueue()).status == RunStatus.SUCCESS


def test_the_signals_of_the_framework_are_sent(system: SchedulerHarness):
    told: list[tuple[str, str, str]] = []

    def receive(signal: Any, sender: Any, task_result: Any, **_: Any) -> None:
        what = {id(task_enqueued): "enqueued", id(task_started): "started"}.get(id(signal), "ended")
        told.append((what, sender.__name__, task_result.status))
        if what != "enqueued":
            raise RuntimeError("a receiver that breaks changes no run")

    signals = (task_enqueued, task_started, task_finished)
    for signal in signals:
        signal.connect(receive)
    try:
        assert run(system, shop.add.enqueue(1)).status == "SUCCESS"
        assert run(system, shop.add_async.enqueue(1)).status == "SUCCESS"
        first = shop.fails.enqueue("x")
        run(system, first)
        run(system, first)
    finally:
        for signal in signals:
            signal.disconnect(receive)
    name = "JobuBackend"
    once_well = [("enqueued", name, "READY"), ("started", name, "RUNNING"),
                 ("ended", name, "SUCCESSFUL")]  # fmt: skip
    # An attempt that is followed by another one has not ended the task.
    assert told == once_well * 2 + [
        ("enqueued", name, "READY"), ("started", name, "RUNNING"), ("started", name, "RUNNING"),
        ("ended", name, "FAILED"),
    ]  # fmt: skip


@once
def test_tasks_of_apps_are_listed(monkeypatch: pytest.MonkeyPatch):
    config = type("Config", (), {"name": "tests.django_tasks"})
    monkeypatch.setattr(apps, "get_app_configs", lambda: [config])
    monkeypatch.setitem(sys.modules, "tests.django_tasks.tasks", shop)
    monkeypatch.setattr(shop.add.func, "__module__", "tests.django_tasks.tasks")
    assert list(handler.names()) == ["task:tests.django_tasks.tasks.add"]
