"""What healthchecks and Sentry Crons are told of an attempt, as one HTTP request each."""

from __future__ import annotations

import hashlib
import json
import math
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from pydantic import TypeAdapter, ValidationError

from scheduler.alert_settings import CheckIn, HealthchecksCheckIn, SentryCheckIn
from scheduler.alert_states import CheckInPhase

#: Of the log, the end is sent.
LOG_BYTES: Final = 10_000
_NAMESPACE: Final = uuid.UUID("5e1c8a58-3f2e-4f0b-9d0e-6a6f62750001")
_PATHS: Final = {CheckInPhase.START: "/start", CheckInPhase.SUCCESS: "", CheckInPhase.FAIL: "/fail"}
_STATUSES: Final = {
    CheckInPhase.START: "in_progress",
    CheckInPhase.SUCCESS: "ok",
    CheckInPhase.FAIL: "error",
}
# What Sentry reads as a schedule: five fields, with names of days and months.
_ALIASES: Final = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0", "@daily": "0 0 * * *", "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}  # fmt: skip
_FIELDS: Final = 5
_PLAIN: Final = re.compile(r"[\d*/,-]+|[A-Za-z]{3}([,-][A-Za-z]{3})*")

_check_ins: TypeAdapter[CheckIn] = TypeAdapter(CheckIn)


@dataclass(frozen=True, kw_only=True)
class Report:
    """One phase of one attempt, with what the services want to know of its job."""

    phase: CheckInPhase
    attempt_key: str
    started_at: datetime
    ended_at: datetime | None
    cron_expression: str
    timezone: str
    timeout_seconds: int
    log: Sequence[str] = ()

    @property
    def id(self) -> uuid.UUID:
        """The same for the start and the end of an attempt, and for each try of a report."""
        return uuid.uuid5(_NAMESPACE, self.attempt_key)


@dataclass(frozen=True, kw_only=True)
class Request:
    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def services_of(rules: Mapping[str, Any]) -> dict[str, CheckIn]:
    """The services of a job's `alert_rules`, by key, without those that SQL has written wrongly."""
    given = rules.get("check_ins")
    found = {}
    for each in given if isinstance(given, list) else []:
        try:
            service = _check_ins.validate_python(each)
        except ValidationError:
            continue
        found[key_of(service)] = service
    return found


def key_of(service: CheckIn) -> str:
    text = json.dumps(service.model_dump(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def host_of(service: CheckIn) -> str:
    """Reports to one host go one after the other."""
    url = service.url if isinstance(service, HealthchecksCheckIn) else service.dsn
    return urlsplit(url).hostname or ""


def request_of(service: CheckIn, report: Report) -> Request:
    if isinstance(service, HealthchecksCheckIn):
        return _healthchecks(service, report)
    return _sentry(service, report)


def _healthchecks(service: HealthchecksCheckIn, report: Report) -> Request:
    """https://healthchecks.io/docs/http_api/"""
    tail = "\n".join(report.log).encode()[-LOG_BYTES:].decode(errors="ignore")
    return Request(
        url=f"{service.url}{_PATHS[report.phase]}?rid={report.id}",
        body=b"" if report.phase == CheckInPhase.START else tail.encode(),
        headers={"Content-Type": "text/plain; charset=utf-8"},
    )


def _sentry(service: SentryCheckIn, report: Report) -> Request:
    """https://develop.sentry.dev/sdk/telemetry/check-ins/"""
    parts = urlsplit(service.dsn)
    folder, _, project = parts.path.rpartition("/")
    host = parts.netloc.rpartition("@")[2]
    payload: dict[str, Any] = {
        "check_in_id": report.id.hex,
        "monitor_slug": service.slug,
        "status": _STATUSES[report.phase],
        "environment": service.environment,
    }
    if report.ended_at is not None:
        payload["duration"] = max(0.0, (report.ended_at - report.started_at).total_seconds())
    if schedule := crontab_of(report.cron_expression):
        payload["monitor_config"] = {
            "schedule": {"type": "crontab", "value": schedule},
            "timezone": report.timezone,
            "max_runtime": max(1, math.ceil(report.timeout_seconds / 60)),
        }
    envelope = [{"dsn": service.dsn}, {"type": "check_in"}, payload]
    return Request(
        url=urlunsplit((parts.scheme, host, f"{folder}/api/{project}/envelope/", "", "")),
        body="\n".join(json.dumps(each) for each in envelope).encode() + b"\n",
        headers={
            "Content-Type": "application/x-sentry-envelope",
            "X-Sentry-Auth": f"Sentry sentry_version=7, sentry_client=jobu/1,"
            f" sentry_key={parts.username}",
        },
    )


def crontab_of(expression: str) -> str | None:
    """The schedule as Sentry reads it. None: it knows no such one, and keeps the monitor's own."""
    text = expression.strip()
    text = _ALIASES.get(text.lower(), text)
    fields = text.split()
    if "\n" in text or len(fields) != _FIELDS:
        return None
    return " ".join(fields) if all(map(_PLAIN.fullmatch, fields)) else None
