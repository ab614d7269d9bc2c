"""Named points at which a test can end this process at once, like a power failure, or freeze it.

Only tests call `arm`. No setting and no environment variable can arm a point in production.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping

# Point -> what has happened, and what has not, when the process ends there.
POINTS: Mapping[str, str] = {
    # beat
    "record.locked": "due jobs are locked; no slot is written",
    "record.inserted": "slots are written, not committed; the watermarks have not moved",
    "record.advanced": "slots are written and watermarks moved; not committed",
    "record.committed": "slots are committed; no wake-up is sent",
    "backfill.locked": "an active backfill is locked; no run of it is made",
    "backfill.inserted": "runs of a backfill are written, its cursor has moved; not committed",
    "backfill.committed": "runs of a backfill are committed; no wake-up is sent",
    "waits.locked": "runs that wait are locked; nothing is written",
    "waits.written": "runs that waited may start, or are skipped; not committed",
    "waits.committed": "runs that waited may start; no wake-up is sent",
    "wakeup.due": "queues with runnable executions are found; no wake-up is sent",
    "wakeup.sent": "one wake-up is sent; the others are not",
    "rescue.found": "a run with an expired lease was found; nothing is written",
    "rescue.ended": "a lost run has gone back; the run that waits for it has not been woken",
    "alerts.advanced": "ends of runs are read, the cursor has moved; not committed",
    "alerts.written": "alerts and what delivers them are written; not committed",
    "alerts.committed": "alerts are committed; the next look has not begun",
    # a switch from an old system to here, and back
    "switch.started": "the switch is kept; nothing is written in the old system",
    "switch.read": "the last run there is kept; the job is on there",
    "switch.off_there": "the job is off there; no row says so",
    "switch.noted": "the job is off there, as its row says; it does not run here",
    "switch.on_here": "the job runs here; not committed",
    "switch.off_here": "the job is off here; it is not on there",
    "switch.on_there": "the job is on there again; no row says so",
    # worker
    "claim.read": "executions are locked for their claim; none is claimed",
    "claim.written": "executions are claimed; not committed",
    "claim.committed": "the execution is claimed; its handler has not begun",
    "run.started": "the handler runs",
    "run.ended": "the handler has ended; its outcome is not written",
    "end.updated": "the outcome is written, its attempt is not; not committed",
    "end.recorded": "outcome and attempt are written; not committed",
    "end.committed": "the outcome is committed; the run that waits for it has not been woken",
    "shards.inserted": "the shards of a run are written; not committed",
    "shards.parent_ended": "the last shard has ended, and its parent with it; not committed",
    "overlap.held": "a run is held because another run of its job goes on",
}

_armed: str | None = None
_left = 0
_signal = signal.SIGKILL


def arm(name: str, *, visit: int = 1, freeze: bool = False) -> None:
    """Ends this process at its `visit`-th visit to the point `name`, or freezes it until SIGCONT.

    A child that is forked later counts its own visits.
    """
    global _armed, _left, _signal
    if name not in POINTS:
        raise ValueError(f"no crash point {name!r}; there are {', '.join(POINTS)}")
    if visit < 1:
        raise ValueError(f"visits are counted from 1, not {visit}")
    _armed, _left = name, visit
    _signal = signal.SIGSTOP if freeze else signal.SIGKILL


def point(name: str) -> None:
    """A place where the process may end. Does nothing unless a test has armed `name`."""
    if _armed is not None and _armed == name:
        _crash()


def _crash() -> None:
    global _left
    _left -= 1
    if _left == 0:
        # Not an exception: no `finally` runs and no rollback is sent.
        # To this thread: another one would receive it a moment later, and this one would go on.
        signal.pthread_kill(threading.get_ident(), _signal)
