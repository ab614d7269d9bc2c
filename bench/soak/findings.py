"""What can be wrong with a history, and which promise of the README that breaks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

# The promise of the README that each finding breaks: its number, and the promise in short.
PROMISES: Mapping[str, str] = {
    "missing": "2: no slot is lost",
    "extra": "1: every slot has exactly one row, and only slots have",
    "duplicate": "1: every slot has exactly one row, and every shard",
    "lost_shard": "2: a divided run has all its shards",
    "watermark": "1: the watermark only goes forward",
    "miscounted": "8: what is not run is recorded",
    "not_final": "2: every row becomes final",
    "started_twice": "3: an attempt begins once",
    "unjustified_repeat": "3: a further attempt only after the one before has ended",
    "undivided": "3: a divided run is run by its shards alone",
    "parent_early": "2: a divided run ends with its last shard, not before and not later",
    "verdict": "2: a divided run ends as its shards did",
    "unapproved": "3: a run starts only after a person has approved it",
    "unfenced": "3: only the attempt that holds the lease writes the outcome",
    "outcome_lost": "2: what a run came to is kept through an outage",
    "lost_alive": "3: a run is taken away only from a worker that something happened to",
    "illegal_change": "3: only documented status changes happen",
    "miscounted_failures": "2: each charged attempt is counted once, within max_retry",
    "miscounted_ends": "8: metrics count each end once",
    "overlap": "3: runs of a job that must not overlap do not",
    "frozen": "8: no slot starts in a freeze, and each is recorded",
    "limit": "3: a limit of runs is never exceeded",
    "time": "7: time is right",
    "too_early": "7: a run waits for the success of its upstream job",
    "starved": "2: a run that may start is not passed over",
    "slow": "2: within the bound that the settings give",
    "process_ended": "2: no process ends by itself",
    "gave_up": "2: within the bound that the settings give",
}


@dataclass(frozen=True, kw_only=True)
class Broken:
    what: str  # a key of PROMISES
    detail: str

    def __str__(self) -> str:
        return f"{self.what} (promise {PROMISES[self.what]}): {self.detail}"


def grouped(items: Iterable[T], key: Callable[[T], int]) -> dict[int, list[T]]:
    groups: dict[int, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups
