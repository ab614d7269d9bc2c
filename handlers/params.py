"""Params: what a job tells its handler, checked when the job is saved and again when it runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from handlers.errors import InvalidParamsError, ParamError

if TYPE_CHECKING:
    from handlers.base import BaseHandler

MAX_PARAMS_BYTES = 64 * 1024
MAX_PARAMS_DEPTH = 20

_ENCODER = json.JSONEncoder(allow_nan=False, ensure_ascii=False)

# pydantic's own words, which never quote the input. The rest is somebody's free text.
_QUOTING = {"value_error", "assertion_error", "union_tag_invalid", "custom_error"}
_SAFE_TYPES = frozenset(get_args(ErrorType)) - _QUOTING


class HandlerParams(BaseModel):
    """Base of a handler's params; further fields are kept. `params["to"]` works as on a dict."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    action: str = "read"
    id: int | str | None = None
    name: str | None = None
    value: Any = None

    def __getitem__(self, key: str) -> Any:
        if key not in self:
            raise KeyError(key)
        return getattr(self, key)

    def __contains__(self, key: object) -> bool:
        return key in type(self).model_fields or key in (self.model_extra or {})

    def get(self, key: str, default: Any = None) -> Any:
        """The field of that name, declared or extra, or `default`."""
        return getattr(self, key) if key in self else default


class UnreadableParams:
    """Stands for params that are JSON to a database but not to Python, and says why not."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def validate_params(handler: type[BaseHandler] | str, raw: object) -> BaseModel:
    """The handler's params model made from `raw` (a mapping; None counts as empty).

    Raises InvalidParamsError, whose texts never contain a value, and HandlerNotFoundError when
    `handler` is a name that nobody has.
    """
    cls = _class_of(handler)
    values = checked_mapping(raw)
    try:
        return cls.params_model.model_validate(values)
    except ValidationError as exc:
        details = exc.errors(include_url=False, include_context=False)
        raise InvalidParamsError([_reason(error, values) for error in details]) from None
    except Exception as exc:  # noqa: BLE001 - a validator of user code may raise anything
        reason = f"{cls.params_model.__name__} could not read them ({type(exc).__name__})"
        raise InvalidParamsError([ParamError("", reason, "validator_raised")]) from None


def checked_mapping(raw: object) -> dict[str, Any]:
    """`raw` as a dict that is plain JSON within the limits; InvalidParamsError otherwise."""
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        message = (
            f"cannot be read: {raw.reason}"
            if isinstance(raw, UnreadableParams)
            else f"must be an object, not {type(raw).__name__}"
        )
        raise InvalidParamsError([ParamError("", message, "not_an_object")])
    values = dict(raw)
    for loc, problem in _unstorable(values, "", 1):
        raise InvalidParamsError([ParamError(loc, problem, "not_storable")])
    try:
        size = len(_ENCODER.encode(values).encode())
    except (TypeError, ValueError):
        problem = "must be plain JSON: no NaN, no Infinity, no other types"
        raise InvalidParamsError([ParamError("", problem, "not_json")]) from None
    if size > MAX_PARAMS_BYTES:
        problem = f"{size} bytes of JSON, more than {MAX_PARAMS_BYTES}"
        raise InvalidParamsError([ParamError("", problem, "too_large")])
    return values


def json_schema(handler: type[BaseHandler] | str) -> dict[str, Any]:
    """The JSON schema of the handler's params; a bare object where the model has none."""
    cls = _class_of(handler)
    if cls.takes_dict:
        return {"type": "object", "additionalProperties": True}
    try:
        return cls.params_model.model_json_schema()
    except PydanticInvalidForJsonSchema:
        return {"type": "object", "title": cls.params_model.__name__}


def _class_of(handler: type[BaseHandler] | str) -> type[BaseHandler]:
    if isinstance(handler, str):
        from handlers.registry import get_handler  # the registry needs this module first

        return get_handler(handler)
    return handler


def _unstorable(value: object, loc: str, depth: int) -> Iterator[tuple[str, str]]:
    """What a JSON column of one of the databases would refuse: (place, reason)."""
    if isinstance(value, str):
        if "\x00" in value:
            yield loc, "contains a NUL character"
        elif not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            yield loc, "contains half of a surrogate pair"
    elif isinstance(value, Mapping | list | tuple):
        if depth > MAX_PARAMS_DEPTH:
            yield "", f"nested deeper than {MAX_PARAMS_DEPTH} levels"
            return
        members = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, member in members:
            if isinstance(value, Mapping):
                if not isinstance(key, str):
                    yield loc, "has a key that is not a string"
                    return
                yield from _unstorable(key, loc, depth)
            yield from _unstorable(member, f"{loc}.{key}" if loc else str(key), depth + 1)


def _reason(error: ErrorDetails, values: Mapping[str, Any]) -> ParamError:
    message = error["msg"]
    if error["type"] not in _SAFE_TYPES:
        message = without_values(message, values)
    return ParamError(".".join(str(part) for part in error["loc"]), message, error["type"])


def without_values(message: str, values: object) -> str:
    """`message` with everything that stands in `values` blanked out: it may be a secret."""
    for leaf in sorted(set(_leaves(values)), key=len, reverse=True):
        message = message.replace(leaf, "***")
    return message


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for member in value.values():
            yield from _leaves(member)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from _leaves(member)
    elif value is not None and not isinstance(value, bool) and len(text := str(value)) >= 3:
        # Shorter ones are no secrets, and blanking them would leave nothing to read.
        yield text
        yield repr(value)[1:-1] if isinstance(value, str) else text
