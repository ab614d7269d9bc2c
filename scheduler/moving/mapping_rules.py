"""A Rule as the columns of a job."""

from __future__ import annotations

from typing import Any

from scheduler.moving.entries import Finding, Reason, impossible
from scheduler.moving.expressions import MAX_LENGTH, expression_of, nearest_expression
from scheduler.moving.rules import Rule


def columns_of_rule(rule: Rule, kept: str = "") -> tuple[dict[str, Any], list[Finding], str]:
    """Returns the columns of the schedule, what is to be said, and the nearest expression.

    `kept`: the text of the source, if it means the same here; it stays as people know it.
    """
    expression = kept or expression_of(rule)
    zone = {"timezone": rule.zone}
    if expression is None:
        nearest = nearest_expression(rule)
        return zone, [impossible(Reason.DAY_AND_WEEKDAY, nearest=nearest)], nearest
    if len(expression) > MAX_LENGTH:
        facts = {"length": len(expression), "most": MAX_LENGTH}
        return zone, [impossible(Reason.TOO_LONG, **facts)], ""
    return {**zone, "cron_expression": expression}, [], ""
