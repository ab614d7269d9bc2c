"""The figures of a pool. Units are in the names."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PoolStatistics:
    """A pool at one moment. Counters never decrease."""

    name: str
    min_size: int
    max_size: int
    size: int
    """Open connections and those being opened: idle + in_use + opening."""
    idle: int
    in_use: int
    opening: int
    waiting: int
    """Callers in line."""
    acquired_count: int
    acquire_wait_seconds_total: float
    acquire_wait_seconds_max: float
    acquire_timeout_count: int
    opened_count: int
    open_failure_count: int
    closed_idle_count: int
    closed_old_count: int
    closed_broken_count: int


@dataclass
class Counters:
    """What a pool counts. PoolStatistics shows the counters under the same names."""

    acquired_count: int = 0
    acquire_wait_seconds_total: float = 0.0
    acquire_wait_seconds_max: float = 0.0
    acquire_timeout_count: int = 0
    opened_count: int = 0
    open_failure_count: int = 0
    closed_idle_count: int = 0
    closed_old_count: int = 0
    closed_broken_count: int = 0

    def add_wait(self, seconds: float) -> None:
        """Counts one caller that waited for this long."""
        self.acquire_wait_seconds_total += seconds
        self.acquire_wait_seconds_max = max(self.acquire_wait_seconds_max, seconds)
