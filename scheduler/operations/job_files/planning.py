"""What applying a file would change: jobs, their fields, and their slots of the next days."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _

from scheduler.conf import SchedulerSettings
from scheduler.models import AppliedJob, CronJob
from scheduler.operations.definition import (
    WITH_SECRETS,
    changed_secrets,
    definition_of,
    is_changed,
    values_of,
)
from scheduler.operations.drift import Drift, drift_from
from scheduler.operations.errors import Problems
from scheduler.operations.history import Change, changes_between
from scheduler.operations.job_files.written import (
    ENABLED,
    LONG,
    Document,
    Mistake,
    WrittenJob,
    mistake_at,
    read_jobs,
)
from scheduler.operations.masking import left_masked, unmask
from scheduler.operations.upstream_rules import in_one_file, in_order
from scheduler.schedule import ScheduleError, schedule_of, slots_between
from scheduler.schedule.difference import SlotDifference, difference

SHOWN_DAYS: Final = 7
# Of a job that runs every second, a part of the days says enough.
_MOST_SLOTS: Final = 20_000
_INSTANT: Final = timedelta(microseconds=1)

Step = Literal["create", "change", "disable", "same"]
Check = Callable[[CronJob, bool], Problems]


@dataclass(frozen=True, kw_only=True)
class Known:
    """What there is: the jobs by name, and what files have set by the id of the job."""

    jobs: Mapping[str, CronJob]
    applied: Mapping[int, AppliedJob]

    def kept_by(self, source: str) -> Iterator[tuple[AppliedJob, CronJob]]:
        by_id = {job.pk: job for job in self.jobs.values()}
        for job_id, row in sorted(self.applied.items()):
            if row.source == source and job_id in by_id:
                yield row, by_id[job_id]


@dataclass(frozen=True, kw_only=True)
class PlannedJob:
    """What becomes of one job.

    `values`: what is written, with secrets. `governed`: the fields that the file decides.
    """

    name: str
    step: Step
    job: CronJob | None = None
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    governed: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    slots: SlotDifference = field(default_factory=SlotDifference)
    drift: Drift | None = None
    is_adopted: bool = False
    """True: this file has not kept the job before."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What applying the file would do, or its mistakes. With mistakes nothing is done."""

    jobs: tuple[PlannedJob, ...] = ()
    gone: tuple[str, ...] = ()
    """Enabled jobs that the file has kept and does not name any more. Pruning disables them."""
    mistakes: tuple[Mistake, ...] = ()

    @property
    def changes_something(self) -> bool:
        return any(each.step != "same" or each.is_adopted for each in self.jobs)


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Plans one file. `check` returns what is wrong with a job; True: its name is new."""

    source: str
    known: Known
    settings: SchedulerSettings
    now: datetime
    check: Check
    takes_over: bool = False

    def plan(self, document: Document, *, prune: bool) -> Plan:
        written, mistakes = read_jobs(document)
        found = self._matched(written)
        wanted = {
            each.name: _with(
                found.get(each.name),
                {**self._values(each, found.get(each.name)), "name": each.name},
            )
            for each in written
        }
        in_one_file(wanted)
        places = in_order(wanted)
        planned = []
        for each in sorted(written, key=lambda each: places[each.name]):
            job = found.get(each.name)
            problems = list(self._problems(each, job, wanted[each.name], document))
            mistakes += problems
            if not problems:
                planned.append(self._planned(each, job, wanted[each.name]))
        if mistakes:
            return Plan(mistakes=tuple(sorted(mistakes, key=lambda each: each.line or 0)))
        named = {job.pk for job in found.values()}
        gone = [job for _row, job in self.known.kept_by(self.source) if job.pk not in named]
        if prune:
            planned += [self._pruned(job) for job in gone]
        still_on = () if prune else tuple(job.name for job in gone if job.is_enabled)
        return Plan(jobs=tuple(planned), gone=still_on)

    def _matched(self, written: list[WrittenJob]) -> dict[str, CronJob]:
        """Returns the job of each name. A job that was renamed here is known by its old name."""
        found = {
            each.name: self.known.jobs[each.name]
            for each in written
            if each.name in self.known.jobs
        }
        taken = {job.pk for job in found.values()}
        names = {each.name for each in written} - found.keys()
        for row, job in self.known.kept_by(self.source):
            if row.name in names and job.pk not in taken:
                found[row.name] = job
        return found

    # --- mistakes ---------------------------------------------------------------------------------

    def _problems(
        self, written: WrittenJob, job: CronJob | None, wanted: CronJob, document: Document
    ) -> Iterator[Mistake]:
        row = self.known.applied.get(job.pk) if job is not None else None
        if row is not None and row.source != self.source and not self.takes_over:
            text = _("is kept in %(source)s: remove it there, or take it over")
            yield mistake_at(document, text % {"source": row.source}, written.name)
            return
        values = self._values(written, job)
        for name in WITH_SECRETS:
            if masked := list(left_masked(values[name])):
                text = _("a masked value stands where no secret is stored: %(places)s")
                text %= {"places": ", ".join(masked)}
                yield mistake_at(document, text, written.name, LONG.get(name, name))
        for column, texts in self.check(wanted, job is None or job.name != written.name).items():
            key = LONG.get(column, "" if column == "name" else column)
            for text in texts:
                yield mistake_at(document, text, written.name, key)

    # --- steps ------------------------------------------------------------------------------------

    def _values(self, written: WrittenJob, job: CronJob | None) -> dict[str, Any]:
        stored = {name: getattr(job, name) if job is not None else {} for name in WITH_SECRETS}
        restored = {name: unmask(written.values[name], stored[name]) for name in WITH_SECRETS}
        return {**written.values, **restored}

    def _planned(self, written: WrittenJob, job: CronJob | None, wanted: CronJob) -> PlannedJob:
        values = {**self._values(written, job), "name": written.name}
        governed = tuple(values)
        if job is None:
            slots = self._slots(None, wanted)
            return PlannedJob(
                name=written.name, step="create", values=values, governed=governed, slots=slots,
                is_adopted=True,
            )  # fmt: skip
        row = self.known.applied.get(job.pk)
        drift = drift_from(row, job, sees_params=True) if row is not None else None
        before, after = values_of(job), {**values_of(job), **values}
        changed = {n: v for n, v in values.items() if is_changed(n, before[n], after[n])}
        changes = changes_between(
            definition_of(before), definition_of(after), changed_secrets(before, after),
            sees_params=True,
        )  # fmt: skip
        return PlannedJob(
            name=written.name,
            step="change" if changed else "same",
            job=job,
            values=changed,
            governed=governed,
            changes=tuple(changes),
            slots=self._slots(job, wanted) if changed else SlotDifference(),
            drift=drift if drift is not None and drift.changes else None,
            is_adopted=row is None or row.source != self.source or row.name != written.name,
        )

    def _pruned(self, job: CronJob) -> PlannedJob:
        off = _with(job, {ENABLED: False})
        step: Step = "disable" if job.is_enabled else "same"
        return PlannedJob(name=job.name, step=step, job=job, slots=self._slots(job, off))

    # --- slots ------------------------------------------------------------------------------------

    def _slots(self, before: CronJob | None, after: CronJob) -> SlotDifference:
        until = self.now + timedelta(days=SHOWN_DAYS)
        old, new = self._slots_until(before, until), self._slots_until(after, until)
        ends = [slots[-1] for slots in (old, new) if len(slots) == _MOST_SLOTS]
        if ends:
            old, new = ([slot for slot in slots if slot <= min(ends)] for slots in (old, new))
        zone = ZoneInfo(after.timezone or self.settings.default_timezone)
        return difference(old, new, zone)

    def _slots_until(self, job: CronJob | None, until: datetime) -> list[datetime]:
        if job is None or not job.is_enabled:
            return []
        after = max(self.now, job.start_at - _INSTANT) if job.start_at else self.now
        until = min(until, job.end_at) if job.end_at else until
        try:
            return slots_between(schedule_of(job, self.settings), after, until, _MOST_SLOTS)
        except ScheduleError:
            return []  # SQL has written it; the file replaces it


def _with(job: CronJob | None, values: Mapping[str, Any]) -> CronJob:
    """Returns a copy of a job with other values."""
    made = CronJob(**{**values_of(job), **values}) if job is not None else CronJob(**values)
    made.pk = job.pk if job is not None else None
    if job is not None:
        made.created_at = job.created_at
    return made
