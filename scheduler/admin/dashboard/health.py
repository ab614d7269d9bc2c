"""The health sentence at the top of the front page: the problems, or that there are none."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from scheduler.admin.dashboard import wording
from scheduler.models import SchedulerProcess
from scheduler.operations.liveness import is_alive
from scheduler.states import ProcessKind
from scheduler.store import statistics
from scheduler.store.statistics import Capped


def health_of(
    now: datetime,
    problems: Sequence[tuple[str, str]],
    processes: Sequence[SchedulerProcess],
    *,
    sees_jobs: bool,
) -> dict[str, str]:
    """Returns one sentence, or one per problem. The worst problem decides the colour.

    Runs are not examined for a person who may not see jobs.
    """
    if problems:
        meaning = "bad" if any(meaning == "bad" for meaning, _text in problems) else "warn"
        return {"meaning": meaning, "text": " ".join(text for _meaning, text in problems)}
    alive = [process.kind for process in processes if is_alive(process.heartbeat_at, now)]
    beats, workers = alive.count(ProcessKind.BEAT), alive.count(ProcessKind.WORKER)
    counts = {
        "beats": ngettext("%(count)s beat", "%(count)s beats", beats) % {"count": beats},
        "workers": ngettext("%(count)s worker", "%(count)s workers", workers) % {"count": workers},
    }
    text = (
        _("All is well: %(beats)s and %(workers)s are alive, and no job's last run failed.")
        if sees_jobs
        else _("All is well: %(beats)s and %(workers)s are alive.")
    )
    return {"meaning": "good", "text": text % counts}


def job_problems(jobs: statistics.JobCounts, failing: Capped) -> list[tuple[str, str]]:
    found = []
    if jobs.overdue:
        text = ngettext(
            "%(count)s job is overdue: no beat looks at it.",
            "%(count)s jobs are overdue: no beat looks at them.",
            jobs.overdue,
        )
        found.append(("bad", text % {"count": wording.number(jobs.overdue)}))
    if failing.value:
        text = ngettext(
            "The last run of %(count)s job failed.",
            "The last runs of %(count)s jobs failed.",
            failing.value,
        )
        found.append(("warn", text % {"count": wording.count(failing)}))
    if jobs.broken:
        text = ngettext(
            "%(count)s job has a schedule that cannot be used.",
            "%(count)s jobs have schedules that cannot be used.",
            jobs.broken,
        )
        found.append(("warn", text % {"count": wording.number(jobs.broken)}))
    return found
