"""Where the runs of a worker process come from: it asks the table for as many as it has places for.

One thread claims, another one writes what has ended, so that neither waits for the other's
statements. Messages only wake up the first one; without any it looks every second.
"""

from __future__ import annotations

import random as random_module
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any

from django.db import Error, close_old_connections, connection

from scheduler.clock import Clock, pause, since_boot
from scheduler.conf import SchedulerSettings, current
from scheduler.events import emit
from scheduler.limits import limit_connection
from scheduler.operations.queues import paused_names
from scheduler.store.claims import Floors, MostUrgent
from scheduler.worker.executor import Begun, Executor
from scheduler.worker.expected import Expected
from scheduler.worker.lease import HeldRun, LeaseKeeper

#: So many wake-ups go out after a claim that found a process idle and left it full: one was seen
#: to take too long to reach all idle processes where some get lost.
WAKE_UPS = 2
# Processes that were started together do not look together.
_SPREAD = 0.2
_FORGET_SECONDS = 1.0
_LOOK_SECONDS = 1.0
_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 5.0
_CHECK_SECONDS = 1.0
_WORTH_A_CLAIM = 25
_GATHER_SECONDS = 0.003
# A worker that is told to end is not woken in all cases.
_IDLE_SECONDS = 1.0
_WATCH_SECONDS = 0.5
# A prefork child goes back to Celery after so long, for Celery's own housekeeping.
_STAY_SECONDS = 60.0


class Source:
    """The queues of a process and what it remembers of them."""

    def __init__(
        self,
        *,
        clock: Clock,
        queues: Callable[[], Sequence[str]],
        wake_others: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._queues = queues
        self._wake_others = wake_others
        self._floors = Floors()
        self._forget_at = 0.0
        self._paused: frozenset[str] = frozenset()
        self._look_at = 0.0
        #: Of runs that may start since runs of this child have ended (work_alone).
        self.runnable: frozenset[str] = frozenset()

    def choice(self, places: int) -> MostUrgent:
        """What to claim for so many free places."""
        if self._clock.monotonic() >= self._forget_at:
            self.forget()
        return MostUrgent(self._open_queues(), places, self._floors)

    def _open_queues(self) -> tuple[str, ...]:
        """Those that nobody has paused. A pause holds within a second."""
        if self._clock.monotonic() >= self._look_at:
            try:
                self._paused = paused_names(self._clock.now())
                self._look_at = self._clock.monotonic() + _LOOK_SECONDS
            except Error:
                # An outage must not keep a child from the end of its run, which comes next. What
                # was paused stays so, and the claim meets the outage by itself.
                connection.close()
        return tuple(queue for queue in self._queues() if queue not in self._paused)

    def forget(self) -> None:
        """Rows may lie before the places where the last claims found theirs."""
        self._floors.forget()
        self._forget_at = self._clock.monotonic() + _FORGET_SECONDS

    def wake_others(self, runs: Sequence[HeldRun]) -> None:
        """There may be more in the queue of these runs than this process takes."""
        if runs:
            self._wake_others(runs[-1].row.queue)

    def ours_of(self, queues: frozenset[str]) -> frozenset[str]:
        """Those of these queues that this process takes runs from."""
        return queues.intersection(self._queues())

    def wake(self, queues: frozenset[str]) -> None:
        """Runs of these queues may start, and this process does not take them."""
        for queue in sorted(queues):
            self._wake_others(queue)


class Fetcher:
    """Claims and reports in threads of its own, for a process that runs many at once."""

    def __init__(
        self,
        *,
        executor: Executor,
        leases: LeaseKeeper,
        clock: Clock,
        source: Source,
        places: int,
        settings: Callable[[], SchedulerSettings] = current,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self._executor = executor
        self._leases = leases
        self._clock = clock
        self._source = source
        self.places = places
        self._settings = settings
        self._random = random
        # SQLite has one writer at a time, and lets another one wait for up to a tenth of a second.
        turn = threading.Lock() if connection.vendor == "sqlite" else nullcontext()
        self._claims = _Loop("jobu-fetcher", self._claim, self._seconds_to_claim, turn)
        self._reports = _Loop("jobu-reporter", self._report, lambda: _IDLE_SECONDS, turn)
        self._watch = threading.Thread(target=self._watch_runs, name="jobu-watch", daemon=True)
        self._ended: deque[HeldRun] = deque()
        self._is_closed = False
        self._may_be_more = True
        self._was_full = self._must_forget = False
        self._poll_at = 0.0
        self._expected = Expected(clock)

    def start(self) -> None:
        self._claims.start(until=lambda: self._is_ending)
        self._reports.start(until=lambda: self._claims.has_ended and self._is_empty)
        self._watch.start()

    def poke(self, slot_at: datetime | None = None) -> None:
        """Something may have become runnable, or will be just after `slot_at`. From any thread."""
        self._may_be_more = True
        if slot_at is not None:
            self._expected.announce(slot_at)
        self._claims.wake()

    def became_runnable(self, queues: frozenset[str]) -> None:
        """Runs of these queues may start, because runs of this process have ended."""
        ours = frozenset[str]() if self._is_ending else self._source.ours_of(queues)
        self._source.wake(queues - ours)
        if ours:
            # The claim that is under way may set a floor above them.
            self._must_forget = True
            self.poke()

    def run_ended(self, held: HeldRun) -> None:
        """From any thread."""
        self._ended.append(held)
        self._reports.wake()

    def close(self) -> None:
        """Claim nothing more. What runs goes on."""
        self._is_closed = True
        self._claims.wake()

    def join(self, seconds: float) -> bool:
        """Wait until everything that runs has ended and is written. False: it has not."""
        until = self._clock.monotonic() + seconds
        self._claims.join(seconds)
        self._reports.wake()
        self._reports.join(max(0.0, until - self._clock.monotonic()))
        return self._reports.has_ended

    @property
    def _is_ending(self) -> bool:
        return self._is_closed or self._leases.is_draining

    @property
    def _is_empty(self) -> bool:
        return not self._leases.running_task_count

    # --- claims -----------------------------------------------------------------------------------

    def _seconds_to_claim(self) -> float:
        if self._is_ending or self._leases.running_task_count >= self.places:
            return _IDLE_SECONDS
        if self._may_be_more:
            return 0.0
        return min(_IDLE_SECONDS, max(0.0, self._next_look() - self._clock.monotonic()))

    def _next_look(self) -> float:
        return min(self._poll_at, self._expected.next_look())

    def _claim(self) -> None:
        free = self.places - self._leases.running_task_count
        is_due = self._may_be_more or self._clock.monotonic() >= self._next_look()
        if self._is_ending or free <= 0 or not is_due:
            return
        if self._was_full and free < min(_WORTH_A_CLAIM, self.places // 4):
            # There is more than this process can take: a claim of one costs as much as one of ten.
            pause(_GATHER_SECONDS)
            free = self.places - self._leases.running_task_count
        # Before the claim: a wake-up that comes meanwhile must not be lost.
        self._may_be_more = False
        if self._must_forget:
            self._must_forget = False
            self._source.forget()
        began_at = self._clock.monotonic()
        try:
            begun = self._executor.claim(self._source.choice(free))
        except BaseException:
            self._may_be_more = True
            raise
        self._expected.looked(began_at, found=bool(begun.runs))
        spread = 1 + _SPREAD * (2 * self._random() - 1)
        seconds = self._settings().poll_interval_seconds
        self._poll_at = self._clock.monotonic() + seconds * spread
        # Not into places that were freed just now: that would be a message for every few runs.
        if begun.is_full and not self._was_full and len(begun.runs) >= self.places:
            self._source.wake_others(begun.runs)
        self._was_full = begun.is_full
        if begun.is_full:
            self._may_be_more = True
        else:
            self._source.forget()

    # --- ends -------------------------------------------------------------------------------------

    def _report(self) -> None:
        ended = []
        while self._ended:
            ended.append(self._ended.popleft())
        if ended:
            self._executor.report(ended)
            if self._may_be_more:
                self._claims.wake()

    def _watch_runs(self) -> None:
        while not self._reports.has_ended:
            pause(_WATCH_SECONDS)
            self._executor.give_up_stuck()


class _Loop:
    """A thread with a connection of its own that does `work` when it is woken, or in time.

    It outlives all errors: without it no run of this process would begin, or be written. `turn` is
    entered around `work`.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], None],
        seconds_to_wait: Callable[[], float],
        turn: AbstractContextManager[Any],
    ) -> None:
        self._name = name
        self._work = work
        self._seconds_to_wait = seconds_to_wait
        self._turn = turn
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._has_ended = False

    def start(self, *, until: Callable[[], bool]) -> None:
        self._thread = threading.Thread(
            target=self._run, args=(until,), name=self._name, daemon=True
        )
        self._thread.start()

    def wake(self) -> None:
        self._wake.set()

    def join(self, seconds: float) -> None:
        if self._thread is not None:
            self._thread.join(seconds)

    @property
    def has_ended(self) -> bool:
        return self._has_ended

    def _run(self, until: Callable[[], bool]) -> None:
        limit_connection(in_constant_use=True)
        backoff_seconds, is_failing, check_at = _FIRST_BACKOFF_SECONDS, False, 0.0
        try:
            while not until():
                self._wake.wait(self._seconds_to_wait())
                self._wake.clear()
                try:
                    # Django asks the server before the next statement. Once a second is enough.
                    if since_boot() >= check_at:
                        check_at = since_boot() + _CHECK_SECONDS
                        close_old_connections()
                    with self._turn:
                        self._work()
                except Exception as error:  # noqa: BLE001
                    connection.close()
                    if not is_failing:
                        emit("fetch.failed", error=f"{type(error).__name__}: {error}")
                    is_failing = True
                    pause(backoff_seconds)
                    backoff_seconds = min(2 * backoff_seconds, _LONGEST_BACKOFF_SECONDS)
                else:
                    backoff_seconds, is_failing = _FIRST_BACKOFF_SECONDS, False
        finally:
            self._has_ended = True
            connection.close()


def work_alone(
    executor: Executor, source: Source, *, clock: Clock, must_return: Callable[[], bool]
) -> None:
    """Run what there is, one after the other. Blocks until there is nothing, or `must_return`.

    For a prefork child. Raises the errors of the database: Celery reports them, and the worker's
    main process sends a child back to work.
    """
    until = clock.monotonic() + _STAY_SECONDS
    begun = _next(executor, source, executor.claim(source.choice(1)))
    if begun.runs and begun.is_full:
        source.wake_others(begun.runs)
    while begun.runs:
        (held,) = begun.runs
        executor.wait_for(held)
        if must_return() or clock.monotonic() >= until:
            executor.report([held])
            source.wake(source.runnable | {held.row.queue})
            source.runnable = frozenset()
            return
        begun = _next(executor, source, _end_and_claim(executor, source, held))
        begun = _what_it_let_go_on(executor, source, begun)


def _end_and_claim(executor: Executor, source: Source, held: HeldRun) -> Begun:
    """The turn of a child. Whatever goes wrong with the claim, the end of the run is written.

    Otherwise the run would be held, and its lease renewed, for as long as this process lives.
    """
    try:
        return executor.report_and_claim(held, source.choice(1))
    except Exception:
        executor.report_if_held(held)
        raise


def _what_it_let_go_on(executor: Executor, source: Source, begun: Begun) -> Begun:
    """The end of a run may let others start. The claim in its transaction was chosen before."""
    runnable, source.runnable = source.runnable, frozenset()
    ours = frozenset[str]() if begun.runs else source.ours_of(runnable)
    source.wake(runnable - ours)
    if not ours:
        return begun
    source.forget()
    return _next(executor, source, executor.claim(source.choice(1)))


def _next(executor: Executor, source: Source, begun: Begun) -> Begun:
    """Go on while the claim found rows, and all of them had to wait or were given up."""
    while not begun.runs and begun.is_full:
        begun = executor.claim(source.choice(1))
    if not begun.runs:
        source.forget()
    return begun
