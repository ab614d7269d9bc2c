"""Histograms of seconds, as they lie in JSON columns: upper bound -> how many, and their sum."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

BOUNDS: Final = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
#: The same as Prometheus' label `le`.
LABELS: Final = (*(f"{bound:g}" for bound in BOUNDS), "+Inf")
_SUM: Final = "sum"


@dataclass
class Histogram:
    """How many values lie in each bucket, and their sum."""

    counts: list[int] = field(default_factory=lambda: [0] * len(LABELS))
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> Iterator[int]:
        """For each of LABELS how many values are at most that large."""
        total = 0
        for count in self.counts:
            total += count
            yield total

    def quantile(self, part: float) -> float | None:
        """The value that `part` of the values do not exceed, as if a bucket's were spread evenly.

        The last bound, if it is above that. None: there is no value.
        """
        wanted, below = part * sum(self.counts), 0
        if not wanted:
            return None
        for index, count in enumerate(self.counts[:-1]):
            if below + count >= wanted:
                low = BOUNDS[index - 1] if index else 0.0
                return low + (BOUNDS[index] - low) * (wanted - below) / count
            below += count
        return BOUNDS[-1]

    def stored(self) -> dict[str, float]:
        """For a JSON column. Bounds are kept by name, so other bounds may come later."""
        found: dict[str, float] = {
            label: count for label, count in zip(LABELS, self.counts, strict=True) if count
        }
        return {**found, _SUM: round(self.total, 6)} if found else {}


def read(stored: Any) -> Histogram:
    """What `stored` returned. Bounds that are not known count to the next larger one."""
    histogram = Histogram()
    if isinstance(stored, Mapping):
        histogram.total = float(stored.get(_SUM, 0.0))
        for label, count in stored.items():
            if label != _SUM:
                histogram.counts[bisect_left(BOUNDS, float(label))] += int(count)
    return histogram
