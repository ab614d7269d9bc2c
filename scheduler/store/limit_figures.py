"""How many runs go on and wait under limits, by key. For pages: nothing is locked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Count, Max

from scheduler.concurrency import guard_of_group
from scheduler.models import CronJob, JobPlace
from scheduler.states import PlaceState, RunStatus
from scheduler.store import place_rows

#: The keys of one limit that are told, those for which most wait first.
MOST_KEYS = 50


@dataclass(frozen=True, kw_only=True)
class OfKey:
    key: str
    running: int
    waiting: int


@dataclass(kw_only=True)
class Waiting:
    """What goes on and waits under one limit."""

    running: int = 0
    waiting: int = 0
    keys: list[OfKey] = field(default_factory=list)
    last_start_at: datetime | None = None


def of_groups(names: Collection[str]) -> dict[str, Waiting]:
    guards = {guard_of_group(name): name for name in names}
    found = of_guards(guards)
    return {name: found[guard] for guard, name in guards.items()}


def of_guards(guards: Collection[int]) -> dict[int, Waiting]:
    """In three statements, whatever there is."""
    running: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    if guards:
        for row in place_rows.rows(guards):
            is_running = (row.run_status, row.run_attempt) == (RunStatus.RUNNING, row.attempt)
            if row.state == PlaceState.STARTED and is_running:
                running[row.guard][row.key] += 1
    mine = JobPlace.objects.filter(guard_id__in=sorted(guards))
    waiting: dict[int, dict[str, int]] = defaultdict(dict)
    counted = mine.filter(state=PlaceState.WAITS).order_by().values_list("guard_id", "key_value")
    for guard, key, count in counted.annotate(Count("id")):
        waiting[guard][key] = count
    starts = mine.filter(state__in=[PlaceState.STARTED, PlaceState.ENDED]).order_by()
    last = dict(starts.values_list("guard_id").annotate(Max("at")))
    return {
        guard: _of(running.get(guard, {}), waiting.get(guard, {}), last.get(guard))
        for guard in guards
    }


def _of(running: Mapping[str, int], waiting: Mapping[str, int], last: datetime | None) -> Waiting:
    keys = [
        OfKey(key=key, running=running.get(key, 0), waiting=waiting.get(key, 0))
        for key in {*running, *waiting}
    ]
    keys.sort(key=lambda each: (-each.waiting, -each.running, each.key))
    return Waiting(
        running=sum(running.values()),
        waiting=sum(waiting.values()),
        keys=keys[:MOST_KEYS],
        last_start_at=last,
    )


def jobs_by_group() -> dict[str, int]:
    named = CronJob.objects.filter(concurrency_group__gt="").order_by()
    return dict(named.values_list("concurrency_group").annotate(Count("id")))
