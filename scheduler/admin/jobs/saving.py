"""Saves and deletes jobs through Control, and shows on the form what Control refuses."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext

from scheduler.admin import formatting
from scheduler.admin.actions import ActionPagesMixin
from scheduler.admin.actor import control_of
from scheduler.admin.jobs.form import refusal_of
from scheduler.admin.listing import COUNT_LIMIT, LimitedLookupsAdmin
from scheduler.admin.site import job_url, reverse
from scheduler.models import CronJob, JobExecution
from scheduler.operations.control import InvalidJob, NotPossible, StaleEdit
from scheduler.states import TargetKind
from scheduler.store import upstreams

# Saving is retried because beat may move the job to its next slot between the read and the save.
_TRIES: Final = 3
_SCHEDULE: Final = frozenset({"cron_expression", "timezone", "calendar", "start_at", "end_at"})


class SavesJobs(ActionPagesMixin, LimitedLookupsAdmin):
    """A ModelAdmin of jobs that saves and deletes through Control."""

    target_kind = TargetKind.JOB

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Serves Django's view. If Control refuses the save (a race), the form shows the reason."""
        for once_more in reversed(range(_TRIES)):
            try:
                return super().changeform_view(
                    request, object_id, form_url, dict(extra_context or {})
                )
            except (InvalidJob, StaleEdit) as error:
                # The cause of a StaleEdit may be beat, not a person: the form checks once more.
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

    def save_model(self, request: HttpRequest, obj: CronJob, form: Any, change: bool) -> None:
        control = control_of(request)
        values = form.values()
        request.asks_missed = False  # type: ignore[attr-defined]
        if change:
            before = CronJob.objects.get(pk=obj.pk)
            is_switched_on = values.get("is_enabled") and not before.is_enabled
            is_edited = bool(set(form.changed_data) & _SCHEDULE)
            if is_switched_on and not is_edited and control.missed(obj.pk).count:
                # The page of the verb "enable" asks what to do with the missed slots.
                values["is_enabled"] = False
                request.asks_missed = True  # type: ignore[attr-defined]
            saved = control.update_job(obj.pk, tick_seq=form.tick_seq_now, **values)
        else:
            saved = control.create_job(**values)
        obj.pk = saved.pk
        obj.refresh_from_db()
        for warning in control.warnings(obj):
            messages.warning(request, warning)

    def response_change(self, request: HttpRequest, obj: CronJob) -> HttpResponse:
        if getattr(request, "asks_missed", False):
            messages.info(
                request, gettext("Saved, and still off: it missed slots. Say what becomes of them.")
            )
            return HttpResponseRedirect(reverse("admin:scheduler_cronjob_enable", args=[obj.pk]))
        return super().response_change(request, obj)

    def response_post_save_add(self, request: HttpRequest, obj: CronJob) -> Any:
        return self._to_overview(request, obj) or super().response_post_save_add(request, obj)

    def response_post_save_change(self, request: HttpRequest, obj: CronJob) -> Any:
        return self._to_overview(request, obj) or super().response_post_save_change(request, obj)

    def _page_of(self, target: Any) -> str:
        """After a verb, too, one sees the job as it is now."""
        return job_url(target.pk)

    def _to_overview(self, request: HttpRequest, obj: CronJob) -> HttpResponse | None:
        """Redirects to the job as it is now. None: the person may not see jobs."""
        if not self.has_view_permission(request, obj):
            return None
        return HttpResponseRedirect(job_url(obj.pk))

    def delete_model(self, request: HttpRequest, obj: CronJob) -> None:
        control_of(request).delete_job(obj.pk)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Returns counts of the rows that go with the jobs. It loads none, and stops at a limit."""
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
        links = [formatting.link(self._page_of(job), job) for job in jobs]
        ids = {job.pk for job in jobs}
        # Django deletes nothing while there are any.
        waiting = [
            formatting.link(self._page_of(other), other)
            for job in jobs
            for other in upstreams.downstreams(job.pk)
            if other.pk not in ids
        ]
        return links, counts, lacking, waiting

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        """Serves Django's view. A job may have become an upstream job since it was shown."""
        try:
            return super().delete_view(request, object_id, extra_context)
        except NotPossible as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(job_url(int(object_id)))
