"""The events that the scheduler logs: code emits them, this table has their wording and level.

INFO: a person may want to know it tomorrow. WARNING: it has healed itself. ERROR: a person must
act. The fields of an event are extras of the log record, and JSON logs show them. The value of a
parameter is never a field, because it may be a secret.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_D, _I, _W, _E = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR

EVENTS: Mapping[str, tuple[int, str]] = {
    # beat
    "tick.recorded": (_D, "{slots} slots recorded, {skipped} skipped, for {jobs} jobs"),
    "tick.failed": (_E, "beat cannot work, trying again every few seconds: {error}"),
    "tick.recovered": (_W, "beat works again after {outage_seconds:.1f} s"),
    "clock.behind": (
        _E,
        "the database's clock stands {seconds:.0f} s before its latest time: no job starts by its "
        "schedule until it gets there",
    ),
    "clock.differs": (
        _E,
        "the database's clock differs by {seconds:+.0f} s from this host's: it decides when jobs "
        "start; one of the two is wrong or stands still",
    ),
    "clock.jumped": (
        _E,
        "the database's clock has jumped {seconds:.0f} s ahead: leases and time limits ran out by "
        "it, and slots in between count as missed",
    ),
    "clock.right": (_W, "the database's clock is right again"),
    "beat.cut_off": (
        _W,
        "a step of beat did not end within {seconds:.0f} s of the signal to stop; it was cut off, "
        "and its open transaction is rolled back",
    ),
    "job.disabled": (_E, "job {job!r} was disabled: {reason}"),
    "job.replanned": (
        _W,
        "job {job!r}: its schedule has changed, its next run moves from {before} to {after}",
    ),
    "job.replanned_all": (_W, "{jobs} next runs have moved, because schedules have changed"),
    "job.ended": (_I, "job {job!r} has no further slot: {reason}"),
    "job.resumed": (_I, "{jobs} paused jobs resumed, their pause was over"),
    "upstreams.settled": (
        _D,
        "{released} runs have their upstream jobs' success, {skipped} have waited in vain",
    ),
    "backfill.made": (_D, "{runs} runs of backfill {backfill_id} of {job!r} made"),
    "backfill.done": (_I, "backfill {backfill_id} of {job!r} has made its {runs} runs"),
    "backfill.failed": (_E, "backfill {backfill_id} was ended: {reason}"),
    "publish.failed": (_E, "the broker takes no messages, trying again every few seconds: {error}"),
    "publish.refused": (
        _E,
        "the broker takes no wake-ups for queue {queue!r}, whose runs start up to a second later; "
        "trying again every few seconds: {error}",
    ),
    "publish.recovered": (_W, "the broker takes messages again after {outage_seconds:.1f} s"),
    "execution.rescued": (_W, "execution {execution_id} of {job!r}: {reason}; now {status}"),
    "approvals.expired": (_W, "{executions} executions were skipped: nobody approved them in time"),
    "freezes.not_applied": (_E, "held runs do not follow the changed freezes: {error}"),
    "freeze.unreadable": (_E, "freeze {freeze!r} holds nothing, it cannot be read: {error}"),
    "alerts.failed": (_E, "alerts cannot be evaluated, trying again every second: {error}"),
    "alert.opened": (_W, "alert {alert_id}: {kind}, {subject}"),
    "alert.closed": (_I, "alert {alert_id} is over: {kind}, {subject}"),
    "switch.went_on": (_W, "the switch of job {job_id} was left alone; it went on to {state}"),
    "switch.stands": (_E, "the switch of job {job_id} cannot go on from {state}: {error}"),
    "history.pruned": (_I, "{executions} executions older than {days} days removed"),
    "dead_man.failed": (_E, "the ping of the dead-man switch does not arrive: {error}"),
    "alert.not_told": (_E, "people could not be told of an alert: {error}"),
    # worker
    "message.dropped": (_W, "something in the queue that is no task was dropped: {reason}"),
    "fetch.failed": (_E, "this worker cannot claim or report, trying again: {error}"),
    "claim.failed": (_W, "a claim was not answered, asking what became of it: {error}"),
    "execution.claimed": (
        _I,
        "execution {execution_id} of {job!r} claimed after {waited_seconds:.3f} s",
    ),
    "execution.shards_ended": (
        _I,
        "execution {execution_id} of {job!r} ended with its last shard: {status}",
    ),
    "execution.held": (_I, "execution {execution_id} of {job!r} {reason}"),
    "execution.still_held": (_D, "execution {execution_id} of {job!r} {reason}"),
    "execution.finished": (
        _I,
        "execution {execution_id} of {job!r} ended {status} after {ran_seconds:.3f} s",
    ),
    "execution.failed": (
        _W,
        "execution {execution_id} of {job!r} ended {status} after {ran_seconds:.3f} s: {error}",
    ),
    "execution.retried": (
        _W,
        "execution {execution_id} of {job!r} failed, try again in {delay_seconds:.1f} s: {error}",
    ),
    "execution.handed_back": (_I, "execution {execution_id} of {job!r} handed back: {reason}"),
    "execution.stale": (_W, "execution {execution_id}: stale attempt {attempt}, outcome discarded"),
    "execution.stuck": (
        _E,
        "execution {execution_id} of {job!r} ignores its timeout; this process ends itself",
    ),
    "report.failed": (_W, "execution {execution_id}: the outcome could not be written: {error}"),
    "report.refused": (
        _W,
        "execution {execution_id}: the database refuses a line of its log ({error}); "
        "no more are saved before its end",
    ),
    "loop.blocked": (
        _E,
        "the event loop has not answered for {seconds:.1f} s; running: {running}\n{stack}",
    ),
    "lease.failed": (_W, "leases could not be renewed: {error}"),
    "lease.abandoned": (_E, "no lease renewed for {seconds:.1f} s; {runs} runs are cancelled"),
    "worker.frozen": (
        _E,
        "this process was frozen for {seconds:.0f} s; it ends, because its runs were given away",
    ),
    "worker.no_stderr": (
        _W,
        "this process has no stderr: if a handler holds the interpreter, the process ends without "
        "the stacks that name the handler; start it with stderr to a file or to the journal",
    ),
    "worker.ended_by_force": (
        _E,
        "this worker has not ended {seconds:.0f} s after it was told to; it kills its children and "
        "ends; the stacks of its threads follow",
    ),
    "worker.draining": (
        _I,
        "worker is draining: {seconds:.0f} s for what runs, then it is handed back",
    ),
    "worker.drained": (
        _I,
        "worker is drained by a person: it takes no runs, and hands back in {seconds:.0f} s what "
        "has not ended",
    ),
    "worker.undrained": (_I, "worker takes runs again"),
    "task.not_signalled": (
        _W,
        "the receivers of task_finished were not called for execution {execution_id}: {error}",
    ),
    "database.encoding": (_E, "{problem}"),
    "events.failed": (
        _W,
        "the broker takes no events of runs for Flower, trying again every few seconds: {error}",
    ),
    "events.recovered": (
        _I,
        "the broker takes events of runs again after {outage_seconds:.1f} s",
    ),
    "queues.too_long": (_E, "the worker goes on with its queues from before: {error}"),
    "revoke.failed": (_W, "{task_id} could not be cancelled for Celery: {error}"),
    "discovery.celery_app": (
        _W,
        "handler module {handler_module} makes the Celery app {app!r}; jobu goes on with the"
        " project's app. Import that one, or make yours with set_as_current=False",
    ),
    "discovery.tasks_failed": (
        _E,
        "the Celery tasks of {task_module} are missing, it cannot be imported: {error}",
    ),
    "discovery.failed": (_E, "handler module {handler_module} cannot be imported: {error}"),
}

logger = logging.getLogger("scheduler")

_run_facts: ContextVar[Mapping[str, Any] | None] = ContextVar("jobu_run_facts", default=None)


@contextmanager
def lines_of_run(**facts: Any) -> Iterator[None]:
    """Mark all lines that are logged inside as lines of a run. jobu_project/logs.py adds `facts`.

    It is a context variable, so tasks and `asyncio.to_thread` inherit it.
    """
    token = _run_facts.set(facts)
    try:
        yield
    finally:
        _run_facts.reset(token)


def facts_of_run() -> Mapping[str, Any]:
    """The facts of the run to which a line that is logged here belongs. Empty outside of runs."""
    return _run_facts.get() or {}


def emit(event: str, /, *, exc_info: bool = False, **fields: Any) -> None:
    """Log one event of the table above. KeyError when it has no such name."""
    level, template = EVENTS[event]
    if logger.isEnabledFor(level):
        logger.log(
            level, template.format(**fields), extra={"event": event, **fields}, exc_info=exc_info
        )
