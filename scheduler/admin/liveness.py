"""Sentences about what jobu needs and does not have. They are for people only."""

from __future__ import annotations

from datetime import datetime
from functools import cache

from django.db import connection
from django.utils.translation import gettext as _

from scheduler.operations.liveness import alive_processes
from scheduler.states import ProcessKind
from scheduler.store.encodings import WrongEncoding, wrong_encoding


def missing_parts(now: datetime) -> list[str]:
    """Returns one sentence for each kind of process that is needed and not alive."""
    alive = set(alive_processes(now).values_list("kind", flat=True).distinct())
    problems = []
    if ProcessKind.BEAT not in alive:
        problems.append(_("No beat is running: no job will start by its schedule."))
    if ProcessKind.WORKER not in alive:
        problems.append(_("No worker is running: executions wait."))
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
