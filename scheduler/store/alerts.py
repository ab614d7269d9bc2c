"""Alerts, and how far their evaluation has come. Whoever opens or closes one tells of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from scheduler.alert_states import AlertEnd, AlertKind, AlertState, MessageState
from scheduler.models import Alert, AlertCursor, AlertMessage, CronJob
from scheduler.store.connection import lock_in_order

IS_OPEN: Final = Q(state__in=[s.value for s in AlertState if s != AlertState.CLOSED])
_SEEN: Final = ("count", "last_execution_id", "last_seen_at", "facts")


# --- the evaluation's place -----------------------------------------------------------------------


def cursor(name: str, *, now: datetime) -> AlertCursor:
    """How far this evaluation has come. It begins at `now`: nobody is told of older rows."""
    found = AlertCursor.objects.filter(name=name).first()
    if found is not None:
        return found
    AlertCursor.objects.bulk_create([AlertCursor(name=name, at=now)], ignore_conflicts=True)
    return AlertCursor.objects.get(name=name)


def advance(read: AlertCursor, at: datetime, facts: Mapping[str, Any]) -> bool:
    """Move the cursor on, if it still is where it was read. False: another beat has moved it.

    To be called first in the transaction that writes what was found: the row stays locked, so no
    two beats write the same finding, and a crash moves nothing.
    """
    rows = AlertCursor.objects.filter(name=read.name, at=read.at)
    return rows.update(at=at, facts=dict(facts)) == 1


# --- episodes -------------------------------------------------------------------------------------


def lock_open(
    *, job_ids: Collection[int] = (), kinds: Collection[AlertKind] = (), ids: Collection[int] = ()
) -> list[Alert]:
    """The open alerts of these jobs, kinds or ids, locked until the transaction ends."""
    rows = Alert.objects.filter(IS_OPEN)
    rows = rows.filter(job_id__in=list(job_ids)) if job_ids else rows
    rows = rows.filter(kind__in=[kind.value for kind in kinds]) if kinds else rows
    rows = rows.filter(id__in=list(ids)) if ids else rows
    return list(lock_in_order(rows))


def open_of(kinds: Collection[AlertKind], limit: int) -> list[Alert]:
    """The open alerts of these kinds, oldest first. Locks nothing."""
    rows = Alert.objects.filter(IS_OPEN, kind__in=[kind.value for kind in kinds])
    return list(rows.order_by("id")[:limit])


def any_open() -> bool:
    """Is any alert open? One probe per state."""
    return Alert.objects.filter(IS_OPEN).order_by().values_list("id", flat=True).first() is not None


def open_all(alerts: Sequence[Alert]) -> list[Alert]:
    """Insert new episodes. Returns those that this call has opened, with their ids.

    One that another process has open is left out: UNIQUE decides.
    """
    keys = [alert.open_key for alert in alerts]
    there = set(Alert.objects.filter(open_key__in=keys).values_list("open_key", flat=True))
    new = [alert for alert in alerts if alert.open_key not in there]
    if not new:
        return []
    try:
        with transaction.atomic():
            Alert.objects.bulk_create(new)
    except IntegrityError:
        # Another process came first with one of them: the others one by one.
        return [alert for alert in new if _open(alert)]
    _read_ids(new)
    return new


def _read_ids(new: Sequence[Alert]) -> None:
    """MySQL does not return the ids of rows that were inserted together."""
    if any(alert.pk is None for alert in new):
        keys = [alert.open_key for alert in new]
        ids = dict(Alert.objects.filter(open_key__in=keys).values_list("open_key", "id"))
        for alert in new:
            alert.pk = ids[alert.open_key]


def _open(alert: Alert) -> bool:
    try:
        with transaction.atomic():
            Alert.objects.bulk_create([alert])
    except IntegrityError:
        return False
    _read_ids([alert])
    return True


def see_again(alerts: Sequence[Alert]) -> None:
    """Write what has been seen of locked alerts: how often, the last run, when."""
    if alerts:
        Alert.objects.bulk_update(list(alerts), _SEEN, batch_size=200)


def close_all(
    alerts: Sequence[Alert], reason: AlertEnd, *, by: str = "", default_at: datetime
) -> None:
    """Close locked alerts at their `closed_at`, or at `default_at` where that is None."""
    for alert in alerts:
        alert.state = AlertState.CLOSED.value
        alert.open_key = None
        alert.closed_at = alert.closed_at or default_at
        alert.close_reason = reason.value
        alert.closed_by = by
        lasted = (alert.closed_at - alert.opened_at).total_seconds()
        alert.facts = {**alert.facts, "lasted_seconds": max(0.0, lasted)}
    if alerts:
        fields = ["state", "open_key", "closed_at", "close_reason", "closed_by", *_SEEN]
        Alert.objects.bulk_update(list(alerts), fields, batch_size=200)


def confirm(ids: Collection[int], now: datetime) -> None:
    """These open alerts are still true."""
    Alert.objects.filter(IS_OPEN, id__in=list(ids)).update(last_seen_at=now)


def closed_by_hand(open_keys: Collection[str], since: datetime) -> set[str]:
    """Which of these episodes a person has closed since then: kind:subject_key."""
    wanted = set(open_keys)
    rows = Alert.objects.filter(closed_at__gt=since, close_reason=AlertEnd.BY_PERSON.value)
    found = {f"{kind}:{subject}" for kind, subject in rows.values_list("kind", "subject_key")}
    return found & wanted


def without_job(limit: int) -> list[int]:
    """Open alerts whose job is gone."""
    rows = Alert.objects.filter(IS_OPEN, job_id__isnull=False)
    jobs = set(rows.order_by("job_id").values_list("job_id", flat=True).distinct())
    gone = jobs - set(CronJob.objects.filter(id__in=jobs).values_list("id", flat=True))
    return list(rows.filter(job_id__in=gone).values_list("id", flat=True)[:limit]) if gone else []


def snoozes_over(now: datetime, limit: int) -> list[int]:
    """Snoozed alerts of which people are told again."""
    rows = Alert.objects.filter(state=AlertState.SNOOZED.value, snoozed_until__lte=now)
    return list(rows.order_by("id").values_list("id", flat=True)[:limit])


# --- people ---------------------------------------------------------------------------------------


def lock(alert_id: int) -> Alert:
    """An alert, locked until the transaction ends. Raises Alert.DoesNotExist."""
    return lock_in_order(Alert.objects.filter(pk=alert_id)).get()


def write(alert: Alert, *fields: str) -> None:
    """Write these columns of a locked alert."""
    values = {name: getattr(alert, name) for name in fields}
    Alert.objects.filter(pk=alert.pk).update(**values)


def listed() -> QuerySet[Alert]:
    """Alerts for lists, newest first."""
    return Alert.objects.order_by("-id")


def open_count(job_id: int) -> int:
    """How many alerts of a job are open. There is one of each kind at most."""
    return Alert.objects.filter(IS_OPEN, job_id=job_id).count()


def of_run(job_id: int, execution_id: int, limit: int) -> list[Alert]:
    """The alerts whose first or last run this is, newest first."""
    rows = Alert.objects.filter(
        Q(execution_id=execution_id) | Q(last_execution_id=execution_id), job_id=job_id
    )
    return list(rows.order_by("-id")[:limit])


def messages_of(alert_id: int) -> QuerySet[AlertMessage]:
    """Who was told of an alert, in order."""
    return AlertMessage.objects.filter(alert_id=alert_id).order_by("id")


def prune(before: datetime, limit: int) -> int:
    """Delete alerts that were closed before then, with their messages, and old messages of none."""
    old = Alert.objects.filter(closed_at__lt=before).order_by("closed_at")
    ids = list(old.values_list("id", flat=True)[:limit])
    deleted = Alert.objects.filter(id__in=ids).delete()[0] if ids else 0
    waiting = MessageState.WAITING.value
    alone = AlertMessage.objects.filter(created_at__lt=before, alert=None).exclude(state=waiting)
    spare = list(alone.order_by("created_at").values_list("id", flat=True)[:limit])
    return deleted + (AlertMessage.objects.filter(id__in=spare).delete()[0] if spare else 0)
