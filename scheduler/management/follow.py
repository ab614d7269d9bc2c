"""Waits for what other processes do: log lines of an execution, its end, the end of a backfill.

Reads the tables twice a second, because neither the broker nor a worker can notify a command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from django.db.models import Q
from django.utils.translation import gettext as _

from scheduler.clock import Clock, pause
from scheduler.management.output import Printer, exact
from scheduler.models import Backfill, JobExecution, JobLog
from scheduler.operations.backfills import BackfillControl
from scheduler.states import FINAL, BackfillState

LOOK_EVERY_SECONDS: Final = 0.5
LINES_AT_ONCE: Final = 500


def lines_of(
    execution_id: int, *, attempt: int | None = None, tail: int | None = None
) -> list[JobLog]:
    """Returns the log lines written so far, oldest first. `tail`: only so many of the last ones."""
    rows = JobLog.objects.filter(execution_id=execution_id)
    if attempt is not None:
        rows = rows.filter(attempt=attempt)
    if tail is None:
        return list(rows.order_by("attempt", "seq"))
    return list(rows.order_by("-attempt", "-seq")[:tail])[::-1]


def new_lines(execution_id: int, after: Sequence[JobLog]) -> Iterator[JobLog]:
    """Yields the lines that follow the last one of `after`, until the execution has ended."""
    last = (after[-1].attempt, after[-1].seq) if after else (0, 0)
    while True:
        # Read before the lines: a worker writes the last line of an attempt before its end.
        is_over = _is_final(execution_id)
        while True:
            attempt, seq = last
            behind = Q(attempt__gt=attempt) | Q(attempt=attempt, seq__gt=seq)
            rows = JobLog.objects.filter(behind, execution_id=execution_id, attempt__gte=attempt)
            found = list(rows.order_by("attempt", "seq")[:LINES_AT_ONCE])
            yield from found
            if not found:
                break
            last = (found[-1].attempt, found[-1].seq)
        if is_over:
            return
        pause(LOOK_EVERY_SECONDS)


def _is_final(execution_id: int) -> bool:
    rows = JobExecution.objects.filter(pk=execution_id)
    status = rows.values_list("status", flat=True).first()
    return status is None or status in FINAL


def until_ended(
    ids: Sequence[int], printer: Printer, clock: Clock, *, timeout: float | None
) -> dict[int, JobExecution]:
    """Waits until all executions have ended, or for `timeout` seconds, and returns their rows.

    A row that was deleted meanwhile is missing.
    """
    until = None if timeout is None else clock.monotonic() + timeout
    with printer.progress() as bars:
        tasks = {
            each: bars.add_task(_("execution %(id)s") % {"id": each}, total=100, text="")
            for each in ids
        }
        while True:
            rows = JobExecution.objects.defer("params", "result").in_bulk(ids)
            for each, row in rows.items():
                percent = 100 if row.status in FINAL else row.progress
                bars.update(tasks[each], completed=percent or 0, text=_status_text(row))
            if all(row.status in FINAL for row in rows.values()):
                return rows
            left = None if until is None else until - clock.monotonic()
            if left is not None and left <= 0:
                return rows
            pause(LOOK_EVERY_SECONDS if left is None else min(LOOK_EVERY_SECONDS, left))


def _status_text(row: JobExecution) -> str:
    return f"{row.status} {row.progress_message}".strip()


def until_backfilled(
    backfill: Backfill, control: BackfillControl, printer: Printer, tell: Callable[[str], None]
) -> Backfill:
    """Waits until the last run of a backfill has ended, or until somebody has stopped or paused it.

    Returns the backfill as it is then. `tell` prints a line of progress where no bar is shown.
    """
    last_line = ""
    with printer.progress() as bars:
        name = _("backfill %(id)s") % {"id": backfill.pk}
        task = bars.add_task(name, total=100, text="")
        while True:
            backfill = Backfill.objects.get(pk=backfill.pk)
            progress = control.progress(backfill)
            counts = " ".join(f"{name} {n}" for name, n in sorted(progress.counts.items()))
            ends = _(", about until %(when)s") % {"when": exact(progress.ends_at)} if (
                progress.ends_at) else ""  # fmt: skip
            bars.update(task, completed=progress.percent, text=f"{backfill.state} {counts}{ends}")
            if not printer.is_terminal and not printer.as_json:
                line = f"{progress.percent} % {backfill.state} {counts}"
                if line != last_line:
                    tell(line)
                last_line = line
            is_waited_for = backfill.state == BackfillState.ACTIVE or progress.ended < backfill.made
            if backfill.state == BackfillState.PAUSED or not is_waited_for:
                return backfill
            pause(LOOK_EVERY_SECONDS)
