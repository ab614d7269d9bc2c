"""The handler `command`: runs a program, as a line of a crontab does.

It exists only where the settings allow programs. `install` receives what they allow, because
handlers know no settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from handlers.command.handler import CommandHandler
from handlers.command.params import translate, with_allowed
from handlers.registry import explain_missing, handler

NAME: Final = "command"
OFF: Final = translate(
    "programs are off here; name those that may run in worker.commands.allow of the settings"
)


def install(allow: Sequence[str], *, shell: bool) -> None:
    """Registers the handler for the programs in `allow`, and for shell texts if `shell` is true.

    With neither of the two, the name `command` is refused with OFF as the reason.
    """
    if not allow and not shell:
        explain_missing(NAME, OFF)
        return
    handler(NAME)(CommandHandler)
    CommandHandler.params_model = with_allowed(allow, shell=shell)
