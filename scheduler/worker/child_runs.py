"""Which run each child of the prefork pool has just now, for `celery inspect active`.

One slot of shared memory for each child, made before the fork: a child writes its slot in a few
microseconds, and its parent reads it only when somebody asks.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import zlib
from dataclasses import dataclass
from typing import Final

from billiard.process import current_process

_SLOT_SIZE: Final = 1024
# Runs of further children are not named.
_SLOTS: Final = 256
_HEAD: Final = struct.Struct("<IIIQ")  # pid, length and checksum of the text, runs so far
_TEXT_CHARACTERS: Final = 200


@dataclass(frozen=True, kw_only=True)
class ChildRun:
    uuid: str
    name: str
    queue: str
    execution_id: int


class ChildRuns:
    """Children write, the parent reads. A slot that is just being written reads as empty."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SLOTS * _SLOT_SIZE)

    def began(self, run: ChildRun) -> None:
        """Call it in a child. A child has one run at a time."""
        fields = (run.uuid, run.name[:_TEXT_CHARACTERS], run.queue[:_TEXT_CHARACTERS])
        self._write(json.dumps([*fields, run.execution_id], ensure_ascii=False), runs=1)

    def ended(self) -> None:
        self._write("", runs=0)

    def of(self, pid: int) -> ChildRun | None:
        """The run of the child with this pid. None: it has none."""
        for at in range(0, len(self._memory), _SLOT_SIZE):
            owner, length, checksum, _ = _HEAD.unpack_from(self._memory, at)
            if owner == pid and length:
                text = self._memory[at + _HEAD.size : at + _HEAD.size + length]
                if zlib.crc32(text) != checksum:
                    return None
                uuid, name, queue, execution_id = json.loads(text)
                return ChildRun(uuid=uuid, name=name, queue=queue, execution_id=execution_id)
        return None

    def count(self) -> int:
        """How many runs children of this worker have begun so far."""
        starts = range(0, len(self._memory), _SLOT_SIZE)
        return sum(_HEAD.unpack_from(self._memory, at)[3] for at in starts)

    def _write(self, text: str, *, runs: int) -> None:
        # The pool gives a child that replaces another one the same index.
        index = getattr(current_process(), "index", None)
        data = text.encode("utf-8", "replace")
        if index is None or index >= _SLOTS or len(data) > _SLOT_SIZE - _HEAD.size:
            return
        at = index * _SLOT_SIZE
        runs += _HEAD.unpack_from(self._memory, at)[3]
        _HEAD.pack_into(self._memory, at, os.getpid(), len(data), zlib.crc32(data), runs)
        self._memory[at + _HEAD.size : at + _HEAD.size + len(data)] = data
