"""Whether each of many shadows is in step with its old system, with one look at each system."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from scheduler.models import CronJob
from scheduler.moving.entries import Entry, Options, UnreadableSource
from scheduler.moving.job_entries import where_of
from scheduler.moving.names import source_key
from scheduler.moving.old_sides import WRITABLE
from scheduler.moving.reading import read
from scheduler.moving.side_by_side import EARLY, FRESH, LATE, Judgement
from scheduler.operations.switches import is_imported
from scheduler.schedule import Schedule, ScheduleError, schedule_of, slots_between
from scheduler.schedule.from_job import ScheduleSettings

_DAY: Final = timedelta(days=1)
_MOST: Final = 1500


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`last_run_at`: the last run there. `is_off_there`: nobody runs the job."""

    judgement: Judgement
    last_run_at: datetime | None = None
    is_off_there: bool = False
    problem: str = ""


def verdicts(
    jobs: Iterable[CronJob], settings: ScheduleSettings, now: datetime
) -> dict[int, Verdict]:
    """Returns the verdict of each job by its id. Raises nothing for what it cannot read."""
    read_already: dict[tuple[str, str], Mapping[str, Entry] | str] = {}
    return {job.pk: _verdict(job, settings, now, read_already) for job in jobs}


def _verdict(
    job: CronJob,
    settings: ScheduleSettings,
    now: datetime,
    read_already: dict[tuple[str, str], Mapping[str, Entry] | str],
) -> Verdict:
    if not is_imported(job):
        return Verdict(judgement=Judgement.UNKNOWN)
    try:
        place = (where_of(job), job.timezone)
        if place not in read_already:
            read_already[place] = _entries(*place, now)
        schedule = schedule_of(job, settings)
    except (UnreadableSource, ScheduleError) as error:
        return Verdict(judgement=Judgement.UNKNOWN, problem=str(error))
    found = read_already[place]
    if isinstance(found, str):
        return Verdict(judgement=Judgement.UNKNOWN, problem=found)
    entry = found.get(job.source)
    if entry is None or not entry.is_enabled:
        return Verdict(judgement=Judgement.DIFFERS, is_off_there=True)
    keeps_runs = place[0].partition(":")[0] in WRITABLE
    judgement = _judged(entry, schedule, now, keeps_runs=keeps_runs)
    return Verdict(judgement=judgement, last_run_at=entry.last_run_at)


def _entries(where: str, timezone: str, now: datetime) -> Mapping[str, Entry] | str:
    """Returns the entries by the source of their jobs, or why there are none."""
    try:
        kind, entries = read(where, Options(now=now, timezone=timezone))
    except UnreadableSource as error:
        return str(error)
    return {source_key(kind, entry.key): entry for entry in entries}


def _judged(entry: Entry, schedule: Schedule, now: datetime, *, keeps_runs: bool) -> Judgement:
    """`keeps_runs`: the system keeps the last run. Then an entry without one has never run."""
    if entry.last_run_at is not None:
        newest = schedule.last_until(now - FRESH)
        its_slot = schedule.last_until(entry.last_run_at + EARLY)
        is_late = newest is not None and entry.last_run_at < newest - EARLY
        is_odd = its_slot is None or entry.last_run_at - its_slot > LATE
        return Judgement.DIFFERS if is_late or is_odd else Judgement.IN_STEP
    if entry.old is None or keeps_runs:
        return Judgement.UNKNOWN
    here = slots_between(schedule, now - _DAY, now, _MOST)
    is_same = here == entry.old.slots(now - _DAY, now, _MOST)
    return Judgement.IN_STEP if is_same else Judgement.DIFFERS
