"""The values that a person gives for a job, and the error when another job has taken the name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.db import IntegrityError
from django.utils.translation import gettext

from scheduler.models import EDITABLE, CronJob
from scheduler.operations.errors import InvalidJob
from scheduler.states import OverlapPolicy
from scheduler.transient import in_transaction


def with_free_name(work: Callable[[], CronJob]) -> CronJob:
    """Do it in one transaction. InvalidJob when another job has taken the name meanwhile."""
    try:
        return in_transaction(work)
    except IntegrityError as error:
        raise name_is_taken() from error


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
