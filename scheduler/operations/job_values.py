"""The values that a person gives for a job, and the error when another job has taken the name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

from django.db import IntegrityError
from django.utils.translation import gettext

from handlers.params import has_lone_surrogate
from scheduler.models import EDITABLE, CronJob
from scheduler.operations.errors import InvalidJob
from scheduler.states import OverlapPolicy
from scheduler.store import limited_jobs, upstreams
from scheduler.transient import in_transaction


def with_free_name(work: Callable[[], CronJob]) -> CronJob:
    """Do it in one transaction. InvalidJob when another job has taken the name meanwhile."""
    try:
        return in_transaction(work)
    except IntegrityError as error:
        raise name_is_taken() from error


def lock_named(job: CronJob, wanted: Mapping[str, Any]) -> None:
    """Nobody deletes the upstream jobs and the group that an edit gives to a job before it ends.

    Nor does anybody close a circle of jobs. Call it before the values are checked.
    """
    names = wanted.get("upstreams")
    if is_list_of_texts(names) and sorted(names) != job.upstreams:
        upstreams.lock_before(names[: upstreams.MOST_UPSTREAMS])  # more are refused
    group = wanted.get("concurrency_group")
    if group and group != job.concurrency_group and is_storable(group):
        limited_jobs.lock_group(group, job_id=job.pk)


def is_list_of_texts(value: object) -> TypeGuard[Sequence[str]]:
    return isinstance(value, list | tuple) and all(is_storable(each) for each in value)


def is_storable(value: object) -> TypeGuard[str]:
    """Whether it is a text that the database can be asked for."""
    return isinstance(value, str) and "\x00" not in value and not has_lone_surrogate(value)


def name_is_taken() -> InvalidJob:
    return InvalidJob({"name": [gettext("is taken by another job")]})


def known_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `values` with `allow_overlap` as a policy. Unknown names are refused."""
    found = dict(values)
    if "allow_overlap" in found:
        allowed = found.pop("allow_overlap")
        found.setdefault(
            "overlap_policy", (OverlapPolicy.ALLOW if allowed else OverlapPolicy.SKIP).value
        )
    unknown = sorted(set(found) - set(EDITABLE))
    if unknown:
        raise InvalidJob({name: [gettext("is not a field that can be set")] for name in unknown})
    return found
