"""Rows of `jobu_activity`: written by the operations, read by every door, pruned by beat."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

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


def deletion_of(kind: TargetKind, target_id: int) -> Activity | None:
    """Returns the entry about the deletion of a row. None: the history knows of none."""
    deleted = of_target(kind, target_id).filter(verb=ActivityVerb.DELETED.value)
    return deleted.first()


def newest() -> QuerySet[Activity]:
    """Returns all entries, newest first, by the primary key: it grows with time."""
    return Activity.objects.order_by("-id")


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some entries, newest first. `next_before`: older ones have a lower id; None: there are none.

    `is_cut`: it has fewer entries than were asked for, because enough were looked at.
    """

    entries: list[Activity]
    next_before: int | None
    is_cut: bool = False


#: The entries that one part looks at, whatever is looked for.
LOOKED_AT: Final = 50_000


def part_of(
    rows: QuerySet[Activity], *, size: int, before: int | None = None, looks_at: int | None = None
) -> Part:
    """The newest `size` entries of `rows` with an id below `before`.

    `looks_at`: reads no more entries than so many, where no index finds those of `rows`.
    """
    newest_id = newest().values_list("id", flat=True)
    top = before or (next(iter(newest_id[:1]), 0) + 1)
    found = rows.filter(id__lt=top).order_by("-id")
    floor = 0
    if looks_at is not None:
        # Not top - looks_at: the ids of a database with several writers have gaps.
        lowest = newest_id.filter(id__lt=top)[looks_at : looks_at + 1]
        floor = next(iter(lowest), 0)
        found = found.filter(id__gt=floor)
    entries = list(found[: size + 1])
    if len(entries) > size:
        return Part(entries=entries[:size], next_before=entries[size - 1].pk)
    return Part(entries=entries, next_before=floor + 1 if floor else None, is_cut=bool(floor))


def prune(before: datetime, limit: int) -> int:
    """Delete up to `limit` entries that are older than `before`. Returns how many it deleted."""
    old = Activity.objects.filter(at__lt=before).order_by("at")
    ids = list(old.values_list("id", flat=True)[:limit])
    return Activity.objects.filter(id__in=ids).delete()[0] if ids else 0
