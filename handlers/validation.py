"""Whether a handler can be called by this name with these params, and which params it takes.

Doors ask when a job is saved, the runner asks again before it calls the handler.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema

from handlers.base import BaseHandler
from handlers.params import HandlerParams, as_model, checked_mapping
from handlers.registry import get_handler


@dataclass(frozen=True)
class ValidCall:
    """A handler and params that it accepts."""

    handler: type[BaseHandler]
    params: BaseModel | dict[str, Any]
    """What `execute` receives: the handler's params model, or a dict if it takes dicts."""


def validate_params(handler_name: str, raw: object) -> ValidCall:
    """Returns the handler of that name with `raw` as its params (a mapping; None counts as empty).

    Raises CannotRunError: HandlerNotFoundError for the name, InvalidParamsError for the params.
    Neither contains a value of the params.
    """
    handler = get_handler(handler_name)
    values = checked_mapping(raw)
    model = as_model(handler.params_model, values)
    return ValidCall(handler, values if handler.takes_dict else model)


def json_schema(handler: type[BaseHandler]) -> dict[str, Any]:
    """Returns the JSON schema of the handler's params; a bare object where the model has none."""
    if handler.takes_dict and handler.params_model is HandlerParams:
        return {"type": "object", "additionalProperties": True}
    try:
        return handler.params_model.model_json_schema()
    except PydanticInvalidForJsonSchema:
        return {"type": "object", "title": handler.params_model.__name__}
