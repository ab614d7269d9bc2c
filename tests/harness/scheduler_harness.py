"""The scheduler inside the test process: real dispatchers and executors on the real database.

The test moves the clock. Wake-ups are kept, and wake nobody: the test says when a worker claims.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from handlers import BaseHandler, handler
from scheduler.beat.dispatcher import Dispatcher
from scheduler.clock import Clock
from scheduler.conf import SchedulerSettings, current
from scheduler.models import CronJob, JobAttempt, JobExecution
from scheduler.operations.control import Control
from scheduler.operations.redaction import Redactor
from scheduler.states import RunStatus
from scheduler.store import claims
from scheduler.store.runs import Lease
from scheduler.worker.bridge import Bridge
from scheduler.worker.django_connections import DjangoConnections
from scheduler.worker.executor import Executor
from scheduler.worker.lease import DrainFlag, HeldRun, LeaseKeeper, RunReport
from scheduler.worker.overlap import decide

# A Monday in winter, between two minutes.
START = datetime(2026, 1, 12, 10, 0, 30, tzinfo=UTC)


class FakeClock:
    """A clock that shows the same instant until a test moves it.

    `monotonic` also advances with the real time: the leases and timeouts of running handlers are
    measured on it.
    """

    def __init__(self, start: datetime = START) -> None:
        self._now = start
        self._advanced = 0.0

    def now(self) -> datetime:
        return self._now

    def estimate(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return time.monotonic() + self._advanced

    def advance(self, seconds: float) -> datetime:
        self._now += timedelta(seconds=seconds)
        self._advanced += seconds
        return self._now

    def restart(self) -> None:
        """Go back to START, for the next example of a property."""
        self._now = START

    def advance_to(self, instant: datetime) -> None:
        self.advance((instant - self._now).total_seconds())


class RecordingSender:
    """Keeps the wake-ups. `away`: the broker is known to be away."""

    def __init__(self) -> None:
        self.sent: list[Mapping[str, int]] = []
        self.announced: datetime | None = None
        self.away = False

    def ready(self) -> bool:
        return not self.away

    def send(self, times: Mapping[str, int], slot_at: datetime | None = None) -> None:
        self.sent.append(times)
        self.announced = slot_at

    def take(self) -> list[str]:
        """The queues that were woken since the last call, each as often as it was."""
        taken, self.sent = self.sent, []
        return [queue for times in taken for queue in times]


class ProcessEnded(BaseException):
    """Raised by the fake `end_process`, because the real one does not return."""


class Worker:
    """What one worker process holds: bridge, leases, executor."""

    def __init__(self, clock: Clock, owner: str) -> None:
        self.bridge = Bridge()
        self.drain = DrainFlag()
        self.ended: list[str] = []
        self.on_end: Callable[[HeldRun], None] = lambda held: None
        self.on_runnable: Callable[[frozenset[str]], None] = lambda queues: None
        self.on_success: Callable[[Collection[int]], None] = lambda job_ids: None
        self.leases = LeaseKeeper(
            clock=clock,
            loop_answers=self.bridge.answers,
            describe_loop=lambda: (self.bridge.loop_task_name(), self.bridge.loop_stack()),
            drain=self.drain,
        )
        self.executor = Executor(
            clock=clock,
            bridge=self.bridge,
            leases=self.leases,
            owner=owner,
            end_process=self._end,
            on_end=lambda held: self.on_end(held),
            on_runnable=lambda queues: self.on_runnable(queues),
            on_success=lambda job_ids: self.on_success(job_ids),
            hooks=DjangoConnections(),
            random=lambda: 0.5,
        )

    def execute(self, execution_id: object) -> RunStatus | None:
        """Claim this execution, run it and write its end. Blocks.

        Returns the status that was written. None: it could not be claimed, or was taken away.
        """
        if self.leases.is_draining:
            return None
        begun = self.executor.claim(claims.ByIds([execution_id]))  # type: ignore[list-item]
        for held in begun.runs:
            self.executor.wait_for(held)
            self.executor.report([held])
            return None if held.written is None else held.written.status
        return None

    def _end(self, reason: str) -> None:
        self.ended.append(reason)
        raise ProcessEnded(reason)

    def close(self) -> None:
        self.leases.close()
        self.bridge.close()


class SchedulerHarness:
    """The scheduler's parts, made for one test."""

    def __init__(self, settings: Any) -> None:
        self.clock = FakeClock()
        self.wakeups = RecordingSender()
        self._django = settings
        self._workers: list[Worker] = []
        self._numbers = count(1)
        self.control = Control(clock=self.clock)
        self.dispatcher = self.new_dispatcher()

    def configure(self, **changes: Any) -> None:
        self._django.JOBU = self._django.JOBU.model_copy(update=changes)

    @property
    def settings(self) -> SchedulerSettings:
        return current()

    def new_dispatcher(self) -> Dispatcher:
        # 0.5: back-off and poll interval come out as configured, without jitter.
        return Dispatcher(clock=self.clock, sender=self.wakeups, random=lambda: 0.5)

    def new_worker(self, owner: str = "", *, clock: Clock | None = None) -> Worker:
        worker = Worker(clock or self.clock, owner or f"worker{len(self._workers) + 1}")
        self._workers.append(worker)
        return worker

    @property
    def worker(self) -> Worker:
        return self._workers[0] if self._workers else self.new_worker()

    def handler(self, name: str, execute: Callable[..., Any], **options: Any) -> str:
        cls = type("Tested", (BaseHandler,), {"execute": execute, "__module__": __name__})
        handler(name, **options)(cls)
        return name

    def job(self, **values: Any) -> CronJob:
        """Create a job as an API call would; the first tick computes its `next_run_at`."""
        number = next(self._numbers)
        defaults = {
            "name": f"job{number}",
            "cron_expression": "* * * * *",
            "timezone": "UTC",
            "handler_name": "ok",
            "retry_backoff_seconds": 30,
        }
        return CronJob.objects.create(**{**defaults, **values})

    def execution(self, job: CronJob | None = None, **values: Any) -> JobExecution:
        """Create a PENDING execution that can be claimed now."""
        now = self.clock.now()
        defaults: dict[str, Any] = {
            "job": job,
            "job_name": job.name if job else "",
            "handler_name": job.handler_name if job else "ok",
            "params": job.handler_params if job else {},
            "max_retry": job.max_retry if job else 3,
            "scheduled_time": now - timedelta(seconds=next(self._numbers)),
            "available_at": now,
            "created_at": now,
        }
        return JobExecution.objects.create(**{**defaults, **values})

    def claim(self, row: JobExecution, owner: str = "gone") -> Lease:
        """The lease of a worker that claims this execution and then says nothing."""
        return self.claimed(row, owner).lease

    def claimed(self, row: JobExecution, owner: str = "gone") -> claims.Claimed:
        seconds = self.settings.lease_seconds
        claim = claims.Claim(owner=owner, lease_seconds=seconds, decide=decide)
        (claimed,) = claim.take(claims.ByIds([row.pk]), self.clock.now()).started
        return claimed

    def held(self, row: JobExecution) -> HeldRun:
        """A claimed run whose handler never begins."""
        return HeldRun(
            claimed=self.claimed(row),
            report=RunReport(lambda: START, 100),
            claimed_at=self.clock.monotonic(),
            redactor=Redactor({}),
        )

    def tick(self, times: int = 1) -> float:
        return [self.dispatcher.tick() for _ in range(times)][-1]

    def deliver(self) -> list[RunStatus | None]:
        """Execute what is runnable now, the most urgent first. Returns the states."""
        return [self.worker.execute(id_) for id_ in self.runnable()]

    def runnable(self) -> list[int]:
        """The executions that a worker could claim now, in its order."""
        rows = JobExecution.objects.filter(
            status=RunStatus.PENDING, available_at__lte=self.clock.now()
        )
        return list(rows.order_by("-priority", "available_at", "id").values_list("id", flat=True))

    def minutes(self, number: int) -> None:
        """Advance by `number` minutes; after each minute tick once and execute what is runnable."""
        for _ in range(number):
            self.clock.advance(60)
            self.tick()
            self.deliver()

    def close(self) -> None:
        for worker in self._workers:
            worker.close()


async def ok(self: BaseHandler, params: Any) -> dict[str, Any]:
    return {"done": True}


async def fail(self: BaseHandler, params: Any) -> None:
    raise RuntimeError("it went wrong")


def statuses(job: CronJob | None = None) -> list[str]:
    """Returns the statuses of the executions, ordered by slot."""
    rows = JobExecution.objects.filter(job=job) if job else JobExecution.objects.all()
    return list(rows.order_by("scheduled_time", "id").values_list("status", flat=True))


def outcomes(execution: JobExecution) -> list[str]:
    """Returns the outcomes of the attempts, in their order."""
    ended = JobAttempt.objects.filter(execution_id=execution.pk).order_by("attempt")
    return list(ended.values_list("outcome", flat=True))


def fresh(execution: JobExecution) -> JobExecution:
    return JobExecution.objects.get(pk=execution.pk)


def reason_of(execution: JobExecution) -> tuple[str | None, dict[str, Any] | None]:
    """The code and the facts that say why an execution is what it is."""
    row = fresh(execution)
    return row.reason_code, row.reason_facts
