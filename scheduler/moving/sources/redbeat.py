"""RedBeat: the entries in Redis, without the package."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit
from zoneinfo import ZoneInfo

from celery.schedules import BaseSchedule, crontab, schedule
from django.utils.translation import gettext as _

from scheduler.moving.celery_schedules import CeleryEntry, found_in, zone_of
from scheduler.moving.entries import (
    Entry,
    Finding,
    Options,
    Reason,
    UnreadableSource,
    impossible,
    note,
)
from scheduler.moving.importing_code import optional
from scheduler.moving.redbeat_rules import KeptRule, NoCounterpart, kept_rule
from scheduler.operations.celery_app import own_app

_PORT: Final = 6379
_AT_ONCE: Final = 500
_FIELDS = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")


def read(where: str, options: Options) -> Iterator[Entry]:
    """Yields the entries. `where`: redis://...[?prefix=redbeat:]."""
    label, found = _definitions(where, options)
    definitions = dict(sorted(found.items()))
    has_priorities = any('"priority"' in (each.get("definition") or "") for each in found.values())
    for key, fields in definitions.items():
        yield _entry(label, key, fields, options, has_priorities=has_priorities)


def _definitions(where: str, options: Options) -> tuple[str, dict[str, dict[str, str]]]:
    """Returns what names the server, and the hash of each entry by its key."""
    with opened(where) as (client, label):
        keys = [
            key
            for key in client.scan_iter(match=f"{prefix_of(where)}*", count=_AT_ONCE, _type="hash")
            if options.is_wanted("redbeat", f"{label}:{key}")
        ]
        found: dict[str, Any] = {}
        for first in range(0, len(keys), _AT_ONCE):
            part = keys[first : first + _AT_ONCE]
            pipe = client.pipeline(transaction=False)
            for key in part:
                pipe.hgetall(key)
            found.update(zip(part, pipe.execute(), strict=True))
    return label, {key: fields for key, fields in found.items() if "definition" in fields}


def prefix_of(where: str) -> str:
    return parse_qs(urlsplit(where).query).get("prefix", ["redbeat:"])[0]


def label_of(where: str) -> str:
    """Returns what names the database in the source keys of jobs: no user, no password.

    Without a colon, because the key of the entry follows it. Raises UnreadableSource.
    """
    try:
        url = urlsplit(where)
        port = url.port or _PORT
        number = parse_qs(url.query).get("db", [url.path.strip("/")])[0]
    except ValueError as error:
        raise _wrong_url() from error
    if url.scheme == "unix":
        return where.partition("?")[0].removeprefix("unix://").rpartition("@")[2]
    return f"{url.hostname or 'localhost'}{'' if port == _PORT else f',{port}'}/{number or 0}"


@contextmanager
def opened(where: str) -> Iterator[tuple[Any, str]]:
    """Opens Redis. Yields the client, and what names the server. Raises UnreadableSource."""
    redis = optional("redis")
    label = label_of(where)
    url = urlsplit(where)
    query = parse_qs(url.query)
    query.pop("prefix", None)
    try:
        client = redis.Redis.from_url(
            url._replace(query=urlencode(query, doseq=True)).geturl(),
            decode_responses=True,
            socket_timeout=10,
        )
    except ValueError as error:
        raise _wrong_url() from error
    try:
        with client:
            yield client, label
    except redis.RedisError as error:
        raise UnreadableSource(_("Redis cannot be read: %(error)s") % {"error": error}) from error


def _wrong_url() -> UnreadableSource:
    """The text of the error itself may hold a part of the password."""
    return UnreadableSource(_("Redis cannot be read: write redis://HOST:PORT/NUMBER"))


def meta_of(fields: Mapping[str, str]) -> dict[str, Any]:
    """Returns what RedBeat has written of an entry's runs. Raises ValueError."""
    found: dict[str, Any] = json.loads(fields.get("meta") or "{}", object_hook=_object)
    return found


def stored_instant(at: datetime) -> dict[str, Any]:
    """Returns an instant as RedBeat writes it."""
    at = at.astimezone(UTC)
    parts = ("year", "month", "day", "hour", "minute", "second", "microsecond")
    known = {name: getattr(at, name) for name in parts}
    return {"__type__": "datetime", **known, "timezone": "UTC"}


def _entry(
    label: str, key: str, fields: dict[str, str], options: Options, *, has_priorities: bool
) -> Entry:
    facts: dict[str, Any] = {"key": f"{label}:{key}", "name": key.partition(":")[2], "where": key}
    try:
        definition = json.loads(fields["definition"], object_hook=_object)
        meta = meta_of(fields)
        facts |= {
            "name": str(definition["name"]),
            "is_enabled": bool(definition.get("enabled", True)),
            "last_run_at": meta.get("last_run_at"),
        }
        found_schedule = definition["schedule"]
        if isinstance(found_schedule, dict) and found_schedule.get("__type__") == "rrule":
            found_schedule = kept_rule(found_schedule)
        if not isinstance(found_schedule, BaseSchedule | KeptRule):
            return Entry(**facts, findings=[_not_here(found_schedule)])
        zone = options.timezone or zone_of(own_app().timezone)
        if isinstance(found_schedule, crontab):
            found_schedule.tz = ZoneInfo(zone)
        found = found_in(
            CeleryEntry(
                task=str(definition["task"]),
                schedule=found_schedule,
                zone=zone,
                args=list(definition.get("args") or ()),
                kwargs=dict(definition.get("kwargs") or {}),
                options=dict(definition.get("options") or {}),
                last_run_at=facts["last_run_at"],
            ),
            options,
            has_priorities=has_priorities,
        )
    except NoCounterpart as error:
        return Entry(**facts, findings=[error.finding])
    except Exception as error:  # noqa: BLE001 - Celery's own code reads the fields
        problem = f"{type(error).__name__}: {error}"
        return Entry(**facts, findings=[impossible(Reason.UNREADABLE, problem=problem)])
    is_guess = not options.timezone and isinstance(found_schedule, crontab)
    return found.entry(*([note(Reason.ZONE, zone=zone)] if is_guess else []), **facts)


def _object(value: dict[str, Any]) -> Any:
    """RedBeatJSONDecoder's types, except its rule, which stays a mapping."""
    match value.get("__type__"):
        case "datetime":
            zone = value.get("timezone", "UTC")
            tzinfo = (
                timezone(timedelta(seconds=zone))
                if isinstance(zone, int | float)
                else ZoneInfo(zone)
            )
            parts = ("year", "month", "day", "hour", "minute", "second", "microsecond")
            known = {name: int(value[name]) for name in parts if name in value}
            return datetime(**known, tzinfo=tzinfo).astimezone(UTC)
        case "interval":
            return schedule(value["every"], relative=value.get("relative", False))
        case "crontab":
            return crontab(**{name: value[name] for name in _FIELDS if name in value})
        case _:
            return value


def _not_here(found: object) -> Finding:
    return impossible(Reason.UNREADABLE, problem=f"no known schedule: {str(found)[:100]}")
