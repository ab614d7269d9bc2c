"""Due jobs become executions: batch by batch, each in one transaction, then their queues are woken.

Any number of beats may record at once. A row that cannot be read or planned is switched off with
the reason, and stops no other one.

The transaction of a slot that is awaited begins a little before it and commits just after it, so
that the run need not wait while beat reads, plans and writes. Nobody sees the rows before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import connection

from scheduler import failpoints
from scheduler.beat import planning
from scheduler.clock import Clock, pause
from scheduler.conf import SchedulerSettings
from scheduler.events import emit
from scheduler.operations import validation
from scheduler.operations.errors import describe
from scheduler.operations.missed import missed_since
from scheduler.operations.upstream_slots import waits_of
from scheduler.schedule import ScheduleError
from scheduler.schedule.watermark import Watermark, is_changed
from scheduler.store import freezes, slots
from scheduler.store.jobs import disable_job
from scheduler.transient import ROW_ERRORS, in_transaction, is_outage


@dataclass(frozen=True, kw_only=True)
class Recorded:
    jobs: int = 0
    slots: int = 0
    skipped: int = 0
    runnable: frozenset[str] = frozenset()
    """The queues of runs that may start at once."""

    def __add__(self, other: Recorded) -> Recorded:
        return Recorded(
            jobs=self.jobs + other.jobs,
            slots=self.slots + other.slots,
            skipped=self.skipped + other.skipped,
            runnable=self.runnable | other.runnable,
        )


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What is awaited."""

    slot_at: datetime | None
    queues: frozenset[str]
    early_seconds: float
    """So long before the slot beat begins to record it."""


# A rehearsal is for the jobs that are due within so long, and for so many of them.
_SOON: Final = timedelta(seconds=0.2)
_REHEARSED: Final = 20
# So long before an awaited slot its transaction begins, if few jobs are due. Edits of these jobs
# wait until it ends.
_EARLY_SECONDS: Final = 0.008
# A clock that shows an awaited instant as further away has been set back, and decides.
_READING_LATE: Final = timedelta(seconds=0.1)
# The jobs to record, locked: by now, so many at most.
_ClaimJobs = Callable[[datetime, int], list[slots.DueJob]]


class _OthersCame(Exception):
    """A freeze or an upstream job has come after the slots of the transaction were planned, but
    before they were due.

    It rolls the transaction back.
    """


class Recorder:
    """`wake` is called after each commit with the queues of runs that may start at once."""

    def __init__(
        self,
        *,
        clock: Clock,
        settings: Callable[[], SchedulerSettings],
        decides: Callable[[int], bool],
        wake: Callable[[frozenset[str]], None],
        stopping: Callable[[], bool],
    ) -> None:
        """`decides`: whether this beat may compute the watermark of a job anew."""
        self._clock = clock
        self._settings = settings
        self._decides = decides
        self._wake = wake
        self._stopping = stopping
        self._due_at = math.inf
        self._awaited: datetime | None = None
        # Of the slot that is awaited.
        self._early_seconds = 0.0

    def expect(self, due_at: datetime | None, now: datetime) -> None:
        """The next job is due at `due_at`: from then on the question for due jobs is left out."""
        self._due_at, self._awaited, self._early_seconds = math.inf, due_at, 0.0
        if due_at is not None:
            self._due_at = self._clock.monotonic() + (due_at - now).total_seconds()

    def _now(self) -> datetime:
        """The clock's instant. An awaited one that has come is not overlooked.

        Each reading of the database's clock is late by as much as its answer took, so the newest
        may be a little before the instant that the one before it has announced.
        """
        now, awaited = self._clock.now(), self._awaited
        if awaited is not None and self._has_come() and now < awaited <= now + _READING_LATE:
            return awaited
        return now

    def _has_come(self) -> bool:
        """Whether the awaited slot may be recorded."""
        return self._clock.monotonic() >= self._due_at - self._early_seconds

    def rehearse(self) -> Rehearsal:
        """Read and plan what is due at the expected instant, for nothing. Locks and writes nothing.

        After it the real thing finds its code, its rows and its connection warm.
        """
        now = self._clock.now()
        jobs = slots.look_at_due_jobs(now + _SOON, _REHEARSED)
        planner = planning.Planner(self._settings(), now + _SOON, decides=lambda job_id: True)
        for job in jobs:
            # What has been changed since is told to people when it is planned.
            if job.next_run_at is not None and not is_changed(job, self._settings()):
                with suppress(ScheduleError):
                    planner.plan(job)
        # SQLite would lock all tables, and not some rows.
        locks_rows = connection.features.has_select_for_update_skip_locked
        if locks_rows and 0 < len(jobs) < _REHEARSED:
            self._early_seconds = _EARLY_SECONDS
        return Rehearsal(
            slot_at=self._awaited,
            queues=frozenset(job.queue for job in jobs),
            early_seconds=self._early_seconds,
        )

    def record_due(self) -> bool:
        """Record the slots that are due. Returns whether there was any. Commits."""
        try:
            # The last tick knew what this one is for. Another question would delay each slot.
            if self._has_come():
                return self._record_batches(slots.claim_due_jobs)
            self._early_seconds = 0.0
            return slots.has_due(self._now()) and self._record_batches(slots.claim_due_jobs)
        finally:
            self._early_seconds = 0.0

    def plan_new(self) -> bool:
        """Plan the jobs that have no watermark yet. Returns whether there was any. Commits."""
        return slots.has_new() and self._record_batches(slots.claim_new_jobs)

    def _record_batches(self, claim: _ClaimJobs) -> bool:
        limit = self._settings().batch_size
        total = Recorded()
        while True:
            claimed, recorded = self._record_batch(claim, limit)
            total += recorded
            # During a long burst, the first ones must not wait for the last ones.
            self._wake(recorded.runnable)
            if claimed < limit or self._stopping():
                break
        if total.slots or total.skipped:
            emit("tick.recorded", slots=total.slots, skipped=total.skipped, jobs=total.jobs)
        return total.jobs > 0

    def _record_batch(self, claim: _ClaimJobs, limit: int) -> tuple[int, Recorded]:
        claimed: list[int] = []

        def work() -> Recorded:
            is_early, now = self._is_early(), self._now()
            jobs = claim(now, limit)
            claimed[:] = [job.id for job in jobs]
            failpoints.point("record.locked")
            if is_early and any(job.any_freeze or job.has_upstreams for job in jobs):
                # What other rows say counts until the slot: it is read again, with the jobs.
                self._wait_for_slot()
                is_early = False
                jobs = claim(now, limit)
                claimed[:] = [job.id for job in jobs]
            recorded = self._plan_and_record(jobs, now)
            if is_early and jobs:
                self._wait_for_slot()
                if slots.depend_on_others(claimed):
                    raise _OthersCame
            return recorded

        try:
            try:
                recorded = in_transaction(work)
            except _OthersCame:
                recorded = in_transaction(work)
            failpoints.point("record.committed")
        except ROW_ERRORS as error:
            if is_outage(error):
                raise
            self._wait_for_slot()
            # One row that cannot be read or written must not stop the others: one by one.
            claimed[:] = claimed or slots.due_or_new_ids(self._now(), limit)
            if not claimed:
                raise
            recorded = self._record_singly(claimed)
        return len(claimed), recorded

    def _is_early(self) -> bool:
        """Whether the transaction that begins now is for a slot that is not due yet."""
        return self._has_come() and self._clock.monotonic() < self._due_at

    def _wait_for_slot(self) -> None:
        """Until the awaited slot, if it is to come."""
        if self._is_early():
            pause(self._due_at - self._clock.monotonic())
        self._early_seconds = 0.0

    def _record_singly(self, job_ids: Sequence[int]) -> Recorded:
        recorded = Recorded()
        for job_id in job_ids:
            read: list[slots.DueJob] = []

            def work(job_id: int = job_id, read: list[slots.DueJob] = read) -> Recorded:
                read[:] = slots.claim_job(job_id)
                return self._plan_and_record(read, self._now())

            try:
                one = in_transaction(work)
            except ROW_ERRORS as error:
                if is_outage(error):
                    raise
                # If not even the watermark could be read, slots count as missed from now on.
                watermark = missed_since(read[0]) if read else None
                reason = f"cannot be recorded: {error}"
                self._disable(job_id, f"#{job_id}", reason, watermark, self._clock.now())
                one = Recorded(jobs=1)
            recorded += one
        return recorded

    def _plan_and_record(self, jobs: Sequence[slots.DueJob], now: datetime) -> Recorded:
        records: list[slots.SlotRecord] = []
        watermarks: dict[int, Watermark] = {}
        planner = planning.Planner(
            self._settings(),
            now,
            decides=self._decides,
            freezes=freezes.of_due_jobs(jobs, self._settings().default_timezone).of,
        )
        invalid = self._problems_of_new([job for job in jobs if job.next_run_at is None], now)
        for job in jobs:
            if job.id in invalid:
                self._disable(job.id, job.name, invalid[job.id], missed_since(job), now)
                continue
            try:
                planned = planner.plan(job)
                waits = waits_of(job, self._settings(), now)
                recorded = slots.records_of(
                    job.id,
                    planned.plan,
                    spread_seconds=job.jitter_seconds,
                    is_shadow=job.is_shadow,
                    waits=waits,
                    needs_approval=job.approval_seconds > 0,
                )
            except ScheduleError as error:
                reason = f"{error.field}: {error.reason}"
                self._disable(job.id, job.name, reason, missed_since(job), now)
                continue
            # Whatever error one row causes, the other jobs go on and this one shows the reason.
            except Exception as error:  # noqa: BLE001
                reason = f"cannot be planned: {type(error).__name__}: {error}"
                self._disable(job.id, job.name, reason, missed_since(job), now)
                continue
            records += recorded
            if planned.watermark.next_run_at is not None:
                watermarks[job.id] = planned.watermark
            else:
                reason = "the schedule has no further slot" + (
                    " before its end" if job.end_at else ""
                )
                disable_job(job.id, now=now, reason=reason)
                emit("job.ended", job=job.name, job_id=job.id, reason=reason)
        slots.record_slots(records, now)
        failpoints.point("record.inserted")
        slots.advance_jobs(watermarks)
        failpoints.point("record.advanced")
        made = [record for record in records if record.skipped is None]
        queues = {job.id: job.queue for job in jobs}
        return Recorded(
            jobs=len(jobs),
            slots=len(made),
            skipped=len(records) - len(made),
            runnable=frozenset(
                queues[r.job_id]
                for r in made
                if r.available_at <= now and not r.waits and not r.needs_approval
            ),
        )

    def _problems_of_new(self, new: Sequence[slots.DueJob], now: datetime) -> dict[int, str]:
        """What is wrong with jobs without a watermark, by id.

        SQL may have inserted them, so nobody has checked them before.
        """
        if not new:
            return {}
        settings = self._settings()
        found = {}
        for job_id, job in slots.full_jobs([job.id for job in new]).items():
            problems = validation.job_problems(job, now=now, settings=settings)
            if problems:
                found[job_id] = describe(problems)
        return found

    def _disable(
        self, job_id: int, name: str, reason: str, watermark: datetime | None, now: datetime
    ) -> None:
        """Switch a broken job off. Whoever repairs it may run its slots from `watermark` on."""
        since = watermark or now
        if disable_job(job_id, now=now, error=reason, missed_from=since):
            emit("job.disabled", job=name, job_id=job_id, reason=reason)
