"""Distances, single instants and recurrence rules as texts of jobu: `every`, `at` and RRULE."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from scheduler.moving.rules import EVERY_DOM, EVERY_DOW, EVERY_HOUR, EVERY_MINUTE, EVERY_MONTH, Rule

_UNITS: Final = (("h", 3600), ("m", 60), ("s", 1))
# A Rule counts weekdays from Sunday.
_DAYS: Final = ("SU", "MO", "TU", "WE", "TH", "FR", "SA")
_PLAIN_KEYS: Final = {"BYMONTH", "BYMONTHDAY", "BYDAY", "BYHOUR", "BYMINUTE", "BYSECOND"}
_NEEDED_KEYS: Final = {"BYHOUR", "BYMINUTE"}
_MOST_DRIFT: Final = 60
_DAILY: Final = "RRULE:FREQ=DAILY"


def every_text(seconds: int, start: datetime | None) -> str:
    """Returns the elapsed time between two runs, counted from `start`.

    None: from the creation of the job. Hours and not days: a day of the calendar may have 23.
    """
    unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
    text = f"every {seconds // size}{unit}"
    return text if start is None else f"{text} from {instant_text(start)}"


def every_days_text(days: int, start: datetime) -> str:
    """Returns so many days of the calendar, at midnight. `start`: in the job's zone."""
    return f"every {days} days at 00:00 from {start:%Y-%m-%d}"


def at_text(at: datetime) -> str:
    return f"at {instant_text(at)}"


def instant_text(at: datetime) -> str:
    """Returns the instant in UTC, by the second."""
    at = at.astimezone(UTC)
    return f"{at:{'%Y-%m-%dT%H:%M:%SZ' if at.second else '%Y-%m-%dT%H:%MZ'}}"


def recurrence_of(rule: Rule) -> str | None:
    """Returns the RRULE with the times of a rule that requires both day fields.

    In a recurrence rule each part must match, so it says what no cron expression can.
    """
    if not rule.both or rule.nths or rule.last_dom:
        return None
    parts = [_DAILY]
    if rule.months != EVERY_MONTH:
        parts.append(f"BYMONTH={_listed(rule.months)}")
    if rule.doms != EVERY_DOM:
        parts.append(f"BYMONTHDAY={_listed(rule.doms)}")
    if rule.dows != EVERY_DOW:
        parts.append("BYDAY=" + ",".join(_DAYS[day] for day in sorted(rule.dows)))
    parts += [f"BYHOUR={_listed(rule.hours)}", f"BYMINUTE={_listed(rule.minutes)}"]
    if rule.seconds != frozenset({0}):
        parts.append(f"BYSECOND={_listed(rule.seconds)}")
    return ";".join(parts)


def rule_of_recurrence(text: str, zone: str) -> Rule | None:
    """Returns the times of a text such as `recurrence_of` writes; None for any other rule."""
    head, *items = text.strip().split(";")
    parts = dict(item.partition("=")[::2] for item in items)
    if head != _DAILY or not _NEEDED_KEYS <= parts.keys() <= _PLAIN_KEYS:
        return None
    try:
        found = {key: _numbers(value) for key, value in parts.items() if key != "BYDAY"}
        dows = (_DAYS.index(day) for day in parts["BYDAY"].split(",")) if "BYDAY" in parts else ()
        named_dows = frozenset(dows)
    except ValueError:
        return None
    return Rule(
        zone=zone,
        seconds=found.get("BYSECOND", frozenset({0})),
        minutes=found.get("BYMINUTE", EVERY_MINUTE),
        hours=found.get("BYHOUR", EVERY_HOUR),
        doms=found.get("BYMONTHDAY", EVERY_DOM),
        months=found.get("BYMONTH", EVERY_MONTH),
        dows=named_dows or EVERY_DOW,
    )


def is_same_distance(one: str, other: str, *, at_any_phase: bool = False) -> bool:
    """Whether two texts of `every_text` are the same distance and differ by less than a minute.

    `at_any_phase`: or by more.

    The old system's next run moves by its own delay each time, so what it counts from does, too.
    """
    (distance, start), (other_distance, other_start) = (_split(text) for text in (one, other))
    if distance != other_distance or start is None or other_start is None:
        return False
    if at_any_phase:
        return True
    seconds = _seconds(distance)
    apart = abs((start - other_start).total_seconds()) % seconds if seconds else _MOST_DRIFT
    return min(apart, seconds - apart) < min(_MOST_DRIFT, seconds / 2)


def _split(text: str) -> tuple[str, datetime | None]:
    distance, _word, start = text.partition(" from ")
    try:
        return distance, datetime.fromisoformat(start)
    except ValueError:
        return distance, None


def _seconds(distance: str) -> int:
    """Returns 0 for what `every_text` does not write."""
    word, _blank, text = distance.partition(" ")
    size = dict(_UNITS).get(text[-1:])
    return int(text[:-1]) * size if word == "every" and size and text[:-1].isdigit() else 0


def _listed(values: frozenset[int]) -> str:
    return ",".join(str(value) for value in sorted(values))


def _numbers(text: str) -> frozenset[int]:
    found = frozenset(int(value) for value in text.split(","))
    if min(found) < 0:
        raise ValueError(text)  # days that count from the end of the month
    return found
