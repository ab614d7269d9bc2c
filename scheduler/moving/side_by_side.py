"""The slots of a shadow beside the runs of its old system: each pair, and what to think of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from scheduler.models import CronJob
from scheduler.moving.entries import UnreadableSource
from scheduler.moving.job_entries import entry_of
from scheduler.moving.old_sides import DJANGO_CELERY_BEAT, WRITABLE, old_task, place_of
from scheduler.moving.tables import instant_of, reading
from scheduler.store import executions

WEEK: Final = timedelta(days=7)
#: A minute job has 10,080 slots in a week.
MOST: Final = 11_000
#: The clocks of the two sides may differ by so much.
EARLY: Final = timedelta(seconds=2)
#: An old beat may send a run so long after its slot.
LATE: Final = timedelta(minutes=1)
#: A slot that is younger may still be run there.
FRESH: Final = timedelta(minutes=2)
_RESULTS: Final = "django_celery_results_taskresult"


class RunsFrom(StrEnum):
    """How the runs of the old system are known."""

    RESULTS = "results"  # django-celery-results has kept each of them
    LAST_RUN = "last_run"  # it keeps the last one
    SCHEDULE = "schedule"  # it keeps none: what its schedule says
    NOTHING = "nothing"  # it cannot be read


# A result may be made when the run has ended, and a time of a schedule is exact.
_LATE: Final = {
    RunsFrom.RESULTS: timedelta(minutes=10),
    RunsFrom.LAST_RUN: LATE,
    RunsFrom.SCHEDULE: EARLY,
}


class Match(StrEnum):
    BOTH = "both"
    ONLY_HERE = "only_here"
    ONLY_THERE = "only_there"
    UNKNOWN = "unknown"  # older than the last run there, or too young


class Judgement(StrEnum):
    """What a whole comparison says."""

    IN_STEP = "in_step"
    DIFFERS = "differs"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Pair:
    here: datetime | None
    there: datetime | None
    match: Match

    @property
    def at(self) -> datetime:
        at = self.here or self.there
        assert at is not None
        return at

    @property
    def late_seconds(self) -> float | None:
        """How long after the slot it was run there."""
        if self.here is None or self.there is None:
            return None
        return (self.there - self.here).total_seconds()


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """`pairs`: the newest first. `problem`: why the old system cannot be read."""

    runs_from: RunsFrom
    pairs: Sequence[Pair] = ()
    problem: str = ""

    @property
    def counts(self) -> Counter[Match]:
        return Counter(pair.match for pair in self.pairs)

    @property
    def judgement(self) -> Judgement:
        counts = self.counts
        if counts[Match.ONLY_HERE] or counts[Match.ONLY_THERE]:
            return Judgement.DIFFERS
        return Judgement.IN_STEP if counts[Match.BOTH] else Judgement.UNKNOWN


def side_by_side(job: CronJob, now: datetime, span: timedelta = WEEK) -> SideBySide:
    """Sets both sides of the last days beside each other. What it cannot read is a `problem`."""
    slots = executions.slots_of_job(job.pk, after=now - span, until=now, limit=MOST)
    # Before our first slot nobody has recorded anything.
    since = max(now - span, slots[0] - EARLY) if slots else now - span
    try:
        runs_from, runs = _runs_there(job, since, now)
    except UnreadableSource as error:
        pairs = [Pair(here=slot, there=None, match=Match.UNKNOWN) for slot in reversed(slots)]
        return SideBySide(runs_from=RunsFrom.NOTHING, pairs=pairs, problem=str(error))
    pairs = paired(slots, runs, now, late=_LATE[runs_from])
    if runs_from == RunsFrom.LAST_RUN:
        last = runs[-1] if runs else None
        pairs = [_known_by_last(pair, last) for pair in pairs]
    return SideBySide(runs_from=runs_from, pairs=pairs[::-1])


def paired(
    slots: Sequence[datetime], runs: Sequence[datetime], now: datetime, *, late: timedelta
) -> list[Pair]:
    """Returns all slots and runs, oldest first. A run belongs to the last slot before it, unless it
    comes later than `late`.
    """
    found: list[Pair] = []
    left = list(runs)
    for place, slot in enumerate(slots):
        following = slots[place + 1] if place + 1 < len(slots) else None
        while left and left[0] < slot - EARLY:
            found.append(Pair(here=None, there=left.pop(0), match=Match.ONLY_THERE))
        end = min(slot + late, following - EARLY) if following else slot + late
        if left and left[0] < end:
            found.append(Pair(here=slot, there=left.pop(0), match=Match.BOTH))
        else:
            match = Match.UNKNOWN if now - slot < FRESH else Match.ONLY_HERE
            found.append(Pair(here=slot, there=None, match=match))
    return found + [Pair(here=None, there=run, match=Match.ONLY_THERE) for run in left]


def _known_by_last(pair: Pair, last: datetime | None) -> Pair:
    """The last run says nothing of the slots before it."""
    is_before = pair.match == Match.ONLY_HERE and (last is None or pair.at < last)
    return replace(pair, match=Match.UNKNOWN) if is_before else pair


def _runs_there(job: CronJob, since: datetime, now: datetime) -> tuple[RunsFrom, list[datetime]]:
    """Returns the runs after `since`, oldest first. Raises UnreadableSource."""
    kind = job.source.partition(":")[0]
    if kind not in WRITABLE:
        old = entry_of(job, now).old
        found = [] if old is None else old.slots(since, now, MOST)
        return RunsFrom.SCHEDULE, found
    if kind == DJANGO_CELERY_BEAT:
        kept = _kept_results(job, since)
        if kept is not None:
            return RunsFrom.RESULTS, kept
    last = old_task(job.source).state().last_run_at
    return RunsFrom.LAST_RUN, [] if last is None or last < since else [last]


def _kept_results(job: CronJob, since: datetime) -> list[datetime] | None:
    """Returns when the results of the task were made. None: no results of it are kept."""
    place = place_of(job.source)
    number = job.source.rpartition(":")[2]
    if not place:
        return None
    try:
        with reading(place) as database:
            row = database.row("django_celery_beat_periodictask", "id", int(number))
            if row is None:
                return None
            statement = (
                f"SELECT date_created FROM {_RESULTS} WHERE periodic_task_name = %s"  # noqa: S608
                " AND date_created > %s ORDER BY date_created"
            )
            rows = database.select(statement, [row["name"], since])
    except (UnreadableSource, ValueError):
        return None  # without django-celery-results there is no such table
    made = (instant_of(found["date_created"]) for found in rows[:MOST])
    return [at for at in made if at is not None] or None
