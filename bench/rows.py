"""One measured figure, with its peer, its limit and its goal: a line of JSON.

`ratio` says how many times better than the peer we are: of rates ours / peer, of times and of
memory peer / ours. The figures of one row come from one run on one machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What our figure must reach. All the bounds that are given, or with `one_is_enough` any."""

    at_least: float | None = None
    at_most: float | None = None
    times_the_peer: float | None = None
    one_is_enough: bool = False

    def __str__(self) -> str:
        parts = []
        if self.at_least is not None:
            parts.append(f">= {self.at_least:,g}")
        if self.at_most is not None:
            parts.append(f"<= {self.at_most:,g}")
        if self.times_the_peer is not None:
            parts.append(f">= {self.times_the_peer:g} x peer")
        return (" or " if self.one_is_enough else " and ").join(parts)

    def is_met(self, ours: float | None, ratio: float | None) -> bool | None:
        """None: it cannot be said, because the peer is not there."""
        if ours is None:
            return False
        answers: list[bool | None] = []
        if self.at_least is not None:
            answers.append(ours >= self.at_least)
        if self.at_most is not None:
            answers.append(ours <= self.at_most)
        if self.times_the_peer is not None:
            answers.append(None if ratio is None else ratio >= self.times_the_peer)
        if self.one_is_enough:
            return True if True in answers else None if None in answers else False
        return False if False in answers else None if None in answers else True


@dataclass(frozen=True, kw_only=True)
class Row:
    """`ours` is None if our run did not reach its end: `note` says how far it came."""

    row: str
    database: str
    unit: str
    ours: float | None
    peer: float | None = None
    peer_name: str = ""
    limit: float | None = None
    """The same work as bare statements on our tables, in one process."""
    goal: Goal | None = None
    less_is_better: bool = False
    ratio_of_rounds: float | None = None
    """If the rounds had ratios of their own, their median is better than that of two medians."""
    note: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        if self.ratio_of_rounds is not None:
            return self.ratio_of_rounds
        if not self.ours or not self.peer:
            return None
        return self.peer / self.ours if self.less_is_better else self.ours / self.peer

    def as_mapping(self) -> dict[str, Any]:
        ratio = self.ratio
        return {
            "row": self.row,
            "database": self.database,
            "unit": self.unit,
            "ours": _rounded(self.ours),
            "peer": _rounded(self.peer),
            "peer_name": self.peer_name,
            "limit": _rounded(self.limit),
            "ratio": _rounded(ratio),
            "goal": str(self.goal) if self.goal else "",
            "met": self.goal.is_met(self.ours, ratio) if self.goal else None,
            **({"note": self.note} if self.note else {}),
            **self.more,
        }


def emit(rows: Iterable[Row]) -> None:
    for row in rows:
        print(json.dumps(row.as_mapping()), flush=True)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of the values do not exceed. Of no values: ValueError."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    place = max(0, -(-len(ordered) * percent // 100) - 1)  # rounded up
    return ordered[int(place)]


def _rounded(value: float | None) -> float | None:
    """Four digits: a machine with noise has no more."""
    return None if value is None else float(f"{value:.4g}")
