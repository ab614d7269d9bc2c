"""The backend: `TASKS = {"default": {"BACKEND": "scheduler.django_tasks.JobuBackend"}}`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import django
from django.apps import apps
from django.core import checks
from pydantic import ValidationError

from scheduler.django_tasks import lookup, options
from scheduler.django_tasks.calls import bind, params_of, priority_of_run, queue_of_run
from scheduler.django_tasks.compat import (
    FRAMEWORK,
    BaseTaskBackend,
    InvalidTask,
    Task,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
)

# The framework makes the backend at the first `@task`, perhaps while Django imports the apps. So
# whatever needs models is imported where it is used.


class JobuBackend(BaseTaskBackend):
    """Each call of a task is an execution, inserted on the caller's connection."""

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def validate_task(self, task: Task[..., Any]) -> None:
        """Raises InvalidTask."""
        if not isinstance(task, Task):
            raise InvalidTask(
                f"{task!r} is no task of {FRAMEWORK}: import the decorator from there."
            )
        if isinstance(task.run_after, timedelta):
            # Django's documentation allows a span of time, Django's own check fails on it.
            task = replace(task, run_after=None)
        super().validate_task(task)
        if apps.models_ready:
            from scheduler.operations.tasks import problem_of

            queue = queue_of_run(task.queue_name)
            if problem := problem_of(task.module_path, queue, task.run_after):
                raise InvalidTask(problem)
            options.options_of(task, self.options)

    def enqueue(
        self, task: Task[..., Any], args: Iterable[Any], kwargs: Mapping[str, Any]
    ) -> TaskResult[Any]:
        """Inserts the execution. It starts when the caller's transaction is committed."""
        from scheduler.django_tasks.signals import enqueued
        from scheduler.operations.tasks import Call, TaskOperations

        self.validate_task(task)
        if isinstance(task.run_after, timedelta):
            task = _from_now(task, task.run_after)
        result: TaskResult[Any] = TaskResult(
            task=task,
            id="",
            status=TaskResultStatus.READY,
            enqueued_at=None,
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=list(args),
            kwargs=dict(kwargs),
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        arguments = bind(task, result.args, result.kwargs)
        chosen = options.options_of(task, self.options)
        overlap_key = options.overlap_key_of(task, chosen, arguments)
        params = params_of(
            task, result.args, result.kwargs, backend=self.alias, overlap_key=overlap_key
        )
        if lookup.find(task.module_path, may_import=lookup.imported_only) is None:
            raise InvalidTask(
                f"{task.module_path} is not the name of this task in its module, so no worker would"
                " find it."
            )
        execution_id, enqueued_at = TaskOperations().enqueue(
            Call(
                path=task.module_path,
                params=params,
                queue=queue_of_run(task.queue_name),
                priority=priority_of_run(int(task.priority)),
                run_after=task.run_after,
                max_retry=chosen.max_retry,
                timeout_seconds=chosen.timeout_seconds,
                overlap_key=overlap_key,
            )
        )
        object.__setattr__(result, "id", str(execution_id))
        object.__setattr__(result, "enqueued_at", enqueued_at)
        enqueued(result)
        return result

    def get_result(self, result_id: str) -> TaskResult[Any]:
        """Returns the result of a call that came through this backend.

        Raises TaskResultDoesNotExist.
        """
        from scheduler.django_tasks.results import backend_of, call_of, result_of
        from scheduler.models import LARGEST_ID
        from scheduler.operations.tasks import PREFIX, TaskOperations

        text = str(result_id)
        if not (text.isascii() and text.isdecimal() and int(text[:20]) <= LARGEST_ID):
            raise TaskResultDoesNotExist(result_id)
        found = TaskOperations().run_of_task(int(text[:20]))
        if found is None:
            raise TaskResultDoesNotExist(result_id)
        row, attempts = found
        path = row.handler_name.removeprefix(PREFIX)
        task = lookup.find(path, may_import=lookup.any_module)
        if task is None:
            raise TaskResultDoesNotExist(f"{result_id}: there is no task {path}")
        if backend_of(task, call_of(row.params).task) != self.alias:
            raise TaskResultDoesNotExist(result_id)
        return result_of(task, row, attempts)

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """The system check of this entry of TASKS."""
        place = f"TASKS[{self.alias!r}]"
        if not apps.is_installed("scheduler"):
            hint = 'INSTALLED_APPS += ["scheduler"]'
            return [checks.Error(f"{place} needs the app of jobu.", hint=hint, id="jobu.E040")]
        found: list[checks.CheckMessage] = []
        try:
            options.RunOptions(**self.options)
        except ValidationError as error:
            problems = options.problems_of(error)
            found.append(checks.Error(f"{place}['OPTIONS']: {problems}", id="jobu.E041"))
        found += self._queues(place)
        if django.VERSION >= (6, 0) and apps.is_installed("django_tasks"):
            found.append(
                checks.Warning(
                    "Django and the package django-tasks both read TASKS, and a task of the one is"
                    " unknown to the other.",
                    hint='Take "django_tasks" out of INSTALLED_APPS and import task from'
                    " django.tasks.",
                    id="jobu.W040",
                )
            )
        return found

    def _queues(self, place: str) -> Iterable[checks.CheckMessage]:
        from scheduler.operations.validation import queue_problem

        for name in sorted(self.queues):
            if problem := queue_problem(queue_of_run(name)):
                yield checks.Error(f"{place}['QUEUES']: {name!r} {problem}", id="jobu.E042")


def _from_now(task: Task[..., Any], span: timedelta) -> Task[..., Any]:
    from scheduler.operations.tasks import TaskOperations

    try:
        return replace(task, run_after=TaskOperations().clock.now() + span)
    except OverflowError:
        raise InvalidTask(f"run_after is out of range: {span}") from None
