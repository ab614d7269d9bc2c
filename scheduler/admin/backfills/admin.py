"""Backfills: the list, starting one behind a dry run, its page, and pause, resume, cancel, delete.

Two steps start one: the form, then a page that shows what would run and asks. Nothing is kept in
between but what that page carries along.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.dates import WEEKDAYS_ABBR
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import format_lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from scheduler.admin import formatting, live
from scheduler.admin.actions import RunsAdmin
from scheduler.admin.backfills.actions import CANCEL, DELETE, PAUSE, RESUME
from scheduler.admin.filters import LARGEST_ID
from scheduler.admin.job_name_field import JobNameField
from scheduler.admin.listing import TimedChangeList
from scheduler.admin.params_field import ParamsField
from scheduler.admin.unfold_compat import (
    AutocompleteSelectFilter,
    ChoicesDropdownFilter,
    IntegerWidget,
    SelectWidget,
    SplitDateTimeWidget,
    name_date_and_time,
    page_action,
)
from scheduler.models import Backfill, CronJob
from scheduler.operations.backfills import (
    LARGEST_PARALLELISM,
    BackfillControl,
    InvalidJob,
    Preview,
    Standing,
)
from scheduler.operations.permissions import Action, may
from scheduler.states import UNFINISHED, BackfillOrder, BackfillState, RunStatus
from scheduler.transient import in_transaction

_MEANINGS: Final = {
    BackfillState.ACTIVE.value: "busy",
    BackfillState.PAUSED.value: "warn",
    BackfillState.CANCELLED.value: "warn",
    BackfillState.DONE.value: "good",
}
_ORDERS: Final = {
    BackfillOrder.OLDEST_FIRST.value: _("oldest first"),
    BackfillOrder.NEWEST_FIRST.value: _("newest first"),
}
_STATES: Final = {
    BackfillState.ACTIVE.value: _("active"),
    BackfillState.PAUSED.value: _("paused"),
    BackfillState.CANCELLED.value: _("cancelled"),
    BackfillState.DONE.value: _("done"),
}
_IN_ZONE: Final = format_lazy(_("in {zone}"), zone=formatting.SCREEN_ZONE)


class JobChoice(forms.Form):
    """Which job, where the address does not say it."""

    use_required_attribute = False  # as below

    name = JobNameField(
        help_text=_("Its name. The page of a job has a button that leads here, too.")
    )


class BackfillForm(forms.Form):
    # The server says what is missing; a browser would mark empty fields before anything is typed.
    use_required_attribute = False

    since = forms.SplitDateTimeField(
        label=_("First slot"), widget=SplitDateTimeWidget(), help_text=_IN_ZONE
    )
    until = forms.SplitDateTimeField(
        label=_("Last slot"),
        widget=SplitDateTimeWidget(),
        help_text=format_lazy(_("{zone}; it belongs to the range"), zone=_IN_ZONE),
    )
    order = forms.ChoiceField(
        label=_("Order"), choices=list(_ORDERS.items()), widget=SelectWidget()
    )
    parallelism = forms.IntegerField(
        label=_("At once"),
        min_value=1,
        max_value=LARGEST_PARALLELISM,
        initial=1,
        widget=IntegerWidget(),
        help_text=_("how many of its runs may be unfinished at a time"),
    )
    params = ParamsField(
        label=_("Parameters"),
        required=False,
        help_text=_(
            "For these runs only. In texts, {slot} becomes the slot in ISO 8601, and "
            "{slot:%Y-%m-%d} its date in the job's zone. ******** stands for a stored secret."
        ),
    )

    def __init__(self, *args: Any, job: CronJob, sees_params: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        name_date_and_time(self)
        params = self.fields["params"]
        assert isinstance(params, ParamsField)
        params.stored = params.initial = job.handler_params
        if not sees_params:
            del self.fields["params"]

    def add_problems(self, error: InvalidJob) -> None:
        for field, texts in error.problems.items():
            if field in self.fields:
                self.add_error(field, texts)
            else:
                self.add_error(None, [f"{field}: {text}" for text in texts])


class BackfillChangeList(TimedChangeList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        percents = BackfillControl().percents(self.result_list)
        for row in self.result_list:
            row.percent = percents[row.pk]


@admin.register(Backfill)
class BackfillAdmin(RunsAdmin):
    list_display = (
        "number", "state_badge", "job_link", "range", "progress", "requested_by", "created",
    )  # fmt: skip
    list_filter = (("job", AutocompleteSelectFilter), ("state", ChoicesDropdownFilter))
    allowed_lookups = frozenset({"job__id__exact", "state__exact"})
    list_select_related = ("job",)
    sortable_by = ()
    actions = ("pause_many", "resume_many", "cancel_many", "delete_many")
    # Their addresses; the page offers those that are possible, and keeps them up to date.
    actions_detail = ("pause", "resume", "cancel")
    change_form_template = "scheduler/backfills/page.html"
    delete_verb = DELETE

    # --- who may ---------------------------------------------------------------------------------

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, Action.VIEW_JOBS) or may(request.user, Action.RUN_JOB)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return may(request.user, Action.RUN_JOB)

    def has_control_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """May pause, resume and cancel."""
        return may(request.user, Action.RUN_JOB)

    # --- the list --------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[BackfillChangeList]:
        return BackfillChangeList

    @admin.display(description=_("state"))
    def state_badge(self, backfill: Backfill) -> SafeString:
        return _state(backfill)

    @admin.display(description=_("job"))
    def job_link(self, backfill: Backfill) -> SafeString:
        return _job(backfill)

    @admin.display(description=_("range"))
    def range(self, backfill: Backfill) -> SafeString:
        since, until = formatting.instant(backfill.since), formatting.instant(backfill.until)
        return format_html("{}<br>{}", since, until)

    @admin.display(description=_("progress"))
    def progress(self, backfill: Backfill) -> SafeString:
        percent: int = backfill.percent  # type: ignore[attr-defined]
        return format_html(
            "{}<span class='text-xs whitespace-nowrap'>{}</span>",
            _bar(percent),
            gettext("%(percent)s %%, %(made)s of %(total)s started")
            % {"percent": percent, "made": backfill.made, "total": backfill.total},
        )

    @admin.display(description=_("created"))
    def created(self, backfill: Backfill) -> SafeString | str:
        return formatting.instant(backfill.created_at, backfill.seen_at)  # type: ignore[attr-defined]

    # --- starting one ----------------------------------------------------------------------------

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        job = _asked_for(request)
        if job is None:
            choice = JobChoice(request.GET if "name" in request.GET else None)
            if not choice.is_valid():
                return self._page(request, "choose_job", {"form": choice})
            return HttpResponseRedirect(f"{request.path}?job={choice.cleaned_data['name'].pk}")
        sees_params = may(request.user, Action.VIEW_PARAMS)
        given = request.POST if request.method == "POST" else None
        form = BackfillForm(given, job=job, sees_params=sees_params)
        context: dict[str, Any] = {
            "job": job,
            "zone": formatting.zone_of(job),
            "form": form,
            "media": self.media + form.media,
            "job_url": reverse("admin:scheduler_cronjob_change", args=[job.pk]),
        }
        if given is None or "edit" in given or not form.is_valid():
            return self._page(request, "form", context)
        try:
            if "start" in given:
                return self._start(request, job, form)
            preview = _preview(request, job, form)
        except InvalidJob as error:
            form.add_problems(error)
            return self._page(request, "form", context)
        if not preview.total:
            form.add_error("until", gettext("The job has no slot in this range."))
            return self._page(request, "form", context)
        context |= self._dry_run(job, form, preview, sees_params)
        return self._page(request, "dry_run", context)

    def _start(self, request: HttpRequest, job: CronJob, form: BackfillForm) -> HttpResponse:
        def work() -> Backfill:
            control = BackfillControl(actor=request.user.get_username())
            started = control.start(job.pk, **form.cleaned_data)
            self.log_addition(request, started, f"Started for {started.total} slots")
            return started

        started = in_transaction(work)
        text = gettext("Backfill #%(id)s is started: beat makes its %(total)s runs.")
        messages.success(request, text % {"id": started.pk, "total": started.total})
        return HttpResponseRedirect(self._page_of(started))

    def _dry_run(
        self, job: CronJob, form: BackfillForm, preview: Preview, sees_params: bool
    ) -> dict[str, Any]:
        asked = form.cleaned_data
        zone = ZoneInfo(formatting.zone_of(job))
        rows = [
            (
                number,
                f"{WEEKDAYS_ABBR[local.weekday()]} {local:%Y-%m-%d %H:%M:%S %Z}",
                local.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
            )
            for number, local in enumerate((slot.astimezone(zone) for slot in preview.slots), 1)
        ]
        headers = [gettext("number"), gettext("in %s") % zone.key, gettext("in UTC")]
        return {
            "total": preview.total,
            "unlisted": preview.total - len(rows),
            "slots": {"headers": headers, "rows": rows},
            "parallelism": asked["parallelism"],
            "order": _ORDERS[asked["order"]],
            "first_params": formatting.block(formatting.as_json(preview.params_of_first))
            if sees_params
            else "",
            "warnings": BackfillControl().warnings(
                job, parallelism=asked["parallelism"], until=asked["until"]
            ),
        }

    def _page(self, request: HttpRequest, name: str, context: dict[str, Any]) -> TemplateResponse:
        request.current_app = self.admin_site.name
        whole = {
            **self.admin_site.each_context(request),
            "title": gettext("Backfill"),
            "opts": self.opts,
            **context,
        }
        return TemplateResponse(request, f"scheduler/backfills/{name}.html", whole)

    # --- its page --------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        guarded = self.admin_site.admin_view(self.live_view)
        return [
            path("<int:backfill_id>/live/", guarded, name="scheduler_backfill_live"),
            *super().get_urls(),
        ]

    def live_view(self, request: HttpRequest, backfill_id: int) -> HttpResponse:
        """What moves on the page of a backfill, for live.js."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        backfill = Backfill.objects.select_related("job").filter(pk=backfill_id).first()
        if backfill is None:
            raise Http404
        control = BackfillControl()
        standing = control.standing(backfill)

        def render() -> str:
            context = self._fragment(request, backfill, standing, control.clock.now())
            return render_to_string("scheduler/backfills/live.html", context, request)

        return live.answer(
            request,
            mark=_mark(backfill, standing),
            render=render,
            is_done=_is_over(backfill, standing),
        )

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = extra_context or {}
        backfill = None
        if self.has_view_permission(request):
            backfill = self.get_object(request, unquote(object_id))
        if backfill is not None:
            control = BackfillControl()
            standing = control.standing(backfill)
            # A button of the page does it, once that is possible.
            context |= {"title": str(backfill), "show_delete": False}
            context |= self._fragment(request, backfill, standing, control.clock.now())
            if not _is_over(backfill, standing):
                context["live_url"] = reverse("admin:scheduler_backfill_live", args=[backfill.pk])
                context["live_mark"] = _mark(backfill, standing)
        return super().change_view(request, object_id, form_url, context)

    def _fragment(
        self, request: HttpRequest, backfill: Backfill, standing: Standing, now: datetime
    ) -> dict[str, Any]:
        runs_url = reverse("admin:scheduler_jobexecution_changelist")

        def runs_of(**query: Any) -> str:
            return f"{runs_url}?{urlencode({'backfill': backfill.pk, **query})}"

        ends = formatting.instant(standing.ends_at, now) if standing.ends_at else formatting.NOTHING
        return {
            "backfill": backfill,
            "state": _state(backfill),
            "percent": standing.percent,
            "bar": _bar(standing.percent),
            "ended": standing.ended,
            "counts": [
                (
                    formatting.link(runs_of(status__exact=status.value), formatting.status(status)),
                    number,
                )
                for status in RunStatus
                if (number := standing.counts.get(status))
            ],
            "runs_url": runs_of(),
            "facts": [
                (gettext("job"), _job(backfill)),
                (gettext("first slot"), formatting.instant(backfill.since)),
                (gettext("last slot"), formatting.instant(backfill.until)),
                (gettext("order"), _ORDERS.get(backfill.order, backfill.order)),
                (gettext("at once"), backfill.parallelism),
                (gettext("made up to"), formatting.instant(backfill.cursor)),
                (gettext("requested by"), backfill.requested_by or formatting.NOTHING),
                (gettext("created"), formatting.instant(backfill.created_at, now)),
                (gettext("all made, or cancelled"), formatting.instant(backfill.ended_at, now)),
                (gettext("ends about"), ends),
            ],
            "params": formatting.block(formatting.as_json(backfill.params))
            if may(request.user, Action.VIEW_PARAMS)
            else "",
            "buttons": self._buttons(request, backfill, standing),
        }

    def _buttons(
        self, request: HttpRequest, backfill: Backfill, standing: Standing
    ) -> list[dict[str, Any]]:
        """What is possible in its state."""
        is_open = backfill.state in (BackfillState.ACTIVE, BackfillState.PAUSED)
        possible: dict[str, tuple[Any, bool]] = {
            "resume": (_("Resume"), backfill.state == BackfillState.PAUSED),
            "pause": (_("Pause"), backfill.state == BackfillState.ACTIVE),
            "cancel": (_("Cancel"), is_open or _is_going_on(standing)),
        }
        found = [
            {
                "title": title,
                "url": reverse(f"admin:scheduler_backfill_{name}", args=[backfill.pk]),
                "variant": "danger" if name == "cancel" else "primary",
            }
            for name, (title, is_possible) in possible.items()
            if is_possible and self.has_control_permission(request)
        ]
        if not is_open and self.has_delete_permission(request):
            url = reverse("admin:scheduler_backfill_delete", args=[backfill.pk])
            found.append({"title": _("Delete"), "url": url, "variant": "default"})
        return found

    # --- verbs -----------------------------------------------------------------------------------

    @page_action(description=_("Pause"), url_path="pause", permissions=["control"])
    def pause(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.ask_one(request, object_id, PAUSE)

    @page_action(description=_("Resume"), url_path="resume", permissions=["control"])
    def resume(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.ask_one(request, object_id, RESUME)

    @page_action(description=_("Cancel"), url_path="cancel", permissions=["control"])
    def cancel(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.ask_one(request, object_id, CANCEL)

    @admin.action(description=_("Pause"), permissions=["control"])
    def pause_many(self, request: HttpRequest, queryset: QuerySet[Backfill]) -> HttpResponse | None:
        return self.ask_many(request, queryset, PAUSE)

    @admin.action(description=_("Resume"), permissions=["control"])
    def resume_many(
        self, request: HttpRequest, queryset: QuerySet[Backfill]
    ) -> HttpResponse | None:
        return self.ask_many(request, queryset, RESUME)

    @admin.action(description=_("Cancel"), permissions=["control"])
    def cancel_many(
        self, request: HttpRequest, queryset: QuerySet[Backfill]
    ) -> HttpResponse | None:
        return self.ask_many(request, queryset, CANCEL)

    @admin.action(description=_("Delete"), permissions=["delete"])
    def delete_many(
        self, request: HttpRequest, queryset: QuerySet[Backfill]
    ) -> HttpResponse | None:
        return self.ask_many(request, queryset, DELETE)


def _asked_for(request: HttpRequest) -> CronJob | None:
    """The job whose number the address says."""
    number = request.GET.get("job", "")
    if not (number.isascii() and number.isdigit()):
        return None
    return CronJob.objects.filter(pk=min(int(number[:19]), LARGEST_ID)).first()


def _preview(request: HttpRequest, job: CronJob, form: BackfillForm) -> Preview:
    asked = {name: value for name, value in form.cleaned_data.items() if name != "parallelism"}
    return BackfillControl(actor=request.user.get_username()).preview(job.pk, **asked)


def _state(backfill: Backfill) -> SafeString:
    text = _STATES.get(backfill.state, backfill.state)
    if backfill.error:
        return formatting.badge(text, "bad", backfill.error)
    return formatting.badge(text, _MEANINGS.get(backfill.state, "calm"))


def _job(backfill: Backfill) -> SafeString:
    url = reverse("admin:scheduler_cronjob_change", args=[backfill.job_id])
    return formatting.link(url, backfill.job)


def _bar(percent: int) -> SafeString:
    return format_html(
        '<div class="bg-base-100 h-2 my-1 rounded-default w-full dark:bg-base-800" '
        'style="min-width: 8rem" role="progressbar" aria-label="{}" aria-valuenow="{}" '
        'aria-valuemin="0" aria-valuemax="100">'
        '<div class="bg-primary-600 h-2 rounded-default" style="width: {}%"></div></div>',
        gettext("progress"),
        percent,
        percent,
    )


def _is_going_on(standing: Standing) -> bool:
    return any(standing.counts.get(status) for status in UNFINISHED)


def _is_over(backfill: Backfill, standing: Standing) -> bool:
    is_open = backfill.state in (BackfillState.ACTIVE, BackfillState.PAUSED)
    return not is_open and not _is_going_on(standing)


def _mark(backfill: Backfill, standing: Standing) -> str:
    return live.mark_of(
        backfill.state, backfill.made, backfill.error, sorted(standing.counts.items())
    )
