"""The params of a Celery task, as a model made from its signature.

So a job's params are bound to the signature when the job is saved, and again when it runs.
"""

from __future__ import annotations

import inspect
import typing
from typing import Any, Final

from celery import Task
from pydantic import BaseModel, ConfigDict, Field, create_model

_JSON_TYPES: Final = {bool: "boolean", int: "integer", float: "number", str: "string"}
_BY_NAME: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)


def params_model(task: Task) -> type[BaseModel]:
    """Returns a model with a field per parameter of the task, and extras for `**kwargs`.

    It checks names only: a task accepts any JSON value, whatever its annotation says. Of a task
    with `pydantic=True` it checks what Celery would check, the arguments that are models.
    """
    parameters = _parameters(task)
    hints = _hints(task)
    validates = _is_validated_by_celery(task)
    fields: dict[str, Any] = {}
    for number, parameter in enumerate(parameters):
        if parameter.kind in _BY_NAME:
            hint = hints.get(parameter.name, parameter.annotation)
            # The name is an alias: as a field's name, `json` or `_x` would not do.
            fields[f"p{number}"] = (
                hint if validates and _is_model(hint) else Any,
                Field(
                    _default(parameter),
                    alias=parameter.name,
                    title=parameter.name,
                    json_schema_extra={"type": _JSON_TYPES[hint]} if hint in _JSON_TYPES else None,
                ),
            )
    takes_any = any(each.kind == inspect.Parameter.VAR_KEYWORD for each in parameters)
    config = ConfigDict(extra="allow" if takes_any else "forbid", hide_input_in_errors=True)
    model: type[BaseModel] = create_model(
        task.name.rpartition(".")[2] or task.name, __config__=config, **fields
    )
    return model


def as_call(task: Task, params: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Returns the positional and the named arguments: a parameter before `/` has no name."""
    first = [each for each in _parameters(task) if each.kind == inspect.Parameter.POSITIONAL_ONLY]
    while first and first[-1].name not in params:
        first.pop()
    names = {each.name for each in first}
    named = {name: value for name, value in params.items() if name not in names}
    return [params.get(each.name, each.default) for each in first], named


def _parameters(task: Task) -> list[inspect.Parameter]:
    # `run` of a task with bind=True is a method: its signature has no `self`.
    try:
        return list(inspect.signature(task.run).parameters.values())
    except (TypeError, ValueError):  # a callable without a signature takes what it takes
        return [inspect.Parameter("params", inspect.Parameter.VAR_KEYWORD)]


def _hints(task: Task) -> dict[str, Any]:
    try:
        return typing.get_type_hints(inspect.unwrap(task.run))
    except Exception:  # noqa: BLE001 - annotations are user code
        return {}


def _is_validated_by_celery(task: Task) -> bool:
    function: Any = task.run
    while function is not None:
        scope = getattr(function, "__globals__", {})
        if scope.get("__name__") == "celery.app.base":  # the wrapper of pydantic=True
            return True
        function = getattr(function, "__wrapped__", None)
    return False


def _is_model(hint: object) -> bool:
    members = [each for each in typing.get_args(hint) if each is not type(None)] or [hint]
    (first, *others) = members
    return not others and isinstance(first, type) and issubclass(first, BaseModel)


def _default(parameter: inspect.Parameter) -> Any:
    if parameter.default is inspect.Parameter.empty:
        return ...
    # It is only shown: the task has its own default. One that is no plain JSON cannot be shown.
    return parameter.default if isinstance(parameter.default, str | int | float) else None
