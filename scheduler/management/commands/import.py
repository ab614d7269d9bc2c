"""`manage.py import SOURCE`: makes jobs of the schedules of another system."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _

from scheduler.management.cli import JobuCommand
from scheduler.management.moving import (
    add_only,
    add_source,
    import_control,
    mapped_entries,
    planned_facts,
    show_planned,
)
from scheduler.moving import importing
from scheduler.moving.entries import Verdict


class Command(JobuCommand):
    help = "Make jobs of the schedules of another system, switched off; --dry-run only says which."
    about = staticmethod(
        lambda: _("Make jobs of the schedules of another system, switched off. Exit code 1 if an"
                  " entry differs or is impossible, 2 if the source cannot be read.")
    )  # fmt: skip

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_source(parser)
        add_only(parser)
        parser.add_argument("--dry-run", action="store_true", help=_("change nothing"))
        parser.add_argument(
            "--accept-differences",
            action="store_true",
            help=_("import the entries that differ, too"),
        )
        parser.add_argument(
            "--skip-impossible", action="store_true", help=_("leave out what is impossible")
        )

    def act(self, options: dict[str, Any]) -> int:
        control = import_control(self)
        planned = importing.plan(mapped_entries(self, options), control)
        if not options["dry_run"]:
            problem = importing.refusal(
                planned,
                accept_differences=options["accept_differences"],
                skip_impossible=options["skip_impossible"],
            )
            if problem is None:
                importing.apply(planned, control)
        else:
            problem = None
        facts = planned_facts(planned, is_dry_run=options["dry_run"], problem=problem)
        if self.printer.as_json:
            self.printer.document(facts)
        else:
            show_planned(self.printer, planned, facts)
        lossy = any(each.mapped.verdict is not Verdict.SAME for each in planned)
        return 1 if lossy else 0
