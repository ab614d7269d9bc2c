"""What all bodies share: instants, ids, errors, pages, and outcomes of several actions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from ninja import Schema
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StrictInt,
    StrictStr,
    WithJsonSchema,
)

from scheduler.models import LARGEST_ID
from scheduler.operations.validation import instant_problem, text_problem

MANY = 500


def utc_text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _checked_instant(instant: datetime) -> datetime:
    problem = instant_problem(instant)
    if problem:
        raise ValueError(f"{problem}; right is 2026-01-31T18:00:00+09:00, or with Z")
    return instant


def _no_number(value: Any) -> Any:
    if not isinstance(value, str | datetime):
        raise ValueError("must be a text such as 2026-01-31T18:00:00Z")
    return value


#: Answers: UTC with microseconds. Requests: with a time zone.
Instant = Annotated[
    datetime,
    PlainSerializer(utc_text, return_type=str, when_used="always"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
InstantIn = Annotated[
    datetime,
    BeforeValidator(_no_number),
    AfterValidator(_checked_instant),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
#: An integer as JSON Schema means it: 216 and 216.0 are one number. No text, no boolean.
WholeNumber = Annotated[StrictInt, BeforeValidator(_whole)]
Id = Annotated[WholeNumber, Field(ge=1, le=LARGEST_ID)]
JsonObject = dict[StrictStr, Any]


def _checked_text(text: str) -> str:
    problem = text_problem(text, len(text))
    if problem:
        raise ValueError(problem)
    return text


#: A text in a query. PostgreSQL refuses NUL even in a condition.
Text = Annotated[str, AfterValidator(_checked_text)]


class In(Schema):
    """A body of a request. Unknown names are refused, because a typo would be ignored silently."""

    model_config = ConfigDict(extra="forbid")


class DespiteFreeze(In):
    despite_freeze: StrictBool = Field(
        default=False, description="an emergency: start it although a freeze holds"
    )


class ErrorBody(Schema):
    code: str = Field(description="stable, for programs")
    message: str = Field(description="for people, in the language of Accept-Language")
    fields: dict[str, list[str]] | None = Field(
        default=None, description="what is wrong with each field"
    )


class ErrorOut(Schema):
    error: ErrorBody


class PageOut(Schema):
    """A page by number has `total`, `page` and `pages`. In a page by cursor they are null."""

    total: int | None = Field(description="rows of all pages, counted up to a limit")
    total_is_capped: bool = Field(description="there are more than `total`")
    page: int | None
    size: int
    pages: int | None
    next_cursor: str | None = Field(description="for the next page; null: this is the last one")


class Ids(In):
    ids: list[Id] = Field(min_length=1, max_length=MANY)


class PauseMany(Ids):
    reason: StrictStr = Field(default="", max_length=500)
    until: InstantIn | None = None


class CancelMany(Ids):
    reason: StrictStr = Field(default="", max_length=500)


class Outcome(Schema):
    id: int
    ok: bool
    execution_id: int | None = Field(default=None, description="the run that was made")
    status: str | None = Field(default=None, description="the execution's new status")
    error: ErrorBody | None = None


class Outcomes(Schema):
    done: int
    refused: int
    items: list[Outcome]
