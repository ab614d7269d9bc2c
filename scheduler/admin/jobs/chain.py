"""The chain of a job: the jobs that it waits for, and those that wait for it, as ordered lists."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from scheduler.admin import formatting
from scheduler.admin.jobs import columns
from scheduler.admin.site import job_url
from scheduler.models import CronJob
from scheduler.store import upstreams

# So many steps to each side, and so many jobs in one, are drawn.
_MOST_STEPS: Final = 10
_MOST_JOBS: Final = 20


def chain(job: CronJob) -> dict[str, Any]:
    """Returns the context of chain.html. Empty: the job neither waits nor is waited for."""
    before = _steps(job, lambda ids: _flat(upstreams.followed_ids(ids)))
    after = _steps(job, lambda ids: _flat(upstreams.downstreams_of(ids)))
    if not before and not after:
        return {}
    ids = {id_ for step in (*before, *after) for id_ in step} | {job.pk}
    jobs = {each.pk: each for each in CronJob.objects.filter(pk__in=ids)}
    steps = [
        *(_step(pgettext("chain", "before"), step, jobs) for step in reversed(before)),
        {"title": _("this job"), "jobs": [_shown(job, is_this=True)], "more": 0},
        *(_step(_("afterwards"), step, jobs) for step in after),
    ]
    return {"chain": steps, "chain_seconds": formatting.span(job.upstream_seconds)}


def _steps(job: CronJob, next_ids: Callable[[Collection[int]], set[int]]) -> list[list[int]]:
    """Returns the ids of each step away from the job; a job is in the nearest one only."""
    seen, step = {job.pk}, {job.pk}
    found: list[list[int]] = []
    while len(found) < _MOST_STEPS:
        step = next_ids(step) - seen
        if not step:
            break
        seen |= step
        found.append(sorted(step))
    return found


def _flat(links: Mapping[int, Collection[int]]) -> set[int]:
    return {id_ for ids in links.values() for id_ in ids}


def _step(title: str, ids: Collection[int], jobs: Mapping[int, CronJob]) -> dict[str, Any]:
    there = sorted((jobs[id_] for id_ in ids if id_ in jobs), key=lambda each: each.name)
    shown = [_shown(each) for each in there[:_MOST_JOBS]]
    return {"title": title, "jobs": shown, "more": max(0, len(there) - _MOST_JOBS)}


def _shown(job: CronJob, *, is_this: bool = False) -> dict[str, Any]:
    return {
        "name": job.name,
        "url": "" if is_this else job_url(job.pk),
        "state": columns.state_badge(job),
        "last": formatting.status(job.last_status) if job.last_status else "",
    }
