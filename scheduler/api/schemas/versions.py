"""Bodies of /crons/{id}/drift and /crons/{id}/restore."""

from __future__ import annotations

from ninja import Schema
from pydantic import Field, StrictBool

from scheduler.api.schemas.base import Id, In, Instant, InstantIn, WholeNumber
from scheduler.api.schemas.jobs import CronOut
from scheduler.models import LARGEST_ID


class ChangeOut(Schema):
    """A field that differs, in the words of Accept-Language. Secrets are masked."""

    field: str
    old: str
    new: str


class DriftOut(Schema):
    source: str = Field(default="", description="the file that keeps the job; empty: none does")
    applied_at: Instant | None = None
    applied_by: str = ""
    edited_by: str | None = Field(
        default=None, description="null: nobody, or the history does not say"
    )
    edited_at: Instant | None = None
    changes: list[ChangeOut] = Field(
        default_factory=list, description="from the file to now; empty: it is as in the file"
    )


class RestoreIn(In):
    at: InstantIn | None = Field(default=None, description="as it was then")
    entry_id: Id | None = Field(
        default=None, description="in place of `at`: as this entry of its history left it"
    )
    dry_run: StrictBool = Field(default=False, description="only say what would change")
    tick_seq: WholeNumber | None = Field(
        default=None,
        ge=0,
        le=LARGEST_ID,
        description="as you read it: a change made meanwhile gives 409",
    )


class RestoreOut(Schema):
    done: bool
    entry_id: int
    at: Instant
    changes: list[ChangeOut] = Field(description="from the job as it was until now")
    kept_secrets: list[str] = Field(
        description="places that keep today's value: the history keeps no secrets"
    )
    cron: CronOut
