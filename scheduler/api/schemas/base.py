"""What all bodies share: instants, ids, errors, pages, and several things at once."""

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
    StrictInt,
    StrictStr,
    WithJsonSchema,
)

from scheduler.models import LARGEST_ID
from scheduler.operations.validation import instant_problem, text_problem

MANY = 500


def utc_text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _usable(instant: datetime) -> datetime:
    problem = instant_problem(instant)
    if problem:
        raise ValueError(f"{problem}; right is 2026-01-31T18:00:00+09:00, or with Z")
    return instant


def _no_number(value: Any) -> Any:
    if not isinstance(value, str | datetime):
        raise ValueError("must be a text such as 2026-01-31T18:00:00Z")
    return value


#: Out: UTC with microseconds. In: with its zone.
Instant = Annotated[
    datetime,
    PlainSerializer(utc_text, return_type=str, when_used="always"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
InstantIn = Annotated[
    datetime,
    BeforeValidator(_no_number),
    AfterValidator(_usable),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Id = Annotated[StrictInt, Field(ge=1, le=LARGEST_ID)]
JsonObject = dict[StrictStr, Any]


def _speakable(text: str) -> str:
    problem = text_problem(text, len(text))
    if problem:
        raise ValueError(problem)
    return text


#: Of a query: PostgreSQL takes no NUL, not even to look for it.
Text = Annotated[str, AfterValidator(_speakable)]


class In(Schema):
    """A body. Unknown names are refused: a typo would otherwise change nothing, silently."""

    model_config = ConfigDict(extra="forbid")


class ErrorBody(Schema):
    code: str = Field(description="stable, for programs")
    message: str = Field(description="for people, in the language of Accept-Language")
    fields: dict[str, list[str]] | None = Field(
        default=None, description="what is wrong with each field"
    )


class ErrorOut(Schema):
    error: ErrorBody


class PageOut(Schema):
    """A page by number has total, page and pages; one by cursor has only its items."""

    total: int | None = Field(description="of all pages, counted up to a limit")
    total_is_capped: bool = Field(description="there are more than `total`")
    page: int | None
    size: int
    pages: int | None
    next_cursor: str | None = Field(description="for what follows; null: nothing does")


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
    execution_id: int | None = Field(default=None, description="of a run that was made")
    status: str | None = Field(default=None, description="of an execution, afterwards")
    error: ErrorBody | None = None


class Outcomes(Schema):
    done: int
    refused: int
    items: list[Outcome]
