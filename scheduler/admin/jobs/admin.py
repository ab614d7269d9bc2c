"""Jobs: the list, the page of one job, and the verbs run now, enable, disable, pause, clone."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from scheduler.admin import filters, formatting, live, saved_filters
from scheduler.admin.jobs import (
    checks,
    comparing,
    moving_pages,
    overview,
    page,
    restoring,
    slot,
    switching,
    tabs,
)  # fmt: skip
from scheduler.admin.jobs.actions import (
    BLIND_RUN,
    CLONE,
    DELETE,
    DISABLE,
    ENABLE,
    PAUSE,
    RESUME,
    RUN,
)  # fmt: skip
from scheduler.admin.jobs.columns import JobChangeList, JobColumns, useless_verbs
from scheduler.admin.jobs.form import CronJobForm
from scheduler.admin.jobs.listing import ListsJobs
from scheduler.admin.jobs.preview import preview_block
from scheduler.admin.jobs.saving import SavesJobs
from scheduler.admin.liveness import missing_parts
from scheduler.admin.site import register, render_to_string, reverse
from scheduler.admin.unfold_compat import ActionVariant, page_action
from scheduler.models import SEARCHED, Activity, CronJob
from scheduler.operations.control import Control
from scheduler.operations.permissions import Action, may
from scheduler.operations.versions import keeps_version

_RESTORE = "<path:object_id>/restore/<int:entry_id>/"


@register(CronJob)
class CronJobAdmin(ListsJobs, JobColumns, SavesJobs):
    form = CronJobForm
    list_display = (
        "name",
        "state",
        "schedule",
        "handler_name",
        "next_run",
        "last_result",
        "strip",
        "durations",
    )
    list_filter = (
        filters.JobStateFilter,
        filters.LastStatusFilter,
        filters.HandlerFilter,
        filters.QueueFilter,
        filters.GroupFilter,
    )
    allowed_lookups = frozenset({"state", "last", "handler", "queue", "group"})
    # Each row has a strip of thirty outcomes. Fifty rows would take twice as long.
    list_per_page = 25
    search_fields = SEARCHED
    search_help_text = _("name, handler, description, owner or tag")
    ordering = ("name",)
    fieldsets = (
        (
            _("What"),
            {"fields": ("name", "description", "owner", "tags", "is_enabled", "handler_name")},
        ),
        (
            _("When"),
            {
                "fields": (
                    "cron_expression",
                    "timezone",
                    "calendar",
                    "schedule_preview",
                    "upstreams",
                    "upstream_seconds",
                )
            },
        ),
        (_("With"), {"fields": ("handler_params",)}),
        (
            _("If it goes wrong"),
            {
                "fields": (
                    "timeout_seconds",
                    "max_retry",
                    "retry_backoff_seconds",
                    "retry_backoff_max_seconds",
                    "misfire_policy",
                    "misfire_grace_seconds",
                    "max_catchup",
                    "alert_rules",
                ),
                "classes": ("tab",),
            },
        ),
        (
            _("Limits"),
            {
                "fields": (
                    "overlap_policy",
                    "max_running",
                    "concurrency_group",
                    "concurrency_key",
                ),
                "classes": ("tab",),
            },
        ),
        (
            _("Approval and start"),
            {
                "fields": ("approval_seconds", "start_at", "end_at", "jitter_seconds"),
                "classes": ("tab",),
            },
        ),
        (
            _("Workers"),
            {"fields": ("queue", "priority", "shards"), "classes": ("tab",)},
        ),
    )
    actions = ("run_many", "enable_many", "disable_many", "pause_many", "delete_many")
    verbs_for_many = (RUN, ENABLE, DISABLE, PAUSE, DELETE)
    readonly_fields = ("schedule_preview",)
    actions_row = ("run_now", "pause", "resume", "enable", "disable", "clone")
    actions_detail = (
        "run_now", "pause", "resume", "enable", "disable", "clone", "switch", "switch_back",
    )  # fmt: skip
    list_before_template = "scheduler/jobs/list_before.html"
    change_form_before_template = "scheduler/jobs/marks.html"
    change_form_outer_before_template = "scheduler/jobs/banner.html"
    change_form_outer_after_template = "scheduler/jobs/runs.html"
    warn_unsaved_form = True

    class Media:
        css = {
            "all": ("scheduler/job_list.css", "scheduler/job_slot.css", "scheduler/lists.css"),
        }
        js = ("scheduler/job_strip.js",)

    # --- permissions -----------------------------------------------------------------------------

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, Action.VIEW_JOBS)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return may(request.user, Action.ADD_JOB)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, Action.CHANGE_JOB)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, Action.DELETE_JOB)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request) or self.has_add_permission(request)

    def has_run_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, Action.RUN_JOB)

    def has_pause_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, Action.PAUSE_JOB)

    def has_switch_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The page says where the job comes from."""
        return self.has_view_permission(request) and self.has_pause_permission(request)

    def has_clone_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request) and self.has_add_permission(request)

    # --- the list --------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[JobChangeList]:
        return JobChangeList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        now = Control().clock.now()
        context = {**saved_filters.bar(request, "jobs"), "missing_parts": missing_parts(now)}
        return super().changelist_view(request, {**(extra_context or {}), **context})

    # --- the form --------------------------------------------------------------------------------

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = dict(extra_context or {})
        job = self.get_object(request, unquote(object_id)) if object_id is not None else None
        if job is not None:
            context |= page.around_form(job, Control().clock.now(), request.user)
            context["tabs"] = tabs.of(job, "definition", request.user)
        return super().changeform_view(request, object_id, form_url, context)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Returns the fieldsets for the person's permissions.

        A person who may only view gets the params as text with hidden secrets, or no params.
        """
        if obj is None or self.has_change_permission(request):
            return self.fieldsets
        sees_params = may(request.user, Action.VIEW_PARAMS)
        read_only = {
            "handler_params": "params_block" if sees_params else "params_hidden",
            "alert_rules": "rules_block",
        }

        def shown(options: Any) -> dict[str, Any]:
            return {**options, "fields": [read_only.get(name, name) for name in options["fields"]]}

        return [(title, shown(options)) for title, options in self.fieldsets]

    @admin.display(description=_("parameters"))
    def params_block(self, job: CronJob) -> SafeString:
        return formatting.block(formatting.as_json(job.handler_params))

    @admin.display(description=_("parameters"))
    def params_hidden(self, job: CronJob) -> str:
        return gettext("hidden: you may not see parameters")

    @admin.display(description=_("alert rules"))
    def rules_block(self, job: CronJob) -> SafeString:
        return formatting.block(formatting.as_json(job.alert_rules))

    @admin.display(description=_("next runs"))
    def schedule_preview(self, job: CronJob) -> SafeString:
        """Returns the schedule in words, its warnings and next runs. job_form.js refreshes it."""
        return preview_block(job, Control().clock.now())

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        job = self.get_object(request, unquote(object_id))
        around = {} if job is None else {"tabs": tabs.of(job, "history", request.user)}
        return super().history_view(
            request, object_id, {**(extra_context or {}), **around, "media": self.media}
        )

    # --- requests of the scripts -----------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        def at(address: str, view: Any, name: str) -> URLPattern:
            guarded: Any = self.admin_site.admin_view(view)
            found: URLPattern = path(address, guarded, name=f"scheduler_cronjob_{name}")
            return found

        return [
            at("check/", partial(checks.check, self), "check"),
            at("params/", partial(checks.params, self), "params"),
            at("<int:job_id>/live/", self.live_view, "live"),
            at("shadows/", partial(moving_pages.shadows, self), "shadows"),
            at("<int:job_id>/beside/", partial(moving_pages.beside, self), "beside"),
            at("<int:job_id>/old-system/", partial(moving_pages.comparison, self), "comparison"),
            at("<int:job_id>/overview/", partial(overview.overview, self), "overview"),
            at("<int:job_id>/compare/", partial(comparing.compare, self), "compare"),
            at("<int:job_id>/slot/", partial(slot.page, self), "slot"),
            at(
                "<path:object_id>/restore/<int:entry_id>/",
                partial(restoring.restore, self),
                "restore",
            ),
            *super().get_urls(),
        ]

    def live_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """Answers live.js with the changing parts of a job's page."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        job = self.get_object(request, str(job_id))
        if job is None:
            raise Http404
        now = Control().clock.now()
        moving = page.moving(job, now, request.user)

        def render() -> str:
            return render_to_string("scheduler/jobs/live.html", {**moving, "job": job}, request)

        return live.answer(request, mark=page.mark_of(job, moving["runs"], now), render=render)

    def restore_url(self, request: HttpRequest, entry: Activity) -> str:
        if not (self.has_change_permission(request) and keeps_version(entry)):
            return ""
        return reverse("admin:scheduler_cronjob_restore", args=[entry.target_id, entry.pk])

    # --- verbs -----------------------------------------------------------------------------------

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        """Returns the verbs that are useful in the job's state."""
        job = self.get_object(request, unquote(str(object_id)))
        useless: frozenset[str] = frozenset({"enable", "switch", "switch-back"})
        if job is not None:
            useless = useless_verbs(job) | switching.useless(job)
        found = super().get_actions_detail(request, object_id)  # type: ignore[misc]
        return [action for action in found if action.path not in useless]

    @page_action(
        description=_("Run now"), url_path="run", permissions=["run"], icon="play_arrow",
        variant=ActionVariant.PRIMARY,
    )  # fmt: skip
    def run_now(self, request: HttpRequest, object_id: str) -> HttpResponse:
        sees_params = may(request.user, Action.VIEW_PARAMS)
        verb = RUN if sees_params else BLIND_RUN
        return self.ask_one(request, object_id, verb)

    @page_action(description=_("Pause"), url_path="pause", permissions=["pause"], icon="pause")
    def pause(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.ask_one(request, object_id, PAUSE)

    @page_action(
        description=_("Resume"), url_path="resume", permissions=["pause"], icon="play_arrow"
    )
    def resume(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.ask_one(request, object_id, RESUME)

    @page_action(
        description=_("Enable"), url_path="enable", permissions=["pause"], icon="toggle_on"
    )
    def enable(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.ask_one(request, object_id, ENABLE)

    @page_action(
        description=_("Disable"), url_path="disable", permissions=["pause"], icon="toggle_off"
    )
    def disable(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.ask_one(request, object_id, DISABLE)

    @page_action(
        description=_("Clone"), url_path="clone", permissions=["clone"], icon="content_copy"
    )
    def clone(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.ask_one(request, object_id, CLONE)

    @page_action(
        description=_("Run it here"), url_path="switch", permissions=["switch"], icon="login"
    )
    def switch(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.ask_one(request, object_id, switching.SWITCH)

    @page_action(
        description=_("Back to the old system"), url_path="switch-back", permissions=["switch"],
        icon="logout",
    )  # fmt: skip
    def switch_back(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.ask_one(request, object_id, switching.SWITCH_BACK)

    @admin.action(description=_("Run now"), permissions=["run"])
    def run_many(self, request: HttpRequest, queryset: QuerySet[CronJob]) -> HttpResponse | None:
        return self.ask_many(request, queryset, RUN)

    @admin.action(description=_("Enable"), permissions=["pause"])
    def enable_many(self, request: HttpRequest, queryset: QuerySet[CronJob]) -> HttpResponse | None:
        return self.ask_many(request, queryset, ENABLE)

    @admin.action(description=_("Disable"), permissions=["pause"])
    def disable_many(
        self, request: HttpRequest, queryset: QuerySet[CronJob]
    ) -> HttpResponse | None:
        return self.ask_many(request, queryset, DISABLE)

    @admin.action(description=_("Pause"), permissions=["pause"])
    def pause_many(self, request: HttpRequest, queryset: QuerySet[CronJob]) -> HttpResponse | None:
        return self.ask_many(request, queryset, PAUSE)

    @admin.action(description=_("Delete"), permissions=["delete"])
    def delete_many(self, request: HttpRequest, queryset: QuerySet[CronJob]) -> HttpResponse | None:
        return self.ask_many(request, queryset, DELETE)
