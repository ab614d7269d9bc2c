"""Whether each of many shadows is in step with its old system, with one look at each system."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

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
    chosen = list(jobs)
    places = {job.pk: _place_of(job) for job in chosen}
    sources: defaultdict[_Place, set[str]] = defaultdict(set)
    for job in chosen:
        place = places[job.pk]
        if isinstance(place, tuple):
            sources[place].add(job.source)
    found = {place: _entries(place, wanted, now) for place, wanted in sources.items()}
    return {job.pk: _verdict(job, places[job.pk], found, settings, now) for job in chosen}


#: Where the entry of a job is, and the zone of those that name none.
_Place = tuple[str, str]


def _place_of(job: CronJob) -> _Place | str:
    """Returns why there is none as a text. "": the job was not imported."""
    if not is_imported(job):
        return ""
    try:
        return where_of(job), job.timezone
    except UnreadableSource as error:
        return str(error)


def _verdict(
    job: CronJob,
    place: _Place | str,
    read_already: Mapping[_Place, Mapping[str, Entry] | str],
    settings: ScheduleSettings,
    now: datetime,
) -> Verdict:
    found = place if isinstance(place, str) else read_already[place]
    if isinstance(place, str) or isinstance(found, str):
        return Verdict(judgement=Judgement.UNKNOWN, problem=str(found))
    try:
        schedule = schedule_of(job, settings)
    except ScheduleError as error:
        return Verdict(judgement=Judgement.UNKNOWN, problem=str(error))
    entry = found.get(job.source)
    if entry is None or not entry.is_enabled:
        return Verdict(judgement=Judgement.DIFFERS, is_off_there=True)
    keeps_runs = place[0].partition(":")[0] in WRITABLE
    says_the_same = _says_the_same(job, entry, now)
    judgement = _judged(entry, schedule, now, keeps_runs=keeps_runs, says_the_same=says_the_same)
    return Verdict(judgement=judgement, last_run_at=entry.last_run_at)


def _entries(place: _Place, wanted: Collection[str], now: datetime) -> Mapping[str, Entry] | str:
    """Returns the entries by the source of their jobs, or why there are none."""
    where, timezone = place
    try:
        options = Options(now=now, timezone=timezone, sources=frozenset(wanted))
        kind, entries = read(where, options)
    except UnreadableSource as error:
        return str(error)
    return {source_key(kind, entry.key): entry for entry in entries}


def _says_the_same(job: CronJob, entry: Entry, now: datetime) -> bool:
    """Whether the job has the schedule of the entry to the letter, on a day without a change of
    clocks. Then nobody has to count 1,440 slots to see it.
    """
    zone = entry.values.get("timezone")
    if (
        job.cron_expression != entry.values.get("cron_expression")
        or job.timezone != zone
        or job.calendar
        or job.jitter_seconds
        or not zone
    ):
        return False
    place = ZoneInfo(str(zone))
    return now.astimezone(place).utcoffset() == (now - _DAY).astimezone(place).utcoffset()


def _judged(
    entry: Entry, schedule: Schedule, now: datetime, *, keeps_runs: bool, says_the_same: bool
) -> Judgement:
    """`keeps_runs`: the system keeps the last run. Then an entry without one has never run."""
    if entry.last_run_at is not None:
        newest = schedule.last_until(now - FRESH)
        its_slot = schedule.last_until(entry.last_run_at + EARLY)
        is_late = newest is not None and entry.last_run_at < newest - EARLY
        is_odd = its_slot is None or entry.last_run_at - its_slot > LATE
        return Judgement.DIFFERS if is_late or is_odd else Judgement.IN_STEP
    if entry.old is None or keeps_runs:
        return Judgement.UNKNOWN
    if says_the_same:
        return Judgement.IN_STEP
    here = slots_between(schedule, now - _DAY, now, _MOST)
    is_same = here == entry.old.slots(now - _DAY, now, _MOST)
    return Judgement.IN_STEP if is_same else Judgement.DIFFERS
