"""Describes a handler's params model as a list of inputs, and assigns the model's errors to them.

static/scheduler/job_params.js builds a form from the list. Objects, lists and mixed unions are
edited as JSON, each in a separate input.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from handlers import HandlerNotFoundError, InvalidParamsError, get_handler
from handlers.params import HandlerParams
from handlers.validation import json_schema, validate_params
from scheduler.operations.masking import MASK, mask
from scheduler.operations.param_words import bad_param
from scheduler.operations.secret_names import looks_secret

_SCALARS = {"string", "integer", "number"}
_FORMATS = {"date": "date", "time": "time", "date-time": "datetime", "password": "secret"}


def described(handler_name: str) -> dict[str, Any]:
    """Returns {"known", "description", "fields", "extra"}.

    Without fields the handler accepts any JSON object.
    """
    try:
        handler = get_handler(handler_name)
    except HandlerNotFoundError:
        return {"known": False, "description": "", "fields": [], "extra": True}
    schema = json_schema(handler)
    definitions = schema.get("$defs", {})
    required = set(schema.get("required", ()))
    common = _common_fields(handler.params_model)
    fields = [
        _input(name, _resolved(about, definitions), is_required=name in required)
        | {"common": name in common}
        for name, about in schema.get("properties", {}).items()
    ]
    return {
        "known": True,
        "description": handler.description,
        "fields": sorted(fields, key=lambda field: bool(field["common"])),
        "extra": schema.get("additionalProperties", True) is not False,
    }


def errors_of(handler_name: str, params: Any) -> list[dict[str, str]]:
    """Returns the model's errors as {"loc", "message"}; `loc` is empty for errors of the whole."""
    try:
        validate_params(handler_name, params)
    except HandlerNotFoundError:
        return []  # the handler's field reports it
    except InvalidParamsError as error:
        return [{"loc": each.loc, "message": bad_param(each)} for each in error.errors]
    return []


def _common_fields(model: type[BaseModel]) -> set[str]:
    """Returns the fields that the model only inherits from HandlerParams: they are rarely used."""
    if model is HandlerParams or not issubclass(model, HandlerParams):
        return set()
    own = {
        name
        for cls in model.__mro__[: model.__mro__.index(HandlerParams)]
        for name in getattr(cls, "__annotations__", {})
    }
    return set(HandlerParams.model_fields) - own


def _resolved(about: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a property with its reference resolved, and without null beside one other type."""
    found = dict(about)
    for _depth in range(10):
        if "$ref" in found:
            target = definitions.get(str(found.pop("$ref")).rpartition("/")[2], {})
            found = {**target, **found}
        elif len(found.get("allOf", ())) == 1:
            found = {**found.pop("allOf")[0], **found}
        elif "anyOf" in found:
            members = [m for m in found["anyOf"] if m.get("type") != "null"]
            if len(members) != 1:
                break
            del found["anyOf"]
            found = {**members[0], **found}
        else:
            break
    return found


def _input(name: str, about: Mapping[str, Any], *, is_required: bool) -> dict[str, Any]:
    kind = _kind(name, about)
    field: dict[str, Any] = {
        "name": name,
        "label": name,
        "help": str(about.get("description", "")),
        "kind": kind,
        "required": is_required,
    }
    if kind == "choice":
        field["choices"] = about["enum"] if "enum" in about else [about["const"]]
    for key, given in (
        ("min", "minimum"), ("max", "maximum"), ("above", "exclusiveMinimum"),
        ("below", "exclusiveMaximum"), ("maxlength", "maxLength"),
    ):  # fmt: skip
        if given in about:
            field[key] = about[given]
    if "default" in about and about["default"] is not None:
        default = MASK if looks_secret(name) and about["default"] else mask(about["default"])
        field["default"] = (
            default if isinstance(default, str) else json.dumps(default, ensure_ascii=False)
        )
    return field


def _kind(name: str, about: Mapping[str, Any]) -> str:
    if "enum" in about or "const" in about:
        return "choice"
    if "anyOf" in about:
        types = {member.get("type") for member in about["anyOf"]} - {"null"}
        is_plain = all("format" not in m and "enum" not in m for m in about["anyOf"])
        return "scalar" if types <= _SCALARS and is_plain else "json"
    kind = about.get("type")
    if kind == "string":
        return "secret" if looks_secret(name) else _FORMATS.get(str(about.get("format")), "text")
    return str(kind) if kind in ("boolean", "integer", "number") else "json"
