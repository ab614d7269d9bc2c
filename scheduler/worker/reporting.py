"""Verdicts become ends in the database, in groups: whatever has ended while the last was written.

Only this is tried again when the database is in trouble; user code never runs twice for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from django.db import Error, connection

from scheduler import failpoints
from scheduler.clock import Clock, pause
from scheduler.conf import SchedulerSettings
from scheduler.events import emit
from scheduler.states import RunStatus
from scheduler.store import claims, endings, runs, turns
from scheduler.store.run_reports import Report
from scheduler.store.shards import EndedParent
from scheduler.worker.figures import Tally
from scheduler.worker.lease import HeldRun, LeaseKeeper
from scheduler.worker.verdict import Verdict, ending, without_details

#: So many ends are written in one transaction.
GROUP = 200
_PAUSE_SECONDS = 0.5
# How long the end of a run waits for the thread that saves its last lines.
_SAVING_SECONDS = 10.0
# After so many refusals the details are given up: the database will refuse them again.
_REFUSALS_OF_DETAILS = 2


@dataclass(eq=False, kw_only=True)
class _Waiting:
    held: HeldRun
    verdict: Verdict
    is_settled: bool = False
    written: Verdict | None = None

    def settle(self, written: Verdict | None) -> None:
        self.written, self.is_settled = written, True


def parent_ended(parent: EndedParent) -> None:
    """Log that a divided run has ended."""
    emit(
        "execution.shards_ended",
        execution_id=parent.execution_id,
        job=parent.name,
        handler=parent.handler_name,
        status=parent.status.value,
    )


class Reporter:
    """Writes the ends of this process's runs. Thread-safe; made after the fork.

    `on_runnable` is called with the queues in which an end has let another run go on, `on_success`
    with the ids of the jobs whose divided runs have succeeded with their last shards.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        leases: LeaseKeeper,
        settings: Callable[[], SchedulerSettings],
        tally: Tally,
        on_runnable: Callable[[frozenset[str]], None] = lambda queues: None,
        on_success: Callable[[Collection[int]], None] = lambda job_ids: None,
    ) -> None:
        self._on_runnable = on_runnable
        self._on_success = on_success
        self._clock = clock
        self._leases = leases
        self._settings = settings
        self._tally = tally

    def write(
        self, ends: Sequence[tuple[HeldRun, Verdict]], *, maybe_written: bool = False
    ) -> list[Verdict | None]:
        """Write these verdicts. Blocks, and tries again while the leases may still be ours.

        Returns for each the verdict that was written, without details if the database refuses
        those. None: nothing was written, because the run is no longer ours.
        `maybe_written`: an earlier try may have reached the database.
        """
        waiting = [_Waiting(held=held, verdict=verdict) for held, verdict in ends]
        for first in range(0, len(waiting), GROUP):
            self._write(waiting[first : first + GROUP], maybe_written=maybe_written)
        return [one.written for one in waiting]

    def write_and_claim(
        self, held: HeldRun, verdict: Verdict, claim: claims.Claim, choice: claims.Choice
    ) -> tuple[Verdict | None, claims.Claims]:
        """The end of one run and a claim in one transaction, tried once.

        After an error of the database either both are in the database or none.
        """
        with held.report.taken(wait_seconds=_SAVING_SECONDS) as report:
            now = self._clock.now()
            end = ending(verdict, held.lease, now, report)
            written, taken = turns.end_and_claim([end], claim, choice, now)
        if written:
            failpoints.point("end.committed")
            self._tally.ended(len(written))
        self._wake(written)
        return (verdict if held.lease.token in written else None), taken

    def _write(self, group: Sequence[_Waiting], *, maybe_written: bool) -> None:
        # How often the database has refused this group although it accepted another write just
        # before. The class of the error does not tell: a packet that is too big looks like an
        # outage, and a database that is read-only or full accepts the group later.
        refusals = 0
        told = ""
        while group:
            takes_writes = False
            try:
                if maybe_written:
                    group = self._without_written(group)
                    if not group:
                        return
                    self._write_something(group[0].held.lease)
                    takes_writes = True
                maybe_written = True
                self._write_once(group, with_details=refusals < _REFUSALS_OF_DETAILS)
                return
            except Error as error:
                connection.close()
                text = f"{type(error).__name__}: {error}"
                if text != told:  # an outage is told once, not at each try
                    told = text
                    ids = ", ".join(str(one.held.lease.execution_id) for one in group[:10])
                    emit("report.failed", execution_id=ids, error=text)
            if takes_writes and len(group) > 1:
                # One row is to blame, and must not hold the others.
                middle = len(group) // 2
                self._write(group[:middle], maybe_written=True)
                group, refusals = group[middle:], 0
            elif takes_writes and refusals < _REFUSALS_OF_DETAILS:
                refusals += 1
            else:
                # The database is away. Or it refuses even the verdict without details, so that
                # those were not the reason.
                refusals = 0
                pause(_PAUSE_SECONDS)
            if not self._leases.may_still_write():
                return

    def _without_written(self, group: Sequence[_Waiting]) -> Sequence[_Waiting]:
        """The COMMIT whose answer was lost may have happened."""
        written = endings.ended([one.held.lease for one in group])
        for one in group:
            if one.held.lease.token in written:
                one.settle(one.verdict)
        return [one for one in group if not one.is_settled]

    def _write_something(self, lease: runs.Lease) -> None:
        """Renew a lease, as a write that does no harm. Raises DatabaseError."""
        seconds = self._settings().lease_seconds
        runs.renew_leases([lease], now=self._clock.now(), lease_seconds=seconds)

    def _write_once(self, group: Sequence[_Waiting], *, with_details: bool) -> None:
        verdicts = [one.verdict if with_details else without_details(one.verdict) for one in group]
        with ExitStack() as stack:
            reports = [
                stack.enter_context(one.held.report.taken(wait_seconds=_SAVING_SECONDS))
                if with_details
                else Report()
                for one in group
            ]
            now = self._clock.now()
            ends = [
                ending(verdict, one.held.lease, now, report)
                for one, verdict, report in zip(group, verdicts, reports, strict=True)
            ]
            written = endings.end(ends, now=now)
        if written:
            failpoints.point("end.committed")
            self._tally.ended(len(written))
        self._wake(written)
        for one, verdict in zip(group, verdicts, strict=True):
            one.settle(verdict if one.held.lease.token in written else None)

    def _wake(self, written: endings.Ended) -> None:
        succeeded: set[int] = set()
        for parent in written.parents:
            parent_ended(parent)
            if parent.status == RunStatus.SUCCESS and parent.job_id is not None:
                succeeded.add(parent.job_id)
        if succeeded:
            self._on_success(succeeded)
        if written.queues_to_wake:
            self._on_runnable(written.queues_to_wake)
