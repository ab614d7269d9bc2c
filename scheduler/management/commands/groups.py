"""`manage.py groups VERB`: limits that several jobs share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _

from scheduler.management import inputs
from scheduler.management.cli import JobuCommand, Verb
from scheduler.models import GROUP_LIMITS
from scheduler.operations.groups import SETTABLE, Group, GroupControl


class Command(JobuCommand):
    help = "Groups of jobs: how many of their runs go on at once, and how many start."
    about = staticmethod(
        lambda: _("Groups of jobs: how many of their runs go on at once, and how many start.")
    )

    def verbs(self) -> Sequence[Verb]:
        return (
            Verb(name="list", help=_("limits, what runs and what waits, by key"), run=_list),
            Verb(name="set", help=_("make a group, or change its limits"), run=_set,
                 arguments=_set_arguments),
            Verb(name="delete", help=_("delete a group that no job names"), run=_delete,
                 arguments=_name),
        )  # fmt: skip


def _name(parser: CommandParser) -> None:
    parser.add_argument("name", metavar="GROUP")


def _set_arguments(parser: CommandParser) -> None:
    _name(parser)
    parser.add_argument("--description", metavar="TEXT")
    for name, (low, high) in GROUP_LIMITS.items():
        parser.add_argument(
            "--" + name.replace("_", "-"),
            metavar="N",
            type=inputs.whole(low, high, or_none=True),
            help=f"{low} ... {high}, none",
        )
    parser.add_argument(
        "--rate-per-key",
        action=argparse.BooleanOptionalAction,
        default=None,
        help=_("the starts of each key are counted"),
    )


def _control(command: Command) -> GroupControl:
    return GroupControl(actor=command.control.actor)


def _list(command: Command, options: dict[str, Any]) -> int:
    found = _control(command).all()
    if command.printer.as_json:
        command.printer.document({"items": [_facts(group) for group in found]})
        return 0
    command.printer.table(
        (_("group"), _("at once"), _("per key"), _("starts"), _("jobs"), _("running"),
         _("waiting"), _("keys with most waiting")),
        [
            (
                group.row.name,
                group.row.max_running or "",
                group.row.max_running_per_key or "",
                _rate(group),
                group.jobs,
                group.waiting.running,
                group.waiting.waiting,
                ", ".join(f"{each.key or '-'} ({each.waiting})" for each in group.waiting.keys[:3]),
            )
            for group in found
        ],
    )  # fmt: skip
    return 0


def _rate(group: Group) -> str:
    row = group.row
    return f"{row.rate_count}/{row.rate_seconds} s" if row.rate_count else ""


def _facts(group: Group) -> dict[str, Any]:
    return {
        **{name: getattr(group.row, name) for name in ("name", *SETTABLE, "is_of_settings")},
        "jobs": group.jobs,
        "running": group.waiting.running,
        "waiting": group.waiting.waiting,
        "keys": [vars(each) for each in group.waiting.keys],
    }


def _set(command: Command, options: dict[str, Any]) -> int:
    given = {name: options[name] for name in SETTABLE if options[name] is not None}
    values: dict[str, Any] = {
        name: None if value == inputs.NONE else value for name, value in given.items()
    }
    row = _control(command).set_limits(options["name"], **values)
    if command.printer.as_json:
        command.printer.document({name: getattr(row, name) for name in ("name", *SETTABLE)})
    else:
        command.printer.line(_("The limits of group %(name)s are set") % {"name": row.name})
    return 0


def _delete(command: Command, options: dict[str, Any]) -> int:
    _control(command).delete(options["name"])
    if command.printer.as_json:
        command.printer.document({"name": options["name"]})
    else:
        command.printer.line(_("Group %(name)s is deleted") % {"name": options["name"]})
    return 0
