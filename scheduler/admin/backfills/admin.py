"""Backfills: the list, the page of one backfill, and the verbs pause, resume, cancel, delete."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from scheduler.admin import formatting, live
from scheduler.admin.backfills import page
from scheduler.admin.backfills.actions import CANCEL, DELETE, PAUSE, RESUME
from scheduler.admin.backfills.starting import StartsBackfills
from scheduler.admin.listing import TimedChangeList
from scheduler.admin.site import register, render_to_string, reverse
from scheduler.admin.unfold_compat import (
    AutocompleteSelectFilter,
    ChoicesDropdownFilter,
    page_action,
)
from scheduler.models import Backfill
from scheduler.operations.backfills import BackfillControl
from scheduler.operations.permissions import Action, may


class BackfillChangeList(TimedChangeList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        percents = BackfillControl().percents(self.result_list)
        for row in self.result_list:
            row.percent = percents[row.pk]


@register(Backfill)
class BackfillAdmin(StartsBackfills):
    list_display = (
        "number", "state_badge", "job_link", "range", "progress", "requested_by", "created",
    )  # fmt: skip
    list_filter = (("job", AutocompleteSelectFilter), ("state", ChoicesDropdownFilter))
    allowed_lookups = frozenset({"job__id__exact", "state__exact"})
    list_select_related = ("job",)
    sortable_by = ()
    actions = ("pause_many", "resume_many", "cancel_many", "delete_many")
    verbs_for_many = (PAUSE, RESUME, CANCEL, DELETE)
    # This registers only the addresses. The page shows the buttons of the possible verbs.
    actions_detail = ("pause", "resume", "cancel")
    change_form_template = "scheduler/backfills/page.html"
    delete_verb = DELETE

    # --- permissions -----------------------------------------------------------------------------

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, Action.VIEW_JOBS) or may(request.user, Action.RUN_JOB)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return may(request.user, Action.RUN_JOB)

    def has_control_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Returns True if the user may pause, resume and cancel backfills."""
        return may(request.user, Action.RUN_JOB)

    # --- the list --------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[BackfillChangeList]:
        return BackfillChangeList

    @admin.display(description=_("state"))
    def state_badge(self, backfill: Backfill) -> SafeString:
        return page.state_badge(backfill)

    @admin.display(description=_("job"))
    def job_link(self, backfill: Backfill) -> SafeString:
        return page.job_link(backfill)

    @admin.display(description=_("range"))
    def range(self, backfill: Backfill) -> SafeString:
        since, until = formatting.instant(backfill.since), formatting.instant(backfill.until)
        return format_html("{}<br>{}", since, until)

    @admin.display(description=_("progress"))
    def progress(self, backfill: Backfill) -> SafeString:
        percent: int = backfill.percent  # type: ignore[attr-defined]
        return format_html(
            "{}<span class='text-xs whitespace-nowrap'>{}</span>",
            page.progress_bar(percent),
            gettext("%(percent)s %%, %(made)s of %(total)s started")
            % {"percent": percent, "made": backfill.made, "total": backfill.total},
        )

    @admin.display(description=_("created"))
    def created(self, backfill: Backfill) -> SafeString | str:
        return formatting.instant(backfill.created_at, backfill.seen_at)  # type: ignore[attr-defined]

    # --- the page of one backfill ----------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        guarded = self.admin_site.admin_view(self.live_view)
        return [
            path("<int:backfill_id>/live/", guarded, name="scheduler_backfill_live"),
            *super().get_urls(),
        ]

    def live_view(self, request: HttpRequest, backfill_id: int) -> HttpResponse:
        """Answers live.js with the changing part of a backfill's page."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        backfill = Backfill.objects.select_related("job").filter(pk=backfill_id).first()
        if backfill is None:
            raise Http404
        control = BackfillControl()
        progress = control.progress(backfill)

        def render() -> str:
            context = page.fragment(backfill, progress, control.clock.now(), person=request.user)
            return render_to_string("scheduler/backfills/live.html", context, request)

        return live.answer(
            request,
            mark=page.mark_of(backfill, progress),
            render=render,
            is_done=page.is_over(backfill, progress),
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
            progress = control.progress(backfill)
            # The page has a delete button of its own as soon as deletion is possible.
            context |= {"title": str(backfill), "show_delete": False}
            context |= page.fragment(backfill, progress, control.clock.now(), person=request.user)
            if not page.is_over(backfill, progress):
                context["live_url"] = reverse("admin:scheduler_backfill_live", args=[backfill.pk])
                context["live_mark"] = page.mark_of(backfill, progress)
        return super().change_view(request, object_id, form_url, context)

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
