"""Params: the JSON object in which a job tells its handler what to do.

This module knows params alone. `handlers.validation` checks those of a handler given by its name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from dbpools.nearest import nearest
from handlers.errors import InvalidParamsError, ParamError

Model = TypeVar("Model", bound=BaseModel)

MAX_PARAMS_BYTES = 64 * 1024
MAX_PARAMS_DEPTH = 20

# How alike a name must be to a known one before a person is told. Extra params are allowed, so a
# wrong hint would disturb at each save.
_ALIKE = 0.75

_ENCODER = json.JSONEncoder(allow_nan=False, ensure_ascii=False)

# Messages of pydantic's own error types never quote the input. Those of the types below may: they
# contain free text of a validator, or the tag itself.
_QUOTING = {"value_error", "assertion_error", "union_tag_invalid", "custom_error"}
_SAFE_TYPES = frozenset(get_args(ErrorType)) - _QUOTING


class HandlerParams(BaseModel):
    """Base class of a handler's params. Keeps extra fields; `params["to"]` works as on a dict."""

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
        """Returns the field of that name, declared or extra, or `default`."""
        return getattr(self, key) if key in self else default


class UnreadableParams:
    """Takes the place of params that the database stores but Python cannot read; says why."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def checked_mapping(raw: object) -> dict[str, Any]:
    """Returns `raw` as a dict of plain JSON within the limits; None counts as empty.

    Raises InvalidParamsError.
    """
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
    for loc, problem in _refused_by_databases(values, "", 1):
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


def has_lone_surrogate(text: str) -> bool:
    """Whether half of a surrogate pair is in `text`: no database stores it as UTF-8."""
    return not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text)


def as_model(model: type[Model], values: Mapping[str, Any]) -> Model:
    """Returns `values` as an instance of the model.

    Raises InvalidParamsError, whose texts never contain a value.
    """
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        details = exc.errors(include_url=False, include_context=False)
        errors = [_param_error(error, values, model) for error in details]
        raise InvalidParamsError(errors) from None
    except Exception as exc:  # noqa: BLE001 - a validator is user code and may raise anything
        reason = f"{model.__name__} could not read them ({type(exc).__name__})"
        raise InvalidParamsError([ParamError("", reason, "validator_raised")]) from None


@dataclass(frozen=True)
class UnknownParam:
    """A name in params that the model does not know, and accepts without a word."""

    name: str
    hint: str | None
    """The name that it is probably a misspelling of."""
    is_kept: bool
    """False: the model drops it, so it has no effect."""


def unknown_params(model: type[BaseModel], values: Mapping[str, Any]) -> list[UnknownParam]:
    """Returns what a person should know of: misspelt names, and names that have no effect."""
    if model is HandlerParams:
        return []  # the handler has declared nothing: any name may be meant
    known = names_of(model)
    is_kept = model.model_config.get("extra") == "allow"
    found = []
    for name in values:
        if name in known:
            continue
        hint = nearest(name, known - values.keys(), cutoff=_ALIKE)
        if hint is not None or not is_kept:
            found.append(UnknownParam(name, hint, is_kept))
    return found


def names_of(model: type[BaseModel]) -> set[str]:
    """Returns the names by which params may be given: those of the fields, and their aliases."""
    by_name = model.model_config.get("validate_by_name") or model.model_config.get(
        "populate_by_name"
    )
    found: set[str] = set()
    for name, field in model.model_fields.items():
        aliases = set(_aliases(field.validation_alias or field.alias))
        found |= aliases
        if by_name or not aliases:
            found.add(name)
    return found


def _aliases(given: object) -> Iterator[str]:
    if isinstance(given, str):
        yield given
    elif isinstance(given, AliasPath) and isinstance(given.path[0], str):
        yield given.path[0]
    elif isinstance(given, AliasChoices):
        for choice in given.choices:
            yield from _aliases(choice)


def without_values(message: str, values: object) -> str:
    """Returns `message` with every value in `values` blanked out, because it may be a secret."""
    for text in sorted(set(_texts(values)), key=len, reverse=True):
        message = message.replace(text, "***")
    return message


def _refused_by_databases(value: object, loc: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yields (place, reason) for what the JSON column of one of the job databases refuses."""
    if isinstance(value, str):
        if "\x00" in value:
            yield loc, "contains a NUL character"
        elif has_lone_surrogate(value):
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
                yield from _refused_by_databases(key, loc, depth)
            member_loc = f"{loc}.{key}" if loc else str(key)
            yield from _refused_by_databases(member, member_loc, depth + 1)


def _param_error(
    error: ErrorDetails, values: Mapping[str, Any], model: type[BaseModel]
) -> ParamError:
    message, place = error["msg"], error["loc"]
    if error["type"] not in _SAFE_TYPES:
        message = without_values(message, values)
    hint = None
    if error["type"] == "extra_forbidden" and len(place) == 1:
        hint = nearest(str(place[0]), names_of(model) - values.keys())
    return ParamError(".".join(str(part) for part in place), message, error["type"], hint)


def _texts(value: object) -> Iterator[str]:
    """Yields the values inside `value` as they may appear in a message."""
    if isinstance(value, Mapping):
        for member in value.values():
            yield from _texts(member)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from _texts(member)
    elif value is not None and not isinstance(value, bool) and len(text := str(value)) >= 3:
        # Shorter values are no secrets, and blanking them would leave an unreadable message.
        yield text
        yield repr(value)[1:-1] if isinstance(value, str) else text
