"""`manage.py history`: who did what, newest first."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from scheduler.management import documents, inputs
from scheduler.management.cli import JobuCommand
from scheduler.management.output import exact
from scheduler.models import Activity
from scheduler.operations.history import describe, describe_door
from scheduler.states import ActivityVerb, TargetKind
from scheduler.store import activity


class Command(JobuCommand):
    help = "Who did what to jobs, executions, backfills and tokens, newest first."
    about = staticmethod(
        lambda: _("Who did what to jobs, executions, backfills and tokens, newest first.")
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        about = parser.add_mutually_exclusive_group()
        about.add_argument("--job", metavar="JOB", help=_("its name or id"))
        for kind in (TargetKind.EXECUTION, TargetKind.BACKFILL):
            about.add_argument(f"--{kind.value}", metavar="ID", type=inputs.ID)
        parser.add_argument("--actor", metavar="NAME", help=_("who did it"))
        parser.add_argument("--verb", choices=[verb.value for verb in ActivityVerb])
        parser.add_argument("--before", metavar="ID", type=inputs.ID, help=_("go on before this"))
        inputs.add_limit(parser)

    def act(self, options: dict[str, Any]) -> int:
        limit = options["limit"]
        rows = _rows(options)
        for column in ("actor", "verb"):
            if options[column]:
                rows = rows.filter(**{column: options[column]})
        if options["before"]:
            rows = rows.filter(pk__lt=options["before"])
        found = list(rows[: limit + 1])
        more, found = len(found) > limit, found[:limit]
        if self.printer.as_json:
            self.printer.document(
                {
                    "items": [documents.activity_facts(entry) for entry in found],
                    "next_before": found[-1].pk if more else None,
                }
            )
            return 0
        self.printer.table(
            ("ID", _("at"), _("who"), _("through"), _("about"), _("what")),
            [
                (
                    entry.pk, entry.at, entry.actor, describe_door(entry), _target(entry),
                    describe(entry, exact),
                )
                for entry in found
            ],
        )  # fmt: skip
        if more:
            self.printer.note(
                _("There are more; go on with --before %(id)s") % {"id": found[-1].pk}
            )
        return 0


def _rows(options: dict[str, Any]) -> QuerySet[Activity]:
    if options["job"]:
        return activity.of_target(TargetKind.JOB, inputs.job_named(options["job"]).pk)
    for kind in (TargetKind.EXECUTION, TargetKind.BACKFILL):
        if options[kind.value]:
            return activity.of_target(kind, options[kind.value])
    return activity.newest()


def _target(entry: Activity) -> str:
    number = f" #{entry.target_id}" if entry.target_id is not None else ""
    return f"{entry.target_kind}{number} {entry.target_name}".strip()
