"""Spreading jobs that all start at the full hour: which ones, and what would change.

A proposal changes nothing. It is carried out by the ordinary edit of each job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from scheduler.models import CronJob
from scheduler.store import herds

#: The jitter that a proposal gives.
JITTER_SECONDS: Final = 600
#: So many jobs are offered at once.
OFFERED: Final = 200
_MINUTES: Final = range(1, 60)


class Way(StrEnum):
    MINUTE = "minute"  # another minute of the hour: the slot itself moves
    JITTER = "jitter"  # the same slot, and its start is delayed by a random time


@dataclass(frozen=True, kw_only=True)
class Change:
    """What would change on one job. `tick_seq`: as the job was read."""

    job_id: int
    name: str
    old: str
    new: str
    tick_seq: int
    values: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Herd:
    """Enabled jobs that start at minute 0, by name; how many of all start at each minute."""

    jobs: Sequence[CronJob]
    more: int
    starts_by_minute: Mapping[int, int]


def herd() -> Herd:
    """Reads the schedules of all enabled jobs, each distinct one once."""
    starts: Counter[int] = Counter()
    for minutes, hours, jobs in herds.minutes_of_jobs():
        for minute in minutes:
            starts[minute] += hours * jobs
    found = herds.at_full_hours()
    return Herd(
        jobs=found[:OFFERED], more=max(0, len(found) - OFFERED), starts_by_minute=dict(starts)
    )


def propose(jobs: Sequence[CronJob], way: Way, starts_by_minute: Mapping[int, int]) -> list[Change]:
    """Returns one change for each job that starts at minute 0, in their order. Pure.

    Another minute: always the one with the fewest starts, so that the jobs come apart.
    """
    starts = {minute: starts_by_minute.get(minute, 0) for minute in _MINUTES}
    changes = []
    for job in jobs:
        if not herds.is_at_full_hours(job.cron_expression):
            continue
        if way == Way.JITTER:
            new = f"{job.cron_expression} + {JITTER_SECONDS} s"
            values: dict[str, Any] = {"jitter_seconds": JITTER_SECONDS}
        else:
            minute = min(_MINUTES, key=lambda each: (starts[each], each))
            starts[minute] += 1
            new = f"{minute} {job.cron_expression.split(maxsplit=1)[1]}"
            values = {"cron_expression": new}
        changes.append(
            Change(
                job_id=job.pk,
                name=job.name,
                old=job.cron_expression,
                new=new,
                tick_seq=job.tick_seq,
                values=values,
            )
        )
    return changes
