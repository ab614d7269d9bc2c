"""Bodies of the alerts."""

from __future__ import annotations

from typing import Any

from ninja import Schema
from pydantic import Field

from scheduler.alert_states import AlertKind, AlertState
from scheduler.api.schemas.base import In, Instant, InstantIn, PageOut


class AlertOut(Schema):
    id: int
    kind: AlertKind
    state: AlertState
    subject_key: str = Field(description="what it is about, such as job:7, queue:reports, beat")
    job_id: int | None = Field(description="the job may have been deleted since")
    job_name: str
    owner: str = Field(description="the job's owner when it opened")
    queue: str
    execution_id: int | None = Field(description="the first run that it tells of")
    last_execution_id: int | None
    count: int = Field(description="how often it has happened since it opened")
    opened_at: Instant
    last_seen_at: Instant
    closed_at: Instant | None
    close_reason: str
    closed_by: str
    acknowledged_by: str
    acknowledged_at: Instant | None
    snoozed_until: Instant | None
    snoozed_by: str
    facts: Any = Field(description="codes and numbers, by kind (docs/alerts.md)")


class AlertMessageOut(Schema):
    id: int
    event: str
    channel: str
    recipient: str
    state: str
    not_before: Instant | None = Field(description="held back until then")
    created_at: Instant
    sent_at: Instant | None
    tries: int
    error: str
    execution_id: int | None = Field(description="the run that delivers it")
    digest_of: int | None = Field(description="the message that tells it together with others")


class AlertDetail(AlertOut):
    messages: list[AlertMessageOut] = Field(description="who was told, in order; the first 500")


class AlertBrief(Schema):
    """The answer to a verb for a caller who may not see alerts."""

    id: int
    state: AlertState


AlertAnswer = AlertDetail | AlertBrief


class AlertPage(PageOut):
    items: list[AlertOut]


class SnoozeIn(In):
    until: InstantIn = Field(description="nobody is told before")
