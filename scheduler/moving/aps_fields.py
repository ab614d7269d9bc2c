"""The fields of APScheduler's CronTrigger as a Rule. Its weekdays count from Monday = 0.

Each field is asked which values it takes, so its own code reads its text.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from scheduler.moving.entries import Finding, Reason, impossible
from scheduler.moving.rules import EVERY_DOW, Rule

_MONDAY: Final = datetime(2024, 1, 1)  # noqa: DTZ001 - only its calendar day is read
_NO_FIELD: Final = ("year", "week")


class UnmappedField(Exception):
    """A field that no expression has."""

    def __init__(self, finding: Finding) -> None:
        super().__init__()
        self.finding = finding


def rule_of_trigger(
    trigger: Any, *, start_at: datetime | None = None, end_at: datetime | None = None
) -> Rule:
    """Returns the times of a CronTrigger. Raises UnmappedField."""
    fields = {field.name: field for field in trigger.fields}
    for name in _NO_FIELD:
        if str(fields[name]) != "*":
            raise UnmappedField(impossible(Reason.WEEK_OR_YEAR, field=f"{name}={fields[name]}"))
    doms, nths, last_dom = _days(fields["day"])
    dows = _weekdays(fields["day_of_week"])
    if (nths or last_dom) and dows != EVERY_DOW:
        text = f"day={fields['day']}, day_of_week={fields['day_of_week']}"
        raise UnmappedField(impossible(Reason.RULE, rule=text))
    return Rule(
        zone=str(trigger.timezone),
        seconds=_values(fields["second"], 60, lambda n: _MONDAY.replace(second=n)),
        minutes=_values(fields["minute"], 60, lambda n: _MONDAY.replace(minute=n)),
        hours=_values(fields["hour"], 24, lambda n: _MONDAY.replace(hour=n)),
        months=_values(fields["month"], 13, lambda n: _MONDAY.replace(month=n or 1)) - {0},
        doms=doms,
        last_dom=last_dom,
        # A weekday of the month stands for the day of the month there, and for the weekday here.
        dows=frozenset() if nths else dows,
        nths=nths,
        both=not nths,
        start_at=start_at,
        end_at=end_at,
    )


def _values(field: Any, end: int, instant: Any) -> frozenset[int]:
    return frozenset(n for n in range(end) if _takes(field.expressions, field, instant(n)))


def _takes(expressions: list[Any], field: Any, instant: datetime) -> bool:
    value = field.get_value(instant)
    return any(each.get_next_value(instant, field) == value for each in expressions)


def _days(field: Any) -> tuple[frozenset[int], frozenset[tuple[int, int]], bool]:
    plain, nths, last_dom = [], set(), False
    for each in field.expressions:
        match type(each).__name__:
            case "WeekdayPositionExpression":
                nths.add(((each.weekday + 1) % 7, (each.option_num + 1) % 6))
            case "LastDayOfMonthExpression":
                last_dom = True
            case _:
                plain.append(each)
    days = (_MONDAY + timedelta(days=n) for n in range(31))
    return frozenset(d.day for d in days if _takes(plain, field, d)), frozenset(nths), last_dom


def _weekdays(field: Any) -> frozenset[int]:
    days = (_MONDAY + timedelta(days=n) for n in range(7))
    return frozenset(d.isoweekday() % 7 for d in days if _takes(field.expressions, field, d))
