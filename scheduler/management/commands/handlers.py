"""`manage.py handlers VERB`: shows the handlers that jobs can use, and their params."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _

from handlers import HandlerNotFoundError, get_handler
from handlers.registry import handler_names
from scheduler.management import documents
from scheduler.management.cli import JobuCommand, Verb
from scheduler.operations.control import NotPossible


class Command(JobuCommand):
    help = "The handlers that jobs may name."
    about = staticmethod(lambda: _("The handlers that jobs may name."))

    def verbs(self) -> Sequence[Verb]:
        return (
            Verb(name="list", help=_("handlers by name"), run=_list, arguments=_list_arguments),
            Verb(name="show", help=_("one handler and the JSON schema of its params"), run=_show,
                 arguments=_show_arguments),
        )  # fmt: skip


def _list_arguments(parser: CommandParser) -> None:
    parser.add_argument("--search", metavar="TEXT", help=_("a part of the name"))


def _show_arguments(parser: CommandParser) -> None:
    parser.add_argument("name", metavar="NAME")


def _list(command: Command, options: dict[str, Any]) -> int:
    text = (options["search"] or "").lower()
    found = [
        documents.handler_facts(name, get_handler(name))
        for name in handler_names()
        if text in name.lower()
    ]
    if command.printer.as_json:
        command.printer.document({"items": found})
        return 0
    command.printer.table(
        (_("name"), _("parameters"), _("description"), _("databases"), _("module")),
        [
            (
                each["name"],
                _in_words(each["params"]),
                each["description"],
                ", ".join(each["databases"]),
                each["module"],
            )
            for each in found
        ],
    )
    return 0


def _in_words(params: Sequence[dict[str, Any]]) -> str:
    """Returns the names; those that may be left out stand in brackets."""
    return ", ".join(each["name"] if each["required"] else f"[{each['name']}]" for each in params)


def _show(command: Command, options: dict[str, Any]) -> int:
    try:
        cls = get_handler(options["name"])
    except HandlerNotFoundError as error:
        raise NotPossible(str(error)) from error
    facts = documents.handler_details(options["name"], cls)
    if command.printer.as_json:
        command.printer.document(facts)
    else:
        command.printer.facts(list(facts.items()))
    return 0
