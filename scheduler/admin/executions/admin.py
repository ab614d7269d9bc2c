"""Executions: nobody adds or edits them; people read them, cancel, retry, replay and delete."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ORDER_VAR
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Q, QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from scheduler.admin import filters, formatting, live
from scheduler.admin.actions import RunsAdmin
from scheduler.admin.executions import page, retry_range
from scheduler.admin.executions.actions import (
    CANCEL,
    DELETE,
    REPLAY,
    REPLAY_UNSEEN,
    RETRY,
)
from scheduler.admin.listing import TimedChangeList
from scheduler.admin.liveness import missing_parts
from scheduler.admin.unfold_compat import (
    AutocompleteSelectFilter,
    ChoicesDropdownFilter,
    page_action,
)
from scheduler.labels import label_of
from scheduler.models import CronJob, JobExecution
from scheduler.operations.control import Control
from scheduler.operations.permissions import Action, may
from scheduler.states import FINAL, UNFINISHED, ParamSource, RunStatus

# More jobs than this under one word of the search: the word says too little.
JOBS_SEARCHED: Final = 500
LARGEST_ID: Final = 2**63 - 1
# Rows of the list that are kept up to date at a time, and newer ones that are counted.
LIVE_ROWS: Final = 200
NEWER_COUNTED: Final = 100
# store.publishing.task_id, as Flower shows it.
TASK_ID: Final = re.compile(r"jobu-([0-9]{1,19})-[0-9]+-[0-9]+", re.ASCII)

LISTED: Final = (
    "id", "job_id", "job_name", "handler_name", "scheduled_time", "status", "param_source",
    "requested_by", "started_at", "finished_at", "attempt", "failures", "progress",
)  # fmt: skip


class ExecutionChangeList(TimedChangeList):
    live_url = ""
    missing_parts: list[str] = []

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Without params, results and errors, which may be large and are not listed."""
        return super().get_queryset(request, exclude_parameters).only(*LISTED)

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """A range of days is read from its own index: by number, the database would walk through
        all that is newer."""
        by_day = any(name in self.params for name in ("scheduled_time_from", "scheduled_time_to"))
        if by_day and ORDER_VAR not in self.params:
            return ["-scheduled_time", "-id"]
        return super().get_ordering(request, queryset)

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.missing_parts = missing_parts(Control().clock.now())
        unfinished = [row.pk for row in self.result_list if row.status in UNFINISHED]
        asked = {"ids": ",".join(map(str, unfinished[:LIVE_ROWS]))} if unfinished else {}
        # Newer ones belong above the first row only where the list is the newest of all.
        if not self.params and self.page_num == 1:
            asked["newest"] = str(max((row.pk for row in self.result_list), default=0))
        if asked:
            rows = reverse("admin:scheduler_jobexecution_rows")
            self.live_url = f"{rows}?{urlencode(asked)}"


@admin.register(JobExecution)
class JobExecutionAdmin(RunsAdmin):
    list_display = (
        "number", "job_and_handler", "slot", "status_badge", "source_and_person", "start",
        "duration", "tries",
    )  # fmt: skip
    list_filter = (
        ("job", AutocompleteSelectFilter),
        ("status", ChoicesDropdownFilter),
        ("param_source", ChoicesDropdownFilter),
        filters.HandlerFilter,
        filters.BackfillFilter,
        filters.EndedFilter,
        ("scheduled_time", filters.DayRangeFilter),
    )
    allowed_lookups = frozenset(
        {
            "job__id__exact",
            "status__exact",
            "param_source__exact",
            "handler",
            "backfill",
            "ended",
            "scheduled_time_from",
            "scheduled_time_to",
        }
    )
    sortable_by = ("number",)
    search_fields = ("id",)  # get_search_results does it
    search_help_text = _(
        "number of the execution, a word of its job's or handler's name, or a task's id in Flower"
    )
    actions = ("cancel_many", "retry_many", "delete_many")
    actions_list = ("retry_range",)
    # Their addresses; the page itself offers those that are possible, and keeps them up to date.
    actions_detail = ("retry", "cancel", "replay")
    change_form_template = "scheduler/executions/page.html"
    list_before_template = "scheduler/executions/rows_live.html"
    delete_verb = DELETE

    # --- who may ---------------------------------------------------------------------------------

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, Action.VIEW_EXECUTIONS)

    def has_cancel_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, Action.CANCEL_EXECUTION)

    def has_retry_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, Action.RETRY_EXECUTION)

    def has_replay_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, Action.RUN_JOB)

    # --- the list --------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ExecutionChangeList]:
        return ExecutionChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By number, or through the short lists of jobs and handlers: no scan of the history."""
        for word in search_term.split()[:10]:
            task = TASK_ID.fullmatch(word)
            number = task[1] if task else word.removeprefix("#")
            if number.isascii() and number.isdigit():
                queryset = queryset.filter(id=min(int(number[:19]), LARGEST_ID))
                continue
            found = CronJob.objects.filter(name__icontains=word).order_by("-id")
            jobs = list(found.values_list("id", flat=True)[:JOBS_SEARCHED])
            handlers = [name for name in filters.known_handlers() if word.lower() in name.lower()]
            queryset = queryset.filter(Q(job_id__in=jobs) | Q(handler_name__in=handlers))
        return queryset, False

    @admin.display(description=_("job and handler"))
    def job_and_handler(self, execution: JobExecution) -> SafeString:
        return format_html(
            '<div style="min-width: 11rem">{}<br><span class="text-xs">{}</span></div>',
            page.job_link(execution),
            execution.handler_name,
        )

    @admin.display(description=_("slot"))
    def slot(self, execution: JobExecution) -> SafeString | str:
        return formatting.instant(execution.scheduled_time)

    @admin.display(description=_("source, requested by"))
    def source_and_person(self, execution: JobExecution) -> SafeString:
        return format_html(
            '{}<br><span class="text-xs">{}</span>',
            label_of(ParamSource, execution.param_source),
            execution.requested_by,
        )

    # These four move: `rows` sends the same cells again.

    @admin.display(description=_("status"))
    def status_badge(self, execution: JobExecution) -> SafeString:
        badge = formatting.status(execution.status)
        if execution.status == RunStatus.RUNNING and execution.progress is not None:
            percent = f"{execution.progress:.0f} %"
            badge = format_html('{} <span class="text-xs">{}</span>', badge, percent)
        return _cell(execution, "status", badge)

    @admin.display(description=_("started"))
    def start(self, execution: JobExecution) -> SafeString:
        return _cell(execution, "start", formatting.instant(execution.started_at))

    @admin.display(description=_("took"))
    def duration(self, execution: JobExecution) -> SafeString:
        seen_at: datetime = execution.seen_at  # type: ignore[attr-defined]
        return _cell(execution, "took", page.took(execution, seen_at))

    @admin.display(description=_("attempts"))
    def tries(self, execution: JobExecution) -> SafeString:
        text = str(execution.attempt)
        if execution.failures:
            counts = {"attempts": execution.attempt, "failures": execution.failures}
            text = gettext("%(attempts)s, %(failures)s failed") % counts
        return _cell(execution, "tries", formatting.unbroken(text))

    # --- addresses beside Django's ---------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        def at(route: str, view: Any, name: str) -> URLPattern:
            guarded = self.admin_site.admin_view(view)
            found: URLPattern = path(route, guarded, name=f"scheduler_jobexecution_{name}")
            return found

        return [
            at("rows/", self.rows_view, "rows"),
            at("task/<str:task>/", self.task_view, "task"),
            at("<int:execution_id>/live/", self.live_view, "live"),
            at("<int:execution_id>/log/", self.log_view, "log"),
            *super().get_urls(),
        ]

    def task_view(self, request: HttpRequest, task: str) -> HttpResponse:
        """From a task in Flower to its execution."""
        found = TASK_ID.fullmatch(task)
        if found is None:
            raise Http404(gettext("%s is not the id of a task that runs an execution") % task)
        return HttpResponseRedirect(
            reverse("admin:scheduler_jobexecution_change", args=[min(int(found[1]), LARGEST_ID)])
        )

    def rows_view(self, request: HttpRequest) -> HttpResponse:
        """The moving cells of the list's rows, for live.js."""
        self._must_view(request)
        ids = [int(text) for text in _numbers(request.GET.get("ids", ""))[:LIVE_ROWS]]
        newest = _numbers(request.GET.get("newest", ""))
        now = Control().clock.now()
        rows = list(JobExecution.objects.filter(pk__in=ids).only(*LISTED)) if ids else []
        newer = 0
        if newest:
            above = JobExecution.objects.filter(pk__gt=int(newest[0])).order_by("pk")
            newer = len(above.values_list("pk")[:NEWER_COUNTED])
        state = [
            (row.pk, row.status, row.progress, row.attempt, row.failures, row.started_at)
            for row in rows
        ]

        def render() -> str:
            cells = []
            for row in rows:
                row.seen_at = now  # type: ignore[attr-defined]
                cells += [
                    self.status_badge(row),
                    self.start(row),
                    self.duration(row),
                    self.tries(row),
                ]
            return "".join((*cells, _newer_note(newer)))

        return live.answer(
            request,
            mark=live.mark_of(state, newer),
            render=render,
            is_done=not newest and all(row.status in FINAL for row in rows),
        )

    def live_view(self, request: HttpRequest, execution_id: int) -> HttpResponse:
        """What moves on the page of an execution, for live.js."""
        self._must_view(request)
        now = Control().clock.now()
        state = page.state_of(execution_id, now)
        if state is None:
            raise Http404

        def render() -> str:
            execution = JobExecution.objects.select_related("job", "backfill").get(pk=execution_id)
            context = self._fragment(request, execution, now)
            return render_to_string("scheduler/executions/live.html", context, request)

        return live.answer(request, mark=state.mark, render=render, is_done=state.is_final)

    def log_view(self, request: HttpRequest, execution_id: int) -> StreamingHttpResponse:
        """The whole log as a file."""
        self._must_view(request)
        if not JobExecution.objects.filter(pk=execution_id).exists():
            raise Http404
        level = page.level_of(request.GET.get("level"))
        return StreamingHttpResponse(
            page.log_text(execution_id, level),
            content_type="text/plain; charset=utf-8",
            headers={
                "Content-Disposition": f'attachment; filename="execution-{execution_id}.log"',
                "Cache-Control": "no-store",
            },
        )

    def _must_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    # --- the page --------------------------------------------------------------------------------

    def _fragment(
        self, request: HttpRequest, execution: JobExecution, now: datetime
    ) -> dict[str, Any]:
        level = page.level_of(request.GET.get("level"))
        return page.fragment(execution, now, person=request.user, level=level)

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        execution = super().get_object(request, object_id, from_field)
        if execution is not None:
            execution.seen_at = Control().clock.now()
        return execution

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = extra_context or {}
        execution = state = None
        number = unquote(object_id)
        if self.has_view_permission(request):
            # Before what is shown is read: a run that ends in between is then asked for again. The
            # other way round its page would stay as it is for ever.
            with suppress(ValidationError):  # no number at all: get_object says so
                key = self.opts.pk.to_python(number)
                state = page.state_of(key, Control().clock.now())
            execution = self.get_object(request, number)
        if execution is not None:
            now: datetime = execution.seen_at
            context |= {"title": str(execution), **self._fragment(request, execution, now)}
            if state is not None and execution.status not in FINAL:
                url = reverse("admin:scheduler_jobexecution_live", args=[execution.pk])
                level = page.level_of(request.GET.get("level"))
                context["live_url"] = f"{url}?level={level}" if level else url
                context["live_mark"] = state.mark
        return super().change_view(request, object_id, form_url, context)

    # --- verbs -----------------------------------------------------------------------------------

    @page_action(description=_("Retry"), url_path="retry", permissions=["retry"])
    def retry(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.ask_one(request, object_id, RETRY)

    @page_action(description=_("Cancel"), url_path="cancel", permissions=["cancel"])
    def cancel(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.ask_one(request, object_id, CANCEL)

    @page_action(description=_("Replay"), url_path="replay", permissions=["replay"])
    def replay(self, request: HttpRequest, object_id: str) -> HttpResponse:
        sees_params = may(request.user, Action.VIEW_PARAMS)
        verb = REPLAY if sees_params else REPLAY_UNSEEN
        return self.ask_one(request, object_id, verb)

    @page_action(
        description=_("Retry a range"),
        url_path="retry-range",
        permissions=["retry"],
        icon="replay",
    )
    def retry_range(self, request: HttpRequest) -> HttpResponse:
        return retry_range.page(self, request)

    @admin.action(description=_("Cancel"), permissions=["cancel"])
    def cancel_many(
        self, request: HttpRequest, queryset: QuerySet[JobExecution]
    ) -> HttpResponse | None:
        return self.ask_many(request, queryset, CANCEL)

    @admin.action(description=_("Retry"), permissions=["retry"])
    def retry_many(
        self, request: HttpRequest, queryset: QuerySet[JobExecution]
    ) -> HttpResponse | None:
        return self.ask_many(request, queryset, RETRY)

    @admin.action(description=_("Delete"), permissions=["delete"])
    def delete_many(
        self, request: HttpRequest, queryset: QuerySet[JobExecution]
    ) -> HttpResponse | None:
        return self.ask_many(request, queryset, DELETE)


def _cell(execution: JobExecution, name: str, content: object) -> SafeString:
    """A cell of the list that live.js finds again."""
    return format_html('<span id="run-{}-{}">{}</span>', execution.pk, name, content)


def _newer_note(count: int) -> SafeString:
    """Above the list: that it is not the newest any more."""
    if not count:
        return SafeString('<p id="newer-runs"></p>')
    text = ngettext(
        "%(count)s newer execution; show it", "%(count)s newer executions; show them", count
    ) % {"count": f"{count}+" if count == NEWER_COUNTED else count}
    url = reverse("admin:scheduler_jobexecution_changelist")
    return format_html('<p id="newer-runs" class="mb-3">{}</p>', formatting.link(url, text))


def _numbers(text: str) -> list[str]:
    """The ids of a request; anything else in it is left out."""
    return [part for part in text.split(",") if re.fullmatch(r"[0-9]{1,18}", part, re.ASCII)]
