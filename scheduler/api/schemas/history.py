"""Bodies of the histories: who did what."""

from __future__ import annotations

from ninja import Schema
from pydantic import Field

from scheduler.api.schemas.base import Instant, JsonObject, PageOut


class ActivityOut(Schema):
    """One act. `verb` and `facts` are for programs, `text` is for people."""

    id: int
    at: Instant
    actor: str = Field(description="the name of whoever did it; jobu itself: empty")
    user_id: str | None = Field(description="the id of a user of this site")
    door: str = Field(description="admin, api, command, beat or system")
    verb: str = Field(description="created, changed, paused, cancelled, ...")
    target_kind: str = Field(description="job, execution or backfill")
    target_id: int | None = Field(description="null: a range of executions")
    target_name: str
    text: str = Field(description="in the language of Accept-Language")
    facts: JsonObject = Field(description="what belongs to the verb; params are null if hidden")


class ActivityPage(PageOut):
    items: list[ActivityOut]
