"""Rows of `jobu_activity`: written by the operations, read by every door, pruned by beat."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from scheduler.models import Activity
from scheduler.states import ActivityVerb, Door, TargetKind


def record(
    *,
    at: datetime,
    actor: str,
    user_id: str | None,
    door: Door,
    verb: ActivityVerb,
    target_kind: TargetKind,
    target_id: int | None,
    target_name: str,
    facts: Mapping[str, Any],
) -> Activity:
    """Insert one entry, in the transaction of the caller."""
    return Activity.objects.create(
        at=at,
        actor=actor[:150],
        user_id=user_id,
        door=door.value,
        verb=verb.value,
        target_kind=target_kind.value,
        target_id=target_id,
        target_name=target_name[:255],
        facts=dict(facts),
    )


def set_facts(activity_id: int, facts: Mapping[str, Any]) -> None:
    """Replace the facts of an entry whose act is done in several transactions."""
    Activity.objects.filter(pk=activity_id).update(facts=dict(facts))


def of_target(kind: TargetKind, target_id: int) -> QuerySet[Activity]:
    """Returns the entries about one row, newest first, by the index activity_of_target."""
    return Activity.objects.filter(target_kind=kind.value, target_id=target_id).order_by("-id")


def newest() -> QuerySet[Activity]:
    """Returns all entries, newest first, by the primary key: it grows with time."""
    return Activity.objects.order_by("-id")


def prune(before: datetime, limit: int) -> int:
    """Delete up to `limit` entries that are older than `before`. Returns how many it deleted."""
    old = Activity.objects.filter(at__lt=before).order_by("at")
    ids = list(old.values_list("id", flat=True)[:limit])
    return Activity.objects.filter(id__in=ids).delete()[0] if ids else 0
