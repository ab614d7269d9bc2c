"""What the palette finds for what somebody types, within the permissions of that person."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from django.utils.translation import gettext as _

from scheduler.admin.site import job_url, reverse
from scheduler.labels import label_of
from scheduler.models import CronJob, JobExecution, bounded_id
from scheduler.models.job_state import state_of
from scheduler.operations.permissions import Action, may
from scheduler.operations.search import search_of
from scheduler.states import JobState, RunStatus

#: Longer texts are cut: no job's name is longer.
LONGEST: Final = 255
_JOBS: Final = 8
#: The jobs whose actions are offered, too.
_ACTED_ON: Final = 3


@dataclass(frozen=True, kw_only=True)
class Item:
    """`kind`: what it is, in words. `detail`: what tells it from its like."""

    kind: str
    text: str
    url: str
    detail: str = ""


def find(person: Any, text: str) -> list[Item]:
    text = text.replace("\0", "")[:LONGEST].strip()
    return [
        *_run(person, text),
        *_jobs(person, text),
        *(page for page in _pages(person) if text.lower() in page.text.lower()),
    ]


def _run(person: Any, text: str) -> Iterator[Item]:
    number = text.removeprefix("#")
    if not (number.isascii() and number.isdigit()) or not may(person, Action.VIEW_EXECUTIONS):
        return
    rows = JobExecution.objects.only("id", "job_name", "handler_name", "status")
    run = rows.filter(pk=bounded_id(number)).first()
    if run is not None:
        yield Item(
            kind=_("execution"),
            text=str(run),
            detail=label_of(RunStatus, run.status),
            url=reverse("admin:scheduler_jobexecution_change", args=[run.pk]),
        )


# --- jobs, and what may be done with them ---------------------------------------------------------


def _jobs(person: Any, text: str) -> Iterator[Item]:
    if not text or not may(person, Action.VIEW_JOBS):
        return
    verb, name = _split(person, text)
    found = CronJob.objects.filter(search_of(name)) if name else CronJob.objects.all()
    jobs = list(found.distinct().order_by("name")[:_JOBS])
    if verb is None:
        for job in jobs:
            yield Item(kind=_("job"), text=job.name, detail=job.handler_name, url=job_url(job.pk))
        jobs = jobs[:_ACTED_ON]
    for job in jobs:
        for each in _verbs(person):
            if each in _useful(job) and verb in {None, each}:
                yield Item(
                    kind=_("action"),
                    text=f"{_title(each)}: {job.name}",
                    url=reverse(f"admin:scheduler_cronjob_{each}", args=[job.pk]),
                )


def _split(person: Any, text: str) -> tuple[str | None, str]:
    """Returns the verb with which the text begins, and the rest: "pause report"."""
    for verb in _verbs(person):
        title = _title(verb).lower()
        if text.lower().startswith(f"{title} "):
            return verb, text[len(title) :].strip(" :")
    return None, text


def _verbs(person: Any) -> list[str]:
    found = ["run_now"] if may(person, Action.RUN_JOB) else []
    return [*found, "pause", "resume", "enable"] if may(person, Action.PAUSE_JOB) else found


def _title(verb: str) -> str:
    titles = {
        "run_now": _("Run now"),
        "pause": _("Pause"),
        "resume": _("Resume"),
        "enable": _("Enable"),
    }
    return titles[verb]


def _useful(job: CronJob) -> set[str]:
    if job.is_enabled:
        return {"run_now", "pause"}
    return {"run_now", "resume" if state_of(job) == JobState.PAUSED else "enable"}


# --- pages ----------------------------------------------------------------------------------------


def _pages(person: Any) -> Iterator[Item]:
    for title, name, action in (
        (_("Dashboard"), "index", None),
        (_("Jobs"), "scheduler_cronjob_changelist", Action.VIEW_JOBS),
        (_("New job"), "scheduler_cronjob_add", Action.ADD_JOB),
        (_("Executions"), "scheduler_jobexecution_changelist", Action.VIEW_EXECUTIONS),
        (_("Failures"), "failures", Action.VIEW_EXECUTIONS),
        (_("Retry a range"), "scheduler_jobexecution_retry_range", Action.RETRY_EXECUTION),
        (_("Search in logs"), "scheduler_jobexecution_search_logs", Action.VIEW_PARAMS),
        (_("Timeline"), "timeline", Action.VIEW_JOBS),
        (_("Backfills"), "scheduler_backfill_changelist", Action.VIEW_JOBS),
        (_("Queues"), "queues", Action.VIEW_PROCESSES),
        (_("Limits"), "groups", Action.VIEW_JOBS),
        (_("Freezes"), "freezes", Action.VIEW_JOBS),
        (_("Alerts"), "scheduler_alert_changelist", Action.VIEW_ALERTS),
        (_("Channels"), "channels", Action.VIEW_ALERTS),
        (_("Activity"), "activity", Action.VIEW_JOBS),
        (_("Processes"), "scheduler_schedulerprocess_changelist", Action.VIEW_PROCESSES),
        (_("API tokens"), "scheduler_apitoken_changelist", None),
    ):
        if action is None or may(person, action):
            yield Item(kind=_("page"), text=title, url=reverse(f"admin:{name}"))
