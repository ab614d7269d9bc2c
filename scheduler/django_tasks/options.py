"""How the run of a task behaves where Django's tasks have no word for it: retries and timeout.

`OPTIONS` of the backend hold for all of its tasks, `@run_with(...)` for one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from pydantic import Field, StrictInt, StrictStr, ValidationError, field_validator

from dbpools.nearest import nearest
from scheduler.django_tasks.compat import InvalidTask, Task
from scheduler.setting_types import Section

F = TypeVar("F")

_ATTRIBUTE: Final = "jobu_run_options"


class RunOptions(Section):
    """The options of a run, with the defaults of the backend."""

    max_retry: StrictInt = Field(0, description="retries after the first try")
    timeout_seconds: StrictInt = Field(3600, description="a run that takes longer is stopped")
    overlap_key: StrictStr | None = Field(
        None, min_length=1, description="calls with the same key run one after another"
    )

    @field_validator("max_retry", "timeout_seconds")
    @classmethod
    def _in_range(cls, value: int, info: Any) -> int:
        # Not at the top: models cannot be imported while Django imports the apps.
        from scheduler.models import LIMITS

        low, high = LIMITS[info.field_name]
        if not low <= value <= high:
            raise ValueError(f"{value} is not between {low} and {high}")
        return value


def run_with(
    *,
    max_retry: int | None = None,
    timeout_seconds: int | None = None,
    overlap_key: str | None = None,
) -> Callable[[F], F]:
    """Decorator for a task: options of its runs, in place of those of the backend.

    `overlap_key` may name arguments: calls with `"order {order_id}"` run one after another for each
    order. It works above `@task` and below it. A wrong value is an InvalidTask.
    """
    given = {
        "max_retry": max_retry,
        "timeout_seconds": timeout_seconds,
        "overlap_key": overlap_key,
    }
    chosen = {name: value for name, value in given.items() if value is not None}

    def decorate(decorated: F) -> F:
        function = decorated.func if isinstance(decorated, Task) else decorated
        setattr(function, _ATTRIBUTE, chosen)
        return decorated

    return decorate


def options_of(task: Task[..., Any], of_backend: Mapping[str, Any]) -> RunOptions:
    """Returns the options of a task's runs. Raises InvalidTask."""
    own: Mapping[str, Any] = getattr(task.func, _ATTRIBUTE, {})
    try:
        return RunOptions(**{**of_backend, **own})
    except ValidationError as error:
        raise InvalidTask(f"{task.module_path}: {problems_of(error)}") from None


def overlap_key_of(
    task: Task[..., Any], options: RunOptions, arguments: Mapping[str, Any]
) -> str | None:
    """Returns the key of one call, with its arguments filled in. Raises InvalidTask."""
    if options.overlap_key is None:
        return None
    try:
        return options.overlap_key.format_map(arguments)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InvalidTask(
            f"{task.module_path}: overlap_key {options.overlap_key!r} does not fit the arguments"
            f" ({type(error).__name__}: {error})"
        ) from None


def problems_of(error: ValidationError) -> str:
    """Returns what is wrong with options, in one line. Names the nearest option for a typo."""
    return "; ".join(_problem(each["loc"], each["type"], each["msg"]) for each in error.errors())


def _problem(place: tuple[int | str, ...], kind: str, message: str) -> str:
    name = ".".join(map(str, place))
    if kind == "extra_forbidden":
        hint = nearest(name, RunOptions.model_fields)
        return f"unknown option {name!r}" + (f", did you mean {hint!r}?" if hint else "")
    return f"{name}: {message.removeprefix('Value error, ')}"
