"""A command of another system as the params of the handler `command`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

HANDLER: Final = "command"
# What a shell does something with. A command without any of these is a list of words.
_SHELL: Final = re.compile(r"[|&;<>()$`*?\[\]~{}!\\\n#]")
_CD: Final = re.compile(r"cd\s+(/[^\s;&|<>()$`*?'\"\\]*)\s*(?:&&|;)\s*(.+)", re.DOTALL)
_DEFAULT_SHELL: Final = "/bin/sh"


def params_of_line(
    line: str, *, env: Mapping[str, str], shell: str = _DEFAULT_SHELL, stdin: str = ""
) -> dict[str, Any]:
    """Returns the params for a line that cron gives to a shell.

    Words without a shell where that is the same: then only the program itself must be allowed.
    """
    params: dict[str, Any] = {}
    command = line.strip()
    if found := _CD.fullmatch(command):
        params["cwd"], command = found[1], found[2].strip()
    words = _words(command)
    if words:
        params["argv"] = words
    elif shell == _DEFAULT_SHELL:
        params["shell"] = command
    else:
        params["argv"] = [shell, "-c", command]
    if env:
        params["env"] = dict(env)
    if stdin:
        params["stdin"] = stdin
    return params


def params_of_words(words: Sequence[str], env: Mapping[str, str], cwd: str = "") -> dict[str, Any]:
    params: dict[str, Any] = {"argv": list(words)}
    if env:
        params["env"] = dict(env)
    return {**params, "cwd": cwd} if cwd else params


def short_name(params: Mapping[str, Any]) -> str:
    """Returns the name of the program, for the name of a job."""
    words = params.get("argv") or str(params.get("shell", "")).split()
    first = next((word for word in words if "=" not in word), "command")
    return PurePosixPath(first).name or "command"


def _words(command: str) -> list[str]:
    """Returns the words of a command that needs no shell, else none."""
    if _SHELL.search(command):
        return []
    try:
        words = shlex.split(command)
    except ValueError:
        return []
    return words if words and words[0].startswith("/") and "=" not in words[0] else []
