"""The views of the queues: the list, and pausing and resuming one by a POST."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from scheduler.admin import formatting
from scheduler.admin.actor import queues_of
from scheduler.admin.queues.forms import PauseForm
from scheduler.admin.site import reverse, worker_url
from scheduler.operations.errors import InvalidJob, NotPossible
from scheduler.operations.permissions import Action, may
from scheduler.operations.queues import Queue, queue_in_words
from scheduler.states import RunStatus, WaitsFor


def urls(site: Any) -> list[URLPattern]:
    """Returns the addresses of the queues on this admin site."""

    def page(request: HttpRequest) -> HttpResponse:
        return _page(request, site)

    def pause(request: HttpRequest) -> HttpResponse:
        return _pause(request, site)

    return [
        path("queues/", site.admin_view(page), name="queues"),
        path("queues/pause/", site.admin_view(pause), name="queue-pause"),
        path("queues/resume/", site.admin_view(require_POST(_resume)), name="queue-resume"),
    ]


def _page(request: HttpRequest, site: Any) -> HttpResponse:
    if not may(request.user, Action.VIEW_PROCESSES):
        raise PermissionDenied
    control = queues_of(request)
    found = control.all()
    now = control.clock.now()
    context = {
        **site.each_context(request),
        "title": _("Queues"),
        "rows": [_row(queue, now) for queue in found],
        "may_pause": may(request.user, Action.PAUSE_QUEUE),
        "seen_at": formatting.exact(now),
    }
    return TemplateResponse(request, "scheduler/queues/page.html", context)


def _row(queue: Queue, now: datetime) -> dict[str, Any]:

    def runs(**query: str) -> str:
        # Shards and messages about alerts take places of workers, too.
        of_queue = {"queue": queue.name or "-", "also": "everything"}
        return reverse("admin:scheduler_jobexecution_changelist", query={**of_queue, **query})

    return {
        "name": queue.name,
        "text": queue.name or _("default queue"),
        "url": reverse("admin:scheduler_cronjob_changelist", query={"queue": queue.name or "-"}),
        "waiting": _number(queue.waiting) + ("+" if queue.is_capped else ""),
        "waiting_url": runs(now=WaitsFor.WORKER.value),
        "oldest": formatting.distance(queue.oldest_at, now) if queue.oldest_at else "",
        "running": _number(queue.running),
        "running_url": runs(status__exact=RunStatus.RUNNING.value),
        "made": _per_minute(queue.in_per_second),
        "ended": _per_minute(queue.out_per_second),
        "empty_in": _empty_in(queue),
        "workers": [
            {"name": worker.name, "url": worker_url(worker.name)} for worker in queue.workers
        ],
        "pause": queue.pause,
        "until": _until(queue, now),
    }


def _empty_in(queue: Queue) -> str:
    seconds = queue.empty_in_seconds
    if seconds is None:
        return _("never") if queue.pause is None else ""
    return formatting.span(round(seconds)) if seconds else ""


def _until(queue: Queue, now: datetime) -> str:
    if queue.pause is None:
        return ""
    until = queue.pause.until
    if until is None:
        return _("until somebody resumes it")
    when = f"{formatting.exact(until)} ({formatting.distance(until, now)})"
    return _("until %s") % when


def _number(value: int) -> str:
    return number_format(value, force_grouping=True)


def _per_minute(per_second: float) -> str:
    return number_format(per_second * 60, 1, force_grouping=True)


def _pause(request: HttpRequest, site: Any) -> HttpResponse:
    _check(request)
    queue = (request.POST if request.method == "POST" else request.GET).get("queue", "")
    form = PauseForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            queues_of(request).pause(queue, **form.cleaned_data)
        except InvalidJob as error:
            form.add_problems(error)
        else:
            text = _("%(queue)s is paused. Workers obey within a second.")
            messages.success(request, text % {"queue": queue_in_words(queue)})
            return HttpResponseRedirect(reverse("admin:queues"))
    context = {
        **site.each_context(request),
        "title": _("Pause %(queue)s") % {"queue": queue_in_words(queue)},
        "form": form,
        "queue": queue,
        "media": form.media,
        "back_url": reverse("admin:queues"),
    }
    return TemplateResponse(request, "scheduler/queues/pause.html", context)


def _resume(request: HttpRequest) -> HttpResponse:
    _check(request)
    queue = request.POST.get("queue", "")
    try:
        queues_of(request).resume(queue)
    except NotPossible as error:
        messages.warning(request, str(error))
    else:
        text = _("Workers take runs of %(queue)s again.")
        messages.success(request, text % {"queue": queue_in_words(queue)})
    return HttpResponseRedirect(reverse("admin:queues"))


def _check(request: HttpRequest) -> None:
    if not may(request.user, Action.PAUSE_QUEUE):
        raise PermissionDenied
