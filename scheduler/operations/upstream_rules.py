"""What upstream jobs a job may have: existing ones, and no way back to itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from django.utils.translation import gettext as _

from dbpools.nearest import nearest
from scheduler.models import CronJob
from scheduler.operations.errors import NotPossible
from scheduler.operations.job_values import is_list_of_texts, is_storable
from scheduler.operations.upstream_slots import chain_problem
from scheduler.store import upstreams
from scheduler.store.upstreams import MOST_UPSTREAMS

# Among so many names the nearest is looked for.
_NAMES: Final = 5_000


def upstreams_problem(job: CronJob) -> str | None:
    """Returns what is wrong with the upstream jobs, or None."""
    names = job.upstreams
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return _("must be a list of names of jobs")
    if not names:
        return None
    if len(names) > MOST_UPSTREAMS:
        facts = {"count": len(names), "most": MOST_UPSTREAMS}
        return _("has %(count)s jobs, at most %(most)s are allowed") % facts
    if strange := [name for name in names if not is_storable(name)]:
        return _no_such_job(strange[0])
    found = {upstream.name for upstream in job.followed}
    for name in names:
        if name == job.name:
            return _("depends on itself: %(path)s") % {"path": f"{name} → {name}"}
        if name not in found:
            return _no_such_job(name)
    return chain_problem(job)


def _no_such_job(name: str) -> str:
    known = CronJob.objects.order_by("name").values_list("name", flat=True)[:_NAMES]
    near = nearest(name, list(known))
    if near:
        text = _("there is no job %(name)s, did you mean %(near)s?")
        return text % {"name": repr(name), "near": repr(near)}
    return _("there is no job %(name)s") % {"name": repr(name)}


def refuse_awaited(job: CronJob) -> None:
    """Raises NotPossible if other jobs wait for this one: it cannot be deleted."""
    waiting = upstreams.downstreams(job.pk)
    if waiting:
        names = ", ".join(each.name for each in waiting[:10])
        text = _("%(jobs)s wait for it: remove it from their upstream jobs, or delete them first")
        raise NotPossible(text % {"jobs": names}, general=_("other jobs wait for it"))


def in_one_file(jobs: Mapping[str, CronJob]) -> None:
    """Let jobs that are written together find each other, before they are saved."""
    for job in jobs.values():
        job.namesakes = jobs


def in_order(jobs: Mapping[str, CronJob]) -> dict[str, int]:
    """Returns the place of each job, so that upstream jobs come before those that wait for them."""
    places: dict[str, int] = {}
    for first in jobs:
        # Ordered. A circle is left where it closes, and refused by its path.
        path: dict[str, None] = {first: None}
        while path:
            name = next(reversed(path))
            before = (each for each in _named(jobs[name]) if each in jobs)
            wanted = next(
                (each for each in before if each not in places and each not in path), None
            )
            if wanted is not None:
                path[wanted] = None
                continue
            places.setdefault(name, len(places))
            del path[name]
    return places


def _named(job: CronJob) -> Sequence[str]:
    return job.upstreams if is_list_of_texts(job.upstreams) else ()
