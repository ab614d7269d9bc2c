"""Which executions deliver messages about alerts: they count in no list, rule or statistic.

Neither do the shards of a divided run: it counts as one run, their parent.
"""

from __future__ import annotations

from typing import Final

from django.db.models import Q, QuerySet

from scheduler.models import JobExecution

#: The built-in handler that delivers.
DELIVERY_HANDLER: Final = "jobu.alert"
IS_DELIVERY: Final = Q(job_id__isnull=True, handler_name=DELIVERY_HANDLER)
#: NULL-safe: neither column of the condition makes it unknown.
NO_DELIVERY: Final = Q(job_id__isnull=False) | ~Q(handler_name=DELIVERY_HANDLER)
#: What statistics count.
COUNTED: Final = NO_DELIVERY & Q(parent_id__isnull=True)
#: The same in SQL, for a statement whose table is job_executions.
COUNTED_SQL: Final = (
    f"(job_id IS NOT NULL OR handler_name <> '{DELIVERY_HANDLER}' AND parent_id IS NULL)"
)


def of_handler(rows: QuerySet[JobExecution], handler_name: str | None) -> QuerySet[JobExecution]:
    """The executions of a handler. None: of all handlers, but no deliveries."""
    if handler_name is None:
        return rows.filter(NO_DELIVERY)
    return rows.filter(handler_name=handler_name)
