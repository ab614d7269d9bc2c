"""The search in the logs of a job's runs: run by run, by indexes, and no more than a bound."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from scheduler.models import JobExecution, JobLog

#: A search looks at so many runs, and ends earlier when it has found enough lines.
RUNS: Final = 300
LINES: Final = 200
#: Of divided runs it looks at the shards, too. It ends with the run that brings them to so many.
SHARDS: Final = 10_000
_AT_ONCE: Final = 25
_SHARDS_AT_ONCE: Final = 1_000


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Lines of logs, those of the newest run first, each run's in order, then those of its shards.

    `older_than`: where a search goes on, by the time of the runs; None: there are no older runs.
    """

    lines: list[JobLog]
    runs: int
    older_than: datetime | None
    shards: Mapping[int, int]
    """Which shard an execution is."""


def search(
    job_id: int,
    *,
    since: datetime | None,
    until: datetime | None,
    levels: Collection[str],
    text: str,
) -> Lines:
    """Lines of runs in [since, until) with one of these levels (none: all) that hold `text`."""
    runs = JobExecution.objects.filter(job_id=job_id)
    if since is not None:
        runs = runs.filter(scheduled_time__gte=since)
    if until is not None:
        runs = runs.filter(scheduled_time__lt=until)
    ordered = runs.order_by("-scheduled_time").values_list("id", "scheduled_time", "shard_count")
    found = list(ordered[: RUNS + 1])
    lines: list[JobLog] = []
    shards: dict[int, tuple[int, int]] = {}
    looked_at = shards_looked_at = 0
    for part in _parts(found[:RUNS]):
        of_part, places = _executions([id_ for id_, _at, _shards in part])
        shards |= places
        shards_looked_at += len(places)
        for first in range(0, len(of_part), _SHARDS_AT_ONCE):
            some = of_part[first : first + _SHARDS_AT_ONCE]
            lines += _lines(some, levels, text, LINES + 1 - len(lines))
            if len(lines) > LINES:
                break
        looked_at += len(part)
        if len(lines) > LINES or shards_looked_at >= SHARDS:
            break
    if len(lines) > LINES:
        # The next part begins behind the last run that is shown, not behind all that were read.
        last, lines = lines[LINES - 1].execution_id, lines[:LINES]
        run_id = shards[last][0] if last in shards else last
        looked_at = next(number for number, run in enumerate(found, 1) if run[0] == run_id)
    return Lines(
        lines=lines,
        runs=looked_at,
        older_than=None if looked_at == len(found) else found[looked_at - 1][1],
        shards={id_: shard for id_, (_parent, shard) in shards.items()},
    )


_Run = tuple[int, datetime, int | None]


def _parts(runs: Sequence[_Run]) -> Iterator[list[_Run]]:
    """A few runs at once, and fewer of divided ones."""
    part: list[_Run] = []
    shards = 0
    for run in runs:
        part.append(run)
        shards += run[2] or 0
        if len(part) == _AT_ONCE or shards >= _SHARDS_AT_ONCE:
            yield part
            part, shards = [], 0
    if part:
        yield part


def _executions(ids: Sequence[int]) -> tuple[list[int], dict[int, tuple[int, int]]]:
    """These runs, each with its shards behind it; of which run, and which one, each shard is."""
    rows = JobExecution.objects.filter(parent_id__in=ids).order_by("parent_id", "shard")
    of_run: dict[int, list[int]] = {}
    places: dict[int, tuple[int, int]] = {}
    for id_, parent_id, shard in rows.values_list("id", "parent_id", "shard"):
        assert parent_id is not None
        of_run.setdefault(parent_id, []).append(id_)
        places[id_] = (parent_id, shard or 0)
    return [each for id_ in ids for each in (id_, *of_run.get(id_, ()))], places


def _lines(ids: Sequence[int], levels: Collection[str], text: str, limit: int) -> list[JobLog]:
    lines = JobLog.objects.filter(execution_id__in=ids)
    if levels:
        lines = lines.filter(level__in=levels)
    if text:
        lines = lines.filter(message__icontains=text)
    rows = list(lines.order_by("execution_id", "attempt", "seq")[: limit + 1])
    if len(rows) > limit and len(ids) > 1:
        # Which of them come first depends on the order of the runs, which is not that of the ids.
        half = len(ids) // 2
        first = _lines(ids[:half], levels, text, limit)
        return [*first, *_lines(ids[half:], levels, text, limit - len(first))]
    order = {id_: place for place, id_ in enumerate(ids)}
    rows.sort(key=lambda line: (order[line.execution_id], line.attempt, line.seq))
    return rows[:limit]
