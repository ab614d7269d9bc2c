"""The recurrence rules that RedBeat keeps, as RRULE. The package is not needed.

RedBeat counts in the offset from UTC that the rule's beginning had, all year.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final
from zoneinfo import ZoneInfo

from dateutil.rrule import rrule

from scheduler.moving.entries import Finding, Reason, impossible
from scheduler.moving.names import is_zone
from scheduler.moving.other_kinds import at_text, every_text
from scheduler.moving.walking_kinds import Recurrence

_FREQUENCIES: Final = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY")
_WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_LISTS: Final = (
    *("bysetpos", "bymonth", "bymonthday", "byyearday", "byweekno", "byhour", "byminute"),
    "bysecond",
)


@dataclass(frozen=True, kw_only=True)
class KeptRule:
    """A rule: its text here, its zone, and what RedBeat itself computes."""

    expression: str
    old: Recurrence


class NoCounterpart(Exception):
    """No schedule here has the times of the rule."""

    def __init__(self, finding: Finding) -> None:
        super().__init__()
        self.finding = finding


def kept_rule(fields: Mapping[str, Any]) -> KeptRule:
    """Reads the fields that RedBeat stores. Raises NoCounterpart, ValueError and KeyError."""
    given = {name: value for name, value in fields.items() if value not in (None, "", [])}
    start = _instant(given, "dtstart")
    if start is None:
        raise ValueError("the rule has no dtstart")
    until = _instant(given, "until")
    lists = {name: _list(given[name]) for name in _LISTS if name in given}
    days = [_weekday(each) for each in _list(given["byweekday"])] if "byweekday" in given else []
    frequency, interval = int(given["freq"]), int(given.get("interval", 1))
    wkst = _weekday(given["wkst"]) if "wkst" in given else None
    rule = rrule(
        frequency, start, interval=interval, wkst=wkst, count=given.get("count"), until=until,
        byweekday=days or None, **lists,
    )  # fmt: skip
    zone = _zone(start)
    if "byeaster" in given or zone is None:
        raise NoCounterpart(impossible(Reason.RULE, rule=_shown(given)))
    old = Recurrence(rule=rule, zone=zone)
    if given.get("count") == 1:
        return KeptRule(expression=at_text(rule[0]), old=old)
    if frequency == len(_FREQUENCIES) - 1:
        if lists or days or until or given.get("count"):
            raise NoCounterpart(impossible(Reason.RULE, rule=_shown(given)))
        return KeptRule(expression=every_text(interval, start), old=old)
    parts = {"FREQ": _FREQUENCIES[frequency]}
    if interval != 1:
        parts["INTERVAL"] = str(interval)
    if "count" in given:
        parts["COUNT"] = str(given["count"])
    if until is not None:
        parts["UNTIL"] = f"{until.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    if wkst is not None:
        parts["WKST"] = _WEEKDAYS[wkst]
    parts |= {name.upper(): ",".join(map(str, values)) for name, values in lists.items()}
    if days:
        parts["BYDAY"] = ",".join(_WEEKDAYS[day] for day in days)
    text = ";".join(f"{name}={value}" for name, value in parts.items())
    return KeptRule(expression=f"DTSTART:{start:%Y%m%dT%H%M%S}\nRRULE:{text}", old=old)


def _instant(given: Mapping[str, Any], name: str) -> datetime | None:
    """A time stamp, and its offset in minutes."""
    if name not in given:
        return None
    offset = timezone(timedelta(minutes=float(given.get(f"{name}_tz") or 0)))
    return datetime.fromtimestamp(int(given[name]), tz=offset)


def _zone(start: datetime) -> str | None:
    """Returns a zone that has the offset of `start` all year, or None."""
    offset = start.utcoffset() or timedelta()
    hours, rest = divmod(offset, timedelta(hours=1))
    if not offset:
        return "UTC"
    # The sign of these names is turned: Etc/GMT-9 is nine hours before Greenwich.
    name = f"Etc/GMT{-hours:+d}"
    if rest or not is_zone(name):
        return None
    return name if start.astimezone(ZoneInfo(name)).utcoffset() == offset else None


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _weekday(value: Any) -> int:
    """RedBeat keeps the weekday alone: of "the second Monday" the number is lost there, too."""
    found = int(value["wkday"] if isinstance(value, Mapping) else value)
    if not 0 <= found <= 6:
        raise ValueError(f"no weekday: {value}")
    return found


def _shown(given: Mapping[str, Any]) -> str:
    shown = {name: value for name, value in given.items() if name != "__type__"}
    return ", ".join(f"{name}={value}" for name, value in shown.items())[:200]
