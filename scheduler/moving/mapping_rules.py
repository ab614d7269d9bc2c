"""When an entry runs, as the columns of a job.

Each function returns the columns, what is to be said, and the nearest expression where the right
one is impossible.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from scheduler.moving.entries import Finding, Reason, differs, impossible, note
from scheduler.moving.expressions import MAX_LENGTH, expression_of
from scheduler.moving.other_kinds import at_text, every_text, instant_text, recurrence_of
from scheduler.moving.rules import Rule

Columns = tuple[dict[str, Any], list[Finding], str]


def columns_of_rule(rule: Rule, kept: str = "") -> Columns:
    """`kept`: the text of the source, if it means the same here; it stays as people know it."""
    zone = {"timezone": rule.zone}
    expression = kept or expression_of(rule)
    if expression is not None and len(expression) <= MAX_LENGTH:
        return {**zone, "cron_expression": expression}, [], ""
    recurrence = recurrence_of(rule)
    if recurrence is not None:
        return {**zone, "cron_expression": recurrence}, [], ""
    if expression is None:
        return zone, [impossible(Reason.DAY_AND_WEEKDAY)], ""
    facts = {"length": len(expression), "most": MAX_LENGTH}
    return zone, [impossible(Reason.TOO_LONG, **facts)], ""


def columns_of_interval(seconds: float, start: datetime | None) -> Columns:
    """`start`: an instant that the old system counts from; None: the source does not say."""
    zone = {"timezone": "UTC"}
    if seconds < 1 or seconds != int(seconds):
        nearest = every_text(max(1, round(seconds)), None)
        return zone, [impossible(Reason.INTERVAL, seconds=f"{seconds:g}", nearest=nearest)], nearest
    text = every_text(int(seconds), start)
    if start is None:
        finding = differs(Reason.PHASE, expression=text)
    else:
        finding = note(Reason.COUNTS, start=instant_text(start))
    return {**zone, "cron_expression": text}, [finding], ""


def columns_of_instant(at: datetime, now: datetime) -> Columns:
    if at <= now:
        return {"timezone": "UTC"}, [impossible(Reason.PASSED, at=instant_text(at))], ""
    return {"timezone": "UTC", "cron_expression": at_text(at)}, [], ""
