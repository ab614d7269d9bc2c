"""Bodies of /handlers, /processes and /me."""

from __future__ import annotations

from typing import Literal

from ninja import Schema
from pydantic import (
    Field,
)

from scheduler.api.schemas.base import Instant, JsonObject
from scheduler.operations.liveness import ClockState
from scheduler.states import (
    ProcessKind,
)


class HandlerOut(Schema):
    name: str
    description: str
    databases: list[str]
    params_schema: JsonObject = Field(description="JSON Schema of its parameters")


class HandlerList(Schema):
    items: list[HandlerOut]


class ProcessOut(Schema):
    name: str
    kind: ProcessKind
    host: str
    pid: int
    started_at: Instant
    heartbeat_at: Instant
    running: int
    places: int | None = Field(description="how many runs a worker may have at once")
    drained_at: Instant | None = Field(description="since when a worker is to take no runs")
    is_alive: bool


class WorkerName(Schema):
    name: str = Field(max_length=255, description="of a worker, as /processes shows it")


class LivenessOut(Schema):
    beat_age_seconds: float | None
    beats_alive: int
    workers_alive: int
    oldest_waiting_seconds: float | None
    pending: int
    running: int
    clock: ClockState
    clock_offset_seconds: float
    clock_behind_seconds: float


class ProcessList(Schema):
    items: list[ProcessOut]
    liveness: LivenessOut


class MeOut(Schema):
    user: str
    token: str | None
    scopes: list[Literal["read", "operate", "write"]] | None
    expires_at: Instant | None
    may: list[str]
