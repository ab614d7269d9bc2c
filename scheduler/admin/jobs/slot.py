"""Was there a run at that time? The page that answers, and the answers of the list's search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.timezone import get_current_timezone_name
from django.utils.translation import gettext as _

from scheduler.admin import formatting
from scheduler.admin.site import reverse
from scheduler.conf import current
from scheduler.models import CronJob
from scheduler.operations.asked_time import AskedTime, read_time
from scheduler.operations.control import Control
from scheduler.operations.errors import InvalidJob
from scheduler.operations.permissions import Action, may
from scheduler.operations.slot_answer import SlotAnswer, answer_asked
from scheduler.operations.slot_words import sentences
from scheduler.schedule import load_zone

#: For so many jobs that a search has found the list says what became of the time.
ANSWERED: Final = 5


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An answer as a page shows it: `meaning` is its colour."""

    texts: list[str]
    links: list[tuple[str, str]]
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """The answer for a job that a search has found."""

    job: CronJob
    url: str
    answer: Shown


def zone_of_reader() -> Any:
    return load_zone(get_current_timezone_name())


def url_of(job: CronJob) -> str:
    return reverse("admin:scheduler_cronjob_slot", args=[job.pk])


def page(admin: Any, request: HttpRequest, job_id: int) -> HttpResponse:
    """GET with `at`, a time as people write it: the answer in sentences, with links."""
    if not (admin.has_view_permission(request) and may(request.user, Action.VIEW_EXECUTIONS)):
        raise PermissionDenied
    job = admin.get_object(request, str(job_id))
    if job is None:
        raise Http404
    text = request.GET.get("at", "").strip()
    context = {
        **admin.admin_site.each_context(request),
        "title": _("Was there a run at that time?"),
        "opts": admin.opts,
        "original": job,
        "job": job,
        "slot_url": url_of(job),
        "zone": get_current_timezone_name(),
        "at": text[:200],
        **(_answered(job, text) if text else {}),
    }
    request.current_app = admin.admin_site.name
    return TemplateResponse(request, "scheduler/jobs/slot.html", context)


def answers_for(jobs: Sequence[CronJob], asked: AskedTime, now: datetime) -> list[Found]:
    """Returns the answers of a search for the first jobs that it has found."""
    return [
        Found(
            job=job,
            url=f"{url_of(job)}?at={asked.instants[0].strftime('%Y-%m-%dT%H:%M:%SZ')}",
            answer=_shown(answer_asked(job, asked, now=now, settings=current())),
        )
        for job in jobs[:ANSWERED]
    ]


def _answered(job: CronJob, text: str) -> dict[str, Any]:
    now = Control().clock.now()
    try:
        asked = read_time(text, now=now, zone=zone_of_reader())
    except InvalidJob as error:
        return {"problem": " ".join(error.problems["at"])}
    return {"answer": _shown(answer_asked(job, asked, now=now, settings=current()))}


def _shown(answer: SlotAnswer) -> Shown:
    return Shown(
        texts=sentences(answer, formatting.exact),
        links=list(dict.fromkeys(_links(answer))),
        meaning="info" if answer.is_calm else "warning",
    )


def _links(answer: SlotAnswer) -> list[tuple[str, str]]:
    ids = [answer.execution_id, *answer.stand_ins]
    found = [
        (
            reverse("admin:scheduler_jobexecution_change", args=[id_]),
            _("Execution #%(id)s") % {"id": id_},
        )
        for id_ in ids
        if id_ is not None
    ]
    return found + (_links(answer.instead) if answer.instead is not None else [])
