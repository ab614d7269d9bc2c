"""What a worker counts of itself, for /metrics: counters that grow from its start on.

Its main process writes them into the worker's row with the heartbeat (store/processes.py). Children
of prefork hand theirs to it through memory that was made before the fork.
"""

from __future__ import annotations

import json
import mmap
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from dbpools import DatabaseRegistry

#: A figure or a group of them. All are counters, so those of several processes are added.
Figures = Mapping[str, Any]

_SLOTS: Final = 128
_SLOT_SIZE: Final = 4096
_HEAD: Final = struct.Struct("<II")  # the length and the checksum of the text
_PUBLISH_SECONDS: Final = 1.0


class Tally:
    """The counters of one process. Each is written by one thread, and read by any."""

    def __init__(self) -> None:
        self._claims = self._claimed = 0
        self._writes = self._ended = 0
        self._probes, self._lag_seconds = 0, 0.0

    def claimed(self, runs: int) -> None:
        """So many runs were claimed together."""
        self._claims += 1
        self._claimed += runs

    def ended(self, runs: int) -> None:
        """The ends of so many runs were written together."""
        self._writes += 1
        self._ended += runs

    def loop_answered(self, seconds: float) -> None:
        """The event loop took so long to begin something new."""
        self._probes += 1
        self._lag_seconds += seconds

    def figures(self) -> Figures:
        """All counters, with those of the pools that handlers use."""
        return {
            "claims": {"groups": self._claims, "runs": self._claimed},
            "ends": {"groups": self._writes, "runs": self._ended},
            "loop": {"probes": self._probes, "lag_seconds": round(self._lag_seconds, 6)},
            "pools": _pools(),
        }


def _pools() -> dict[str, Figures]:
    found = {name: db.statistics() for name, db in DatabaseRegistry.get_all().items()}
    return {
        name: {
            "acquired": pool.acquired_count,
            "wait_seconds": round(pool.acquire_wait_seconds_total, 6),
            "timeouts": pool.acquire_timeout_count,
        }
        for name, pool in found.items()
        if pool.acquired_count or pool.acquire_timeout_count
    }


def added(one: Figures, other: Figures) -> dict[str, Any]:
    """The sum of two processes' figures."""
    total = dict(one)
    for name, value in other.items():
        before = total.get(name)
        if isinstance(value, Mapping):
            total[name] = added(before if isinstance(before, Mapping) else {}, value)
        else:
            total[name] = value + (before or 0)
    return total


class SharedFigures:
    """The figures of the children of a worker: one slot for each place in its pool.

    Made before the fork, so it works with children that are forked and not with those that are
    spawned. Each slot has one writer at a time. A child that replaces another one goes on from what
    it finds in its slot.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SLOTS * _SLOT_SIZE)  # what nobody touches costs nothing
        self._seen: dict[int, Figures] = {}

    def write(self, slot: int, figures: Figures) -> None:
        """What does not fit is left out: the figures of pools, or all beyond the last slot."""
        text = json.dumps(figures).encode()
        if len(text) > _SLOT_SIZE - _HEAD.size:
            text = json.dumps({**figures, "pools": {}}).encode()
        if 0 <= slot < _SLOTS:
            at = slot * _SLOT_SIZE
            _HEAD.pack_into(self._memory, at, len(text), zlib.crc32(text))
            self._memory[at + _HEAD.size : at + _HEAD.size + len(text)] = text

    def read(self, slot: int) -> Figures:
        """What was written there last. Empty: nothing yet."""
        if not 0 <= slot < _SLOTS:
            return {}
        at = slot * _SLOT_SIZE
        length, checksum = _HEAD.unpack_from(self._memory, at)
        text = self._memory[at + _HEAD.size : at + _HEAD.size + length]
        # Else it is being written: a counter must not go back, so what was seen last holds.
        if length and zlib.crc32(text) == checksum:
            self._seen[slot] = json.loads(text)
        return self._seen.get(slot, {})

    def total(self) -> Figures:
        """The sum of all slots."""
        found: Figures = {}
        for slot in range(_SLOTS):
            found = added(found, self.read(slot))
        return found


class Publisher:
    """Writes a child's figures into its slot, once a second at most."""

    def __init__(
        self, shared: SharedFigures, slot: int, tally: Tally, monotonic: Callable[[], float]
    ) -> None:
        self._shared = shared
        self._slot = slot
        self._tally = tally
        self._monotonic = monotonic
        self._before = shared.read(slot)
        self._next = 0.0

    def publish(self, *, at_once: bool = False) -> None:
        now = self._monotonic()
        if at_once or now >= self._next:
            self._next = now + _PUBLISH_SECONDS
            self._shared.write(self._slot, added(self._before, self._tally.figures()))
