"""Sentences about what jobu needs and does not have: a beat, a worker, a right clock.

They are for people only.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache

from django.db import connection
from django.utils.translation import gettext as _

from scheduler.operations.liveness import ClockState, alive_processes, clock_of
from scheduler.states import ProcessKind
from scheduler.store.encodings import WrongEncoding, wrong_encoding


def missing_parts(now: datetime) -> list[str]:
    """Returns one sentence for each kind of process that is needed and not alive, and one for a
    clock of the database that is wrong. `now`: that clock, read just now.
    """
    alive = set(alive_processes(now).values_list("kind", flat=True).distinct())
    problems = []
    if ProcessKind.BEAT not in alive:
        problems.append(_("No beat is running: no job will start by its schedule."))
    if ProcessKind.WORKER not in alive:
        problems.append(_("No worker is running: executions wait."))
    clock = clock_of(now)
    if clock.state == ClockState.BEHIND:
        problems.append(
            _(
                "The database's clock stands %(seconds)s s before its latest time: no job will "
                "start by its schedule until it gets there."
            )
            % {"seconds": round(clock.behind_seconds)}
        )
    elif clock.state == ClockState.DIFFERS:
        problems.append(
            _(
                "The database's clock differs by %(seconds)s s from this host's. It decides when "
                "jobs start: one of the two is wrong."
            )
            % {"seconds": round(clock.offset_seconds)}
        )
    return problems


def encoding_problem() -> str | None:
    """Returns one sentence if the database cannot store every text."""
    found = _wrong_encoding()
    if found is None:
        return None
    return _(
        "The database stores text as %(encoding)s: Korean names, emoji and many other signs cannot "
        "be stored. docs/production.md says how to move it."
    ) % {"encoding": found.encoding}


@cache
def _wrong_encoding() -> WrongEncoding | None:
    """Asked once per process: an encoding changes only while jobu stands still."""
    return wrong_encoding(connection)
