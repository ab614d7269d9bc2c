"""Filters of the lists. They use fixed fields, never a column that the request names."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, time, timedelta
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.timezone import is_naive, make_aware
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from handlers.registry import handler_names
from scheduler.admin.unfold_compat import DropdownFilter, ModelAdmin, RangeDateFilter
from scheduler.labels import label
from scheduler.models import CronJob, bounded_id, with_slot
from scheduler.models.job_state import IN_STATE
from scheduler.operations.control import Control
from scheduler.operations.groups import names as group_names
from scheduler.schedule import FIRST_INSTANT, LAST_INSTANT
from scheduler.states import JobState, RunStatus
from scheduler.store.statistics import FAILING

Choices = list[tuple[str, Any]]


class NamedFilter(DropdownFilter):
    """Filters by a name that the address may hold as anybody has typed it."""

    def value(self) -> str | None:
        """PostgreSQL refuses the sign NUL in a text."""
        return (super().value() or "").replace("\0", "") or None


class JobStateFilter(DropdownFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        return [
            ("enabled", _("enabled")),
            ("disabled", _("disabled")),
            ("paused", _("paused")),
            ("error", _("schedule error")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        state = self.value()
        return queryset.filter(IN_STATE[JobState(state)]) if state in list(JobState) else queryset


class HandlerFilter(NamedFilter):
    """Filters by handler. The names come from the jobs and the registry, which are short lists."""

    title = _("handler")
    parameter_name = "handler"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        return _same(sorted(known_handlers()))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(handler_name=self.value()) if self.value() else queryset


class LinkedFilter(DropdownFilter):
    """Filters by the id of another row. Only links from its page set it; the list offers none."""

    column = ""

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        number = self.value()
        return [(number, f"#{number}")] if number else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        number = self.value() or ""
        if not (number.isascii() and number.isdigit()):
            return queryset
        return queryset.filter(**{self.column: bounded_id(number)})


class BackfillFilter(LinkedFilter):
    title = _("backfill")
    parameter_name = "backfill"
    column = "backfill_id"


class ShardsFilter(LinkedFilter):
    """The shards of one execution. Without it the list has none (ExecutionChangeList)."""

    title = _("shards of")
    parameter_name = "shards_of"
    column = "parent_id"


class FailureFilter(LinkedFilter):
    """Filters by kind of failure: the runs that failed so and were not retried."""

    title = _("kind of failure")
    parameter_name = "failure"
    column = "failed_run__group_id"


class QueueFilter(NamedFilter):
    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        queues = CronJob.objects.order_by("queue").values_list("queue", flat=True).distinct()
        return [("-", _("default queue")), *_same(queue for queue in queues if queue)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        return queryset.filter(queue="" if self.value() == "-" else self.value())


class GroupFilter(NamedFilter):
    title = _("concurrency group")
    parameter_name = "group"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        return _same(group_names())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(concurrency_group=self.value()) if self.value() else queryset


class LastStatusFilter(NamedFilter):
    title = _("last result")
    parameter_name = "last"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        return [
            *((status.value, label(status)) for status in RunStatus if status != RunStatus.PENDING),
            ("failing", _("failing")),
            ("-", _("never ran")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        if self.value() == "failing":
            return queryset.filter(FAILING)
        return queryset.filter(last_status="" if self.value() == "-" else self.value())


class EndedFilter(DropdownFilter):
    """Filters by recent end. The counts of the dashboard link to it."""

    title = _("ended")
    parameter_name = "ended"

    _SPANS = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7)}

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        return [
            ("1h", _("in the last hour")),
            ("24h", _("in the last 24 hours")),
            ("7d", _("in the last 7 days")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        span = self._SPANS.get(self.value() or "")
        if span is None:
            return queryset
        return queryset.filter(finished_at__gte=Control().clock.now() - span)


class SlotRangeFilter(RangeDateFilter):
    """Filters by the slot of a run: by full days in the current time zone, or by times of them,
    both ends included. `2026-01-31` and `2026-01-31 18:00` are right.
    """

    def choices(self, changelist: Any) -> Any:
        """Gives both inputs a name for screen readers: a placeholder is none."""
        shown: Any = super().choices(changelist)
        for choice in shown:
            for field in choice["form"].fields.values():
                what = field.widget.attrs.get("placeholder", "")
                field.widget.attrs["aria-label"] = f"{self.title}: {what}"
            yield choice

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        first, _day = self._typed(request, f"{self.field_path}_from")
        last, is_day = self._typed(request, f"{self.field_path}_to")
        if first or last:
            queryset = with_slot(queryset)
        if first:
            queryset = queryset.filter(of_slot__gte=first)
        if last and is_day:
            queryset = queryset.filter(of_slot__lt=last + timedelta(days=1))
        elif last:
            queryset = queryset.filter(of_slot__lte=last)
        return queryset

    def _typed(self, request: HttpRequest, name: str) -> tuple[datetime | None, bool]:
        """Returns the instant, and whether it is the first one of a day that was typed.

        Reports a wrong text and returns None for it.
        """
        text = self.used_parameters.get(name)
        if not isinstance(text, str) or not text:
            return None, False
        try:
            day = parse_date(text)
            found = datetime.combine(day, time.min) if day else parse_datetime(text)
            if found is not None:
                first = make_aware(found) if is_naive(found) else found
                if FIRST_INSTANT <= first <= LAST_INSTANT:  # columns cannot hold other days
                    return first, day is not None
        except (ValueError, OverflowError):
            pass
        wrong = gettext("%s is not a date such as 2026-01-31, with a time or not; it was ignored")
        messages.warning(request, wrong % text[:50])
        return None, False


def known_handlers() -> set[str]:
    used = CronJob.objects.order_by().values_list("handler_name", flat=True).distinct()
    return {*used, *handler_names()}


def _same(values: Iterable[str]) -> Choices:
    return [(value, value) for value in values]
