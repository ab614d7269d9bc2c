"""Bodies of the histories: who did what."""

from __future__ import annotations

from ninja import Schema
from pydantic import Field

from scheduler.api.schemas.base import Instant, JsonObject, PageOut


class ActivityOut(Schema):
    """One act. `verb` and `facts` are for programs, `text` is for people."""

    id: int
    at: Instant
    actor: str = Field(description="the name of the person; empty: jobu itself")
    user_id: str | None = Field(description="the id of the user of this site; null: there is none")
    door: str = Field(description="admin, api, command, beat or system")
    verb: str = Field(description="created, changed, paused, cancelled, ...")
    target_kind: str = Field(
        description="job, execution, backfill, failure, alert, channel or queue"
    )
    target_id: int | None = Field(description="null: several rows")
    target_name: str
    text: str = Field(description="in the language of Accept-Language")
    facts: JsonObject = Field(
        description="details of the act; params are null if you may not see them"
    )


class ActivityPage(PageOut):
    items: list[ActivityOut]
