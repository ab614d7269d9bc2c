"""The page of a worker: what runs on it, its queues and places, its losses. And draining it.

A worker is named by any of its processes, also by one that has ended: runs name it for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from scheduler.admin import formatting
from scheduler.admin.actor import workers_of
from scheduler.admin.site import reverse, worker_url
from scheduler.conf import current
from scheduler.failure_kinds import first_line
from scheduler.models import JobExecution, SchedulerProcess
from scheduler.operations.control import Control
from scheduler.operations.errors import NotPossible
from scheduler.operations.liveness import is_alive
from scheduler.operations.permissions import Action, may
from scheduler.operations.workers import WorkerControl
from scheduler.states import ProcessKind
from scheduler.store import worker_runs

_RUNS: Final = 200
_LOSSES: Final = 20
_LONGEST: Final = 255


def link(person: Any, name: str | None) -> SafeString | str:
    """Returns the name of a worker, as a link for those who may see its page."""
    if not name:
        return formatting.NOTHING
    return formatting.link(worker_url(name), name) if may(person, Action.VIEW_PROCESSES) else name


def state_badge(process: SchedulerProcess, now: datetime) -> SafeString:
    """Returns whether a process is alive, and whether a person has drained it."""
    if not is_alive(process.heartbeat_at, now):
        return formatting.badge(_("silent"), "bad", _("no heartbeat for half a minute"))
    if process.drained_at is None:
        return formatting.badge(_("alive"), "good")
    title = _("takes no runs; drained by %(who)s") % {"who": process.drained_by or "?"}
    return formatting.badge(_("draining") if process.running else _("drained"), "warn", title)


# --- the page -------------------------------------------------------------------------------------


def page(admin: Any, request: HttpRequest) -> HttpResponse:
    if not may(request.user, Action.VIEW_PROCESSES):
        raise PermissionDenied
    # PostgreSQL refuses the sign NUL in a text.
    name = request.GET.get("name", "").replace("\0", "")[:_LONGEST]
    node = worker_runs.node_of(name)
    if not node:
        raise Http404
    now = Control().clock.now()
    processes = worker_runs.processes_of(node)
    sees_runs = may(request.user, Action.VIEW_EXECUTIONS)
    running = list(worker_runs.running_on(node)[: _RUNS + 1]) if sees_runs else []
    context = {
        **admin.admin_site.each_context(request),
        "title": node,
        "opts": admin.opts,
        "processes": [_process(each, now) for each in processes],
        "may_drain": may(request.user, Action.DRAIN_WORKER),
        "hands_back_after": formatting.span(current().shutdown_timeout_seconds),
        "sees_runs": sees_runs,
        "running": [_run(run, now) for run in running[:_RUNS]],
        "has_more": len(running) > _RUNS,
        "losses": _losses(node, now) if sees_runs else [],
        "looked_at": worker_runs.ATTEMPTS_LOOKED_AT,
        "all_url": reverse("admin:scheduler_jobexecution_changelist", query={"worker": node}),
        "seen_at": formatting.exact(now),
    }
    request.current_app = admin.admin_site.name
    return TemplateResponse(request, "scheduler/worker.html", context)


def _process(process: SchedulerProcess, now: datetime) -> dict[str, Any]:
    is_worker = process.kind == ProcessKind.WORKER
    return {
        "name": process.name,
        "state": state_badge(process, now),
        "is_worker": is_worker,
        "is_alive": is_alive(process.heartbeat_at, now),
        "drained_at": process.drained_at and formatting.exact(process.drained_at),
        "drained_by": process.drained_by,
        "facts": [
            (_("host"), process.host),
            (_("process id"), process.pid),
            (_("started"), formatting.instant(process.started_at, now)),
            (_("heartbeat"), formatting.distance(process.heartbeat_at, now)),
            *([(_("running"), _places(process)), (_("queues"), _queues(process))] * is_worker),
        ],
    }


def _places(process: SchedulerProcess) -> str:
    if process.places is None:
        return str(process.running)
    facts = {"running": process.running, "places": process.places}
    return _("%(running)s of %(places)s places") % facts


def _queues(process: SchedulerProcess) -> str:
    if not isinstance(process.queues, list):
        return formatting.NOTHING
    names = [str(name) or _("default queue") for name in process.queues]
    return ", ".join(names) or _("none: it is drained")


def _run(run: JobExecution, now: datetime) -> dict[str, Any]:
    return {
        "url": reverse("admin:scheduler_jobexecution_change", args=[run.pk]),
        "number": f"#{run.pk}",
        "name": run.job_name or run.handler_name,
        "since": formatting.instant(run.started_at),
        "took": formatting.duration_between(run.started_at, now),
        "queue": run.queue or _("default queue"),
        "process": run.lease_owner,
        "message": run.progress_message,
        "is_stopping": run.cancel_requested_at is not None,
    }


def _losses(node: str, now: datetime) -> list[dict[str, Any]]:
    return [
        {
            "url": reverse("admin:scheduler_jobexecution_change", args=[loss.execution_id]),
            "number": f"#{loss.execution_id}",
            "name": loss.execution.job_name or loss.execution.handler_name,
            "at": formatting.instant(loss.ended_at, now),
            "process": loss.worker,
            "error": first_line(loss.error),
        }
        for loss in worker_runs.losses_of(node)[:_LOSSES]
    ]


# --- draining -------------------------------------------------------------------------------------


def drain(request: HttpRequest) -> HttpResponse:
    text = _(
        "%(worker)s takes no more runs: it obeys within a few seconds. What runs may end within "
        "%(seconds)s; then it is handed back."
    )
    span = formatting.span(current().shutdown_timeout_seconds)
    return _act(request, WorkerControl.drain, lambda name: text % {"worker": name, "seconds": span})


def undrain(request: HttpRequest) -> HttpResponse:
    text = _("%(worker)s takes runs again, within a few seconds.")
    return _act(request, WorkerControl.undrain, lambda name: text % {"worker": name})


def _act(
    request: HttpRequest, act: Callable[[WorkerControl, str], None], said: Callable[[str], str]
) -> HttpResponse:
    if not may(request.user, Action.DRAIN_WORKER):
        raise PermissionDenied
    name = request.POST.get("name", "").replace("\0", "")[:_LONGEST]
    try:
        act(workers_of(request), name)
    except NotPossible as error:
        messages.warning(request, str(error))
    else:
        messages.success(request, said(name))
    if not may(request.user, Action.VIEW_PROCESSES) or not name:
        return HttpResponseRedirect(reverse("admin:index"))
    return HttpResponseRedirect(worker_url(name))
