"""What lies in the window: the runs and the planned slots of the chosen jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from scheduler.admin.timeline.window import Window
from scheduler.conf import current
from scheduler.models import CronJob
from scheduler.operations.control import Control
from scheduler.store import planned_slots, timeline

#: Seconds for planned slots. The page appears without the missing ones, and asks again.
PLAN_SECONDS: Final = 0.06


class Bar(NamedTuple):
    """A run or a planned slot; seconds from the window's start. `run` is None for a slot."""

    start: float
    end: float
    job: CronJob
    run: timeline.Run | None = None


@dataclass(frozen=True, kw_only=True)
class Found:
    window: Window
    now: datetime
    jobs: Sequence[CronJob]
    runs: timeline.Runs
    planned: planned_slots.Planned
    usual_seconds: Mapping[int, float]
    """By job. Missing: nothing is known of it."""

    @property
    def now_seconds(self) -> float:
        return (self.now - self.window.since).total_seconds()

    @property
    def is_partial(self) -> bool:
        return bool(self.planned.late_jobs)

    def notes(self) -> list[str]:
        """What is not shown, in sentences."""
        notes = []
        if self.runs.cut_jobs:
            notes.append(
                _(
                    "Of some jobs only the newest runs of this time are shown: choose a shorter "
                    "time or fewer jobs."
                )
            )
        if self.planned.cut_jobs:
            text = _("Of some jobs only the next %(slots)s slots are shown.")
            notes.append(text % {"slots": _number(planned_slots.SLOTS_OF_ONE_JOB)})
        if late := len(self.planned.late_jobs):
            text = ngettext(
                "The planned runs of %(count)s job are still being counted.",
                "The planned runs of %(count)s jobs are still being counted.",
                late,
            )
            notes.append(text % {"count": _number(late)})
        return notes

    def bars(self) -> list[Bar]:
        """All of them, by their start. A run that waits lasts from its slot until now."""
        return sorted(self._bars(), key=lambda bar: (bar.start, bar.job.name))

    def _bars(self) -> Iterator[Bar]:
        jobs = {job.pk: job for job in self.jobs}
        for run in self.runs.runs:
            start = run.due if run.started is None else run.started
            end = self.now_seconds if run.finished is None else run.finished
            yield Bar(start, max(start, end), jobs[run.job_id], run)
        origin = self.window.since.timestamp()
        for job_id, slots in self.planned.slots.items():
            usual = self.usual_seconds.get(job_id, 0.0)
            for slot in slots:
                yield Bar(slot - origin, slot - origin + usual, jobs[job_id])


def find(window: Window, jobs: Sequence[CronJob], now: datetime, *, sees_runs: bool) -> Found:
    """Reads it in a few statements. Without `sees_runs` only what is planned."""
    clock = Control().clock
    until = clock.monotonic() + PLAN_SECONDS
    ids = [job.pk for job in jobs]
    planned = planned_slots.slots_of(
        jobs,
        window.since,
        window.until,
        now,
        settings=current(),
        is_late=lambda: clock.monotonic() > until,
    )
    nothing = timeline.Runs(runs=(), cut_jobs=frozenset())
    return Found(
        window=window,
        now=now,
        jobs=jobs,
        runs=timeline.runs_of(ids, window.since, window.until, now) if sees_runs else nothing,
        planned=planned,
        usual_seconds=timeline.usual_seconds(ids),
    )


def busiest(bars: Sequence[Bar]) -> tuple[int, float] | None:
    """The most bars that go on at once, and since when (seconds). None: there is no bar."""
    changes = sorted(
        change
        for bar in bars
        if bar.run is None or bar.run.started is not None
        for change in ((bar.start, 1), (max(bar.end, bar.start + 0.001), -1))
    )
    best, at, count = 0, 0.0, 0
    for second, change in changes:
        count += change
        if count > best:
            best, at = count, second
    return (best, at) if best else None


def _number(value: int) -> str:
    return number_format(value, force_grouping=True)
