"""A program in a process group of its own, which ends with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Final

from handlers.child_processes import is_group_alive
from handlers.command.lines import LinesToLog

# From SIGTERM to SIGKILL.
TERM_SECONDS: Final = 2.0
# A process that has left the group may keep the output open for ever.
_OUTPUT_SECONDS: Final = 1.0
_LOOK_AGAIN_SECONDS: Final = 0.05


async def run_in_group(
    words: Sequence[str],
    *,
    stdin: int | IO[bytes],
    output: LinesToLog,
    env: Mapping[str, str],
    cwd: str,
) -> int:
    """Runs a program and returns its exit code; -N if signal N has ended it.

    When it returns, or is cancelled, the whole group of the program has ended. `output` has then
    received what the program wrote. Raises OSError if the program cannot be started.
    """
    # Not asyncio's own pipes: with them some versions of Python wait until the output is closed.
    reading, writing = os.pipe()
    with contextlib.ExitStack() as open_files:
        open_writing = open_files.enter_context(contextlib.ExitStack())
        open_writing.callback(os.close, writing)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: output, os.fdopen(reading, "rb", buffering=0)
        )
        open_files.callback(transport.close)
        process = await asyncio.create_subprocess_exec(
            *words, stdin=stdin, stdout=writing, stderr=writing, env=env, cwd=cwd,
            start_new_session=True,
        )  # fmt: skip
        open_writing.close()  # so that the output ends with the last process that writes it
        try:
            code = await process.wait()
        finally:
            await _end_group(process.pid)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(output.ended.wait(), _OUTPUT_SECONDS)
        return code


async def _end_group(group: int) -> None:
    """Ends what is alive of a group. A cancellation in the meantime shortens the grace."""
    if not is_group_alive(group):
        return
    _send(group, signal.SIGTERM)
    try:
        await _until(lambda: not is_group_alive(group), TERM_SECONDS)
    finally:
        _send(group, signal.SIGKILL)
    await _until(lambda: not is_group_alive(group), TERM_SECONDS)


def _send(group: int, number: signal.Signals) -> None:
    # PermissionError: the program has become another user's.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


async def _until(is_over: Callable[[], bool], seconds: float) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    # Nobody is told when the last process of a group ends.
    while not is_over() and loop.time() < until:  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
