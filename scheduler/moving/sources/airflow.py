"""Airflow: a list of DAGs and their schedules, as JSON, YAML or CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _

from handlers.registry import handler_names
from scheduler.moving.cron_fields import Dialect, UnreadableField, read_rule, unreadable
from scheduler.moving.entries import (
    Entry,
    Finding,
    Options,
    Reason,
    UnreadableSource,
    differs,
    impossible,
    note,
)
from scheduler.moving.importing_code import optional
from scheduler.moving.mapping_rules import (
    columns_of_instant,
    columns_of_interval,
    columns_of_rule,
)
from scheduler.moving.names import is_zone
from scheduler.moving.rules import Rule
from scheduler.moving.walking import Walker
from scheduler.moving.walking_kinds import Distance, Instants

_KNOWN: Final = {
    "dag_id", "schedule", "schedule_interval", "timezone", "is_paused", "catchup", "start_date",
    "end_date", "max_active_runs", "description", "owners", "owner", "tags", "fileloc", "handler",
}  # fmt: skip
_NO_SCHEDULE: Final = ("", "none", "null", "@continuous", "@asset", "dataset", "asset")
_TIMEDELTA: Final = re.compile(r"(?:(\d+) days?, )?(\d+):(\d\d):(\d\d)(?:\.0+)?")
_LONGEST_TIMEOUT_SECONDS: Final = 86_400


def read(where: str, options: Options) -> Iterator[Entry]:
    """Yields the DAGs. `where`: a file that ends in .json, .yaml, .yml or .csv."""
    path = Path(where)
    for number, row in enumerate(_rows(path), start=1):
        yield _entry(row, f"{path.absolute()}", f"entry {number}", options)


def _rows(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8")
        match path.suffix.lower():
            case ".csv":
                return list(csv.DictReader(io.StringIO(text), strict=True))
            case ".yaml" | ".yml":
                found = optional("yaml").safe_load(text)
            case _:
                found = json.loads(text)
    except Exception as error:
        facts = {"path": path, "error": " ".join(str(error).split())}
        raise UnreadableSource(_("%(path)s cannot be read: %(error)s") % facts) from error
    if not isinstance(found, list):
        raise UnreadableSource(_("%(path)s is no list of DAGs") % {"path": path})
    return found


def _entry(row: Any, label: str, where: str, options: Options) -> Entry:
    name = str(row.get("dag_id") or where) if isinstance(row, Mapping) else where
    facts: dict[str, Any] = {"key": f"{label}:{name}", "name": name, "where": where}
    try:
        if not isinstance(row, Mapping) or not row.get("dag_id"):
            raise ValueError("it has no dag_id")
        if unknown := sorted(str(key) for key in set(row) - _KNOWN):
            return Entry(**facts, findings=[impossible(Reason.UNKNOWN_KEY, key=unknown[0])])
        facts["is_enabled"] = not _truth(row.get("is_paused"))
        return _mapped(facts, row, options)
    except UnreadableField as error:
        return Entry(**facts, findings=[unreadable(error, Dialect.AIRFLOW)])
    except (TypeError, ValueError) as error:
        return Entry(**facts, findings=[impossible(Reason.UNREADABLE, problem=str(error))])


def _mapped(facts: dict[str, Any], row: Mapping[str, Any], options: Options) -> Entry:
    name = facts["name"]
    handler = options.handlers.get(name) or row.get("handler")
    values: dict[str, Any] = {
        "handler_name": str(handler or name),
        "handler_params": {},
        "description": str(row.get("description") or "")[:500],
        "misfire_policy": "all" if _truth(row.get("catchup", True)) else "latest",
        "max_retry": 0,
        "timeout_seconds": _LONGEST_TIMEOUT_SECONDS,
    }
    findings: list[Finding] = []
    if not handler and name not in handler_names():
        findings.append(impossible(Reason.NO_HANDLER, name=name))
    runs = int(row.get("max_active_runs") or 16)
    values["overlap_policy"] = "skip" if runs == 1 else "allow"
    if runs != 1:
        findings.append(differs(Reason.INSTANCES, count=runs))
    text = str(row.get("schedule") or row.get("schedule_interval") or "").strip()
    if text.lower() in _NO_SCHEDULE:
        findings.append(impossible(Reason.RULE, rule=text))
        return Entry(**facts, values=values, findings=findings)
    zone = str(row.get("timezone") or options.timezone or "UTC")
    if not is_zone(zone):
        raise ValueError(f"unknown time zone {zone!r}")
    if text == "@once":
        return _once(facts, values, findings, _instant(row.get("start_date"), zone), options)
    if (seconds := _seconds(text)) is not None:
        return _of_delta(facts, values, findings, row, seconds, zone, options)
    if not row.get("timezone") and not options.timezone:
        findings.append(note(Reason.ZONE, zone=zone))
    rule = read_rule(text, zone, Dialect.AIRFLOW)
    start_at, end_at = _bounds(row, rule)
    rule = Rule(**{**vars(rule), "start_at": start_at, "end_at": end_at})
    columns, more, nearest = columns_of_rule(rule)
    return Entry(
        **facts,
        values={**values, **columns, "start_at": start_at, "end_at": end_at},
        findings=[*findings, note(Reason.INTERVAL_END), *more],
        nearest=nearest,
        rule=rule,
        old=Walker(rule=rule, dialect=Dialect.AIRFLOW),
    )


def _once(
    facts: dict[str, Any],
    values: dict[str, Any],
    findings: list[Finding],
    start: datetime | None,
    options: Options,
) -> Entry:
    """It runs once, at its start."""
    if start is None:
        return Entry(**facts, values=values, findings=[*findings, impossible(Reason.ONCE)])
    columns, more, _nearest = columns_of_instant(start, options.now)
    old = Instants(instants=[start])
    return Entry(**facts, values=values | columns, findings=findings + more, old=old)


def _of_delta(
    facts: dict[str, Any],
    values: dict[str, Any],
    findings: list[Finding],
    row: Mapping[str, Any],
    seconds: int,
    zone: str,
    options: Options,
) -> Entry:
    """Intervals that follow each other from the start on; a run comes at the end of each.

    Without `catchup` they begin where Airflow first looked, which no list of DAGs says.
    """
    start, end = (_instant(row.get(name), zone) for name in ("start_date", "end_date"))
    step = timedelta(seconds=seconds)
    is_known = start is not None and _truth(row.get("catchup", True))
    columns, more, nearest = columns_of_interval(seconds, start if is_known else None)
    bounds = {
        "start_at": None if start is None else start + timedelta(seconds=1),
        "end_at": None if end is None else end + step,
    }
    old = Distance(
        start=start or options.now.replace(microsecond=0),
        seconds=seconds,
        first_at=bounds["start_at"],
        last_at=bounds["end_at"],
    )
    return Entry(
        **facts,
        values={**values, **columns, **bounds},
        findings=[*findings, note(Reason.INTERVAL_END), *more],
        nearest=nearest,
        old=old,
        interval_seconds=seconds,
    )


def _bounds(row: Mapping[str, Any], rule: Rule) -> tuple[datetime | None, datetime | None]:
    """A run starts at the end of its interval: the first one after the start, the last one at the
    first slot after the end.
    """
    start, end = (_instant(row.get(name), rule.zone) for name in ("start_date", "end_date"))
    if end is not None:
        walker = Walker(rule=rule, dialect=Dialect.AIRFLOW)
        end = next(iter(walker.slots(end, end + timedelta(days=800), 1)), end)
    return (None if start is None else start + timedelta(seconds=1)), end


def _instant(value: object, zone: str) -> datetime | None:
    if value in (None, ""):
        return None
    found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return (found if found.tzinfo else found.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)


def _seconds(text: str) -> int | None:
    """`1 day, 0:00:00`: what a timedelta looks like as text."""
    found = _TIMEDELTA.fullmatch(text)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds or None


def _truth(value: object) -> bool:
    return str(value).strip().lower() in ("true", "1", "yes")
