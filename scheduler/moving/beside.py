"""Sets the entries of a source beside their jobs: the imported ones, else those of a dry run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from scheduler.models import CronJob
from scheduler.moving.comparing import Cause, Comparison, compare
from scheduler.moving.entries import Entry, Level
from scheduler.moving.mapping import Mapped, new_side, old_side
from scheduler.moving.words import in_words
from scheduler.operations.imports import ImportControl
from scheduler.schedule import ScheduleError


@dataclass(frozen=True, kw_only=True)
class Compared:
    """An entry beside a job. `expression`: the one that was compared. `is_imported`: it is that of
    a job, not of a dry run. `not_compared`: why there is no comparison.
    """

    mapped: Mapped
    expression: str = ""
    is_imported: bool = False
    comparison: Comparison | None = None
    not_compared: str = ""

    @property
    def causes(self) -> Counter[Cause]:
        return Counter() if self.comparison is None else self.comparison.causes


def compare_entries(
    mapped: Iterable[Mapped], control: ImportControl, *, now: datetime, days: int
) -> list[Compared]:
    entries = list(mapped)
    jobs = control.imported([each.source for each in entries])
    now = now.replace(microsecond=0)
    return [_compare(each, jobs.get(each.source), control, now, days) for each in entries]


def _compare(
    mapped: Mapped, imported: CronJob | None, control: ImportControl, now: datetime, days: int
) -> Compared:
    old = old_side(mapped.entry)
    job = imported or _job_of(mapped)
    if old is None or job is None:
        return Compared(mapped=mapped, not_compared=_why_not(mapped))
    try:
        new = new_side(job, control)
    except ScheduleError as error:
        return Compared(mapped=mapped, not_compared=str(error))
    return Compared(
        mapped=mapped,
        expression=job.cron_expression,
        is_imported=imported is not None,
        comparison=compare(old, new, now=now, days=days),
    )


def _job_of(mapped: Mapped) -> CronJob | None:
    """The job of a dry run; of an impossible entry the nearest one, if there is any."""
    values = dict(mapped.values)
    if "cron_expression" not in values and mapped.entry.nearest:
        values["cron_expression"] = mapped.entry.nearest
        values.setdefault("timezone", _zone_of(mapped.entry))
    return CronJob(**values) if "cron_expression" in values else None


def _zone_of(entry: Entry) -> str:
    return "UTC" if entry.old is None else entry.old.zone


def _why_not(mapped: Mapped) -> str:
    found = [each for each in mapped.findings if each.level is Level.IMPOSSIBLE]
    return "; ".join(in_words(each) for each in found)
