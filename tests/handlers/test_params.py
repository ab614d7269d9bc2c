"""Invalid params are refused with the reason, and without their values."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from handlers import (
    BaseHandler,
    CannotRunError,
    HandlerNotFoundError,
    HandlerParams,
    InvalidParamsError,
    handler,
)
from handlers.params import UnknownParam, as_model, unknown_params
from handlers.validation import json_schema, validate_params


class Address(BaseModel):
    street: str


class MailParams(HandlerParams):
    to: str
    copies: int = 1
    address: Address | None = None


class Mail(BaseHandler):
    params_model = MailParams

    async def execute(self, params):
        return None


class Plain(BaseHandler):
    async def execute(self, params):
        return None


def accepted(cls: type[BaseHandler], raw: object) -> Any:
    """Returns what `execute` of the class would receive."""
    return validate_params(handler("tested")(cls).handler_name, raw).params


def refused(cls: type[BaseHandler], raw: object) -> InvalidParamsError:
    with pytest.raises(InvalidParamsError) as caught:
        accepted(cls, raw)
    return caught.value


def test_defaults_and_extra_fields():
    params = accepted(Plain, {"value": 5, "colour": "red"})

    assert (params.action, params.id, params.name, params.value) == ("read", None, None, 5)
    assert params.colour == "red"


def test_params_can_be_read_like_a_dict():
    params = accepted(Mail, {"to": "a", "colour": "red"})

    assert params["to"] == "a"
    assert params["colour"] == "red"
    assert params.get("none", 3) == 3
    assert "colour" in params
    assert "none" not in params
    with pytest.raises(KeyError):
        params["none"]


def test_none_counts_as_empty_params():
    assert accepted(Plain, None).action == "read"


def test_every_mistake_is_reported_with_its_place():
    error = refused(Mail, {"copies": "many", "address": {"street": None}})

    assert str(error) == (
        "Invalid params: to: Field required; "
        "copies: Input should be a valid integer, unable to parse string as an integer; "
        "address.street: Input should be a valid string"
    )
    assert [(e.loc, e.type) for e in error.errors] == [
        ("to", "missing"),
        ("copies", "int_parsing"),
        ("address.street", "string_type"),
    ]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")

    recipient: str = Field(default="", alias="to")
    message: str = ""


def test_a_misspelt_name_is_refused_with_the_nearest_where_the_model_forbids_extras():
    with pytest.raises(InvalidParamsError) as caught:
        as_model(Strict, {"mesage": "hi", "to": "a", "recipient": "b"})

    assert str(caught.value) == (
        "Invalid params: mesage: Extra inputs are not permitted (did you mean 'message'?); "
        "recipient: Extra inputs are not permitted"
    )


@pytest.mark.parametrize(
    ("model", "given", "found"),
    [
        (MailParams, {"to": "a", "copeis": 2, "colour": "red"}, [("copeis", "copies", True)]),
        (MailParams, {"copies": 1, "copie": 2}, []),  # the field is there: another is meant
        (HandlerParams, {"nam": "x"}, []),  # nothing is declared
        (Address, {"stret": "x", "city": "y"}, [("stret", "street", False), ("city", None, False)]),
    ],
)
def test_names_that_a_model_accepts_without_a_word_are_found(model, given, found):
    assert unknown_params(model, given) == [UnknownParam(*each) for each in found]


def test_the_message_names_at_most_twenty_mistakes():
    class Many(Plain):
        params_model = type(
            "ManyParams", (HandlerParams,), {"__annotations__": {f"f{n}": int for n in range(50)}}
        )

    error = refused(Many, {})

    assert len(error.errors) == 50
    assert str(error).endswith("and 30 more")


@pytest.mark.parametrize("raw", [[], "{}", 5, b"{}", True])
def test_params_must_be_an_object(raw):
    assert str(refused(Plain, raw)).startswith("Invalid params: must be an object, not ")


class Kind(enum.Enum):
    A = "a"


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Talkative(HandlerParams):
    token: str = ""
    number: int = 0
    kind: Kind = Kind.A
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    url: str = Field(default="x", pattern="^x$")

    @field_validator("token")
    @classmethod
    def must_be_short(cls, value: str) -> str:
        if len(value) > 3:
            raise ValueError(f"{value!r} is too long, {value} has {len(value)} characters")
        return value


@pytest.mark.parametrize(
    "raw",
    [
        {"token": "s3cret"},
        {"token": "it's s3cret\n"},
        {"number": "s3cret"},
        {"kind": "s3cret"},
        {"pet": {"kind": "s3cret"}},
        {"url": "s3cret"},
        {"token": ["s3cret"]},
        {"token": {"s": "s3cret"}},
    ],
)
def test_a_refusal_never_contains_the_value(raw):
    class Talking(Plain):
        params_model = Talkative

    error = refused(Talking, raw)

    assert "s3cret" not in str(error)
    assert "s3cret" not in repr(error.errors)
    assert error.__cause__ is None


def test_message_of_a_validator_is_kept_without_the_value():
    class Talking(Plain):
        params_model = Talkative

    error = refused(Talking, {"token": "s3cret"})

    assert str(error) == (
        "Invalid params: token: Value error, '***' is too long, *** has 6 characters"
    )


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ({"a": "x" * 70_000}, "70009 bytes of JSON, more than 65536"),
        ({"a": float("nan")}, "must be plain JSON: no NaN, no Infinity, no other types"),
        ({"a": object()}, "must be plain JSON: no NaN, no Infinity, no other types"),
        ({"a": {"b": ["x", "y\x00"]}}, "a.b.1: contains a NUL character"),
        ({"a\x00": 1}, "contains a NUL character"),
        ({"a": "\ud800"}, "a: contains half of a surrogate pair"),
        ({1: "a"}, "has a key that is not a string"),
    ],
)
def test_limits_and_characters_that_databases_refuse(raw, reason):
    assert reason in str(refused(Plain, raw))


def test_depth_is_limited_to_twenty():
    def nested(levels):
        value: dict = {}
        for _ in range(levels - 1):
            value = {"a": value}
        return value

    accepted(Plain, nested(20))
    assert str(refused(Plain, nested(21))) == "Invalid params: nested deeper than 20 levels"
    refused(Plain, nested(100_000))


def test_a_valid_call_holds_the_handler_and_its_params():
    cls = handler("mail", params=MailParams)(type("Named", (Mail,), {}))

    call = validate_params("mail", {"to": "a"})

    assert (call.handler, call.params) == (cls, MailParams(to="a"))


def test_a_handler_of_dicts_gets_the_dict_as_it_is():
    cls = handler("dicts", params=dict)(type("Dicts", (Plain,), {}))

    call = validate_params("dicts", {"to": "a"})

    assert (call.handler, call.params) == (cls, {"to": "a"})


@pytest.mark.parametrize(
    ("name", "params", "error"),
    [
        ("nobody", {}, HandlerNotFoundError),
        ("nobody", [], HandlerNotFoundError),  # the name is looked up first
        ("mail", {}, InvalidParamsError),
        ("mail", [], InvalidParamsError),
    ],
)
def test_an_unknown_name_and_wrong_params_are_one_kind_of_error(name, params, error):
    handler("mail", params=MailParams)(type("Named", (Mail,), {}))

    with pytest.raises(CannotRunError) as caught:
        validate_params(name, params)

    assert type(caught.value) is error


def test_schema_of_a_model():
    schema = json_schema(Mail)

    assert schema["required"] == ["to"]
    assert schema["properties"]["copies"]["default"] == 1


def test_schema_of_a_dict_and_of_a_model_that_has_none():
    class Takes(Plain):
        takes_dict = True

    class OddParams(HandlerParams):
        call: Callable[[int], int] | None = None

    class Odd(Plain):
        params_model = OddParams

    assert json_schema(Takes) == {"type": "object", "additionalProperties": True}
    assert json_schema(Odd) == {"type": "object", "title": "OddParams"}
