"""What a run reports while it goes on: the log lines and the progress of its handler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from scheduler.models import JobLog
from scheduler.store.connection import execute
from scheduler.store.runs import Lease, rows_of


@dataclass(frozen=True, kw_only=True)
class LogLine:
    seq: int
    at: datetime
    level: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a run has reported since it was saved last."""

    lines: Sequence[LogLine] = ()
    progress: tuple[float | None, str] | None = None
    maybe_saved: bool = False
    """An earlier try to save the lines failed, perhaps after its COMMIT."""


def save_report(lease: Lease, report: Report) -> None:
    """Save log lines and progress of a run that goes on."""
    insert_logs(lease, report)
    if report.progress is not None:
        percent, message = report.progress
        rows_of([lease]).update(progress=percent, progress_message=message[:500])


_INSERT_LOGS = "INSERT INTO job_logs (execution_id, attempt, seq, at, level, message) VALUES {rows}"
# 500 lines have 3,000 parameters and, at 4 KiB each and escaped, a few MB. SQLite takes 32,766
# parameters; MariaDB's `max_allowed_packet` is 16 MB by default.
_LINES_AT_ONCE = 500


def insert_logs(lease: Lease, report: Report) -> None:
    """Insert the log lines. Lines that an earlier try has saved are left out."""
    lines = report.lines
    if lines and report.maybe_saved:
        there = JobLog.objects.filter(execution_id=lease.execution_id, attempt=lease.attempt)
        saved = set(there.values_list("seq", flat=True))
        lines = [line for line in lines if line.seq not in saved]
    if not lines:
        return
    # Lines are only added, never changed, so they need no fence.
    row = "(%s, %s, %s, %s, %s, %s)"
    for first in range(0, len(lines), _LINES_AT_ONCE):
        chunk = lines[first : first + _LINES_AT_ONCE]
        values: list[Any] = []
        for line in chunk:
            values += [lease.execution_id, lease.attempt]
            values += [line.seq, line.at, line.level, line.message]
        execute(_INSERT_LOGS.format(rows=", ".join([row] * len(chunk))), values)
