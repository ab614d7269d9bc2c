"""Lines of a crontab that have the same command: each keeps the job that was made of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from scheduler.models import CronJob
from scheduler.moving.entries import Entry
from scheduler.moving.names import source_key

#: So many lines of one command may have been deleted since the import.
_DELETED: Final = 8
_CHUNK: Final = 1000

#: An expression and its zone, of a line or of a job.
_Times = tuple[str, str]


def numbered(kind: str, entries: Iterable[Entry]) -> list[Entry]:
    """Returns the entries, each with a key of its own: that of its job, if it has one.

    The keys of lines with one command differ in a number. A line has the number of the job with its
    times; the lines that are left have those of the jobs that are left, in order: their times were
    edited. So a line keeps its job also when the line before it is deleted.
    """
    found = list(entries)
    twins: defaultdict[str, list[int]] = defaultdict(list)
    for place, entry in enumerate(found):
        twins[entry.key].append(place)
    jobs = _times_of_jobs(kind, {key: len(places) for key, places in twins.items()})
    for key, places in twins.items():
        lines = [_times_of_line(found[place]) for place in places]
        for place, number in zip(places, numbers(lines, jobs[key]), strict=True):
            if number > 1:
                entry = found[place]
                mark = f"-{number}"
                found[place] = replace(entry, key=entry.key + mark, name=entry.name + mark)
    return found


def numbers(lines: Sequence[_Times], jobs: Mapping[int, _Times]) -> list[int]:
    """Returns the number of each line. `jobs`: the times of the jobs that there are, by number."""
    left = dict(sorted(jobs.items()))
    given: dict[int, int] = {}
    for place, times in enumerate(lines):
        same = next((number for number, of_job in left.items() if of_job == times), None)
        if same is not None:
            given[place] = same
            del left[same]
    new = (number for number in range(1, len(lines) + len(jobs) + 1) if number not in jobs)
    edited = iter(left)
    return [
        given[place] if place in given else next(edited, None) or next(new)
        for place in range(len(lines))
    ]


def _times_of_line(entry: Entry) -> _Times:
    return entry.values.get("cron_expression", ""), entry.values.get("timezone", "")


def _times_of_jobs(kind: str, counts: Mapping[str, int]) -> Mapping[str, dict[int, _Times]]:
    """Returns the times of the jobs by the key of their command, and by number."""
    asked = {
        source_key(kind, key if number == 1 else f"{key}-{number}"): (key, number)
        for key, count in counts.items()
        for number in range(1, count + _DELETED)
    }
    sources = list(asked)
    found: defaultdict[str, dict[int, _Times]] = defaultdict(dict)
    for start in range(0, len(sources), _CHUNK):
        chunk = sources[start : start + _CHUNK]
        rows = CronJob.objects.filter(source__in=chunk).order_by()
        for source, *times in rows.values_list("source", "cron_expression", "timezone"):
            key, number = asked[source]
            found[key][number] = (times[0], times[1])
    return found
