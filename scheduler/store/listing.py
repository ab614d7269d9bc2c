"""Pages of lists, for people and for programs: the database reads few rows for them."""

from __future__ import annotations

from collections.abc import Collection
from functools import reduce
from operator import or_
from typing import Any, Final, TypeVar

from django.db.models import Model, Q, QuerySet

from scheduler.models import JobExecution
from scheduler.states import RunStatus

M = TypeVar("M", bound=Model)


#: So many rows are sorted for a page. Of more, the index of the order soon finds some.
FEW: Final = 1_000


def count_up_to(rows: QuerySet[Any], limit: int) -> int:
    """Counts the rows, and stops at `limit`."""
    # The keys alone: MariaDB would copy what else the list shows of them.
    return rows.order_by().values("pk")[:limit].count()


def part_of(rows: QuerySet[M], start: int, end: int, *, count: int) -> list[M]:
    """Returns `rows[start:end]` of an ordered query with so many rows.

    First the ids, then these rows alone: the database reads each row that comes before, and MariaDB
    copies and sorts what is asked of it. Few rows are found as the count has found them: SQLite
    would take the index of the order, and read the whole history for a filter that fits nothing.
    """
    if count <= FEW:
        found = list(rows.order_by().values_list("pk", flat=True)[:FEW])
        return list(rows.filter(pk__in=found)[start:end]) if found else []
    ids = list(rows.values_list("pk", flat=True)[start:end])
    return list(rows.filter(pk__in=ids))


def in_status(rows: QuerySet[JobExecution], statuses: Collection[str]) -> QuerySet[JobExecution]:
    """The executions in one of these states, one at least.

    One by one, because PostgreSQL has a partial index for each, and uses none for a list of them.
    """
    wanted = sorted(set(statuses))
    rows = rows.filter(reduce(or_, (Q(status=status) for status in wanted)))
    if len(wanted) == 1 and wanted != [RunStatus.RUNNING]:
        # No other run has a lease: a constraint says so. The index executions_to_rescue then gives
        # the runs in the order of their ids.
        return rows.filter(lease_expires_at__isnull=True)
    return rows
