"""The slot of a run: the planned moment that it stands for. One rule, for rows and for queries.

A backfilled or replayed run stands for the slot in `logical_time`. A run by hand or of an event
stands for none: what takes its place is the instant at which it was asked for.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.db.models.functions import Coalesce

from scheduler.states import ParamSource

#: The same in SQL on each database. Conditions and orders use SlotOfRun, which has an index.
SLOT_OF_RUN: Final = "COALESCE(logical_time, scheduled_time)"
_PLANNED: Final = frozenset({ParamSource.CRON.value, ParamSource.BACKFILL.value})


class SlotOfRun(Coalesce):
    """The slot of a run in a query, as the index executions_by_slot has it."""

    def __init__(self, *fields: Any, **extra: Any) -> None:
        super().__init__(*(fields or ("logical_time", "scheduled_time")), **extra)

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        # MariaDB has no indexes on expressions: migration 0031 makes a column of it.
        column, parameters = compiler.compile(self.source_expressions[0])
        return column.replace("logical_time", "slot_at"), parameters


def with_slot(rows: Any) -> Any:
    """Returns a query on executions that can be filtered by `of_slot`, their slot."""
    return rows.alias(of_slot=SlotOfRun())


def in_slots(rows: Any, first: datetime | None, last: datetime | None) -> Any:
    """Returns the executions with a slot from `first` to `last`, both included. None: no limit."""
    rows = with_slot(rows)
    if first is not None:
        rows = rows.filter(of_slot__gte=first)
    return rows if last is None else rows.filter(of_slot__lte=last)


def slot_of_run(*, logical_time: datetime | None, scheduled_time: datetime) -> datetime:
    return scheduled_time if logical_time is None else logical_time


def has_slot(*, logical_time: datetime | None, param_source: str) -> bool:
    """Returns whether the run stands for a slot. False: it was asked for at that instant."""
    return logical_time is not None or param_source in _PLANNED
