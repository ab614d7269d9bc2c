"""Filters of executions. Those that no index finds look at the newest runs only, and say so."""

from __future__ import annotations

from typing import Any, Final

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils.formats import number_format
from django.utils.functional import lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from scheduler.admin.executions.log import LEVELS, levels_from
from scheduler.admin.filters import Choices, HandlerFilter, NamedFilter, QueueFilter
from scheduler.admin.unfold_compat import DropdownFilter, ModelAdmin, TextFilter
from scheduler.admin.wording import WAITS_FOR
from scheduler.models import CronJob, JobExecution, JobLog, JobTag
from scheduler.operations.control import Control
from scheduler.states import GOING_ON, UNFINISHED, WaitsFor
from scheduler.store import failures
from scheduler.store.deliveries import DELIVERY_HANDLER, of_handler
from scheduler.store.waiting import waits_for

#: So many of the newest runs are looked at, unless another filter has narrowed the list.
LOOKED_AT: Final = 30_000
#: The same for the lines of logs.
LOGS_LOOKED_AT: Final = 2_000
_OFFERED: Final = 200
# Filters whose index bounds the list.
_NARROWING: Final = frozenset(
    {
        "job__id__exact",
        "backfill",
        "shards_of",
        "failure",
        "now",
        "scheduled_time_from",
        "scheduled_time_to",
    }
)


def of_newest(title: Any, count: int) -> Any:
    """Returns the title of a filter with how many runs it looks at."""
    known = lazy(lambda: number_format(count, force_grouping=True), str)()
    return lazy(lambda: gettext("%(title)s (newest %(count)s)") % _facts(title, known), str)()


def _facts(title: Any, count: Any) -> dict[str, Any]:
    return {"title": title, "count": count}


def among_newest(request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
    if _NARROWING & request.GET.keys() or request.GET.get("status__exact") in UNFINISHED:
        return rows
    newest = JobExecution.objects.order_by("-id").values_list("id", flat=True).first() or 0
    return rows.filter(id__gt=newest - LOOKED_AT)


class NowFilter(DropdownFilter):
    """Filters by what goes on or waits, and for what. The counts of other pages link to it."""

    title = _("goes on or waits")
    parameter_name = "now"
    GOES_ON = "going_on"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        waits = [(what.value, gettext("waits %s") % words) for what, words in WAITS_FOR.items()]
        return [(self.GOES_ON, _("goes on")), *waits]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        wanted = self.value() or ""
        if wanted == self.GOES_ON:
            return queryset.filter(status__in=sorted(GOING_ON))
        if wanted in list(WaitsFor):
            return queryset.filter(waits_for(WaitsFor(wanted), Control().clock.now()))
        return queryset


#: Also the shards of divided runs and what delivers messages about alerts: parts and errands, which
#: the list leaves out. A queue holds them like other runs.
EVERYTHING: Final = "everything"


class AlsoFilter(DropdownFilter):
    title = _("also shown")
    parameter_name = "also"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        return [(EVERYTHING, _("shards and messages about alerts"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset  # the other filters and the list leave out less


def shows_everything(request: HttpRequest) -> bool:
    return request.GET.get("also") == EVERYTHING


class RunHandlerFilter(HandlerFilter):
    """By handler. Executions that deliver messages about alerts are shown to who asks for them."""

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        return [
            *super().lookups(request, model_admin),
            (DELIVERY_HANDLER, gettext("messages about alerts")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value() and (shows_everything(request) or "failure" in request.GET):
            return queryset  # a kind of failure may be one of theirs
        return of_handler(queryset, self.value() or None)


class RunQueueFilter(QueueFilter):
    title = of_newest(_("queue"), LOOKED_AT)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        return among_newest(request, super().queryset(request, queryset))


class _OfJobs(NamedFilter):
    """Filters by something that the job says."""

    column = ""

    def values(self) -> Any:
        """Returns what the jobs say, as a query."""
        raise NotImplementedError

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        names = list(self.values()[:_OFFERED])
        chosen = self.value()
        # Django ignores a filter that offers nothing, and would show all runs.
        return [(name, name) for name in (*names, *({chosen} - {None, "", *names}))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        jobs = CronJob.objects.filter(**{self.column: self.value()}).order_by()
        return among_newest(request, queryset).filter(job_id__in=jobs.values("id"))


class TagFilter(_OfJobs):
    title = of_newest(_("tag"), LOOKED_AT)
    parameter_name = "tag"
    column = "tag_rows__tag"

    def values(self) -> Any:
        return JobTag.objects.order_by("tag").values_list("tag", flat=True).distinct()


class OwnerFilter(_OfJobs):
    title = of_newest(_("owner"), LOOKED_AT)
    parameter_name = "owner"
    column = "owner"

    def values(self) -> Any:
        owners = CronJob.objects.exclude(owner="").order_by("owner")
        return owners.values_list("owner", flat=True).distinct()


class WorkerFilter(TextFilter):
    title = of_newest(_("worker"), LOOKED_AT)
    parameter_name = "worker"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        name = _text(self.value())
        if not name:
            return queryset
        return among_newest(request, queryset).filter(lease_owner__icontains=name)


class ErrorFilter(TextFilter):
    title = of_newest(_("text of the error"), failures.SEARCHED)
    parameter_name = "error"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        text = _text(self.value())
        return queryset.filter(id__in=failures.with_text(text)) if text else queryset


class LevelFilter(DropdownFilter):
    """Filters by the worst line of the log. It looks at the newest of the runs that are left."""

    title = of_newest(_("lines in the log"), LOGS_LOOKED_AT)
    parameter_name = "level"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> Choices:
        return [(level, gettext("%s and worse") % level) for level in LEVELS[2:]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        level = self.value()
        if level not in LEVELS:
            return queryset
        ids = queryset.order_by("-id").values_list("id", flat=True)
        oldest = next(iter(ids[LOGS_LOOKED_AT : LOGS_LOOKED_AT + 1]), 0)
        lines = JobLog.objects.filter(level__in=levels_from(level))
        # The list shows a divided run instead of its shards.
        of_shards = Exists(lines.filter(execution__parent_id=OuterRef("pk")))
        has_lines = Exists(lines.filter(execution_id=OuterRef("pk")))
        is_found = has_lines | Q(Q(shard_count__isnull=False), of_shards)
        return queryset.filter(is_found, id__gt=oldest)


def _text(value: Any) -> str:
    """Returns what a person typed. PostgreSQL refuses the sign NUL in a text."""
    return str(value or "").replace("\0", "").strip()[:255]
