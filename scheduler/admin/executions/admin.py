"""Executions: people read, cancel, retry, replay and delete them. Nobody adds or edits them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.urls import URLPattern, path
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from scheduler.admin import filters, live, saved_filters
from scheduler.admin.actions import RunsAdmin
from scheduler.admin.csv_export import Row
from scheduler.admin.csv_list import CsvMixin
from scheduler.admin.executions import file, log, log_search, page, retry_range
from scheduler.admin.executions import filters as own_filters
from scheduler.admin.executions.actions import (
    APPROVE,
    CANCEL,
    DELETE,
    REJECT,
    REPLAY,
    REPLAY_UNSEEN,
    RETRY,
)
from scheduler.admin.executions.columns import ExecutionChangeList, ExecutionColumns, listed
from scheduler.admin.executions.search import execution_of_task, matching
from scheduler.admin.site import register, render_to_string, reverse
from scheduler.admin.unfold_compat import (
    AutocompleteSelectFilter,
    ChoicesDropdownFilter,
    page_action,
)
from scheduler.models import JobExecution
from scheduler.operations.control import Control
from scheduler.operations.permissions import Action, may
from scheduler.states import FINAL, TargetKind


@register(JobExecution)
class JobExecutionAdmin(CsvMixin, ExecutionColumns, RunsAdmin):
    csv_name = "executions"
    target_kind = TargetKind.EXECUTION
    list_display = (
        "number",
        "job_and_handler",
        "slot_and_source",
        "status_badge",
        "start_and_duration",
        "tries",
        "acts",
    )
    list_filter = (
        ("job", AutocompleteSelectFilter),
        ("status", ChoicesDropdownFilter),
        ("param_source", ChoicesDropdownFilter),
        own_filters.NowFilter,
        own_filters.RunHandlerFilter,
        filters.BackfillFilter,
        filters.ShardsFilter,
        filters.FailureFilter,
        filters.EndedFilter,
        ("scheduled_time", filters.SlotRangeFilter),
        own_filters.RunQueueFilter,
        own_filters.TagFilter,
        own_filters.OwnerFilter,
        own_filters.WorkerFilter,
        own_filters.ErrorFilter,
        own_filters.AlsoFilter,
        own_filters.LevelFilter,  # the last one: it looks at those that the others leave
    )
    allowed_lookups = frozenset(
        {
            "job__id__exact",
            "status__exact",
            "param_source__exact",
            "now",
            "also",
            "handler",
            "backfill",
            "shards_of",
            "failure",
            "ended",
            "queue",
            "tag",
            "owner",
            "worker",
            "error",
            "level",
            "scheduled_time_from",
            "scheduled_time_to",
        }
    )
    sortable_by = ("number",)
    search_fields = ("id",)  # shows the search box; get_search_results does the search
    search_help_text = _(
        "number of the execution, a word of its job's or handler's name, or a task's id in Flower"
    )
    actions = ("cancel_many", "retry_many", "delete_many")
    verbs_for_many = (CANCEL, RETRY, DELETE)
    actions_list = ("retry_range", "search_logs")
    # This registers only the addresses. The page shows the buttons of the possible verbs.
    actions_detail = ("approve", "reject", "retry", "cancel", "replay")
    change_form_template = "scheduler/executions/page.html"
    list_before_template = "scheduler/executions/rows_live.html"
    delete_verb = DELETE

    class Media:
        css: ClassVar = {"all": ["scheduler/lists.css"]}

    # --- permissions -----------------------------------------------------------------------------

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

    def has_approve_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, Action.APPROVE_EXECUTION)

    def has_view_params_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request) and may(request.user, Action.VIEW_PARAMS)

    # --- the list --------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ExecutionChangeList]:
        return ExecutionChangeList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {**(extra_context or {}), **saved_filters.bar(request, "executions")}
        return super().changelist_view(request, context)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        return matching(queryset, search_term), False

    def csv_head(self, request: HttpRequest) -> Row:
        return file.head(sees_params=may(request.user, Action.VIEW_PARAMS))

    def csv_rows(self, request: HttpRequest, ids: Sequence[int]) -> QuerySet[JobExecution]:
        more = ["finished_at", "queue", "lease_owner"]
        if may(request.user, Action.VIEW_PARAMS):
            more.append("params")
        rows = listed(JobExecution.objects.filter(pk__in=ids), *more)
        now = Control().clock.now()
        for row in rows:
            row.seen_at = now  # type: ignore[attr-defined]
        return rows

    def csv_cells(self, request: HttpRequest, row: JobExecution) -> Row:
        return file.cells(row, sees_params=may(request.user, Action.VIEW_PARAMS))

    # --- additional addresses --------------------------------------------------------------------

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
        """Redirects from the id of a Celery task to the page of its execution."""
        execution_id = execution_of_task(task)
        if execution_id is None:
            raise Http404(gettext("%s is not the id of a task that runs an execution") % task)
        return HttpResponseRedirect(
            reverse("admin:scheduler_jobexecution_change", args=[execution_id])
        )

    def live_view(self, request: HttpRequest, execution_id: int) -> HttpResponse:
        """Answers live.js with the changing part of an execution's page."""
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
        """Streams the whole log as a file."""
        self._must_view(request)
        if not may(request.user, Action.VIEW_PARAMS):
            raise PermissionDenied  # a line may contain parameters
        if not JobExecution.objects.filter(pk=execution_id).exists():
            raise Http404
        level = log.level_of(request.GET.get("level"))
        return StreamingHttpResponse(
            log.log_text(execution_id, level),
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
        level = log.level_of(request.GET.get("level"))
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
            # Read the state before the content: if the run ends between the two reads, live.js
            # asks again. In the other order the page would never show the end of the run.
            with suppress(ValidationError):  # not a number: get_object reports it
                key = self.opts.pk.to_python(number)
                state = page.state_of(key, Control().clock.now())
            execution = self.get_object(request, number)
        if execution is not None:
            now: datetime = execution.seen_at
            context |= {"title": str(execution), **self._fragment(request, execution, now)}
            if state is not None and execution.status not in FINAL:
                url = reverse("admin:scheduler_jobexecution_live", args=[execution.pk])
                level = log.level_of(request.GET.get("level"))
                context["live_url"] = f"{url}?level={level}" if level else url
                context["live_mark"] = state.mark
        return super().change_view(request, object_id, form_url, context)

    # --- verbs -----------------------------------------------------------------------------------

    @page_action(description=_("Approve"), url_path="approve", permissions=["approve"])
    def approve(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.ask_one(request, object_id, APPROVE)

    @page_action(description=_("Reject"), url_path="reject", permissions=["approve"])
    def reject(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.ask_one(request, object_id, REJECT)

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
        description=_("Search in logs"),
        url_path="search-logs",
        permissions=["view_params"],
        icon="search",
    )
    def search_logs(self, request: HttpRequest) -> HttpResponse:
        """Searches the logs of a job's runs."""
        return log_search.page(self, request)

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
