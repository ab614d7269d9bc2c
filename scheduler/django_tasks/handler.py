"""Tasks as handlers: `task:<path>`. The run of a call is a run like any other."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import iscoroutinefunction
from typing import Any

from asgiref.sync import sync_to_async
from django.db import Error

from handlers import PermanentError
from handlers.base import BaseHandler
from handlers.json_safe import storable_result
from handlers.registry import add_resolver
from scheduler.conf import current
from scheduler.django_tasks import lookup
from scheduler.django_tasks.calls import CallParams, bind
from scheduler.django_tasks.compat import (
    Task,
    TaskContext,
    TaskResult,
    normalize_json,
)
from scheduler.django_tasks.results import first_attempt, result_of
from scheduler.django_tasks.signals import finished, started, started_async
from scheduler.events import emit
from scheduler.operations.tasks import PREFIX, TaskOperations
from scheduler.states import FINAL, RunStatus
from scheduler.worker import around_runs


class UnstorableReturnValue(PermanentError, TypeError):
    """The task has done its work and returned what cannot be stored. A retry would repeat it."""


def install() -> None:
    """Make the registry of handlers find `task:` names, and workers import their modules."""
    add_resolver(PREFIX, resolve, names)
    around_runs.install(PREFIX, before=_before, after=_after)


def names() -> Iterable[str]:
    return [PREFIX + path for path in lookup.known_paths()]


_handlers: dict[str, tuple[Task[..., Any], type[BaseHandler]]] = {}


def resolve(handler_name: str) -> type[BaseHandler] | None:
    """A handler class for the task. None: no such task is known in this process."""
    path = handler_name.removeprefix(PREFIX)
    task = lookup.find(path, may_import=lookup.modules_of_tasks)
    if task is None:
        return None
    known = _handlers.get(path)
    if known is None or known[0] is not task:  # a module that is loaded again makes another task
        known = _handlers[path] = (task, _handler_for(task))
    return known[1]


def _before(handler_name: str) -> None:
    # Here and not in `resolve`, which is called on the loop: an import may take seconds.
    lookup.find(handler_name.removeprefix(PREFIX), may_import=lookup.any_module)


def _after(execution_id: int, status: RunStatus) -> None:
    if status not in FINAL:
        return
    try:
        found = TaskOperations().run_of_task(execution_id)
        if found is None:
            return  # somebody has deleted it
        row, attempts = found
        path = row.handler_name.removeprefix(PREFIX)
        task = lookup.find(path, may_import=lookup.imported_only)
        if task is not None:
            finished(result_of(task, row, attempts))
    except Error as error:
        emit("task.not_signalled", execution_id=execution_id, error=str(error))


def _handler_for(task: Task[..., Any]) -> type[BaseHandler]:
    class Params(CallParams):
        def model_post_init(self, _context: Any) -> None:
            try:
                bind(task, self.args, self.kwargs)
            except TypeError as error:
                raise ValueError(str(error)) from None

    class _TaskHandler(BaseHandler):
        handler_name = PREFIX + task.module_path
        description = (task.func.__doc__ or "").strip().partition("\n")[0]
        params_model = Params

    if iscoroutinefunction(task.func):

        class AsyncTaskHandler(_TaskHandler):
            async def execute(self, params: CallParams) -> dict[str, Any]:
                run = _Run(self, task, params)
                if run.needs_database:
                    await sync_to_async(run.load)()
                await started_async(run.result)
                return run.outcome(await task.func(*run.args, **params.kwargs))

        return AsyncTaskHandler

    class SyncTaskHandler(_TaskHandler):
        def execute(self, params: CallParams) -> dict[str, Any]:
            run = _Run(self, task, params)
            if run.needs_database:
                run.load()
            started(run.result)
            return run.outcome(task.func(*run.args, **params.kwargs))

    return SyncTaskHandler


class _Run:
    """One attempt at a call."""

    def __init__(self, handler: BaseHandler, task: Task[..., Any], params: CallParams) -> None:
        self._info = handler.context.info
        self._task = task
        self._params = params
        self.result: TaskResult[Any] = first_attempt(task, params, self._info)

    @property
    def needs_database(self) -> bool:
        """The errors and workers of earlier attempts are there."""
        return self._info.attempt > 1

    def load(self) -> None:
        found = TaskOperations().run_of_task(self._info.execution_id)
        if found is not None:
            self.result = result_of(self._task, *found)

    @property
    def args(self) -> list[Any]:
        if not self._task.takes_context:
            return self._params.args
        return [TaskContext(task_result=self.result), *self._params.args]

    def outcome(self, value: Any) -> dict[str, Any]:
        """Returns the result of the handler. Refuses what would be read back as another value."""
        try:
            outcome = {"action": self._task.module_path, "data": normalize_json(value)}
        except (TypeError, ValueError, RecursionError) as error:
            raise UnstorableReturnValue(f"The return value is not JSON: {error}") from None
        longest = current().max_result_bytes
        stored, problem = storable_result(outcome, longest)
        if problem is not None or stored != outcome:
            raise UnstorableReturnValue(
                problem
                or f"The return value has more than {longest} bytes or 20 levels, or holds"
                " NaN, NUL or a number that not every database keeps"
            )
        return outcome
