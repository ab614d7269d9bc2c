"""`manage.py compare SOURCE`: the slots of another system beside those of its jobs here."""

from __future__ import annotations

from typing import Any, Final

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _

from scheduler.management import inputs
from scheduler.management.cli import JobuCommand
from scheduler.management.moving import (
    add_only,
    add_source,
    compared_facts,
    import_control,
    mapped_entries,
    show_compared,
)
from scheduler.moving.beside import compare_entries
from scheduler.moving.comparing import Cause

UNEXPLAINED: Final = 3


class Command(JobuCommand):
    help = (
        "Compare the slots of another system with those of its jobs here, and say why they differ."
    )
    about = staticmethod(
        lambda: _("Compare the slots of another system with those of its jobs here, over the next"
                  " days and all clock changes of the next year. Exit code 1 if any differ.")
    )  # fmt: skip

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_source(parser)
        add_only(parser)
        parser.add_argument("--days", type=inputs.whole(1, 800), default=30, metavar="N")

    def act(self, options: dict[str, Any]) -> int:
        control = import_control(self)
        mapped = mapped_entries(self, options)
        compared = compare_entries(mapped, control, now=control.clock.now(), days=options["days"])
        if self.printer.as_json:
            self.printer.document(compared_facts(compared, options["days"]))
        else:
            show_compared(self.printer, compared, options["days"])
        causes = {cause for each in compared for cause in each.causes}
        if Cause.UNEXPLAINED in causes:
            return UNEXPLAINED
        return 1 if causes or any(each.not_compared for each in compared) else 0
