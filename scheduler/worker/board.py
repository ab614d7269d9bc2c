"""What the main process of a worker tells its children: one piece of shared memory.

Made before the fork, so it works with children that are forked and not with those that are spawned.
Only the main process writes. Reading costs about a microsecond and never waits.
"""

from __future__ import annotations

import json
import mmap
import struct
import zlib
from collections.abc import Sequence
from typing import Final

# Memory that nobody touches costs nothing.
_SIZE: Final = 64 * 1024
_EVENTS_ON: Final = 0
_CURRENT_COPY: Final = 1
_OTHERS_WAIT: Final = struct.Struct("<I")
_OTHERS_WAIT_AT: Final = 4
# The names of the queues are here twice. One copy is current, the other one is written next.
_COPIES_AT: Final = 8
_COPY_SIZE: Final = (_SIZE - _COPIES_AT) // 2
_HEAD: Final = struct.Struct("<II")  # the length and the checksum of the names


class BoardFullError(ValueError):
    """The names of the queues are longer than the board."""


class Board:
    """The state of a worker that all its processes see. Thread-safe for one writing thread."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SIZE)
        self._read: tuple[bytes, tuple[str, ...]] = (b"", ())
        self.queues = ()

    @property
    def events_on(self) -> bool:
        """True while somebody wants to see events of tasks: `-E`, or Flower has asked for them."""
        return self._memory[_EVENTS_ON] == 1

    @events_on.setter
    def events_on(self, is_on: bool) -> None:
        self._memory[_EVENTS_ON] = int(is_on)

    @property
    def others_wait(self) -> int:
        """How many requests of other tasks wait in this worker for a place in its pool."""
        (count,) = _OTHERS_WAIT.unpack_from(self._memory, _OTHERS_WAIT_AT)
        return int(count)

    @others_wait.setter
    def others_wait(self, count: int) -> None:
        _OTHERS_WAIT.pack_into(self._memory, _OTHERS_WAIT_AT, count)

    @property
    def queues(self) -> tuple[str, ...]:
        """The names of the queues that the worker consumes now."""
        while True:
            at = _COPIES_AT + self._memory[_CURRENT_COPY] * _COPY_SIZE
            length, checksum = _HEAD.unpack_from(self._memory, at)
            text = self._memory[at + _HEAD.size : at + _HEAD.size + length]
            # It differs if the copy was written twice while this process read it.
            if zlib.crc32(text) == checksum:
                break
        known, names = self._read
        if text != known:
            names = tuple(json.loads(text))
            self._read = (text, names)
        return names

    @queues.setter
    def queues(self, names: Sequence[str]) -> None:
        """Raises BoardFullError for more than 32 kB. Then the names from before stay."""
        text = json.dumps(list(names)).encode()
        if len(text) > _COPY_SIZE - _HEAD.size:
            raise BoardFullError(f"the names of {len(names)} queues are longer than the board")
        copy = 1 - self._memory[_CURRENT_COPY]
        at = _COPIES_AT + copy * _COPY_SIZE
        _HEAD.pack_into(self._memory, at, len(text), zlib.crc32(text))
        self._memory[at + _HEAD.size : at + _HEAD.size + len(text)] = text
        self._memory[_CURRENT_COPY] = copy
