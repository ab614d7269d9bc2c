"""Jobs: the list, the page of one, and run now, pause, enable, disable, clone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import F, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, pgettext
from django.utils.translation import gettext_lazy as _

from scheduler.admin import filters, formatting, live
from scheduler.admin.actions import VerbsMixin
from scheduler.admin.explain import job_story
from scheduler.admin.jobs import checks, sparkline
from scheduler.admin.jobs.actions import (
    BLIND_RUN,
    CLONE,
    DISABLE,
    ENABLE,
    PAUSE,
    RUN,
)
from scheduler.admin.jobs.form import CronJobForm, refusal_of
from scheduler.admin.jobs.preview import preview
from scheduler.admin.listing import COUNT_LIMIT, GuardedList
from scheduler.admin.liveness import missing_parts
from scheduler.admin.unfold_compat import ActionVariant, page_action
from scheduler.labels import label_of
from scheduler.models import CronJob, JobExecution
from scheduler.operations import job_history
from scheduler.operations.control import Control, InvalidJob, StaleEdit
from scheduler.operations.history import TRIES
from scheduler.operations.permissions import Action, may
from scheduler.schedule.words import in_words
from scheduler.states import ParamSource
from scheduler.store.outcomes import last_outcomes

LAST_RUNS: Final = 30
# A slot this late means that no beat looks at it.
OVERDUE_AFTER: Final = timedelta(seconds=60)
_SCHEDULE: Final = frozenset({"cron_expression", "timezone", "calendar", "start_at", "end_at"})


@admin.register(CronJob)
class CronJobAdmin(VerbsMixin, GuardedList):
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
    )
    allowed_lookups = frozenset({"state", "last", "handler", "queue"})
    # Each row has a strip of thirty outcomes: fifty rows would take twice the time.
    list_per_page = 25
    search_fields = ("name", "handler_name", "description")
    search_help_text = _("name, handler or description")
    ordering = ("name",)
    fieldsets = (
        (
            _("What"),
            {"fields": ("name", "description", "is_enabled", "handler_name")},
        ),
        (
            _("When"),
            {"fields": ("cron_expression", "timezone", "calendar", "schedule_preview")},
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
                ),
                "classes": ("tab",),
            },
        ),
        (
            _("Advanced"),
            {
                "fields": (
                    "overlap_policy",
                    "start_at",
                    "end_at",
                    "jitter_seconds",
                    "queue",
                    "priority",
                ),
                "classes": ("tab",),
            },
        ),
    )
    actions = ("run_many", "enable_many", "disable_many", "pause_many")
    readonly_fields = ("schedule_preview",)
    actions_row = ("run_now", "pause", "enable", "disable", "clone")
    actions_detail = ("run_now", "pause", "enable", "disable", "clone")
    list_before_template = "scheduler/missing_parts.html"
    change_form_before_template = "scheduler/jobs/marks.html"
    change_form_outer_before_template = "scheduler/jobs/banner.html"
    change_form_outer_after_template = "scheduler/jobs/runs.html"
    object_history_template = "scheduler/jobs/history.html"
    warn_unsaved_form = True

    class Media:
        css = {"all": ("scheduler/job_list.css",)}
        js = ("scheduler/job_strip.js",)

    # --- who may do what -------------------------------------------------------------------------

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

    def has_clone_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request) and self.has_add_permission(request)

    # --- the list --------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[sparkline.JobChangeList]:
        return sparkline.JobChangeList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        now = Control().clock.now()
        return super().changelist_view(
            request, {**(extra_context or {}), "missing_parts": missing_parts(now)}
        )

    @admin.display(description=_("state"), ordering="is_enabled")
    def state(self, job: CronJob) -> SafeString:
        return state_badge(job)

    @admin.display(description=_("schedule"), ordering="cron_expression")
    def schedule(self, job: CronJob) -> SafeString:
        return format_html(
            '<span title="{}">{}<br><span class="text-xs">{}</span></span>',
            in_words(job.cron_expression),
            formatting.code(job.cron_expression),
            formatting.zone_of(job),
        )

    @admin.display(description=_("next run"), ordering=F("next_run_at").asc(nulls_last=True))
    def next_run(self, job: CronJob) -> SafeString | str:
        if not job.is_enabled:
            return formatting.NOTHING
        now: datetime = job.seen_at  # type: ignore[attr-defined]
        if job.next_run_at is None:
            return formatting.badge(
                gettext("beat will say"), "calm", gettext("New or just edited: beat computes it.")
            )
        if now - job.next_run_at > OVERDUE_AFTER:
            return format_html(
                "{} {}",
                formatting.instant(job.next_run_at, now),
                formatting.badge(gettext("overdue"), "bad"),
            )
        return formatting.instant(job.next_run_at, now)

    @admin.display(description=_("last result"), ordering="last_run_at")
    def last_result(self, job: CronJob) -> SafeString | str:
        if job.last_run_at is None:
            return formatting.NOTHING
        return format_html(
            '{}<br><span class="text-xs" title="{}">{}</span>',
            formatting.status(job.last_status),
            formatting.exact(job.last_run_at),
            formatting.distance(job.last_run_at, job.seen_at),  # type: ignore[attr-defined]
        )

    @admin.display(description=_("last runs"))
    def strip(self, job: CronJob) -> SafeString | str:
        return sparkline.strip(job.outcomes, linked=job.shows_links)  # type: ignore[attr-defined]

    @admin.display(description=_("took"))
    def durations(self, job: CronJob) -> SafeString | str:
        return sparkline.durations(job.outcomes)  # type: ignore[attr-defined]

    # --- the form --------------------------------------------------------------------------------

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """As ever; but what Control refuses on saving (a race) is shown like any other mistake."""
        context = {**(extra_context or {}), **self._surroundings(request, object_id)}
        for once_more in reversed(range(TRIES)):
            try:
                # One transaction: the change and its line in the history, both or neither.
                return super().changeform_view(request, object_id, form_url, dict(context))
            except (InvalidJob, StaleEdit) as error:
                # A StaleEdit may only be beat that moved the job on: the form looks again.
                if isinstance(error, InvalidJob) or once_more == 1:
                    request.refusal = refusal_of(error)  # type: ignore[attr-defined]
        raise AssertionError("a form with a refusal is never saved")

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **options: Any
    ) -> Any:
        refusal = getattr(request, "refusal", None)
        if refusal:
            options["form"] = type(
                "RefusedJobForm", (self.form,), {"refusal": refusal, "__module__": __name__}
            )
        return super().get_form(request, obj, change, **options)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Who may only look gets the params as text with the secrets hidden, or not at all."""
        if obj is None or self.has_change_permission(request):
            return self.fieldsets
        sees_params = may(request.user, Action.VIEW_PARAMS)
        read_only = {"handler_params": "params_block" if sees_params else "params_hidden"}

        def shown(options: Any) -> dict[str, Any]:
            return {**options, "fields": [read_only.get(name, name) for name in options["fields"]]}

        return [(title, shown(options)) for title, options in self.fieldsets]

    @admin.display(description=_("parameters"))
    def params_block(self, job: CronJob) -> SafeString:
        return formatting.block(formatting.as_json(job.handler_params))

    @admin.display(description=_("parameters"))
    def params_hidden(self, job: CronJob) -> str:
        return gettext("hidden: you may not see parameters")

    @admin.display(description=_("next runs"))
    def schedule_preview(self, job: CronJob) -> SafeString:
        """In words, with warnings and the next runs; job_form.js renews it while one types."""
        url = reverse("admin:scheduler_cronjob_check")
        return format_html(
            '<div id="job-preview" aria-live="polite" data-check="{}">{}</div>',
            url if job.pk is None else f"{url}?job={job.pk}",
            render_to_string("scheduler/jobs/preview.html", preview(job, Control().clock.now())),
        )

    def save_model(self, request: HttpRequest, obj: CronJob, form: Any, change: bool) -> None:
        control = Control(actor=request.user.get_username())
        values = form.values()
        request.asks_missed = False  # type: ignore[attr-defined]
        if change:
            before = CronJob.objects.get(pk=obj.pk)
            is_switched_on = values.get("is_enabled") and not before.is_enabled
            is_edited = bool(set(form.changed_data) & _SCHEDULE)
            if is_switched_on and not is_edited and control.missed(obj.pk).count:
                # What becomes of the missed slots is asked on the page that enables it.
                values["is_enabled"] = False
                request.asks_missed = True  # type: ignore[attr-defined]
            saved = control.update_job(obj.pk, tick_seq=form.tick_seq_now, **values)
            changes = job_history.changes_between(
                job_history.values_of(before), job_history.values_of(saved)
            )
            request.job_changes = job_history.message(  # type: ignore[attr-defined]
                changes, before.updated_at
            )
        else:
            saved = control.create_job(**values)
        obj.pk = saved.pk
        obj.refresh_from_db()
        for warning in control.warnings(obj):
            messages.warning(request, warning)

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        if add:
            return super().construct_change_message(request, form, formsets, add)
        return getattr(request, "job_changes", [])

    def response_change(self, request: HttpRequest, obj: CronJob) -> HttpResponse:
        if getattr(request, "asks_missed", False):
            messages.info(
                request, gettext("Saved, and still off: it missed slots. Say what becomes of them.")
            )
            return HttpResponseRedirect(reverse("admin:scheduler_cronjob_enable", args=[obj.pk]))
        return super().response_change(request, obj)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response = super().history_view(request, object_id, extra_context)
        context = getattr(response, "context_data", None)
        if context:
            sees_params = may(request.user, Action.VIEW_PARAMS)
            for entry in context["action_list"]:
                entry.job_changes = job_history.read(entry, sees_params=sees_params)
        return response

    def delete_model(self, request: HttpRequest, obj: CronJob) -> None:
        Control(actor=request.user.get_username()).delete_job(obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[CronJob]) -> None:
        for job_id in queryset.values_list("pk", flat=True):
            try:
                Control(actor=request.user.get_username()).delete_job(job_id)
            except CronJob.DoesNotExist:
                continue  # somebody was faster; gone is gone

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """What goes with the jobs, counted by the database up to a limit instead of loaded."""
        jobs = list(objs)
        gone = JobExecution.objects.filter(job_id__in=[job.pk for job in jobs])[
            : COUNT_LIMIT + 1
        ].count()
        executions = gettext("more than %s") % COUNT_LIMIT if gone > COUNT_LIMIT else gone
        counts = {
            str(self.opts.verbose_name_plural): len(jobs),
            gettext("executions with their logs"): executions,
        }
        lacking = set() if self.has_delete_permission(request) else {self.opts.verbose_name}
        return [formatting.link(self._page_of(job), job) for job in jobs], counts, lacking, []

    def _surroundings(self, request: HttpRequest, object_id: str | None) -> dict[str, Any]:
        """What stands around the form of an existing job."""
        if object_id is None:
            return {}
        job = self.get_object(request, unquote(object_id))
        if job is None:
            return {}
        now = Control().clock.now()
        moving = self._moving(request, job, now)
        return {
            "job": job,
            "pause_end": formatting.instant(job.paused_until, now) if job.paused_until else "",
            "missing_parts": missing_parts(now),
            "story": job_story(job, now),
            "live_url": reverse("admin:scheduler_cronjob_live", args=[job.pk]),
            "live_mark": _mark_of(job, moving["runs"], now),
            **moving,
        }

    def _moving(self, request: HttpRequest, job: CronJob, now: datetime) -> dict[str, Any]:
        """What moves on the page of a job: next run, last runs, strip."""
        sees_runs = may(request.user, Action.VIEW_EXECUTIONS)
        runs = _newest_runs(job) if sees_runs else []
        outcomes = last_outcomes([job.pk], sparkline.STRIP_LENGTH).get(job.pk, [])
        runs_url = reverse("admin:scheduler_jobexecution_changelist")
        job.seen_at = now  # type: ignore[attr-defined]
        return {
            "runs": runs,
            "sees_runs": sees_runs,
            "glance": [
                (gettext("state"), self.state(job)),
                (gettext("next run"), self.next_run(job)),
                (gettext("last result"), self.last_result(job)),
                (gettext("took"), sparkline.durations(outcomes)),
                (gettext("last runs"), sparkline.strip(outcomes, linked=sees_runs)),
            ],
            "last_runs": _table_of(runs, now),
            "all_runs_url": f"{runs_url}?job__id__exact={job.pk}",
            "backfill_url": _backfill_url(job) if self.has_run_permission(request) else "",
        }

    # --- what the page asks by itself -------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        def at(address: str, view: Any, name: str) -> URLPattern:
            guarded: Any = self.admin_site.admin_view(view)
            found: URLPattern = path(address, guarded, name=f"scheduler_cronjob_{name}")
            return found

        return [
            at("check/", self.check_view, "check"),
            at("params/", self.params_view, "params"),
            at("<int:job_id>/live/", self.live_view, "live"),
            *super().get_urls(),
        ]

    def check_view(self, request: HttpRequest) -> HttpResponse:
        return checks.check(self, request)

    def params_view(self, request: HttpRequest) -> HttpResponse:
        return checks.params(self, request)

    def live_view(self, request: HttpRequest, job_id: int) -> HttpResponse:
        """The moving parts of the page of a job, for live.js."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        job = self.get_object(request, str(job_id))
        if job is None:
            raise Http404
        now = Control().clock.now()
        moving = self._moving(request, job, now)

        def render() -> str:
            return render_to_string("scheduler/jobs/live.html", {**moving, "job": job}, request)

        return live.answer(request, mark=_mark_of(job, moving["runs"], now), render=render)

    # --- verbs -----------------------------------------------------------------------------------

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        """The verbs that mean something for this job now."""
        job = self.get_object(request, unquote(str(object_id)))
        useless = {"enable"} if job is None or job.is_enabled else {"disable", "pause"}
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


def state_badge(job: CronJob) -> SafeString:
    if job.is_enabled:
        return formatting.badge(gettext("enabled"), "good")
    if job.schedule_error:
        return formatting.badge(gettext("error"), "bad", job.schedule_error)
    if job.pause_reason or job.paused_until:
        return formatting.badge(gettext("paused"), "warn", job.pause_reason)
    return formatting.badge(gettext("disabled"), "calm")


def _newest_runs(job: CronJob) -> list[JobExecution]:
    """The newest executions, by the index on (job, scheduled_time)."""
    newest = JobExecution.objects.filter(job_id=job.pk).order_by("-scheduled_time")
    return list(
        newest.only(
            "id", "scheduled_time", "status", "param_source", "attempt", "started_at", "finished_at"
        )[:LAST_RUNS]
    )


def _mark_of(job: CronJob, runs: list[JobExecution], now: datetime) -> str:
    """Moves with all that is shown, and once a minute for the distances."""
    shown = [(run.pk, run.status, run.attempt, run.started_at, run.finished_at) for run in runs]
    state = (job.is_enabled, job.schedule_error, job.next_run_at, job.last_run_at, job.last_status)
    return live.mark_of(state, shown, now.replace(second=0, microsecond=0))


def _table_of(runs: list[JobExecution], now: datetime) -> dict[str, Any]:
    rows = [
        (
            formatting.link(
                reverse("admin:scheduler_jobexecution_change", args=[quote(run.pk)]), f"#{run.pk}"
            ),
            formatting.status(run.status),
            formatting.instant(run.scheduled_time),
            formatting.distance(run.scheduled_time, now),
            label_of(ParamSource, run.param_source),
            run.attempt,
            formatting.took(run.started_at, run.finished_at),
        )
        for run in runs
    ]
    headers = [
        gettext("execution"), gettext("status"), gettext("slot"),
        pgettext("of a past run", "distance"), gettext("source"), gettext("attempts"),
        gettext("took"),
    ]  # fmt: skip
    return {"headers": headers, "rows": rows}


def _backfill_url(job: CronJob) -> str:
    try:
        return f"{reverse('admin:scheduler_backfill_add')}?job={job.pk}"
    except NoReverseMatch:
        return ""
