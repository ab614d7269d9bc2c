"""django-celery-beat: its tables, read by SQL. The package is not needed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from celery.schedules import BaseSchedule, crontab, schedule

from scheduler.moving.celery_schedules import CeleryEntry, Found, Once, found_in
from scheduler.moving.entries import Entry, Finding, Options, Reason, impossible
from scheduler.moving.tables import Reader, Row, instant_of, reading

_TABLE: Final = "django_celery_beat_"
_NEEDED: Final = ("id", "name", "task", "args", "kwargs", "enabled", "interval_id", "crontab_id",
                  "expires", "last_run_at")  # fmt: skip
_KINDS: Final = ("interval", "crontab", "solar", "clocked")
_LONGEST_WAIT: Final = timedelta(days=8 * 366)
_FIELDS: Final = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")


def read(where: str, options: Options) -> Iterator[Entry]:
    """Yields the periodic tasks. `where`: a database URL, or a Django alias."""
    with reading(where) as database:
        tasks = list(database.rows(f"{_TABLE}periodictask", _NEEDED))
        schedules = {kind: _schedules(database, kind, tasks) for kind in _KINDS}
        has_priorities = any(task.get("priority") is not None for task in tasks)
        for task in tasks:
            if options.is_wanted("django-celery-beat", f"{database.label}:{task['id']}"):
                yield _entry(
                    task, schedules, database.label, options, has_priorities=has_priorities
                )


def _schedules(database: Reader, kind: str, tasks: list[Row]) -> Mapping[Any, Row]:
    if not any(task.get(f"{kind}_id") is not None for task in tasks):
        return {}
    needed = {
        "interval": ("every", "period"),
        "crontab": (*_FIELDS, "timezone"),
        "solar": ("event",),
        "clocked": ("clocked_time",),
    }[kind]
    return {row["id"]: row for row in database.rows(f"{_TABLE}{kind}schedule", needed)}


def _entry(
    task: Row,
    schedules: Mapping[str, Mapping[Any, Row]],
    label: str,
    options: Options,
    *,
    has_priorities: bool,
) -> Entry:
    facts: dict[str, Any] = {
        "key": f"{label}:{task['id']}",
        "name": task["name"],
        "where": f"id {task['id']}",
        "is_enabled": bool(task["enabled"]),
        "last_run_at": instant_of(task["last_run_at"]),
    }
    try:
        found_schedule, zone = _schedule(task, schedules)
        args, kwargs, headers = _message(task)
    except _NotHere as error:
        return Entry(**facts, findings=[error.finding])
    except Exception as error:  # noqa: BLE001 - Celery's own code reads the fields
        return Entry(**facts, findings=[impossible(Reason.EXPRESSION, problem=str(error))])
    expires = instant_of(task["expires"])
    names = ("queue", "exchange", "routing_key", "priority", "expire_seconds")
    start_at = instant_of(task.get("start_time"))
    given = CeleryEntry(
        task=task["task"],
        schedule=found_schedule,
        zone=zone,
        args=args,
        kwargs=kwargs,
        options={**{name: task.get(name) for name in names}, "headers": headers},
        start_at=start_at,
        fires_at_start=True,
        # At this instant it is switched off before it looks whether it is due.
        end_at=expires and expires - timedelta(seconds=1),
        last_run_at=facts["last_run_at"] or (None if start_at else _changed_at(task)),
        description=task.get("description") or "",
    )
    found = found_in(given, options, has_priorities=has_priorities)
    if isinstance(found_schedule, Once) and task.get("total_run_count"):
        return found.entry(impossible(Reason.ONCE), **facts)  # it is switched off before it runs
    if task.get("one_off") and not isinstance(found_schedule, Once):
        found = _once(given, found, facts, options, has_priorities=has_priorities)
    return found.entry(**facts)


def _message(task: Row) -> tuple[list[Any], dict[str, Any], Any]:
    """Returns args, kwargs and headers. Raises _NotHere for what Celery could not send either."""
    try:
        args, kwargs = json.loads(task["args"] or "[]"), json.loads(task["kwargs"] or "{}")
        headers = json.loads(task.get("headers") or "{}")
        if not (isinstance(args, list) and isinstance(kwargs, dict)):
            raise ValueError("args must be a JSON list, and kwargs a JSON object")
    except ValueError as error:
        raise _NotHere(impossible(Reason.ARGUMENTS, problem=str(error))) from error
    return args, kwargs, headers


def _changed_at(task: Row) -> datetime | None:
    """What a task that has never run counts from."""
    return instant_of(task.get("date_changed"))


def _once(
    given: CeleryEntry,
    found: Found,
    facts: Mapping[str, Any],
    options: Options,
    *,
    has_priorities: bool,
) -> Found:
    """A task that is switched off after its next run."""
    if found.old is None or not facts["is_enabled"]:
        return replace(found, old=None, findings=[*found.findings, impossible(Reason.ONCE)])
    coming = found.old.slots(options.now, options.now + _LONGEST_WAIT, 1)
    if not coming:
        return replace(found, old=None, findings=[*found.findings, impossible(Reason.ONCE)])
    once = replace(given, schedule=Once(at=coming[0]))
    return found_in(once, options, has_priorities=has_priorities)


class _NotHere(Exception):
    def __init__(self, finding: Finding) -> None:
        super().__init__()
        self.finding = finding


def _schedule(
    task: Row, schedules: Mapping[str, Mapping[Any, Row]]
) -> tuple[BaseSchedule | Once, str]:
    kind = next((kind for kind in _KINDS if task.get(f"{kind}_id") is not None), None)
    if kind is None:
        raise ValueError("it has no schedule")
    row = schedules[kind].get(task[f"{kind}_id"])
    if row is None:
        raise ValueError(f"there is no {kind} schedule {task[f'{kind}_id']}")
    match kind:
        case "interval":
            return schedule(timedelta(**{row["period"]: row["every"]})), "UTC"
        case "crontab":
            zone = str(row["timezone"] or "UTC")
            made = crontab(**{name: str(row[name]).replace(" ", "") or "*" for name in _FIELDS})
            made.tz = ZoneInfo(zone)
            return made, zone
        case "solar":
            raise _NotHere(impossible(Reason.SOLAR, event=row["event"]))
        case _:
            at = instant_of(row["clocked_time"])
            if at is None:
                raise ValueError("its clocked schedule has no time")
            return Once(at=at), "UTC"
