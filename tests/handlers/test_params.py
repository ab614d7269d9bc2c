"""Params are refused where they are typed, with the reason and without the value."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, field_validator

from handlers import BaseHandler, HandlerNotFoundError, HandlerParams, InvalidParamsError, handler
from handlers.params import json_schema, validate_params


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


def refused(handler, raw) -> InvalidParamsError:
    with pytest.raises(InvalidParamsError) as caught:
        validate_params(handler, raw)
    return caught.value


def test_defaults_and_extra_fields():
    params: Any = validate_params(Plain, {"value": 5, "colour": "red"})

    assert (params.action, params.id, params.name, params.value) == ("read", None, None, 5)
    assert params.colour == "red"


def test_params_can_be_read_like_a_dict():
    params: Any = validate_params(Mail, {"to": "a", "colour": "red"})

    assert params["to"] == "a"
    assert params["colour"] == "red"
    assert params.get("none", 3) == 3
    assert "colour" in params
    assert "none" not in params
    with pytest.raises(KeyError):
        params["none"]


def test_nothing_counts_as_empty():
    assert validate_params(Plain, None).model_dump()["action"] == "read"


def test_every_mistake_is_told_with_its_place():
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


def test_no_more_than_twenty_mistakes_are_told():
    class Many(Plain):
        params_model = type(
            "ManyParams", (HandlerParams,), {"__annotations__": {f"f{n}": int for n in range(50)}}
        )

    error = refused(Many, {})

    assert len(error.errors) == 50
    assert str(error).endswith("and 30 more")


@pytest.mark.parametrize("raw", [[], "{}", 5, b"{}", True])
def test_only_an_object_will_do(raw):
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


def test_a_validators_own_words_arrive():
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

    validate_params(Plain, nested(20))
    assert str(refused(Plain, nested(21))) == "Invalid params: nested deeper than 20 levels"
    refused(Plain, nested(100_000))


def test_a_name_works_as_well_as_a_class():
    handler("mail", params=MailParams)(type("Named", (Mail,), {}))

    assert validate_params("mail", {"to": "a"}) == MailParams(to="a")
    with pytest.raises(HandlerNotFoundError):
        validate_params("nobody", {})


def test_schema_of_a_model():
    schema = json_schema(Mail)

    assert schema["required"] == ["to"]
    assert schema["properties"]["copies"]["default"] == 1


def test_schema_where_there_is_none():
    class Takes(Plain):
        takes_dict = True

    class OddParams(HandlerParams):
        call: Callable[[int], int] | None = None

    class Odd(Plain):
        params_model = OddParams

    assert json_schema(Takes) == {"type": "object", "additionalProperties": True}
    assert json_schema(Odd) == {"type": "object", "title": "OddParams"}
