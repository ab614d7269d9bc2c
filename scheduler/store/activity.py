"""Rows of `jobu_activity`: written by the operations, read by every door, pruned by beat."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import QuerySet

from scheduler.models import Activity
from scheduler.states import ActivityVerb, Door, TargetKind


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is to be remembered."""

    at: datetime
    actor: str
    user_id: str | None
    door: Door
    verb: ActivityVerb
    target_kind: TargetKind
    target_id: int | None
    target_name: str
    facts: Mapping[str, Any]

    def columns(self) -> dict[str, Any]:
        return {
            "at": self.at,
            "actor": self.actor[:150],
            "user_id": self.user_id,
            "door": self.door.value,
            "verb": self.verb.value,
            "target_kind": self.target_kind.value,
            "target_id": self.target_id,
            "target_name": self.target_name[:255],
            "facts": dict(self.facts),
        }


def record(entry: Entry) -> Activity:
    """Insert one entry, in the transaction of the caller."""
    return Activity.objects.create(**entry.columns())


def record_all(entries: Iterable[Entry]) -> None:
    """The same for many, in few statements. MySQL does not tell their keys."""
    Activity.objects.bulk_create([Activity(**entry.columns()) for entry in entries])


def set_facts(activity_id: int, facts: Mapping[str, Any]) -> None:
    """Replace the facts of an entry whose act is done in several transactions."""
    Activity.objects.filter(pk=activity_id).update(facts=dict(facts))


def lock(activity_id: int) -> Activity | None:
    """Returns an entry, locked until the transaction ends."""
    return Activity.objects.select_for_update().filter(pk=activity_id).first()


def lock_person(user_id: str) -> None:
    """Let the transactions of one user that call this run one after the other."""
    no_key = connection.features.has_select_for_no_key_update
    people = get_user_model()._default_manager.filter(pk=user_id)
    people.select_for_update(no_key=no_key).values_list("pk").first()


def newest_bulks(kind: TargetKind, user_id: str | None) -> QuerySet[Activity]:
    """Returns the entries of one user about many rows, newest first, by activity_of_target."""
    return Activity.objects.filter(
        target_kind=kind.value, target_id=None, verb=ActivityVerb.BULK.value, user_id=user_id
    ).order_by("-id")


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
