"""The definition of a job: what a person may set, how the history keeps it, and what differs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from handlers.json_safe import storable_result
from scheduler.models import EDITABLE, CronJob
from scheduler.operations.json_equal import json_equal
from scheduler.operations.masking import mask
from scheduler.operations.secret_names import secret_members

PARAMS: Final = "handler_params"
RULES: Final = "alert_rules"
#: Columns of JSON, in which secrets may lie.
WITH_SECRETS: Final = (PARAMS, RULES)
# Doors take 64 KiB of params; what SQL has typed beyond that is cut.
_LARGEST_VALUE_BYTES: Final = 1024 * 1024
_MISSING: Final = object()


def values_of(job: CronJob) -> dict[str, Any]:
    """Returns the values of the editable columns as they are."""
    return {name: getattr(job, name) for name in EDITABLE}


def definition_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `values` as the history keeps them: whole and as JSON, with secrets masked.

    Secrets are masked when they are written, not when they are shown: a key that leaked and was
    replaced must not be kept for another year.
    """
    return {name: _stored(values[name]) for name in EDITABLE}


def _stored(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    stored, problem = storable_result(mask(value), _LARGEST_VALUE_BYTES)
    return stored if problem is None else problem


def is_changed(name: str, old: object, new: object) -> bool:
    """Whether the values of a column differ. In JSON 1, 1.0 and true are three values."""
    return not json_equal(old, new) if name in WITH_SECRETS else old != new


def changed_secrets(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Returns the places in params that differ and whose difference no masked value shows.

    Of the rules of alerts it is RULES as a whole, because their secrets lie in a list.
    """
    found = [
        path
        for path, old, new, hidden in differences(before[PARAMS], after[PARAMS])
        if hidden or json_equal(mask(old), mask(new))
    ]
    rules = before[RULES], after[RULES]
    if not json_equal(*rules) and json_equal(*map(mask, rules)):
        found.append(RULES)
    return found


def columns_with_new_secrets(places: Collection[str]) -> set[str]:
    """Returns the columns of which `changed_secrets` has found these places."""
    return {RULES if place == RULES else PARAMS for place in places}


def differences(old: Any, new: Any) -> Iterator[tuple[str, Any, Any, bool]]:
    """The places that differ in two JSON values: path, old, new, and whether it is a secret.

    A member that one of them lacks is None there.
    """
    return _inside(old, new, "", hidden=False)


def _inside(old: Any, new: Any, path: str, *, hidden: bool) -> Iterator[tuple[str, Any, Any, bool]]:
    if json_equal(old, new):
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        secrets = secret_members(old) | secret_members(new)
        for key in dict.fromkeys([*old, *new]):
            yield from _inside(
                old.get(key, _MISSING),
                new.get(key, _MISSING),
                f"{path}.{key}" if path else str(key),
                hidden=hidden or key in secrets,
            )
        return
    yield path, None if old is _MISSING else old, None if new is _MISSING else new, hidden


def count_from(job: CronJob, now: datetime) -> None:
    """Let a job that is not saved yet count its intervals from `now`, as if it were saved now."""
    if not isinstance(job.created_at, datetime):
        job.created_at = now
