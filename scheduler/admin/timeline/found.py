"""What lies in the window: the runs and the planned slots of the chosen jobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, NamedTuple

from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from scheduler.admin import formatting
from scheduler.admin.timeline.window import Window
from scheduler.conf import current
from scheduler.models import CronJob, JobExecution
from scheduler.operations.control import Control
from scheduler.operations.waiting_words import in_a_line
from scheduler.schedule.freezes import holding, holds_within
from scheduler.states import RunStatus
from scheduler.store import freezes, planned_slots, timeline, upstreams

#: Seconds for planned slots. The page appears without the missing ones, and asks again.
PLAN_SECONDS: Final = 0.06
_REASONS: Final = 500
_WITH_REASON: Final = frozenset({RunStatus.PENDING, RunStatus.SKIPPED})


class Bar(NamedTuple):
    """A run or a planned slot; seconds from the window's start. `run` is None for a slot.

    `freeze`: the name of the one that will block the slot.
    """

    start: float
    end: float
    job: CronJob
    run: timeline.Run | None = None
    freeze: str = ""


@dataclass(frozen=True, kw_only=True)
class Found:
    window: Window
    now: datetime
    jobs: Sequence[CronJob]
    runs: timeline.Runs
    planned: planned_slots.Planned
    usual_seconds: Mapping[int, float]
    """By job. Missing: nothing is known of it."""
    frozen: Mapping[int, Mapping[str, Sequence[float]]]
    """By job and name of a freeze: the slots that it will block. They are not in `planned`."""

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
        for job_id, of_job in self.frozen.items():
            for freeze, slots in of_job.items():
                for slot in slots:
                    yield Bar(slot - origin, slot - origin, jobs[job_id], freeze=freeze)


def find(window: Window, jobs: Sequence[CronJob], now: datetime, *, sees_runs: bool) -> Found:
    """Reads it in a few statements. Without `sees_runs` only what is planned."""
    clock = Control().clock
    until = clock.monotonic() + PLAN_SECONDS
    ids = [job.pk for job in jobs]
    upstreams.read_followed(jobs)
    planned = planned_slots.slots_of(
        jobs,
        window.since,
        window.until,
        now,
        settings=current(),
        is_late=lambda: clock.monotonic() > until,
    )
    planned, frozen = _without_frozen(planned, ids, window, now)
    nothing = timeline.Runs(runs=(), cut_jobs=frozenset())
    return Found(
        window=window,
        now=now,
        jobs=jobs,
        runs=timeline.runs_of(ids, window.since, window.until, now) if sees_runs else nothing,
        planned=planned,
        usual_seconds=timeline.usual_seconds(ids),
        frozen=frozen,
    )


def _without_frozen(
    planned: planned_slots.Planned, ids: Sequence[int], window: Window, now: datetime
) -> tuple[planned_slots.Planned, Mapping[int, Mapping[str, Sequence[float]]]]:
    """Returns the planned slots that no freeze will block, and those that one will, by its name."""
    since = max(window.since, now)
    known = freezes.of_jobs(ids, since, current().default_timezone)
    if not holds_within(known.all, since, window.until):
        return planned, {}
    free: dict[int, Sequence[float]] = {}
    frozen: dict[int, dict[str, list[float]]] = {}
    for job_id, slots in planned.slots.items():
        of_job, left = known.of(job_id), []
        for slot in slots:
            freeze = holding(of_job, datetime.fromtimestamp(slot, UTC)) if of_job else None
            if freeze is None:
                left.append(slot)
            else:
                frozen.setdefault(job_id, {}).setdefault(freeze.name, []).append(slot)
        free[job_id] = left
    return replace(planned, slots=free), frozen


def reasons(runs: Iterable[timeline.Run], now: datetime) -> dict[int, str]:
    """Returns why the newest of these runs wait or were not run, by id. One query, or none."""
    ids = [run.id for run in runs if run.status in _WITH_REASON][-_REASONS:]
    if not ids:
        return {}
    rows = JobExecution.objects.filter(pk__in=ids)
    rows = rows.only("status", "reason_code", "reason_facts", "available_at", "in_line")
    words = ((row.pk, in_a_line(row, now, formatting.exact)) for row in rows)
    return {id_: text for id_, text in words if text}


def busiest(bars: Sequence[Bar]) -> tuple[int, float] | None:
    """The most bars that go on at once, and since when (seconds). None: there is no bar."""
    changes = sorted(
        change
        for bar in bars
        if (not bar.freeze if bar.run is None else bar.run.started is not None)
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
