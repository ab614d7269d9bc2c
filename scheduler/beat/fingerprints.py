"""Beat compares each job's watermark with its schedule: once after beat's start, in batches.

A configuration is read when a process starts. So the calendar, the default zone or the zone rules
of the next beat may differ from those that a watermark was computed from, and a slot that has moved
to an earlier time would be found too late. Between two batches the tick does what is due.

Beats of a rolling deployment differ for a while. The beat that started last has compared all jobs.
A beat that has done so lets a slot of another living beat run as it was planned, and does not
compute it anew: two beats would do so in turns. When a beat has gone, the others compare all jobs
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from django.db import Error

from scheduler.beat.planning import report_moved
from scheduler.clock import Clock
from scheduler.conf import SchedulerSettings
from scheduler.events import emit
from scheduler.operations.liveness import alive_processes
from scheduler.schedule import ScheduleError, schedule_of
from scheduler.schedule.fingerprint import fingerprint_of
from scheduler.schedule.full_text import spread_text
from scheduler.schedule.watermark import first_owed, is_changed, nominal_at
from scheduler.states import ProcessKind
from scheduler.store import slots, watermarks
from scheduler.transient import in_transaction, is_outage

_READ_BATCH: Final = 2000
#: To correct a job costs an UPDATE, and due jobs wait for a step: some 100 ms.
_MOST_CORRECTED: Final = 100
_BEATS_SECONDS: Final = 5
#: So many moved runs are reported one by one. The last line has the number of all of them.
_MOST_REPORTED: Final = 100
_INSTANT: Final = timedelta(microseconds=1)
_ROW_ERRORS: Final = (Error, ValueError, TypeError, ArithmeticError)

_Change = watermarks.Adopted | watermarks.Moved


class Comparison:
    """How far the comparison has come. Kept in memory: the next start begins anew."""

    def __init__(self) -> None:
        self._after = 0
        self._is_done = False
        self._beats: frozenset[str] = frozenset()
        self._next_look = 0.0
        self._moved = 0
        # Jobs that another process had locked.
        self._left: set[int] = set()

    @property
    def is_done(self) -> bool:
        return self._is_done

    def decides(self, job_id: int, clock: Clock) -> bool:
        """Whether this beat may compute the watermark of a job anew in a tick."""
        if not self._is_done and job_id > self._after:
            return True
        self._look_at_beats(clock)
        return len(self._beats) <= 1

    def step(self, clock: Clock, settings: SchedulerSettings) -> None:
        """Compare the next batch, and correct some jobs of it."""
        looked = self._look_at_beats(clock)
        if self._is_done:
            if looked and self._left:
                self._correct_left(clock, settings)
            return
        rows, last = watermarks.fingerprints_after(self._after, _READ_BATCH)
        expected = _expected(rows, settings)
        differing = [row.id for row in rows if row.schedule_fingerprint != expected[row.id]]
        batch = differing[: min(settings.batch_size, _MOST_CORRECTED)]
        if batch:
            self._correct(batch, clock, settings)
        if len(batch) < len(differing):
            self._after = batch[-1]
        elif last is None:
            self._is_done = True
            if self._moved:
                emit("job.replanned_all", jobs=self._moved)
        else:
            self._after = last

    def _look_at_beats(self, clock: Clock) -> bool:
        """Every few seconds. When a beat has gone, begin anew. Returns whether it was time."""
        monotonic = clock.monotonic()
        if monotonic < self._next_look:
            return False
        self._next_look = monotonic + _BEATS_SECONDS
        alive = alive_processes(clock.now()).filter(kind=ProcessKind.BEAT)
        beats = frozenset(alive.values_list("name", flat=True))
        if self._beats - beats:
            self._after, self._is_done, self._moved = 0, False, 0
        self._beats = beats
        return True

    def _correct_left(self, clock: Clock, settings: SchedulerSettings) -> None:
        tried = sorted(self._left)[: settings.batch_size]
        self._left -= set(tried)
        rows = watermarks.fingerprints_of(tried)
        expected = _expected(rows, settings)
        differing = [row.id for row in rows if row.schedule_fingerprint != expected[row.id]]
        if differing:
            self._correct(differing, clock, settings)

    def _correct(self, ids: Sequence[int], clock: Clock, settings: SchedulerSettings) -> None:
        try:
            self._correct_together(ids, clock, settings)
        except _ROW_ERRORS as error:
            if is_outage(error):
                raise
            if len(ids) > 1:
                # One row that cannot be read must not stop the others.
                for job_id in ids:
                    self._correct([job_id], clock, settings)

    def _correct_together(
        self, ids: Sequence[int], clock: Clock, settings: SchedulerSettings
    ) -> None:
        def work() -> list[tuple[slots.DueJob, datetime | None]]:
            now = clock.now()
            changes: dict[int, _Change] = {}
            moved: list[tuple[slots.DueJob, datetime | None]] = []
            claimed = watermarks.claim_jobs(ids)
            self._left |= set(ids) - {job.id for job in claimed}
            for job in claimed:
                try:
                    change = change_of(job, settings, now)
                except ScheduleError:
                    continue  # the tick says so, when the job is due
                if change is not None:
                    changes[job.id] = change
                if isinstance(change, watermarks.Moved) and job.next_run_at not in (
                    None, change.next_run_at
                ):  # fmt: skip
                    moved.append((job, change.next_run_at))
            watermarks.correct(changes)
            return moved

        for job, to in in_transaction(work):
            self._moved += 1
            if self._moved <= _MOST_REPORTED:
                report_moved(job, to)


def _expected(
    rows: Sequence[watermarks.StoredFingerprint], settings: SchedulerSettings
) -> dict[int, str | None]:
    """The fingerprint that each job should have. Where there is none, the stored one."""
    known: dict[tuple[str, str, str], str | None] = {}
    expected = {}
    for row in rows:
        columns = (spread_text(row), row.timezone, row.calendar)
        if columns not in known:
            try:
                known[columns] = fingerprint_of(row, settings)
            # SQL may have typed anything. The tick says what is wrong, when the job is due.
            except Exception:  # noqa: BLE001
                known[columns] = None
        expected[row.id] = known[columns] or row.schedule_fingerprint
    return expected


def change_of(job: slots.DueJob, settings: SchedulerSettings, now: datetime) -> _Change | None:
    """What becomes of the watermark of a locked job. None: it stays. Raises ScheduleError."""
    fingerprint = fingerprint_of(job, settings)
    if job.schedule_fingerprint == fingerprint:
        return None
    if is_changed(job, settings):
        first = first_owed(job, settings)
        if not job.is_enabled:
            return watermarks.Moved(
                schedule_fingerprint=fingerprint,
                next_run_at=job.next_run_at and (first or job.next_run_at),
                missed_from=job.missed_from and (first or job.missed_from),
            )
        return watermarks.Moved(
            schedule_fingerprint=fingerprint,
            # Without a further slot the job is due: the tick ends it.
            next_run_at=job.next_run_at and (first or now),
            missed_from=job.missed_from,
        )
    return _adopted(job, settings, fingerprint, now)


def _adopted(
    job: slots.DueJob, settings: SchedulerSettings, fingerprint: str, now: datetime
) -> _Change | None:
    """The watermark as it is. All slots before it are settled, and so are all before now."""
    begin = job.next_run_at if job.is_enabled else job.missed_from or job.next_run_at
    if begin is None or (job.is_enabled and begin <= now):
        return None  # the tick plans it
    schedule = schedule_of(job, settings)
    settled = min(now, begin - _INSTANT)
    before = schedule.last_until(settled)
    return watermarks.Adopted(
        schedule_fingerprint=fingerprint,
        last_slot_at=settled,
        last_nominal_at=nominal_at(schedule, before) if before else None,
    )
