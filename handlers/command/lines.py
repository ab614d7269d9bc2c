"""The output of a program as lines in the log of its run."""

from __future__ import annotations

import asyncio
from typing import Final

from handlers.context import LOG_MESSAGE_BYTES, RunLog

# The most that the settings let a run keep. Further lines are only counted, so that a program that
# floods its output does not take the event loop from the other runs.
MOST_LINES: Final = 100_000
_CUT: Final = " ... (cut)"


class LinesToLog(asyncio.Protocol):
    """Receives output as it comes, and logs each line. Long lines are cut, bytes are replaced.

    `left_out`: how many lines were not logged. `ended`: is set when nobody can write any more.
    """

    def __init__(self, log: RunLog) -> None:
        self._log = log
        self._begun = b""
        self._is_cut = False
        self._lines = 0
        self.left_out = 0
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        *whole, rest = data.split(b"\n") if self._lines < MOST_LINES else self._counted(data)
        for part in whole:
            self._add(part)
            self._end_line()
        self._add(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._begun:
            self._end_line()
        self.ended.set()

    def _counted(self, data: bytes) -> list[bytes]:
        self.left_out += data.count(b"\n")
        return [b""]

    def _add(self, part: bytes) -> None:
        free = LOG_MESSAGE_BYTES - len(self._begun)
        self._begun += part[:free]
        self._is_cut |= len(part) > free

    def _end_line(self) -> None:
        line, self._begun = self._begun.removesuffix(b"\r"), b""
        text = line.decode(errors="replace")
        if self._is_cut:
            text = text[: -len(_CUT)] + _CUT
            self._is_cut = False
        if self._lines < MOST_LINES:
            self._lines += 1
            self._log.info("%s", text)
        else:
            self.left_out += 1
