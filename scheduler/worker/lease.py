"""One thread per process looks after all its runs.

It renews their leases, notices cancellations and saves their reports. The executor says which runs
to keep. The keeper stops a run with a reason, and the executor writes its end.
"""

from __future__ import annotations

import mmap
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from django.db import close_old_connections, connection

from handlers.context import PROGRESS_MESSAGE_BYTES
from handlers.runner import Outcome
from scheduler.clock import Clock
from scheduler.conf import SchedulerSettings, current
from scheduler.events import emit
from scheduler.limits import limit_connection
from scheduler.operations.redaction import Redactor
from scheduler.store import claims, run_reports, runs
from scheduler.transient import is_outage, is_transient
from scheduler.worker.bridge import Run
from scheduler.worker.verdict import StopReason, Verdict

# Without a renewal for this part of the lease the process stops its runs, before beat rescues them.
_ABANDON_SHARE = 0.8
_LOOP_ANSWERS_SECONDS = 1.0


class RunReport:
    """Collects what a handler reports, log lines and progress, until the keeper saves it.

    Called from the loop and from threads of handlers. Never blocks for long, never raises.
    `redact` takes the secrets of the run's params out of each text.
    """

    def __init__(
        self,
        now: Callable[[], datetime],
        max_lines: int,
        redact: Callable[[str], str] = lambda text: text,
    ) -> None:
        self._now = now
        self._max_lines = max_lines
        self._redact = redact
        self._lock = threading.Lock()
        self._saving = threading.Lock()
        self._lines: list[run_reports.LogLine] = []
        self._count = 0
        self._maybe_saved = False
        self._progress: tuple[float | None, str] | None = None

    def log(self, level: str, message: str) -> None:
        at = self._now()
        message = self._redact(message)
        with self._lock:
            self._count += 1
            if self._count == self._max_lines + 1:
                level, message = (
                    "WARNING",
                    f"more than {self._max_lines} lines; the rest is not kept",
                )
            if self._count <= self._max_lines + 1:
                self._lines.append(
                    run_reports.LogLine(seq=self._count, at=at, level=level, message=message)
                )

    def progress(self, percent: float | None, message: str) -> None:
        message = self._redact(message)[:PROGRESS_MESSAGE_BYTES]
        with self._lock:
            self._progress = (percent, message)

    @contextmanager
    def taken(self, *, wait_seconds: float = 0.0) -> Iterator[run_reports.Report]:
        """What was reported since the last block. A block that raises puts it back.

        While another thread is in such a block, it waits for it, or else the report is empty: the
        end of a run must not miss the lines that the other one saves, and may fail to save.
        """
        is_alone = self._saving.acquire(timeout=wait_seconds)
        report = self._take() if is_alone or wait_seconds else run_reports.Report()
        try:
            yield report
        except BaseException:
            self._put_back(report)
            raise
        finally:
            if is_alone:
                self._saving.release()

    def _take(self) -> run_reports.Report:
        with self._lock:
            report = run_reports.Report(
                lines=self._lines, progress=self._progress, maybe_saved=self._maybe_saved
            )
            self._lines, self._progress, self._maybe_saved = [], None, False
        return report

    def _put_back(self, report: run_reports.Report) -> None:
        with self._lock:
            self._lines = [*report.lines, *self._lines]
            self._progress = self._progress or report.progress
            self._maybe_saved = True


@dataclass(eq=False, kw_only=True)
class HeldRun:
    """A run of this process, from its claim to its last write."""

    claimed: claims.Claimed
    report: RunReport
    claimed_at: float  # monotonic, before the claim: the lease in the table is not older
    redactor: Redactor
    # Monotonic. The answer to a claim may have come late, and its runs begin after that.
    began_at: float = float("inf")
    run: Run[Outcome] | None = None  # its coroutine on the loop
    stop_reason: StopReason | None = None
    stopped_at: float | None = None  # monotonic
    outcome: Outcome | None = None
    written: Verdict | None = None  # the verdict on it that is in the database
    report_failed: bool = False  # the last try to save the report failed
    report_refused: bool = False  # the database refuses a line; the verdict decides about it
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def row(self) -> claims.Candidate:
        return self.claimed.row

    @property
    def lease(self) -> runs.Lease:
        return self.claimed.lease

    @property
    def name(self) -> str:
        return f"execution {self.row.id} ({self.row.handler_name})"

    @property
    def task_name(self) -> str:
        """What handlers/runner.py calls the handler's own task on the loop."""
        return f"jobu-run-{self.row.id}"

    def stop(self, reason: StopReason, monotonic: float) -> None:
        """Cancel the run. Only the first call counts."""
        with self._lock:
            if self.stop_reason is not None:
                return
            self.stop_reason, self.stopped_at = reason, monotonic
        if self.run is not None:
            self.run.cancel()

    def end(self, outcome: Outcome) -> bool:
        """Its handler has ended, or was given up. Only the first call counts, and returns True."""
        with self._lock:
            if self.outcome is not None:
                return False
            self.outcome = outcome
            return True


class DrainFlag:
    """Tells all processes of a worker to take no more runs, and until when to finish.

    Either the worker ends, or a person has drained it, and it stays. The main process sets it and
    the children read it. It is shared memory made before the fork, because a prefork child does
    not get the parent's SIGTERM. All times: monotonic seconds, which are the same in all processes
    of a host.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 16)

    def set(self, until: float) -> None:
        """The worker ends."""
        self._put(0, until)

    def until(self) -> float | None:
        """None: it does not end."""
        return self._at(0)

    def set_by_person(self, until: float | None) -> None:
        """None: it may take runs again."""
        self._put(8, until or 0.0)

    @property
    def is_by_person(self) -> bool:
        return self._at(8) is not None

    def hands_back_at(self) -> float | None:
        """When what still runs is handed back, for either reason."""
        return min((at for at in (self._at(0), self._at(8)) if at is not None), default=None)

    def _put(self, place: int, value: float) -> None:
        self._memory[place : place + 8] = struct.pack("d", value)

    def _at(self, place: int) -> float | None:
        (value,) = struct.unpack("d", self._memory[place : place + 8])
        return value or None


class LeaseKeeper:
    """The runs of this process and the thread that looks after them. Made after the fork."""

    def __init__(
        self,
        *,
        clock: Clock,
        loop_answers: Callable[[float], bool],
        describe_loop: Callable[[], tuple[str, str]],
        drain: DrainFlag,
        settings: Callable[[], SchedulerSettings] = current,
    ) -> None:
        self._clock = clock
        self._loop_answers = loop_answers
        self._describe_loop = describe_loop
        self._drain = drain
        self._settings = settings
        self._lock = threading.Lock()
        self._runs: dict[str, HeldRun] = {}
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._closed = False
        self._renewed_at = 0.0
        self._failing = False
        self._loop_blocked = False

    @property
    def is_running(self) -> bool:
        return not self._closed and not self.is_draining

    @property
    def is_draining(self) -> bool:
        return self._drain.until() is not None

    @property
    def running_task_count(self) -> int:
        with self._lock:
            return len(self._runs)

    def hold(self, held: Sequence[HeldRun]) -> None:
        """Renew the leases of these runs from now on."""
        with self._lock:
            if not self._runs and held:
                # Nothing was held, so nothing was renewed. The new claim counts as a renewal.
                self._renewed_at = held[0].claimed_at
            self._runs |= {run.lease.token: run for run in held}
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep, name="jobu-lease", daemon=True)
                self._thread.start()

    def release(self, ended: Sequence[HeldRun]) -> None:
        with self._lock:
            for run in ended:
                self._runs.pop(run.lease.token, None)

    def held(self) -> list[HeldRun]:
        with self._lock:
            return list(self._runs.values())

    def may_still_write(self) -> bool:
        """False when the leases of this process may be lost because they were not renewed."""
        silent = self._clock.monotonic() - self._renewed_at
        return silent < _ABANDON_SHARE * self._settings().lease_seconds

    def close(self) -> None:
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(5)

    def save_report(self, run: HeldRun) -> None:
        """Save what the run has reported. An error is raised and loses no line."""
        # This thread looks after other runs, too. So it does not wait for a run that just ends.
        with run.report.taken() as report:
            run_reports.save_report(run.lease, report)

    def _keep(self) -> None:
        limit_connection()
        try:
            while not self._closed:
                # This wait is also how long a cancel stays unnoticed.
                self._wake.wait(self._settings().cancel_poll_seconds)
                self._wake.clear()
                self._round()
        finally:
            connection.close()

    def _round(self) -> None:
        held = self.held()
        if not held:
            return
        until = self._drain.hands_back_at()
        if until is not None and self._clock.monotonic() >= until:
            self._stop(held, StopReason.DRAIN)
        self._watch_loop(held)
        try:
            close_old_connections()
            self._look_after(held)
        # This thread must not end: it renews the lease of every run of this process.
        except Exception as error:  # noqa: BLE001
            connection.close()
            if not self._failing:
                self._failing = True
                emit("lease.failed", error=f"{type(error).__name__}: {error}")
        else:
            self._failing = False
        if not self.may_still_write():
            silent = self._clock.monotonic() - self._renewed_at
            emit("lease.abandoned", seconds=silent, runs=len(held))
            self._stop(held, StopReason.ABANDONED)

    def _look_after(self, held: Sequence[HeldRun]) -> None:
        settings = self._settings()
        leases = [run.lease for run in held]
        started = self._clock.monotonic()
        if started - self._renewed_at >= settings.heartbeat_seconds - settings.cancel_poll_seconds:
            report = runs.renew_leases(
                leases, now=self._clock.now(), lease_seconds=settings.lease_seconds
            )
            # The time before the statement: the lease in the table is not older than that.
            self._renewed_at = started
        else:
            report = runs.watch_leases(leases)
        for run in held:
            if run.lease.token in report.cancelled:
                run.stop(StopReason.CANCELLED, self._clock.monotonic())
            elif run.lease.token not in report.ours:
                # It was rescued. Or its own thread has just ended it: then stop() does nothing.
                run.stop(StopReason.LOST, self._clock.monotonic())
        self._save_reports([run for run in held if run.lease.token in report.ours])

    def _save_reports(self, held: Sequence[HeldRun]) -> None:
        """Save what each run has reported. A line that cannot be stored delays no other run.

        A packet that is too large looks like an outage. So a run whose last save failed comes last.
        """
        for run in sorted(held, key=lambda run: run.report_failed):
            if run.report_refused:
                continue
            run.report_failed = True
            try:
                self.save_report(run)
            # Whatever one line causes: the other runs are looked after.
            except Exception as error:
                if is_outage(error):
                    raise
                run.report_refused = not is_transient(error)
                if run.report_refused:
                    emit(
                        "report.refused",
                        execution_id=run.lease.execution_id,
                        error=type(error).__name__,
                    )
            else:
                run.report_failed = False

    def _stop(self, held: Sequence[HeldRun], reason: StopReason) -> None:
        for run in held:
            run.stop(reason, self._clock.monotonic())

    def _watch_loop(self, held: Sequence[HeldRun]) -> None:
        if self._loop_answers(_LOOP_ANSWERS_SECONDS):
            self._loop_blocked = False
        elif not self._loop_blocked:
            self._loop_blocked = True
            running, stack = self._describe_loop()
            culprits = [run.name for run in held if run.task_name == running]
            names = ", ".join(culprits) or running or ", ".join(run.name for run in held)
            emit("loop.blocked", seconds=_LOOP_ANSWERS_SECONDS, running=names, stack=stack)
