"""Freezes: spans of time, or hours of a week, in which no slot starts. Pure.

A slot is blocked if a freeze of its job holds at its time. A missed slot that is to be caught up
starts later than its time, so it is blocked, too, if a freeze holds when that is decided. Freezes
that overlap or touch are one: nothing starts before the last of them ends. Of the slots blocked by
them the last one is held until then, if the freeze that blocks it says so; the others are skipped.
The row of a slot says all this from the beginning, so nothing has to be done when a freeze ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from scheduler.schedule.slots import Schedule
from scheduler.schedule.weekly_hours import WeeklyHours
from scheduler.states import BlockedSlots

# Freezes that follow each other without a gap are read so far, beyond which no end is in sight.
_HORIZON: Final = timedelta(days=400)
_INSTANT: Final = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True)
class Freeze:
    """`hours` None: it holds from `since` to `until`. Else in those hours, between both if given.

    Spans include their beginning and exclude their end. No `tags`: it is for all jobs.
    """

    id: int
    name: str
    reason: str
    since: datetime | None
    until: datetime | None
    hours: WeeklyHours | None
    blocked_slots: BlockedSlots
    tags: frozenset[str] = frozenset()

    def span_at(self, instant: datetime) -> tuple[datetime, datetime] | None:
        """Returns when the span that holds at `instant` begins and ends. None: none holds."""
        if (self.since is not None and instant < self.since) or (
            self.until is not None and instant >= self.until
        ):
            return None
        if self.hours is None:
            return (self.since, self.until) if self.since and self.until else None
        spans = list(self.hours.around(instant))
        if not spans:
            return None
        begins, ends = min(span[0] for span in spans), max(span[1] for span in spans)
        return max(begins, self.since or begins), min(ends, self.until or ends)

    def spans_between(
        self, since: datetime, until: datetime
    ) -> Iterator[tuple[datetime, datetime]]:
        """The times from `since` to `until` in which it holds. They may overlap."""
        since, until = max(since, self.since or since), min(until, self.until or until)
        spans = [(since, until)] if self.hours is None else self.hours.between(since, until)
        for begins, ends in spans:
            if max(begins, since) < min(ends, until):
                yield max(begins, since), min(ends, until)

    def is_for(self, tags: frozenset[str]) -> bool:
        return not self.tags or not self.tags.isdisjoint(tags)

    def facts(self) -> dict[str, Any]:
        return {"freeze": self.name, "freeze_id": self.id, "note": self.reason}


Freezes = tuple[Freeze, ...]


@dataclass(frozen=True, kw_only=True)
class Block:
    """A blocked slot. `held_until` None: it is skipped; else it runs then."""

    freeze: Freeze
    held_until: datetime | None


def holding(freezes: Iterable[Freeze], instant: datetime) -> Freeze | None:
    """Returns the freeze that holds at `instant`; of several, the one that ends last."""
    best: tuple[datetime, int, Freeze] | None = None
    for freeze in freezes:
        span = freeze.span_at(instant)
        if span is not None and (best is None or (span[1], -freeze.id) > best[:2]):
            best = (span[1], -freeze.id, freeze)
    return best[2] if best else None


def end_of(freezes: Freezes, instant: datetime) -> datetime | None:
    """Returns the first instant from `instant` on at which none holds. None: it is not in sight."""
    end = instant
    while end - instant < _HORIZON:
        freeze = holding(freezes, end)
        span = freeze.span_at(end) if freeze else None
        if span is None:
            return end
        end = span[1]
    return None


def blocked(
    slot: datetime,
    freezes: Freezes,
    schedule: Schedule,
    *,
    end_at: datetime | None = None,
    caught_up_at: datetime | None = None,
) -> Block | None:
    """Returns how a slot is blocked. `caught_up_at`: when a missed slot is to start."""
    since = slot
    freeze = holding(freezes, slot)
    if caught_up_at is not None and (later := holding(freezes, caught_up_at)) is not None:
        freeze, since = later, caught_up_at
    if freeze is None:
        return None
    end = end_of(freezes, since)
    following = schedule.next_after(slot)
    is_last = following is None or (end_at is not None and following > end_at)
    if end is not None and not is_last and following is not None:
        is_last = following >= end
    is_held = end is not None and is_last and freeze.blocked_slots == BlockedSlots.LATEST
    return Block(freeze=freeze, held_until=end if is_held else None)


def free_spans(
    freezes: Freezes, after: datetime, last: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """The parts of (after, last] in which no freeze holds, each without its first instant."""
    if not freezes:
        if after < last:
            yield after, last
        return
    until = last + _INSTANT
    for begins, ends in sorted(
        span for freeze in freezes for span in freeze.spans_between(after, until)
    ):
        if after < begins - _INSTANT:
            yield after, begins - _INSTANT
        after = max(after, ends - _INSTANT)
    if after < last:
        yield after, last


def held_spans(
    freezes: Freezes, after: datetime, last: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """The other parts of (after, last], in which one holds, in order. As `free_spans`."""
    for begins, ends in free_spans(freezes, after, last):
        if after < begins:
            yield after, begins
        after = ends
    if after < last:
        yield after, last


def holds_within(freezes: Iterable[Freeze], since: datetime, until: datetime) -> Freezes:
    """Returns those that may hold at some time from `since` to `until`. May name too many."""
    return tuple(
        freeze
        for freeze in freezes
        if (freeze.since is None or freeze.since <= until)
        and (freeze.until is None or freeze.until > since)
    )
