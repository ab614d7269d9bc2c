"""One tick of beat: due jobs become executions, workers are woken for them, lost runs are rescued.

Any number of beats may tick at once. Each step is a transaction of its own, and another beat may
have done it already. Beat remembers no job between two ticks.
"""

from __future__ import annotations

import math
import random as random_module
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from django.utils import translation

from scheduler import failpoints
from scheduler.alerts.evaluation import Evaluation
from scheduler.alerts.outward import Outward
from scheduler.beat import backfill_steps, counting, pauses, upstreams
from scheduler.beat.courier import WORKERS_FIRST_SECONDS
from scheduler.beat.fingerprints import Comparison
from scheduler.beat.freezes import Freezes
from scheduler.beat.groups import Groups
from scheduler.beat.recording import Recorder
from scheduler.beat.rescue import rescue_expired
from scheduler.beat.switches import Switches
from scheduler.clock import Clock, pause
from scheduler.conf import SchedulerSettings, current
from scheduler.events import emit
from scheduler.states import RunStatus
from scheduler.store import (
    activity,
    approvals,
    backfills,
    counters,
    failures,
    heads,
    last_results,
    processes,
    retention,
    shard_changes,
    slots,
)
from scheduler.transient import ROW_ERRORS, in_transaction, is_outage
from scheduler.wakeup_messages import MOST_WAITING, Sender
from scheduler.worker.reporting import parent_ended

# How soon a tick asks again when another beat holds the due work.
_CONTENDED_SECONDS = 0.05
# A timer may end early. Beat wakes just after the slot, to save a tick that finds nothing.
_LATE_SECONDS = 0.00002
_MAINTENANCE_SECONDS = 2
_PRUNE_BATCH = 1000
_OLDER_RESULTS = 5000
# Work that is older has been taken by nobody: its queue is woken again, this often at most.
_TAKEN_SECONDS = 1
# Retries and jitter may become available at any microsecond. A tick serves those of this span.
_SHORTEST_SECONDS = 0.01


class Dispatcher:
    """The steps of a tick. In production `clock` is the database's clock."""

    def __init__(
        self,
        *,
        clock: Clock,
        sender: Sender,
        settings: Callable[[], SchedulerSettings] = current,
        random: Callable[[], float] = random_module.random,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._clock = clock
        self.sender = sender
        self._stopping = stopping
        self._settings = settings
        self._random = random
        self._healthy_since: float | None = None
        self._next_sweep = 0.0
        self._next_maintenance = 0.0
        self._next_prune = 0.0
        self._results_since: datetime | None = None
        self._older_results_until: datetime | None = None
        self._looked_at: datetime | None = None
        self._has_news = True
        #: Whether the sleep after the last tick ends at the instant of a slot.
        self.awaits_slot = False
        # In this tick.
        self._woken: frozenset[str] = frozenset()
        self._began_at: datetime = datetime.min.replace(tzinfo=UTC)
        self._next_wakes = 0.0
        self._backfills = backfill_steps.Step()
        self._waits = upstreams.Waits()
        self._comparison = Comparison()
        self._groups = Groups()
        self._freezes = Freezes()
        self._recorder = Recorder(
            clock=clock,
            settings=settings,
            decides=lambda job_id: self._comparison.decides(job_id, clock),
            wake=self._wake_at_once,
            stopping=stopping,
        )
        self._alerts = Evaluation(clock, settings)
        self._outward = Outward(clock, settings)
        self._switches = Switches(clock)

    def tick(self) -> float:
        """Do all that is due. Returns the seconds to sleep.

        Database errors are raised. The steps that were committed before stay, and the next tick
        does the others. So it is when `stopping`: no further step begins.
        """
        self._woken, self.awaits_slot = frozenset(), False
        self._began_at = self._clock.now()
        if self._healthy_since is None:
            self._healthy_since = self._clock.monotonic()
        # What is wrong with a row is stored and logged for everybody, so in English.
        with translation.override("en"):
            self._groups.write(self._clock, self._settings())
            worked = self._recorder.record_due()
            if self._woken:
                # Workers begin just now, perhaps on the same two processors. All else can wait.
                pause(WORKERS_FIRST_SECONDS)
            steps = (
                self._recorder.plan_new,
                self._advance_backfills,
                self._settle_waits,
                self._rescue,
                self._wake_workers,
                self._maintenance,
                self._compare,
                self._alerts.step,  # what people are told may come later than what runs
                self._outward.step,
                self._switches.step,
            )
            for step in steps:
                if self._stopping():
                    return 0.0
                worked |= step()
        return self._seconds_to_sleep(worked)

    def get_ready(self) -> float:
        """Call it just before a slot (`awaits_slot`). Writes nothing; raises database errors.

        Workers get ready, too: one that is woken finds nothing yet, and looks again at the slot.
        Returns how many seconds before the slot the next tick is to begin.
        """
        with translation.override("en"):
            awaited = self._recorder.rehearse()
        if awaited.queues and self.sender.ready():
            self.sender.send(dict.fromkeys(awaited.queues, 1), awaited.slot_at)
        return awaited.early_seconds

    def interrupted(self) -> None:
        """The database was away. Rescue waits until it has answered for one whole lease.

        All leases ran out in the outage, and the workers must be able to renew them first.
        """
        self._healthy_since = None

    # --- due jobs become executions --------------------------------------------------------------

    def _advance_backfills(self) -> bool:
        step = backfill_steps.advance(self._clock, self._settings(), after=self._backfills.after)
        self._backfills = step
        self._has_news |= step.made > 0
        return step.made > 0

    def _settle_waits(self) -> bool:
        """Returns False: a run that may start now is no work for beat."""
        self._wake_at_once(self._waits.settle(self._clock))
        return False

    # --- workers are woken -----------------------------------------------------------------------

    def _wake_at_once(self, queues: frozenset[str]) -> None:
        if queues and self.sender.ready():
            failpoints.point("wakeup.due")
            self.sender.send(dict.fromkeys(queues, MOST_WAITING))
            self._woken |= queues
        else:
            self._has_news |= bool(queues)

    def _wake_workers(self) -> bool:
        """Wake the workers of queues with work that this tick has not woken yet.

        All these queues where there is something new, else those whose work nobody has taken.
        Returns False: it makes no work for a next tick.
        """
        now, monotonic = self._clock.now(), self._clock.monotonic()
        since, self._looked_at = self._looked_at, now
        if not self._has_news:
            new_at = heads.next_available_at(since) if since is not None else now
            self._has_news = new_at is not None and new_at <= now
        if not (self._has_news or monotonic >= self._next_wakes) or not self.sender.ready():
            return False
        taken = timedelta(seconds=0 if self._has_news else _TAKEN_SECONDS)
        queues = set(heads.runnable_queues(now - taken)) - self._woken
        self._has_news = False
        self._next_wakes = monotonic + _TAKEN_SECONDS
        failpoints.point("wakeup.due")
        if queues:
            self.sender.send(dict.fromkeys(sorted(queues), MOST_WAITING))
        return False

    # --- now and then ----------------------------------------------------------------------------

    def _rescue(self) -> bool:
        settings = self._settings()
        monotonic = self._clock.monotonic()
        if monotonic < self._next_sweep or self._healthy_since is None:
            return False
        if monotonic - self._healthy_since < settings.lease_seconds:
            return False
        self._next_sweep = monotonic + settings.sweep_interval_seconds
        rescued = rescue_expired(self._clock.now(), settings, random=self._random)
        for run in rescued:
            emit(
                "execution.rescued",
                execution_id=run.execution_id,
                job=run.job_name,
                status=run.status.value,
                reason=run.reason,
            )
        may_run = any(run.status == RunStatus.PENDING for run in rescued)
        self._end_parents()
        self._has_news |= may_run
        return may_run

    def _end_parents(self) -> None:
        """The net below the ends of last shards: what SQL or a claim has ended."""
        ended, queues = shard_changes.sweep(self._clock.now(), self._settings().batch_size)
        for parent in ended:
            parent_ended(parent)
        self._has_news |= bool(queues)

    def _maintenance(self) -> bool:
        """Returns False: it makes no work for a next tick."""
        settings = self._settings()
        monotonic = self._clock.monotonic()
        if monotonic < self._next_maintenance:
            return False
        self._next_maintenance = monotonic + _MAINTENANCE_SECONDS
        now = self._clock.now()
        self._refresh_last_results(now, settings)
        counting.count_ends(self._clock, settings)
        self._has_news |= bool(self._groups.step(self._clock))
        self._freezes.step(self._clock, settings)
        if approvals.any_over(now):
            skipped = in_transaction(lambda: approvals.expire(now, settings.batch_size))
            if skipped:
                emit("approvals.expired", executions=skipped)
        resumed = pauses.end_pauses(self._clock, settings)
        if resumed:
            emit("job.resumed", jobs=resumed)
        if monotonic >= self._next_prune:
            pruned = self._prune(now, settings)
            # Small batches: a big DELETE would hold its locks, and a SQLite file, for long.
            self._next_prune = monotonic + (60 if pruned < _PRUNE_BATCH else 1)
        return False

    def _compare(self) -> bool:
        """One step of the comparison of all watermarks. Returns whether there are more."""
        self._comparison.step(self._clock, self._settings())
        return not self._comparison.is_done

    def _refresh_last_results(self, now: datetime, settings: SchedulerSettings) -> None:
        # The windows overlap, because a worker's `now` is older than its commit.
        begin = self._results_since or now - timedelta(seconds=60)
        since = begin - timedelta(seconds=10)
        shown = last_results.refresh_last_results(since, now)
        if self._results_since is None:
            self._older_results_until = since
        # The jobs that were locked get their results in the next round.
        self._results_since = begin if shown.left_out else now
        self._refresh_older_results(now - timedelta(days=settings.retention_days))

    def _refresh_older_results(self, since: datetime) -> None:
        """One step back through the history, for runs that ended while no beat was there."""
        until = self._older_results_until
        if until is None:
            return
        try:
            older = last_results.refresh_older_results(since, until, _OLDER_RESULTS)
        except ROW_ERRORS as error:
            if is_outage(error):
                raise
            older = None  # an old row cannot be read; a summary must not stop beat
        self._older_results_until = older

    def _prune(self, now: datetime, settings: SchedulerSettings) -> int:
        before = now - timedelta(days=settings.retention_days)
        pruned = retention.prune(before, _PRUNE_BATCH)
        backfills.prune(before, _PRUNE_BATCH)
        failures.prune(before, _PRUNE_BATCH)
        processes.forget_silent_processes(now - timedelta(days=1))
        counters.forget_deleted_jobs()
        if settings.activity_retention_days:
            activity.prune(now - timedelta(days=settings.activity_retention_days), _PRUNE_BATCH)
        if pruned:
            emit("history.pruned", executions=pruned, days=settings.retention_days)
        return pruned

    def _seconds_to_sleep(self, worked: bool) -> float:
        """Until the next instant with work, at most the poll interval with its jitter."""
        settings = self._settings()
        # Jitter: beats that started together must not tick together.
        longest = settings.poll_interval_seconds * (0.8 + 0.4 * self._random())
        longest = min(longest, settings.max_sleep_seconds)
        if self._backfills.are_active:
            # A run of a backfill that ends makes room for the next one: look without jitter.
            longest = min(longest, settings.poll_interval_seconds)
        if self._backfills.after or not self._comparison.is_done:
            return 0.0  # this tick could not look at all of them
        # What became available since the last look counts, too. Retries have no other alarm.
        available_at = heads.next_available_at(self._looked_at or self._clock.now())
        due_at = slots.next_due_at()
        now = self._clock.now()  # after the questions: the sleep begins here
        self._recorder.expect(due_at, now)
        # Due when this tick looked, and still due. One that has come since is for the next tick.
        is_held = not worked and due_at is not None and due_at <= self._began_at
        until_slot = _wait(due_at, now, _CONTENDED_SECONDS if is_held else 0.0)
        seconds = min(longest, until_slot, _wait(available_at, now, _SHORTEST_SECONDS))
        self.awaits_slot = seconds == until_slot
        return seconds


def _wait(instant: datetime | None, now: datetime, shortest: float) -> float:
    if instant is None:
        return math.inf
    return max((instant - now).total_seconds() + _LATE_SECONDS, shortest)
