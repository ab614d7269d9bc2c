"""Runs a program: its lines go into the log of the run, its exit code decides the outcome."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Final

from handlers.base import BaseHandler
from handlers.command.lines import LinesToLog
from handlers.command.params import CommandParams
from handlers.command.process import run_in_group
from handlers.context import HandlerContext
from handlers.errors import PermanentError
from handlers.result import HandlerResult

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Nothing else of the worker's environment is passed on: it holds the secrets of the worker.
_INHERITED: Final = ("HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ")


class CommandHandler(BaseHandler):
    """Run a program, as a line of a crontab does."""

    async def execute(self, params: CommandParams) -> HandlerResult:
        words = params.words()
        _refuse_what_anybody_can_replace(words[0])
        clock = asyncio.get_running_loop().time
        began = clock()
        log = LinesToLog(self.context.log)
        with _standard_input(params.stdin) as stdin:
            code = await run_in_group(
                words,
                stdin=stdin,
                output=log,
                env=_environment(self.context) | params.env,
                cwd=params.cwd or _home(),
            )
        if log.left_out:
            self.context.log.warning("%s more lines were not kept", log.left_out)
        name = signal.Signals(-code).name if code < 0 else None
        data: dict[str, Any] = {"exit_code": code, "seconds": round(clock() - began, 3)}
        if name is not None:
            data["signal"] = name
        if code in params.ok_codes:
            return HandlerResult(data=data)
        error = f"ended by {name}" if name is not None else f"exit code {code}"
        return HandlerResult(success=False, error=error, data=data)


def _refuse_what_anybody_can_replace(program: str) -> None:
    """An allowed name may be a link: what it leads to now must not be writable by everybody.

    A file that is missing is reported by the start of the process.
    """
    try:
        mode = os.stat(os.path.realpath(program)).st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode) or mode & stat.S_IWOTH:
        raise PermanentError(f"{program} is no file, or everybody may write it")


def _environment(context: HandlerContext) -> dict[str, str]:
    own = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return own | {
        "PATH": _PATH,
        "JOBU_EXECUTION_ID": str(context.execution_id),
        "JOBU_JOB_NAME": context.job_name,
        "JOBU_ATTEMPT": str(context.attempt),
        "JOBU_SCHEDULED_TIME": context.scheduled_time.isoformat(),
        "JOBU_IDEMPOTENCY_KEY": context.idempotency_key,
    }


def _home() -> str:
    home = os.environ.get("HOME", "/")
    return home if os.path.isdir(home) else "/"


@contextmanager
def _standard_input(text: str) -> Iterator[int | IO[bytes]]:
    """A file, not a pipe: a program that does not read it then blocks nobody."""
    if not text:
        yield asyncio.subprocess.DEVNULL
        return
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.seek(0)
        yield file
