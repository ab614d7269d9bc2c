"""Queues for people: what waits in them, who serves them, and pausing and resuming one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.utils.translation import gettext as _

from scheduler import wakeups
from scheduler.models import QueuePause, SchedulerProcess
from scheduler.operations import validation
from scheduler.operations.base import Operations
from scheduler.operations.celery_app import own_app
from scheduler.operations.errors import InvalidJob, NotPossible, Problems
from scheduler.operations.liveness import alive_processes
from scheduler.states import ActivityVerb, ProcessKind, TargetKind
from scheduler.store import job_figures, queue_pauses, queues
from scheduler.transient import in_transaction

_LONGEST_NAME: Final = 100
_LONGEST_REASON: Final = 500


@dataclass(frozen=True, kw_only=True)
class Queue:
    """A queue as it is now. `name`: "" is the default queue."""

    name: str
    waiting: int
    is_capped: bool
    """More wait than `waiting` says."""
    oldest_at: datetime | None
    running: int
    in_per_second: float
    out_per_second: float
    workers: Sequence[SchedulerProcess]
    pause: QueuePause | None

    @property
    def empty_in_seconds(self) -> float | None:
        """How long it takes until nothing waits, as fast as it goes now. None: it does not end."""
        if not self.waiting:
            return 0.0
        speed = self.out_per_second - self.in_per_second
        return self.waiting / speed if speed > 0 and self.pause is None else None


@dataclass(frozen=True, kw_only=True)
class QueueControl(Operations):
    """The operations on queues."""

    def all(self) -> list[Queue]:
        """Returns the queues that jobs, runs, workers or pauses name, the default one first."""
        now = self.clock.now()
        waiting = {each.queue: each for each in job_figures.of_queues(now)}
        running, made, ended = queues.running(), queues.made(now), queues.ended(now)
        pauses = {pause.queue: pause for pause in queue_pauses.pauses(now)}
        workers = alive_processes(now).filter(kind=ProcessKind.WORKER).order_by("name")
        serving: dict[str, list[SchedulerProcess]] = {}
        for worker in workers:
            for name in _served(worker):
                serving.setdefault(name, []).append(worker)
        names = {"", *waiting, *running, *pauses, *serving, *queues.of_jobs()}
        limit = job_figures.WAITING_LIMIT
        return [
            Queue(
                name=name,
                waiting=waiting[name].waiting if name in waiting else 0,
                is_capped=name in waiting and waiting[name].waiting >= limit,
                oldest_at=waiting[name].oldest_at if name in waiting else None,
                running=running.get(name, 0),
                in_per_second=made.of(name),
                out_per_second=ended.of(name),
                workers=serving.get(name, ()),
                pause=pauses.get(normal_name(name)),
            )
            for name in sorted(names)
        ]

    def pause_of(self, queue: str) -> QueuePause | None:
        """Returns the pause of this queue that holds now."""
        found = queue_pauses.pauses(self.clock.now())
        return next((each for each in found if each.queue == normal_name(queue)), None)

    def pause(self, queue: str, *, reason: str, until: datetime | None = None) -> QueuePause:
        """Let no worker begin runs of this queue until `until`, or until somebody resumes it.

        Workers obey within a second. What runs goes on. A queue that is paused already gets the
        new reason and end. Raises InvalidJob, which names every wrong field.
        """
        now = self.clock.now()
        problems = _problems(queue, reason, until, now)
        if problems:
            raise InvalidJob(problems)
        name = normal_name(queue)

        def work() -> QueuePause:
            who = self.actor.name[:150]
            row = queue_pauses.put(queue=name, reason=reason.strip(), until=until, who=who, now=now)
            facts = {"reason": row.reason, "until": until.isoformat() if until else None}
            self._remember(ActivityVerb.PAUSED, TargetKind.QUEUE, None, name, now, facts)
            return row

        return in_transaction(work)

    def resume(self, queue: str) -> None:
        """Let workers take its runs again. Raises NotPossible if it is not paused."""
        now = self.clock.now()
        name = normal_name(queue)

        def work() -> bool:
            ended = queue_pauses.end(name, now)
            if ended is not None:
                self._remember(ActivityVerb.RESUMED, TargetKind.QUEUE, None, name, now, {})
            return ended is not None

        if not in_transaction(work):
            raise NotPossible(_("%(queue)s is not paused") % {"queue": queue_in_words(name)})
        wakeups.wake(name)


def normal_name(queue: str) -> str:
    """Returns the one name of a queue: the default one has two, "" and Celery's."""
    return "" if queue == str(own_app().conf.task_default_queue) else queue


def paused_names(now: datetime) -> frozenset[str]:
    """Returns the queues that are paused, by every name that executions may have for them."""
    found = queue_pauses.paused(now)
    return found | {str(own_app().conf.task_default_queue)} if "" in found else found


def queue_in_words(queue: str) -> str:
    return _("queue %s") % queue if queue else _("the default queue")


def _served(worker: SchedulerProcess) -> list[str]:
    return [str(name) for name in worker.queues] if isinstance(worker.queues, list) else []


def _problems(queue: str, reason: str, until: datetime | None, now: datetime) -> Problems:
    late = _("must be in the future") if until is not None and _is_over(until, now) else None
    found = {
        "queue": validation.text_problem(queue, _LONGEST_NAME) or validation.queue_problem(queue),
        "reason": validation.text_problem(reason, _LONGEST_REASON, required=True),
        "until": validation.instant_problem(until) or late,
    }
    return {name: [problem] for name, problem in found.items() if problem}


def _is_over(until: datetime, now: datetime) -> bool:
    return until.tzinfo is not None and until <= now
