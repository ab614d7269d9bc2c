"""An attempt begins: PENDING -> RUNNING, under a fresh token.

Several runs in one transaction. It locks their rows and the guards of those that must not overlap
or have limits, asks for a decision about each of these, and writes. Which rows: candidates.py.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, Final

from django.db import connection

from scheduler import failpoints
from scheduler.concurrency import Place
from scheduler.models import JobExecution
from scheduler.states import ReasonCode, RunStatus
from scheduler.store import overlap, shard_changes, shards
from scheduler.store.candidates import ByIds, Candidate, Choice, MostUrgent, running_with
from scheduler.store.connection import lock_in_order, to_json
from scheduler.store.heads import Floors, Head
from scheduler.store.overlap import Decision, Guards, Step
from scheduler.store.places import Rooms
from scheduler.store.prepared import among, execute_often
from scheduler.store.runs import Lease, rows_of
from scheduler.store.shard_claims import Locked, end_parents, look_at, siblings
from scheduler.transient import in_transaction

__all__ = [
    "ByIds",
    "Candidate",
    "Choice",
    "Claim",
    "Claimed",
    "Claims",
    "Floors",
    "MostUrgent",
]

# Time between the handler's timeout and the instant at which even a renewed lease ends.
DEADLINE_MARGIN_SECONDS: Final = 30
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A run that this process may begin."""

    row: Candidate
    lease: Lease


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What one claim has done."""

    started: Sequence[Claimed] = ()
    """Most urgent first."""
    held: Sequence[tuple[Candidate, Decision]] = ()
    """Runs that wait for another one, were given up for it, or may not run at all."""
    is_full: bool = False
    """As many runs were seen as the process has places: more may wait."""
    queues_to_wake: frozenset[str] = frozenset()
    """Of runs that wait under a limit and may start now: another one has left them its place."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a claim in one statement writes into the row that it begins."""

    token_prefix: str
    """With the id of the row it is the token of the lease."""
    owner: str
    lease_ends: datetime
    deadline_margin_seconds: int
    """From the timeout of the run until the instant at which even a renewed lease ends."""


Decide = Callable[[Candidate, overlap.Holder | None, overlap.Line], Decision]


class Claim:
    """Claims of a process, one after the other.

    The leases of a claim exist before its COMMIT, whose answer may be lost.
    """

    def __init__(self, *, owner: str, lease_seconds: float, decide: Decide) -> None:
        self._owner = owner
        self._lease_seconds = lease_seconds
        self._decide = decide
        self._begin_anew()

    def _begin_anew(self) -> None:
        # With the id of an execution it is a token, unique without a look at the others.
        self._token_prefix = f"{uuid.uuid4().hex[:12]}-"
        self._choice: Choice | None = None
        self._rows: Sequence[Candidate] = ()
        self._claims = Claims()
        self._is_short = False
        self._short_at = _NEVER

    def take(self, choice: Choice, now: datetime) -> Claims:
        """Claim those of `choice` that may run now. One transaction, none if there are none.

        After an error of the database the COMMIT may still have happened: ask `taken_after_all`.
        """
        found = self.look(choice, now)
        if found is None:
            return self._claims

        def work() -> None:
            locked = self.lock(found, now)
            guards = overlap.lock_guards((), locked.guards)
            self.begin(locked, guards, now)
            guards.write()
            failpoints.point("claim.written")

        in_transaction(work)
        return self.committed(now)

    def taken_after_all(self, now: datetime) -> Claims:
        """What of the last claim is in the database. Waits for a COMMIT that is still in flight.

        Call it on a fresh connection. After a short turn: when its end is settled, because what
        was claimed is not known before.
        """
        if self._is_short:
            row = running_with(self._token_prefix)
            return self.begun(row, now) if row is not None else Claims()
        leases = [claimed.lease for claimed in self._claims.started]

        def work() -> set[str | None]:
            rows = lock_in_order(rows_of(leases))
            return set(rows.values_list("lease_token", flat=True))

        tokens = in_transaction(work) if leases else set()
        ours = [claimed for claimed in self._claims.started if claimed.lease.token in tokens]
        if not ours:
            return Claims()
        claims = self.committed(now)
        return replace(claims, started=ours)

    # --- a claim in one statement (short_turns.py) ------------------------------------------------

    def terms(self, choice: Choice, now: datetime) -> Terms:
        """What the statement writes. After an error of the database ask `taken_after_all`."""
        self._begin_anew()
        self._choice, self._is_short, self._short_at = choice, True, now
        return Terms(
            token_prefix=self._token_prefix,
            owner=self._owner,
            lease_ends=now + timedelta(seconds=self._lease_seconds),
            deadline_margin_seconds=DEADLINE_MARGIN_SECONDS,
        )

    def begun(self, row: Candidate, now: datetime) -> Claims:
        """The statement has begun this run."""
        assert self._choice is not None
        self._rows = [row]
        self._claims = Claims(
            started=[Claimed(row=row, lease=self._lease(row, self._short_at))],
            is_full=self._choice.is_full(self._rows),
        )
        return self.committed(now)

    # --- the steps of a claim, for a transaction of the caller ------------------------------------

    def look(self, choice: Choice, now: datetime) -> Sequence[Head] | None:
        """Before the transaction: look without locks for what there is to claim. None: nothing."""
        self._begin_anew()
        self._choice = choice
        return choice.look(now)

    def lock(self, found: Sequence[Head] | None, now: datetime) -> Locked:
        """In the transaction, which may be repeated. `found`: what `look` has returned."""
        assert self._choice is not None
        return Locked() if found is None else look_at(self._choice.lock(found, now))

    def begin(self, locked: Locked, guards: Guards, now: datetime) -> None:
        """In the transaction. `locked.guards` are locked, too. The caller writes the guards."""
        held = list(locked.held)
        keys = {key for row in locked.may_run if (key := row.guard) is not None}
        holders = guards.holders(keys) if keys else {}
        lines = overlap.lines(holders.keys())
        needed = {row.id: needs for row in locked.may_run if row.limits and (needs := row.places)}
        rooms = Rooms(chain.from_iterable(needed.values()), now) if needed else None
        failpoints.point("claim.read")
        started: list[Claimed] = []
        for row in locked.may_run:
            key = row.guard
            line = lines.get(key, overlap.Line()) if key is not None else overlap.Line()
            decision = _START if key is None else self._decide(row, holders.get(key), line)
            if rooms is not None and row.id in needed:
                decision = _under_limits(row, needed[row.id], decision, rooms)
            if decision.step == Step.START:
                started.append(Claimed(row=row, lease=self._lease(row, now)))
                if key is not None:
                    holders[key] = overlap.Holder(
                        id=row.id, started_at=now, param_source=row.param_source
                    )
                    guards.hold(key, row.id)
            else:
                held.append((row, decision))
                if key is not None and decision.step == Step.WAIT and decision.behind is None:
                    lines[key] = line.with_(row.id)
        if rooms is not None:
            held += _siblings_that_wait(held, locked, rooms, now)
        self._write(started, now)
        _hold_back(held, now)
        if rooms is not None:
            rooms.settle()
        assert self._choice is not None
        self._rows = locked.rows
        self._claims = Claims(
            started=started,
            held=held,
            is_full=self._choice.is_full(locked.rows),
            queues_to_wake=frozenset(rooms.queues_to_wake) if rooms is not None else frozenset(),
        )

    def committed(self, now: datetime) -> Claims:
        """After the commit. Asks the runs to stop that newer ones replace: not under the guard."""
        assert self._choice is not None
        self._choice.committed(self._rows)
        _replace_holders(self._claims, now)
        end_parents(self._claims.held, now)
        return self._claims

    def _lease(self, row: Candidate, now: datetime) -> Lease:
        return Lease(
            execution_id=row.id,
            job_id=row.job_id,
            attempt=row.attempt + 1,
            token=f"{self._token_prefix}{row.id}",
            owner=self._owner,
            started_at=now,
            guard=row.guard,
            places=row.places,
            parent_id=row.parent_id,
            queue=row.queue,
        )

    def _write(self, started: Sequence[Claimed], now: datetime) -> None:
        by_timeout: dict[int, list[int]] = {}
        for claimed in started:
            by_timeout.setdefault(claimed.row.timeout_seconds, []).append(claimed.row.id)
        lease_ends = now + timedelta(seconds=self._lease_seconds)
        for timeout_seconds, ids in by_timeout.items():
            deadline = now + timedelta(seconds=timeout_seconds + DEADLINE_MARGIN_SECONDS)
            condition, listed = among(ids)
            execute_often(
                _BEGIN.format(token=_TOKEN[connection.vendor], among=condition),
                [
                    RunStatus.RUNNING,
                    self._token_prefix,
                    self._owner,
                    min(lease_ends, deadline),
                    deadline,
                    now,
                    *listed,
                ],
            )


_TOKEN: Final = {
    "postgresql": "CONCAT(%s::text, id)",
    "mysql": "CONCAT(%s, id)",
    "sqlite": "%s || id",
}
# The rows are locked, so no other process has changed them.
_BEGIN = """
UPDATE job_executions
   SET status = %s, attempt = attempt + 1, lease_token = {token}, lease_owner = %s,
       lease_expires_at = %s, deadline_at = %s, started_at = %s, in_line = NULL,
       progress = NULL, progress_message = '', overran = FALSE, reason_code = NULL,
       reason_facts = NULL
 WHERE id {among}
"""


_START: Final = Decision(step=Step.START)


def _under_limits(
    row: Candidate, places: Sequence[Place], decision: Decision, rooms: Rooms
) -> Decision:
    """The decision about a run whose job has limits, when the overlap policy has decided."""
    if decision.step != Step.START:
        rooms.leave(places, row.id)
        return decision
    if waits := _must_wait(row, places, rooms):
        return waits
    rooms.start(places, row.id, row.attempt + 1)
    return decision


def _siblings_that_wait(
    held: Sequence[tuple[Candidate, Decision]], locked: Locked, rooms: Rooms, now: datetime
) -> list[tuple[Candidate, Decision]]:
    refused = [row for row, decision in held if decision.behind is not None]
    return [
        (shard, waits)
        for shard in siblings(refused, locked.rows, now)
        if (waits := _must_wait(shard, shard.places, rooms))
    ]


def _must_wait(row: Candidate, places: Sequence[Place], rooms: Rooms) -> Decision | None:
    """The run waits for a place, if it must."""
    refused = rooms.refusal(places, row.id)
    if refused is None:
        return None
    place, refusal = refused
    rooms.wait(places, row.id, place)
    return Decision(
        step=Step.WAIT,
        reason=f"waits for a place of {f'group {place.group}' if place.group else 'its job'}",
        code=refusal.code,
        facts=refusal.facts,
        behind=place.guard,
    )


def _hold_back(held: Sequence[tuple[Candidate, Decision]], now: datetime) -> None:
    """Those that are held back alike are written by one statement."""
    alike: dict[tuple[Hashable, ...], tuple[Candidate, Decision, list[int]]] = {}
    for row, decision in held:
        facts = to_json(decision.facts)
        key = _line_of(row, decision) if decision.step == Step.WAIT else None
        same = (decision.step, key, decision.reason, decision.code, facts)
        alike.setdefault(same, (row, decision, []))[2].append(row.id)
    for row, decision, ids in alike.values():
        why: Mapping[str, Any] = {
            "reason": decision.reason,
            "code": decision.code,
            "facts": decision.facts,
        }
        if decision.step == Step.SKIP:
            overlap.skip(ids, now=now, **why)
        elif decision.step == Step.CANCEL:
            overlap.cancel_waiting(ids, now=now, **why)
        elif decision.step == Step.PUT_OFF:
            shards.put_off(JobExecution.objects.filter(id__in=ids), now=now)
        else:
            overlap.put_in_line(
                _line_of(row, decision),
                ids,
                now=now,
                code=decision.code,
                facts=decision.facts,
                is_let_go_on=decision.behind is not None,
            )
            failpoints.point("overlap.held")
    for row, decision in held:
        if decision.replaces is not None:
            assert row.guard is not None
            overlap.give_up_older(row.guard, row.id, now=now)


def _line_of(row: Candidate, decision: Decision) -> int:
    """The guard behind which the run waits."""
    key = row.guard if decision.behind is None else decision.behind
    assert key is not None
    return key


def _replace_holders(claims: Claims, now: datetime) -> None:
    """Ask the runs to stop that newer ones replace: after the commit, not under the guard."""
    for row, decision in claims.held:
        if decision.replaces is not None:
            shard_changes.request_cancel(
                decision.replaces,
                now=now,
                reason=f"replaced by #{row.id} under overlap policy replace",
                code=ReasonCode.REPLACED,
                facts={"newer": row.id},
            )
