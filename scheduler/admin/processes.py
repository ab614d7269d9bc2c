"""The list of beats and workers and whether they are alive. The processes write the rows."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any, Final

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from scheduler.admin import formatting, live, workers
from scheduler.admin.listing import LimitedLookupsAdmin, TimedChangeList
from scheduler.admin.liveness import missing_parts
from scheduler.admin.site import register, render_to_string, reverse, worker_url
from scheduler.models import SchedulerProcess
from scheduler.operations.control import Control
from scheduler.operations.permissions import Action, may

# The most rows that the list updates.
LIVE_ROWS: Final = 200


@register(SchedulerProcess)
class SchedulerProcessAdmin(LimitedLookupsAdmin):
    list_display = ("page_link", "state", "kind", "host", "pid", "runs", "heartbeat", "start")
    list_display_links = None
    list_filter = ("kind",)
    allowed_lookups = frozenset({"kind__exact"})
    ordering = ("kind", "name")
    actions = None
    list_before_template = "scheduler/processes_live.html"

    class Media:
        js = ("scheduler/live.js",)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, Action.VIEW_PROCESSES)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[TimedChangeList]:
        return TimedChangeList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {
            "missing_parts": missing_parts(Control().clock.now()),
            "live_url": reverse("admin:scheduler_schedulerprocess_live"),
        }
        return super().changelist_view(request, {**(extra_context or {}), **context})

    def get_urls(self) -> list[URLPattern]:
        def at(address: str, view: Any) -> URLPattern:
            guarded: Any = self.admin_site.admin_view(view)
            found: URLPattern = path(
                f"{address}/", guarded, name=f"scheduler_schedulerprocess_{address}"
            )
            return found

        return [
            at("live", self.live_view),
            at("worker", partial(workers.page, self)),
            at("drain", require_POST(workers.drain)),
            at("undrain", require_POST(workers.undrain)),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Leads to the page of the worker: there is nothing to change."""
        process = self.get_object(request, unquote(object_id))
        if process is None:
            raise Http404
        return HttpResponseRedirect(worker_url(process.name))

    def live_view(self, request: HttpRequest) -> HttpResponse:
        """Answers live.js with the changing cells. Heartbeats change them in every answer."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        now = Control().clock.now()
        processes = list(SchedulerProcess.objects.order_by("kind", "name")[:LIVE_ROWS])
        cells = []
        for process in processes:
            process.seen_at = now  # type: ignore[attr-defined]
            cells += [self.state(process), self.runs(process), self.heartbeat(process)]
        context = {"missing_parts": missing_parts(now)}
        parts = render_to_string("scheduler/missing_parts.html", context, request)
        html = format_html('<div id="missing-parts">{}</div>{}', parts, SafeString("".join(cells)))
        return live.answer(request, mark=live.mark_of(html), render=lambda: html)

    @admin.display(description=_("name"), ordering="name")
    def page_link(self, process: SchedulerProcess) -> SafeString:
        return formatting.link(worker_url(process.name), process.name)

    # These three columns change: `live_view` sends their cells again.

    @admin.display(description=_("state"))
    def state(self, process: SchedulerProcess) -> SafeString:
        seen_at: datetime = process.seen_at  # type: ignore[attr-defined]
        return _cell(process, "state", workers.state_badge(process, seen_at))

    @admin.display(description=_("running"), ordering="running")
    def runs(self, process: SchedulerProcess) -> SafeString:
        return _cell(process, "runs", process.running)

    @admin.display(description=_("heartbeat"), ordering="heartbeat_at")
    def heartbeat(self, process: SchedulerProcess) -> SafeString:
        seen_at: datetime = process.seen_at  # type: ignore[attr-defined]
        return _cell(process, "heartbeat", formatting.distance(process.heartbeat_at, seen_at))

    @admin.display(description=_("started"), ordering="started_at")
    def start(self, process: SchedulerProcess) -> SafeString | str:
        return formatting.instant(process.started_at, process.seen_at)  # type: ignore[attr-defined]


def _cell(process: SchedulerProcess, name: str, content: object) -> SafeString:
    """Returns a cell with an id by which live.js finds it."""
    return format_html('<span id="process-{}-{}">{}</span>', process.pk, name, content)
