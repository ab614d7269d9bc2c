"""The list of executions: its columns, its order, and the updates of its rows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.views.main import ORDER_VAR
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.functions import Substr
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from scheduler.admin import formatting, live
from scheduler.admin.executions import page
from scheduler.admin.executions.filters import shows_everything
from scheduler.admin.executions.search import names_one
from scheduler.admin.explain_words import in_a_line
from scheduler.admin.listing import TimedChangeList
from scheduler.admin.liveness import missing_parts
from scheduler.admin.site import reverse
from scheduler.admin.unfold_compat import ModelAdmin
from scheduler.labels import label_of
from scheduler.models import JobExecution, SlotOfRun
from scheduler.operations.control import Control
from scheduler.operations.permissions import Action, may
from scheduler.states import FINAL, GOING_ON, UNFINISHED, ParamSource, RunStatus
from scheduler.store.deliveries import COUNTED
from scheduler.store.listing import in_status
from scheduler.store.shards import ended_of

# The most rows that the list updates, and the most newer rows that it counts.
LIVE_ROWS: Final = 200
NEWER_COUNTED: Final = 100
# A run may have 10,000 shards. Those of so many runs are counted for one page.
DIVIDED_ROWS: Final = 10

LISTED: Final = (
    "id", "job_id", "job_name", "handler_name", "scheduled_time", "logical_time", "status",
    "param_source", "requested_by", "started_at", "finished_at", "attempt", "failures", "progress",
    "parent_id", "shard", "shard_count", "reason_code", "reason_facts", "available_at", "in_line",
)  # fmt: skip


#: So much of an error is read for its first line.
_ERROR_READ: Final = 300


def listed(rows: QuerySet[JobExecution], *more: str) -> QuerySet[JobExecution]:
    """Leaves out params, results and all but the beginning of errors: they may be large."""
    return rows.only(*LISTED, *more).annotate(error_start=Substr("error_message", 1, _ERROR_READ))


_VERB: Final = (
    '<a class="text-primary-600 dark:text-primary-500" href="{}" aria-label="{} #{}">{}</a>'
)


def offer(request: HttpRequest, rows: Iterable[Any]) -> None:
    """Sets `offered` on each row: the addresses and titles of its verbs for this person."""
    # The addresses are made once: to reverse them costs more than all else of a row.
    allowed = {
        verb: (reverse(f"admin:scheduler_jobexecution_{verb}", args=[0]), title)
        for verb, title, action in (
            ("retry", gettext("Retry"), Action.RETRY_EXECUTION),
            ("cancel", gettext("Cancel"), Action.CANCEL_EXECUTION),
        )
        if may(request.user, action)
    }
    for row in rows:
        useful = page.useful_verbs(row)
        row.offered = [
            (url.replace("/0/", f"/{row.pk}/"), title)
            for verb, (url, title) in allowed.items()
            if verb in useful
        ]


def count_shards(rows: Iterable[Any]) -> None:
    """Sets `ended_shards` on each row. None: it is not divided, or too many others are."""
    divided = [row.pk for row in rows if row.status == RunStatus.FANNED_OUT][:DIVIDED_ROWS]
    ended = ended_of(divided) if divided else {}
    for row in rows:
        row.ended_shards = ended.get(row.pk, 0) if row.pk in divided else None


class ExecutionChangeList(TimedChangeList):
    live_url = ""
    missing_parts: list[str] = []

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        rows = listed(super().get_queryset(request, exclude_parameters))
        states = set(request.GET.getlist("status__exact"))
        if states and states <= set(RunStatus):
            rows = in_status(rows, states)  # what Django's filter says, as the indexes want it
        # Shards are parts of other executions. They are shown to those who ask for them.
        if "shards_of" in request.GET or shows_everything(request) or names_one(self.query):
            return rows
        return rows.filter(parent_id__isnull=True)

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """Orders a range of days by the slot, so that the database reads the index on it.

        Ordered by id, the database would read all newer rows first.
        """
        by_day = any(name in self.params for name in ("scheduled_time_from", "scheduled_time_to"))
        if by_day and ORDER_VAR not in self.params:
            return [SlotOfRun().desc(), "-id"]
        return super().get_ordering(request, queryset)

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.missing_parts = missing_parts(Control().clock.now())
        offer(request, self.result_list)
        count_shards(self.result_list)
        unfinished = [row.pk for row in self.result_list if row.status in UNFINISHED]
        asked = {"ids": ",".join(map(str, unfinished[:LIVE_ROWS]))} if unfinished else {}
        # Newer rows belong at the top of the first page of the unfiltered list, and nowhere else.
        if not self.params and self.page_num == 1:
            asked["newest"] = str(max((row.pk for row in self.result_list), default=0))
        if asked:
            rows = reverse("admin:scheduler_jobexecution_rows")
            self.live_url = f"{rows}?{urlencode(asked)}"


class ExecutionColumns(ModelAdmin):
    """The columns of the list of executions, and the view that sends the changing cells again."""

    @admin.display(description=_("job and handler"))
    def job_and_handler(self, execution: JobExecution) -> SafeString:
        return format_html(
            '<div style="min-width: 11rem">{}<br><span class="text-xs">{} {}</span></div>',
            page.job_link(execution),
            execution.handler_name,
            "" if execution.shard is None else gettext("shard %s") % execution.shard,
        )

    @admin.display(description=_("slot, source"))
    def slot_and_source(self, execution: JobExecution) -> SafeString:
        return format_html(
            '{}<br><span class="text-xs">{} {}</span>',
            formatting.slot(execution),
            label_of(ParamSource, execution.param_source),
            execution.requested_by,
        )

    # These columns change: `rows_view` sends their cells again.

    @admin.display(description=_("status"))
    def status_badge(self, execution: JobExecution) -> SafeString:
        badge = formatting.status(execution.status)
        if execution.status == RunStatus.RUNNING and execution.progress is not None:
            percent = f"{execution.progress:.0f} %"
            badge = format_html('{} <span class="text-xs">{}</span>', badge, percent)
        if execution.status == RunStatus.FANNED_OUT and execution.shard_count:
            badge = format_html('{} <span class="text-xs">{}</span>', badge, _shards(execution))
        if error := _error_line(execution):
            badge = format_html(
                '{}<span class="run-error" title="{}">{}</span>', badge, error, error
            )
        return _cell(execution, "status", badge)

    @admin.display(description=_("started, took"))
    def start_and_duration(self, execution: JobExecution) -> SafeString:
        return format_html("{}<br>{}", _start(execution), _duration(execution))

    @admin.display(description=_("attempts"))
    def tries(self, execution: JobExecution) -> SafeString:
        text = str(execution.attempt)
        if execution.failures:
            counts = {"attempts": execution.attempt, "failures": execution.failures}
            text = gettext("%(attempts)s, %(failures)s failed") % counts
        return _cell(execution, "tries", formatting.no_wrap(text))

    @admin.display(description=_("actions"))
    def acts(self, execution: JobExecution) -> SafeString:
        offered: list[tuple[str, str]] = execution.offered  # type: ignore[attr-defined]
        cells = ((url, title, execution.pk, title) for url, title in offered)
        return _cell(execution, "acts", format_html_join(" ", _VERB, cells))

    def rows_view(self, request: HttpRequest) -> HttpResponse:
        """Answers live.js with the changing cells of the list's rows."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        ids = [int(text) for text in _numbers(request.GET.get("ids", ""))[:LIVE_ROWS]]
        newest = _numbers(request.GET.get("newest", ""))
        now = Control().clock.now()
        rows = list(listed(JobExecution.objects.filter(pk__in=ids))) if ids else []
        newer = 0
        if newest:
            above = JobExecution.objects.filter(COUNTED, pk__gt=int(newest[0])).order_by("pk")
            newer = len(above.values_list("pk")[:NEWER_COUNTED])
        count_shards(rows)
        state = [
            (row.pk, row.status, row.progress, row.attempt, row.failures, row.started_at,
             row.reason_code, _ended_shards(row))
            for row in rows
        ]  # fmt: skip

        def render() -> str:
            offer(request, rows)
            cells = []
            for row in rows:
                row.seen_at = now  # type: ignore[attr-defined]
                cells += [
                    self.status_badge(row),
                    _start(row),
                    _duration(row),
                    self.tries(row),
                    self.acts(row),
                ]
            return "".join((*cells, _newer_note(newer)))

        return live.answer(
            request,
            mark=live.mark_of(state, newer),
            render=render,
            is_done=not newest and all(row.status in FINAL for row in rows),
        )


def _start(execution: JobExecution) -> SafeString:
    return _cell(execution, "start", formatting.instant(execution.started_at))


def _duration(execution: JobExecution) -> SafeString:
    seen_at: datetime = execution.seen_at  # type: ignore[attr-defined]
    return _cell(execution, "took", page.duration_cell(execution, seen_at))


def _ended_shards(execution: JobExecution) -> int | None:
    ended: int | None = execution.ended_shards  # type: ignore[attr-defined]
    return ended


def _shards(execution: JobExecution) -> str:
    ended = _ended_shards(execution)
    counts = {"ended": "?" if ended is None else ended, "count": execution.shard_count}
    return gettext("%(ended)s of %(count)s shards") % counts


def _error_line(execution: JobExecution) -> str:
    """Returns why a run waits or is not a success. One that is tried again keeps its last error."""
    if execution.status in {RunStatus.SUCCESS, *GOING_ON}:
        return ""
    return in_a_line(execution)


def _cell(execution: JobExecution, name: str, content: object) -> SafeString:
    """Returns a cell with an id by which live.js finds it."""
    return format_html('<span id="run-{}-{}">{}</span>', execution.pk, name, content)


def _newer_note(count: int) -> SafeString:
    """Returns the note above the list that newer executions exist."""
    if not count:
        return SafeString('<p id="newer-runs"></p>')
    text = ngettext(
        "%(count)s newer execution; show it", "%(count)s newer executions; show them", count
    ) % {"count": f"{count}+" if count == NEWER_COUNTED else count}
    url = reverse("admin:scheduler_jobexecution_changelist")
    return format_html('<p id="newer-runs" class="mb-3">{}</p>', formatting.link(url, text))


def _numbers(text: str) -> list[str]:
    """Returns the ids in the text of a request, and leaves out everything else."""
    return [part for part in text.split(",") if re.fullmatch(r"[0-9]{1,18}", part, re.ASCII)]
