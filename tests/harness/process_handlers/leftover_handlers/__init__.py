"""Handlers whose first attempt starts something that acts on and on, and runs into its timeout.

Each act is a line in a file, and so is the begin of the second attempt.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from handlers import BaseHandler, handler

PAUSE_SECONDS = 0.1
# So that a test that fails leaves nothing for ever.
ACTS = 400
kept: list[Any] = []


def write(line: str) -> None:
    with open(os.environ["JOBU_TEST_EFFECTS"], "a", encoding="utf-8") as file:
        file.write(line + "\n")


def act_for_long(line: str) -> None:
    for _ in range(ACTS):
        write(line)
        time.sleep(PAUSE_SECONDS)  # noqa: TID251 - it acts for seconds after its run


async def act_and_swallow(line: str) -> None:
    for _ in range(ACTS):
        try:
            write(line)
            await asyncio.sleep(PAUSE_SECONDS)
        except asyncio.CancelledError:
            continue


def shell(line: str) -> list[str]:
    act = f'echo "{line}" >> "$JOBU_TEST_EFFECTS"; sleep {PAUSE_SECONDS}'
    act = f"for i in $(seq {ACTS}); do {act}; done"
    return ["sh", "-c", f"trap '' TERM; {act}"]


async def start(how: str, line: str) -> None:
    match how:
        case "task":
            kept.append(asyncio.create_task(act_and_swallow(line)))
        case "shielded":
            await asyncio.shield(asyncio.create_task(act_and_swallow(line)))
        case "thread":
            threading.Thread(target=act_for_long, args=(line,), daemon=True).start()
        case "thread of a thread":
            inner = threading.Thread(target=act_for_long, args=(line,))
            outer = threading.Thread(target=inner.start)
            outer.start()
            outer.join()
        case "executor":
            executor = ThreadPoolExecutor()
            kept.append(executor)
            executor.submit(act_for_long, line)
        case "process":
            await asyncio.create_subprocess_exec(*shell(line))
        case "orphan":  # its parent ends at once, and it has a session of its own
            parent = ["sh", "-c", 'setsid "$@" & exit', "sh", *shell(line)]
            subprocess.Popen(parent).wait()  # noqa: ASYNC220
        case "multiprocessing":
            fork = multiprocessing.get_context("fork")
            kept.append(fork.Process(target=act_for_long, args=(line,)))
            kept[-1].start()
        case "killed":  # without a chance to end its process
            await asyncio.create_subprocess_exec(*shell(line))
            await asyncio.sleep(3 * PAUSE_SECONDS)
            os.kill(os.getpid(), signal.SIGKILL)
        case "nothing":
            pass
        case _:
            raise ValueError(how)


@handler("leaves")
class Leaves(BaseHandler):
    async def execute(self, params: dict[str, Any]) -> dict[str, Any]:
        if self.context.attempt > 1:
            write(f"{params['how']}: begins again")
            await asyncio.sleep(5 * PAUSE_SECONDS)
            return {}
        await start(params["how"], f"{params['how']}: acts")
        await asyncio.sleep(60)
        return {}


@handler("leaves_plain")
class LeavesPlain(BaseHandler):
    """A plain `execute` that waits for its process."""

    def execute(self, params: dict[str, Any]) -> dict[str, Any]:
        if self.context.attempt > 1:
            write("plain: begins again")
            time.sleep(5 * PAUSE_SECONDS)  # noqa: TID251 - the run goes on while others act
            return {}
        subprocess.run(shell("plain: acts"), check=False)
        return {}
