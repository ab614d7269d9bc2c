"""What people, claims and beat do to divided runs and their shards: cancel, retry, sweep."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from django.db import connection
from django.db.models import QuerySet

from scheduler.concurrency import Place
from scheduler.models import JobExecution
from scheduler.states import RETRYABLE, UNFINISHED, ReasonCode, RunStatus
from scheduler.store import executions, overlap, places
from scheduler.store.connection import fetch_all, lock_in_order
from scheduler.store.executions import cancel_all_pending, request_cancel_of_all
from scheduler.store.shards import (
    BY_SHARD,
    OPEN,
    EndedParent,
    end_parents,
    lock_ended,
    put_off,
    shards_of,
)
from scheduler.transient import in_transaction


def settle(parent_ids: Collection[int], *, now: datetime) -> tuple[list[EndedParent], set[str]]:
    """End those of these parents whose shards have all ended. Returns them, and queues to wake.

    Call it in the transaction that has made shards final, when no guard is locked.
    """
    if not parent_ids:
        return [], set()
    parents = lock_ended(dict.fromkeys(parent_ids, ()))
    if not parents:
        return [], set()
    held = {parent.id: parent.guard for parent in parents if parent.guard is not None}
    guards = overlap.lock_guards(set(held.values()))
    ended = end_parents(parents, now)
    overlap.release(guards, held, now=now)
    guards.write()
    return ended, guards.queues_to_wake


@dataclass(frozen=True, kw_only=True)
class Cancelled:
    """What `cancel` has done."""

    changed: int
    """How many runs, their shards not counted."""
    queues: set[str]
    """To wake."""
    reserved: list[Place]
    """What other runs may have when this is committed (places.release)."""


def cancel(
    rows: QuerySet[JobExecution],
    *,
    now: datetime,
    reason: str,
    code: ReasonCode,
    facts: Mapping[str, Any] | None,
) -> Cancelled:
    """Cancel these: what waits at once, what runs by its worker, a parent by its shards.

    In a transaction of the caller. Shards are locked before their parents.
    """
    why: Any = {"now": now, "reason": reason, "code": code, "facts": facts}
    chosen = list(
        rows.filter(status__in=sorted(UNFINISHED)).values_list("id", "parent_id", "shard_count")
    )
    ids = [id_ for id_, _, _ in chosen]
    divided = [id_ for id_, parent_id, count in chosen if count is not None and parent_id is None]
    all_ids = list(ids)
    if divided:
        shards = shards_of(divided).filter(status__in=[RunStatus.PENDING, RunStatus.RUNNING])
        ids_of_shards = [row.pk for row in lock_in_order(shards).only("id")]
        all_ids += ids_of_shards
        of_parents = JobExecution.objects.filter(id__in=ids_of_shards)
        cancel_all_pending(of_parents, **why)
        request_cancel_of_all(of_parents, **why)
    these = JobExecution.objects.filter(id__in=ids)
    changed = cancel_all_pending(these, **why) + request_cancel_of_all(these, **why)
    changed += JobExecution.objects.filter(
        id__in=divided, status=RunStatus.FANNED_OUT, cancel_requested_at__isnull=True
    ).update(cancel_requested_at=now, error_message=reason, reason_code=code, reason_facts=facts)
    parents = {parent_id for _, parent_id, _ in chosen if parent_id is not None}
    _, queues = settle(parents.union(divided), now=now)
    return Cancelled(changed=changed, queues=queues, reserved=places.reserved_by(all_ids))


def request_cancel(
    execution_id: int,
    *,
    now: datetime,
    reason: str,
    code: ReasonCode,
    facts: Mapping[str, Any] | None,
) -> None:
    """Ask an execution that goes on to stop, or its shards."""
    why: Any = {"now": now, "reason": reason, "code": code, "facts": facts}
    if not executions.request_cancel(execution_id, **why):
        fanned_out = JobExecution.objects.filter(id=execution_id, status=RunStatus.FANNED_OUT)
        cancelled = in_transaction(lambda: cancel(fanned_out, **why))
        places.release(cancelled.reserved, now)


def retry_all(ids: Collection[int], *, now: datetime) -> int:
    """Unsuccessful executions -> PENDING. Returns how many of `ids` were changed.

    With a parent its unsuccessful shards are tried again, and with a shard its parent, if that has
    ended: it begins like any run, under its guard. Until then these shards are put off.
    """
    chosen = JobExecution.objects.filter(id__in=sorted(ids), shard_count__isnull=False)
    chosen = chosen.filter(status__in=sorted(RETRYABLE))
    found = list(chosen.values_list("id", "parent_id"))
    parents = {parent_id for _, parent_id in found if parent_id is not None}
    divided = {id_ for id_, parent_id in found if parent_id is None}
    for each in lock_in_order(JobExecution.objects.filter(id__in=parents | divided)).only("status"):
        if each.status == RunStatus.FANNED_OUT:
            parents.discard(each.pk)
    retried = executions.retry_all(ids, now=now)
    if divided:
        unwell = shards_of(divided).filter(status__in=sorted(RETRYABLE))
        executions.retry_all(list(unwell.values_list("id", flat=True)), now=now)
    if parents:
        executions.retry_all(parents, now=now)
    if waiting := parents | divided:
        put_off(shards_of(waiting), now=now)
    return retried


def sweep(now: datetime, limit: int) -> tuple[list[EndedParent], set[str]]:
    """For beat: end parents whose shards SQL has ended, and cancel the shards of a parent for which
    SQL has asked so. Returns those that ended, and queues to wake.

    One probe where no run is divided, and one for each that is.
    """
    ended: list[EndedParent] = []
    queues: set[str] = set()
    for id_, asked_at, reason, goes_on in fetch_all(
        _SWEEP.format(index=BY_SHARD.get(connection.vendor, "")), [RunStatus.FANNED_OUT, limit]
    ):
        if goes_on is not None and asked_at is None:
            continue
        some, woken = in_transaction(partial(_sweep, id_, goes_on is not None, reason, now))
        ended += some
        queues |= woken
    return ended, queues


_SWEEP: Final = f"""
SELECT p.id, p.cancel_requested_at, p.error_message,
       (SELECT s.id FROM job_executions s {{index}}
         WHERE s.parent_id = p.id AND s.status IN {OPEN} ORDER BY s.shard DESC LIMIT 1)
  FROM job_executions p
 WHERE p.status = %s AND p.lease_expires_at IS NULL ORDER BY p.id LIMIT %s
"""  # noqa: S608 - of constants


def _sweep(
    parent_id: int, goes_on: bool, reason: str | None, now: datetime
) -> tuple[list[EndedParent], set[str]]:
    if goes_on:
        why: Any = {
            "now": now,
            "reason": reason or "cancelled with its parent",
            "code": ReasonCode.CANCELLED_BY_PERSON,
            "facts": None,
        }
        shards = shards_of([parent_id]).filter(status__in=[RunStatus.PENDING, RunStatus.RUNNING])
        ids = [row.pk for row in lock_in_order(shards).only("id")]
        found = JobExecution.objects.filter(id__in=ids)
        cancel_all_pending(found, **why)
        request_cancel_of_all(found, **why)
    return settle([parent_id], now=now)
