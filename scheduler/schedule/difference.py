"""Which slots a change of a schedule adds, moves and takes away."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, tzinfo


@dataclass(frozen=True, kw_only=True)
class SlotDifference:
    """The slots that differ, oldest first."""

    added: tuple[datetime, ...] = ()
    moved: tuple[tuple[datetime, datetime], ...] = ()
    """Pairs of the slot as it was and as it will be."""
    lost: tuple[datetime, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.moved or self.lost)


def difference(
    before: Iterable[datetime], after: Iterable[datetime], zone: tzinfo
) -> SlotDifference:
    """Returns how two lists of slots differ.

    On a day of `zone` on which as many slots appear as disappear, they count as moved, in order.
    """
    old, new = set(before), set(after)
    gone, come = _by_day(old - new, zone), _by_day(new - old, zone)
    added: list[datetime] = []
    moved: list[tuple[datetime, datetime]] = []
    lost: list[datetime] = []
    for day in sorted(gone.keys() | come.keys()):
        if len(gone[day]) == len(come[day]):
            moved += zip(gone[day], come[day], strict=True)
        else:
            lost += gone[day]
            added += come[day]
    return SlotDifference(added=tuple(added), moved=tuple(moved), lost=tuple(lost))


def _by_day(slots: Iterable[datetime], zone: tzinfo) -> defaultdict[date, list[datetime]]:
    found: defaultdict[date, list[datetime]] = defaultdict(list)
    for slot in sorted(slots):
        found[slot.astimezone(zone).date()].append(slot)
    return found
