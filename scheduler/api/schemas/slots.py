"""The body of /crons/{id}/slots."""

from __future__ import annotations

from typing import Any

from ninja import Schema
from pydantic import Field

from scheduler.api.schemas.base import Instant
from scheduler.states import JudgedBy, SlotCode, SlotObstacle


class GapOut(Schema):
    zone: str
    before: str = Field(description="what the clock showed last")
    after: str = Field(description="what it showed then")


class SlotAnswerOut(Schema):
    """Which fields are set depends on `code`."""

    code: SlotCode
    at: Instant
    text: str = Field(description="the answer in the words of Accept-Language")
    is_calm: bool = Field(description="false: somebody may have to look after it")
    execution_id: int | None = Field(description="the row that says so")
    status: str = Field(description="of that row")
    reason_code: str
    reason_facts: dict[str, Any]
    reason: str = Field(description="as it was given by a person, or stored without a code")
    by: str = Field(description="who did it: paused the job, cancelled the run, made the job")
    first: Instant | None = Field(description="of several slots that one row counts")
    last: Instant | None
    count: int | None = Field(description="how many; null: one, or more than are counted")
    since: Instant | None
    until: Instant | None
    before: Instant | None = Field(description="the nearest slots of what is none")
    after: Instant | None
    calendar: str
    moved_to: Instant | None = Field(description="the slot to which the calendar moves it")
    starts_at: Instant | None = Field(
        description="of a planned slot, with the job's jitter; of one that a freeze holds: its end"
    )
    obstacles: list[SlotObstacle] = Field(description="what will stand in its way")
    freeze: str = Field(description="which freeze will block the slot")
    gap: GapOut | None = Field(description="the clock skipped this time")
    instead: SlotAnswerOut | None = Field(description="about the slot that came instead")
    other_pass: Instant | None = Field(description="the clock shows this time twice")
    stand_ins: list[int] = Field(description="backfilled and replayed runs of the slot")
    judged_by: JudgedBy
    is_slot_today: bool | None = Field(
        description="of what was no slot then: is it one by today's schedule?"
    )
