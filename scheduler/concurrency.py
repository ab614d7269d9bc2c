"""Limits of how many runs go on at once, and how many begin in a span. Pure: no clock, no database.

A job has a limit of its own, a group limits several jobs, and a key divides either of them: one
limit for each value. Whoever holds the guard of a limit (store/places.py) asks its `Room`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from scheduler.states import ReasonCode

LONGEST_KEY: Final = 200
#: So many runs at most are let go on at once, or get their instant under a rate ahead of time.
AT_ONCE: Final = 50
#: A run that was let go on keeps its place for so long, if no worker begins it.
KEEPS: Final = timedelta(seconds=10)
# Ids of guards: jobs have small ones, keys of calls negative ones (operations/tasks.py).
_FIRST_OF_SHARDS: Final = 1 << 61
_FIRST_OF_GROUPS: Final = 1 << 62
_PATH: Final = re.compile(r"params(?:\.[^.\s]+)+")
_NOT_STORABLE: Final = re.compile("[\x00-\x1f\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True, slots=True)
class JobLimits:
    """The columns of a job that limit its runs."""

    max_running: int | None = None
    group: str = ""
    key_path: str = ""

    @classmethod
    def of(cls, max_running: int | None, group: str | None, key_path: str) -> JobLimits | None:
        """None: the job has none, which costs nothing. A key alone limits nothing."""
        if max_running is None and not group:
            return None
        return cls(max_running=max_running, group=group or "", key_path=key_path)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """What a run needs to start: a place under the limit of this guard."""

    guard: int
    key: str = ""
    group: str = ""
    """The group of the limit. Empty: it is the job's own limit."""
    key_is: str = ""
    """Why the key is not the value itself: absent, not_scalar, no_path or shortened."""


def places_of(
    limits: JobLimits, *, job_id: int, may_overlap: bool, params: object, is_shard: bool = False
) -> tuple[Place, ...]:
    """The places that a run needs, in the order in which it waits for them.

    The job's own limit comes first: who waits for the group's has a place under it already, so that
    no run goes from line to line. A run that never overlaps another one of its job needs none of
    it. Its shards do. `params`: of the run or the shard itself.
    """
    key, key_is = key_of(params, limits.key_path) if limits.key_path else ("", "")
    found: list[Place] = []
    if limits.max_running is not None and (may_overlap or is_shard):
        # Within a group the key divides the group.
        own = ("", "") if limits.group else (key, key_is)
        guard = guard_of_job(job_id, may_overlap=may_overlap)
        found.append(Place(guard=guard, key=own[0], key_is=own[1]))
    if limits.group:
        guard = guard_of_group(limits.group)
        found.append(Place(guard=guard, key=key, group=limits.group, key_is=key_is))
    return tuple(found)


def guard_of_job(job_id: int, *, may_overlap: bool) -> int:
    """The guard of the job's own limit.

    Where runs must not overlap, only shards need its places. They wait under a guard of their own,
    because the runs of the job wait under the job's guard for the end of the one before.
    """
    return job_id if may_overlap else _FIRST_OF_SHARDS + job_id


def job_of_guard(guard: int) -> int:
    """The job whose own limit has this guard."""
    return guard - _FIRST_OF_SHARDS if guard >= _FIRST_OF_SHARDS else guard


def guard_of_group(name: str) -> int:
    """The guard of a group: by its name, so that a claim needs no row of the group to lock it."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return _FIRST_OF_GROUPS + (int.from_bytes(digest[:8], "big") >> 2)


# --- keys -----------------------------------------------------------------------------------------


def path_parts(path: str) -> list[str] | None:
    """The names in a path such as `params.tenant.id`. None: it is no path."""
    return path.split(".")[1:] if _PATH.fullmatch(path) else None


def key_of(params: object, path: str) -> tuple[str, str]:
    """The text of the value at this path, and why it is not the value itself, if so.

    What is absent has the key "", and so has an object or a list, and each run where SQL has
    written what is no path: they share one place, and do not run without limit.
    """
    parts = path_parts(path)
    if parts is None:
        return "", "no_path"
    value: Any = params
    for name in parts:
        value = value.get(name) if isinstance(value, Mapping) else None
    if value is None:
        return "", "absent"
    if isinstance(value, str):
        text = value
    elif isinstance(value, bool | int | float):
        text = json.dumps(value)
    else:
        return "", "not_scalar"
    if len(text) <= LONGEST_KEY and not _NOT_STORABLE.search(text):
        return text, ""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    start = _NOT_STORABLE.sub("?", text)[: LONGEST_KEY - len(digest) - 1]
    return f"{start}~{digest}", "shortened"


# --- rooms ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a limit allows. None: as many as come."""

    max_running: int | None = None
    max_running_per_key: int | None = None
    rate_count: int | None = None
    rate_seconds: int | None = None
    rate_per_key: bool = False

    @property
    def has_rate(self) -> bool:
        return self.rate_count is not None and self.rate_seconds is not None

    @property
    def is_of_keys(self) -> bool:
        """Each key has places of its own, and nothing limits all of them together."""
        return self.max_running is None and (self.rate_per_key or not self.has_rate)


@dataclass(frozen=True, kw_only=True)
class Next:
    """A run that was let go on and has not begun yet."""

    key: str
    at: datetime
    """It may begin then."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a run may not start now."""

    code: ReasonCode
    facts: Mapping[str, Any]


class Starts(NamedTuple):
    """The starts that count for a rate, newest first, without the `skipped` newest ones."""

    skipped: int = 0
    at: Sequence[datetime] = ()


#: Returns those of a key, or (None) of all, of which so many others are newer or not known to it.
#: It skips so few that the N-th newest of all is among what it returns, or there are fewer than N.
StartsOf = Callable[[str | None, int], Starts]


@dataclass(kw_only=True)
class Room:
    """What goes on under one limit. Exact, because its guard is locked."""

    terms: Terms
    running: Counter[str] = field(default_factory=Counter)
    """The runs that go on, by key."""
    next: dict[int, Next] = field(default_factory=dict)
    """By execution."""
    late: set[int] = field(default_factory=set)
    """Executions that were let go on so long ago that their places may be taken by others."""
    starts: StartsOf = lambda key, others: Starts()
    _begun: list[tuple[str, datetime]] = field(default_factory=list)

    def refusal(self, place: Place, execution_id: int, now: datetime) -> Refusal | None:
        """Why this run may not start. A newcomer counts those that were let go on as running."""
        terms, key = self.terms, place.key
        # A late one comes before those whose turn was after its own.
        is_next = execution_id in self.next or execution_id in self.late
        total, of_key = self._taken(key, now, without_next=is_next)
        if terms.max_running is not None and total >= terms.max_running:
            return _full(place, terms.max_running, total, per_key=False)
        if terms.max_running_per_key is not None and of_key >= terms.max_running_per_key:
            return _full(place, terms.max_running_per_key, of_key, per_key=True)
        if self._instant(key, now, without_next=is_next) > now:
            return self.too_early(place)
        return None

    def too_early(self, place: Place) -> Refusal:
        terms = self.terms
        facts = {"limit": terms.rate_count, "seconds": terms.rate_seconds}
        return Refusal(
            code=ReasonCode.RATE_REACHED, facts=_named(place, facts, per_key=terms.rate_per_key)
        )

    def begin(self, place: Place, now: datetime) -> None:
        self.running[place.key] += 1
        self._begun.append((place.key, now))

    def places(self, now: datetime) -> int:
        """How many waiting runs could be let go on, if their keys have room."""
        most = AT_ONCE
        if self.terms.max_running is not None:
            most = min(most, self.terms.max_running - self._taken("", now)[0])
        if self.terms.has_rate and not self.terms.rate_per_key:
            most = min(most, self._ahead(None) - self._early(None, now))
        return max(0, most)

    def instant_for(self, key: str, now: datetime) -> datetime | None:
        """When one more waiting run of this key may begin. None: not before another one ends."""
        terms = self.terms
        at = self._instant(key, now)
        total, of_key = self._taken(key, at)
        if terms.max_running is not None and total >= terms.max_running:
            return None
        if terms.max_running_per_key is not None and of_key >= terms.max_running_per_key:
            return None
        scope = key if terms.rate_per_key else None
        if at > now and self._early(scope, now) >= self._ahead(scope):
            return None
        return at

    def _taken(self, key: str, at: datetime, *, without_next: bool = False) -> tuple[int, int]:
        """The places that are taken at `at`: of all keys, and of this one."""
        due = () if without_next else [each for each in self.next.values() if each.at <= at]
        return (
            self.running.total() + len(due),
            self.running[key] + sum(each.key == key for each in due),
        )

    def _instant(self, key: str, now: datetime, *, without_next: bool = False) -> datetime:
        """When the rate allows one more start.

        By the N-th newest start, so any window of the span has at most N. That holds as well where
        the clocks of two processes differ, because starts that seem to lie in the future count.
        """
        terms = self.terms
        if terms.rate_count is None or terms.rate_seconds is None:
            return now
        scope = key if terms.rate_per_key else None
        others = [at for of, at in self._begun if scope in (None, of)]
        if not without_next:
            others += [each.at for each in self.next.values() if scope in (None, each.key)]
        known = self.starts(scope, len(others))
        counted, rank = [*known.at, *others], terms.rate_count - known.skipped
        if len(counted) < rank:
            return now
        newest = sorted(counted, reverse=True)[rank - 1]
        return max(now, newest + timedelta(seconds=terms.rate_seconds))

    def _early(self, scope: str | None, now: datetime) -> int:
        """How many have got an instant that has not come yet."""
        return sum(each.at > now and scope in (None, each.key) for each in self.next.values())

    def _ahead(self, scope: str | None) -> int:
        return min(AT_ONCE, self.terms.rate_count or AT_ONCE)


def _full(place: Place, limit: int, running: int, *, per_key: bool) -> Refusal:
    facts = {"limit": limit, "running": running}
    return Refusal(code=ReasonCode.LIMIT_REACHED, facts=_named(place, facts, per_key=per_key))


def _named(place: Place, facts: Mapping[str, Any], *, per_key: bool) -> dict[str, Any]:
    """`per_key`: the limit is of the key. The job's own limit has no group.

    Without the key itself: it is a parameter, which not everybody may see who sees the run.
    """
    named: dict[str, Any] = {**facts, "group": place.group, "per_key": per_key}
    if per_key and place.key_is:
        named["key_is"] = place.key_is
    return named


def in_turn(
    lines: Mapping[str, Collection[int]], room: Room, *, most: int, now: datetime
) -> list[tuple[int, Next]]:
    """Whom of the waiting runs (key -> ids, in turn and oldest first) goes on: keys take turns.

    They are in `room.next` afterwards.
    """
    chosen: list[tuple[int, Next]] = []
    rest = {key: list(ids) for key, ids in lines.items()}
    while rest and len(chosen) < most:
        for key in list(rest):
            if len(chosen) >= most:
                break
            at = room.instant_for(key, now) if rest[key] else None
            if at is None:
                del rest[key]
                continue
            id_ = rest[key].pop(0)
            room.next[id_] = Next(key=key, at=at)
            chosen.append((id_, room.next[id_]))
    return chosen
