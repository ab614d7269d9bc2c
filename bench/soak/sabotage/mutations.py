"""Mutations break the protocol on purpose, so that tests see whether the checker notices it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from functools import partial
from typing import Any

# A loaded machine may need this long between two statements.
_WINDOW_SECONDS = 0.1


def no_fence() -> None:
    """The lease token is ignored: a worker that was declared lost still writes the outcome."""
    from django.db import connection

    from scheduler.store import endings, runs
    from scheduler.store.connection import execute

    def nobody_tells(leases: Collection[runs.Lease]) -> runs.LeaseStates:
        return runs.LeaseStates(
            ours=frozenset(lease.token for lease in leases), cancelled=frozenset()
        )

    runs.watch_leases = nobody_tells
    endings._is_of = lambda ours, token: True
    write = endings._write

    def write_and_sign(statement: str, written: Any, values_of: Any) -> None:
        """The row has the token of whoever runs now, and not that of the one who writes."""
        write(statement, written, values_of)
        for one in written:
            if values_of(one) is not None and not one.goes_back:
                lease = one.ending.lease
                sign = "UPDATE job_executions SET final_token = %s WHERE id = %s"
                execute(sign, [lease.token, lease.execution_id])

    endings._write = write_and_sign
    # The second fence, behind the lease token: an attempt ends only once.
    ignoring = {"sqlite": "INSERT OR IGNORE INTO", "mysql": "INSERT IGNORE INTO"}
    statement: str = endings._INSERT_ATTEMPTS
    if connection.vendor in ignoring:
        statement = statement.replace("INSERT INTO", ignoring[connection.vendor])
    else:
        statement += " ON CONFLICT DO NOTHING"
    endings._INSERT_ATTEMPTS = statement  # type: ignore[misc]


def watermark_first() -> None:
    """The watermark moves in a separate transaction, before the slots are inserted."""
    from scheduler.beat.recording import Recorder
    from scheduler.clock import pause
    from scheduler.store import slots
    from scheduler.transient import in_transaction

    record_batch, record_slots = Recorder._record_batch, slots.record_slots
    later: list[tuple[Sequence[Any], datetime]] = []

    def remember(records: Sequence[slots.SlotRecord], now: datetime) -> int:
        later.append((records, now))
        return len(records)

    def in_two_transactions(self: Recorder, claim: Any, limit: int) -> Any:
        later.clear()
        done = record_batch(self, claim, limit)
        pause(_WINDOW_SECONDS)
        for records, now in later:
            in_transaction(partial(record_slots, records, now))
        return done

    slots.record_slots = remember
    Recorder._record_batch = in_two_transactions  # type: ignore[method-assign]


def wakeup_first() -> None:
    """Wake-ups are sent inside the transaction that inserts the rows: workers find none."""
    from scheduler.beat.recording import Recorder
    from scheduler.clock import pause

    plan_and_record = Recorder._plan_and_record

    def and_wake(self: Recorder, jobs: Any, now: datetime) -> Any:
        recorded = plan_and_record(self, jobs, now)
        self._wake(recorded.runnable)
        pause(_WINDOW_SECONDS)
        return recorded

    Recorder._plan_and_record = and_wake  # type: ignore[method-assign]


def verdict_first() -> None:
    """A verdict counts as written before its COMMIT, so nobody tries again if that fails."""
    from contextlib import suppress

    from django.db import DatabaseError, connection

    from scheduler.worker.reporting import Reporter

    def settle_and_write(self: Reporter, group: Any, **_: Any) -> None:
        for one in group:
            one.settle(one.verdict)
        self._leases.release([one.held for one in group])
        with suppress(DatabaseError):
            self._write_once(group, with_details=True)
            return
        connection.close()

    Reporter._write = settle_and_write  # type: ignore[method-assign]


def claim_assumed() -> None:
    """A claim whose COMMIT was not answered counts as ours, and nobody asks."""
    from scheduler.store.claims import Claim

    Claim.taken_after_all = Claim.committed  # type: ignore[method-assign]


def no_limits() -> None:
    """A claim asks for no place: no run waits for another one under a limit."""
    from scheduler.store.places import Rooms

    Rooms.refusal = lambda self, places, execution_id: None  # type: ignore[method-assign]


def first_shard_ends() -> None:
    """The end of a shard does not look for others that go on, and ends the parent."""
    from scheduler.store import shards

    shards._goes_on = lambda parent_id, ending: False


MUTATIONS: dict[str, Callable[[], None]] = {
    "no-fence": no_fence,
    "watermark-first": watermark_first,
    "wakeup-first": wakeup_first,
    "verdict-first": verdict_first,
    "claim-assumed": claim_assumed,
    "no-limits": no_limits,
    "first-shard-ends": first_shard_ends,
}


def apply(name: str) -> None:
    MUTATIONS[name]()
