"""The options --wait and --timeout: a command that has made runs waits until they have ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _

from scheduler.management import documents, inputs
from scheduler.management.cli import JobuCommand
from scheduler.management.follow import until_ended
from scheduler.management.output import span
from scheduler.models import JobExecution
from scheduler.states import FINAL, RunStatus


def add_wait(parser: CommandParser) -> None:
    """The options of whatever makes runs."""
    inputs.add_despite_freeze(parser)
    parser.add_argument(
        "--wait", action="store_true", help=_("until they end; exit code 0 if all succeeded")
    )
    add_timeout(parser)


def add_timeout(parser: CommandParser) -> None:
    parser.add_argument(
        "--timeout",
        type=inputs.span_type,
        metavar="SPAN",
        help=_("wait so long at most, such as 90s or 15m"),
    )


def finish(
    command: JobuCommand,
    outcomes: dict[str, Any],
    code: int,
    made: Sequence[int],
    options: dict[str, Any],
) -> int:
    """Waits for the runs if `--wait` was given, then prints the outcomes if `--json` was given.

    `code`: the exit code so far. Returns the exit code of the command.
    """
    if options["wait"] and made:
        waited, executions = wait_for(command, made, options["timeout"])
        outcomes, code = {**outcomes, "executions": executions}, code or waited
    if command.printer.as_json:
        command.printer.document(outcomes)
    return code


def wait_for(
    command: JobuCommand, ids: Sequence[int], timeout: int | None
) -> tuple[int, list[dict[str, Any]]]:
    """Waits, prints how each execution ended, and returns the exit code and their facts.

    The exit code is 0 if every execution has ended with SUCCESS.
    """
    rows = until_ended(ids, command.printer, command.control.clock, timeout=timeout)
    if not command.printer.as_json:
        for each in ids:
            _print_end(command, each, rows.get(each))
    ended_well = all(each in rows and rows[each].status == RunStatus.SUCCESS for each in ids)
    found = [rows[each] for each in ids if each in rows]
    return (0 if ended_well else 1), [documents.execution_facts(row) for row in found]


def _print_end(command: JobuCommand, execution_id: int, row: JobExecution | None) -> None:
    facts: dict[str, object] = {"id": execution_id}
    if row is None:
        command.printer.note(_("execution %(id)s was removed meanwhile") % facts)
    elif row.status not in FINAL:
        facts["status"] = row.status
        command.printer.note(_("execution %(id)s is still %(status)s") % facts)
    else:
        facts |= {"status": row.status, "span": span(documents.duration(row))}
        command.printer.line(_("execution %(id)s ended %(status)s after %(span)s") % facts)
        if row.error_message:
            command.printer.note(row.error_message)
