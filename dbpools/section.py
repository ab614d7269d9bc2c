"""A section of a configuration as a pydantic model, and its mistakes in words for people."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from dbpools.errors import did_you_mean


class Section(BaseModel):
    """Known keys with types and defaults. The alias of a field is its key in the configuration."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,  # it may be a password
        validate_by_alias=True,
        validate_by_name=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _leave_out_empty_keys(cls, data: Any) -> Any:
        """A key without a value has its default."""
        if not isinstance(data, Mapping):
            return data
        return {key: value for key, value in data.items() if value is not None}

    @classmethod
    def key_of(cls, field: str) -> str:
        """Returns what a field is called in the configuration."""
        return cls.model_fields[field].alias or field


def _refuse_truth_value(value: Any) -> Any:
    if isinstance(value, bool):  # pydantic would take it for 0 or 1
        raise ValueError("must be a number, not true or false")
    return value


# A number may be text, because `${NAME}` in a configuration is replaced by text.
Whole = Annotated[int, BeforeValidator(_refuse_truth_value)]
Number = Annotated[float, BeforeValidator(_refuse_truth_value), Field(allow_inf_nan=False)]


def mistakes_of(error: ValidationError, model: type[Section]) -> list[str]:
    """Returns one text per mistake: `.key: what is wrong`, or `: what is wrong` of the section."""
    found = error.errors(include_url=False)
    return [*_missing(found), *(_text(item, model) for item in found if item["type"] != "missing")]


def _missing(found: list[ErrorDetails]) -> Iterator[str]:
    keys = [str(item["loc"][-1]) for item in found if item["type"] == "missing"]
    if keys:
        yield f": {' and '.join(keys)} missing"


def _text(item: ErrorDetails, model: type[Section]) -> str:
    place = item["loc"]
    where = "".join(f".{part}" for part in place)
    if item["type"] == "extra_forbidden":
        known = _keys_at(model, place[:-1])
        hint = did_you_mean(str(place[-1]), known) or f"; known: {', '.join(known)}"
        return f"{where}: unknown key{hint}"
    words = _WORDS.get(item["type"])
    if words is None:
        return f"{where}: {item['msg'].removeprefix('Value error, ')}"
    text = words.format(**{key: _plain(value) for key, value in item.get("ctx", {}).items()})
    # Outside of `pool` and `options` the value may be a password, or a part of one.
    value = f", not {item['input']!r}" if place[0] in ("pool", "options") and len(place) > 1 else ""
    return f"{where}: {text}{value}"


_WHOLE, _NUMBER, _TRUTH = "must be a whole number", "must be a number", "must be true or false"
_WORDS = {
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "bool_type": _TRUTH,
    "bool_parsing": _TRUTH,
    "string_type": "must be text; put it in quotes",
    "literal_error": "must be one of {expected}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "model_type": "expected a mapping",
    "invalid_key": "keys must be words",
}


def _plain(value: Any) -> str:
    """Numbers without a useless `.0`, and pydantic's list of words as one speaks of them."""
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).replace("'", "").replace(" or ", ", ")


def _keys_at(model: type[Section], place: tuple[int | str, ...]) -> list[str]:
    """The keys of the section at `place` below `model`."""
    for part in place:
        inner = model.model_fields[str(part)].annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            model = inner
    return [model.key_of(field) for field in model.model_fields]
