"""The page with which a job begins: its state and why, its next slots, its last runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.forms import Media
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from scheduler.admin import formatting
from scheduler.admin.jobs import durations, page, sparkline, tabs
from scheduler.admin.jobs.chain import chain
from scheduler.admin.jobs.columns import useless_verbs
from scheduler.admin.jobs.preview import frozen
from scheduler.admin.site import reverse
from scheduler.conf import current
from scheduler.models import CronJob
from scheduler.operations.control import Control
from scheduler.operations.frozen import blocks_of
from scheduler.operations.permissions import Action, may
from scheduler.schedule import ScheduleError, schedule_of
from scheduler.schedule.words_of_kinds import words_of
from scheduler.states import RunStatus
from scheduler.store.recent_runs import RecentRun, recent_runs

RUNS: Final = 100
_MEDIA: Final = Media(
    css={"all": ("scheduler/job_form.css", "scheduler/job_overview.css")},
    js=("scheduler/live.js",),
)
_NEXT: Final = 5


def overview(admin: Any, request: HttpRequest, job_id: int) -> HttpResponse:
    """GET only: everything that changes a job has its own page."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    job = admin.get_object(request, str(job_id))
    if job is None:
        raise Http404
    now = Control().clock.now()
    context = {
        **admin.admin_site.each_context(request),
        **page.around_form(job, now, request.user),
        **chain(job),
        "title": job.name,
        "opts": admin.opts,
        "original": job,
        "media": admin.media + _MEDIA,
        "buttons": _buttons(admin, request, job),
        "words": words_of(job),
        "zone_of_job": formatting.zone_of(job),
        "next_slots": _next_slots(job, now),
        "tabs": tabs.of(job, "overview", request.user),
        **(_runs(job) if may(request.user, Action.VIEW_EXECUTIONS) else {}),
    }
    request.current_app = admin.admin_site.name
    return TemplateResponse(request, "scheduler/jobs/overview.html", context)


def _buttons(admin: Any, request: HttpRequest, job: CronJob) -> list[dict[str, Any]]:
    """Returns the verbs that are useful in the job's state and that the person may use."""
    offered = (
        ("run_now", _("Run now"), "primary", admin.has_run_permission),
        ("pause", _("Pause"), "default", admin.has_pause_permission),
        ("resume", _("Resume"), "default", admin.has_pause_permission),
        ("enable", _("Enable"), "default", admin.has_pause_permission),
        ("disable", _("Disable"), "default", admin.has_pause_permission),
        ("clone", _("Clone"), "default", admin.has_clone_permission),
    )
    useless = useless_verbs(job)
    return [
        {"url": reverse(f"admin:scheduler_cronjob_{name}", args=[job.pk]), "title": title,
         "variant": variant}
        for name, title, variant, allowed in offered
        if name not in useless and allowed(request)
    ]  # fmt: skip


def _next_slots(job: CronJob, now: datetime) -> list[Any]:
    """Returns (time, distance, which freeze blocks it) of the next slots."""
    if not job.is_enabled:
        return []
    try:
        slots = Control().preview(job, _NEXT)
        blocks = blocks_of(job, schedule_of(job, current()), slots, now, current())
    except (ScheduleError, ValueError, OSError):  # written by SQL; the page says what is wrong
        return []
    return [
        (
            formatting.instant(slot),
            formatting.distance(slot, now),
            formatting.badge(frozen(blocks[slot]), "warn") if slot in blocks else "",
        )
        for slot in slots
    ]


def _runs(job: CronJob) -> dict[str, Any]:
    """Returns the last runs as a strip, a picture of their durations, and figures."""
    outcomes = recent_runs([job.pk], RUNS).get(job.pk, [])
    return {
        "strip": sparkline.strip(outcomes, linked=True) if outcomes else "",
        "strip_count": ngettext("The last run", "The last %(count)s runs", len(outcomes))
        % {"count": len(outcomes)},
        "chart": durations.chart(outcomes),
        "figures": _figures(outcomes),
    }


def _figures(outcomes: Sequence[RecentRun]) -> list[tuple[str, str]]:
    took = [seconds for _outcome, seconds in sparkline.timed(outcomes)]
    late = [seconds for each in outcomes if (seconds := each.late_seconds) is not None]
    return [
        (_("success rate"), _success_rate(outcomes)),
        (_("took: median"), _quantile(took, 0.5)),
        (_("took: 95 %"), _quantile(took, 0.95)),
        (_("began after its slot: median"), _quantile(late, 0.5)),
        (_("began after its slot: 95 %"), _quantile(late, 0.95)),
    ]


def _success_rate(outcomes: Sequence[RecentRun]) -> str:
    ended = [each for each, _seconds in sparkline.timed(outcomes)]
    if not ended:
        return formatting.NOTHING
    good = sum(each.status == RunStatus.SUCCESS for each in ended)
    facts = {"percent": f"{100 * good / len(ended):.0f}", "good": good, "all": len(ended)}
    return _("%(percent)s %% (%(good)s of %(all)s)") % facts


def _quantile(values: Sequence[float], part: float) -> str:
    return formatting.span(sparkline.quantile(values, part)) if values else formatting.NOTHING
