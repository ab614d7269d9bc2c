"""Freezes during a soak: whether exactly the slots in them were left out, with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from bench.soak.history import History
from tests.harness.system import System

#: The tag of the jobs that they hold back.
TAG: Final = "frozen"
_FIRST: Final = timedelta(seconds=20)
_EVERY: Final = timedelta(seconds=60)
_LASTS: Final = timedelta(seconds=20)
_INSERT: Final = (
    "INSERT INTO jobu_freezes (name, reason, since, until, tags) VALUES (%s, 'a soak', %s, %s, %s)"
)


def make(system: System, now: datetime, minutes: float) -> None:
    """Insert freezes for so many minutes from `now` on, one after the other."""
    zone = "+00" if system.database_url.startswith("postgresql") else ""
    for number in range(int(minutes) + 1):
        since = (now.astimezone(UTC) + _FIRST + number * _EVERY).replace(microsecond=0)
        span = (f"{each:%Y-%m-%d %H:%M:%S}{zone}" for each in (since, since + _LASTS))
        system.sql(_INSERT, f"soak {number}", *span, f'["{TAG}"]')


def violated(history: History) -> Iterator[str]:
    """Yields which slots ran in a freeze, or were left out without one."""
    frozen = {job.id for job in history.jobs if job.is_frozen}
    for row in history.executions:
        if row.job_id not in frozen or row.reason_code == "misfire":
            continue
        is_in = any(since <= row.slot < until for since, until in history.freezes)
        if is_in != (row.reason_code == "frozen"):
            what = "is not frozen" if is_in else "is frozen outside of any freeze"
            yield f"execution {row.id} of {row.slot:%H:%M:%S} {what}: {row.status}"
