"""`manage.py freezes VERB`: times in which no slot of some jobs starts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _

from scheduler.management import inputs
from scheduler.management.cli import JobuCommand, Verb, add_yes
from scheduler.management.output import exact
from scheduler.models import JobFreeze
from scheduler.operations.control import NotPossible
from scheduler.operations.freezes import FIELDS, FreezeControl, Preview, tags_of
from scheduler.states import BlockedSlots


class Command(JobuCommand):
    help = "Freezes: times in which no slot of some jobs starts."
    about = staticmethod(lambda: _("Freezes: times in which no slot of some jobs starts."))

    def verbs(self) -> Sequence[Verb]:
        return (
            Verb(name="list", help=_("all freezes, and which of them hold now"), run=_list),
            Verb(name="preview", help=_("the slots of the next 7 days that it would block"),
                 run=_preview, arguments=_times),
            Verb(name="add", help=_("a new freeze, which holds from now on"), run=_add,
                 arguments=_add_arguments),
            Verb(name="end", help=_("end one that holds, before its time"), run=_end,
                 arguments=_name),
            Verb(name="delete", help=_("remove one; if it holds, it ends"), run=_delete,
                 arguments=_delete_arguments),
        )  # fmt: skip


# --- arguments -----------------------------------------------------------------------------------


def _name(parser: CommandParser) -> None:
    parser.add_argument("name", metavar="NAME")


def _delete_arguments(parser: CommandParser) -> None:
    _name(parser)
    add_yes(parser)


def _times(parser: CommandParser) -> None:
    parser.add_argument("--since", metavar="TIME")
    parser.add_argument("--until", metavar="TIME")
    parser.add_argument(
        "--hours",
        action="append",
        metavar="HOURS",
        help=_("of each week, such as 'Fri 18:00 - Mon 06:00'; may be given several times"),
    )
    parser.add_argument("--timezone", default="", metavar="ZONE", help=_("of these hours"))
    parser.add_argument(
        "--tag", action="append", metavar="TAG", help=_("only jobs with it; otherwise all jobs")
    )
    parser.add_argument(
        "--blocked",
        choices=[each.value for each in BlockedSlots],
        default=BlockedSlots.SKIP.value,
        help=_("skip: none of the blocked slots runs; latest: the last one, when it ends"),
    )


def _add_arguments(parser: CommandParser) -> None:
    _name(parser)
    parser.add_argument("--reason", required=True, metavar="TEXT")
    _times(parser)


# --- verbs ---------------------------------------------------------------------------------------


def _control(command: Command) -> FreezeControl:
    return command.control.of(FreezeControl)


def _values(options: dict[str, Any], now: datetime) -> dict[str, Any]:
    instants = {
        name: inputs.instant_of(options[name], name, now) if options[name] else None
        for name in ("since", "until")
    }
    if options["until"] and not options["since"] and not options["hours"]:
        instants["since"] = now
    return {
        **instants,
        "hours": "\n".join(options["hours"] or ()),
        "timezone": options["timezone"],
        "tags": sorted(set(options["tag"] or ())),
        "blocked_slots": options["blocked"],
    }


def _list(command: Command, options: dict[str, Any]) -> int:
    control = _control(command)
    now = control.clock.now()
    found = [(row, control.holds_until(row, now)) for row in control.all()]
    if command.printer.as_json:
        items = [
            _facts(row) | {"holds_until": until, "problem": control.problem(row)}
            for row, until in found
        ]
        command.printer.document({"items": items})
        return 0
    command.printer.table(
        (_("name"), _("when"), _("tags"), _("blocked slots"), _("holds now"), _("reason")),
        [
            (
                row.name,
                _when(row),
                ", ".join(tags_of(row)) or _("all jobs"),
                row.blocked_slots,
                _state(row, until, control.problem(row)),
                row.reason,
            )
            for row, until in found
        ],
    )
    return 0


def _facts(row: JobFreeze) -> dict[str, Any]:
    names = ("id", *FIELDS, "created_by", "created_at")
    return {name: getattr(row, name) for name in names}


def _when(row: JobFreeze) -> str:
    span = [exact(at) for at in (row.since, row.until) if at is not None]
    hours = "; ".join(row.hours.splitlines())
    return " ".join([*([f"{hours} {row.timezone}".strip()] if hours else []), " - ".join(span)])


def _state(row: JobFreeze, until: datetime | None, problem: str) -> str:
    if problem:
        return f"{_('cannot be read')}: {problem}"
    if not row.is_enabled:
        return _("disabled")
    return _("until %s") % exact(until) if until else ""


def _preview(command: Command, options: dict[str, Any]) -> int:
    control = _control(command)
    values = _values(options, control.clock.now())
    found = control.preview(**values)
    _show_preview(command, found, control.warnings(JobFreeze(**values)))
    return 0


def _show_preview(command: Command, found: Preview, warnings: Sequence[str]) -> None:
    if command.printer.as_json:
        items = [
            {"job_id": each.job.pk, "job": each.job.name, "count": each.count,
             "first": each.first, "last": each.last, "runs_at": each.runs_at}
            for each in found.jobs
        ]  # fmt: skip
        command.printer.document(
            {"items": items, "is_partial": found.is_partial, "warnings": warnings}
        )
        return
    command.printer.table(
        (_("job"), _("slots"), _("first"), _("last"), _("runs at")),
        [(each.job.name, each.count, each.first, each.last, each.runs_at) for each in found.jobs],
    )
    if found.is_partial:
        command.printer.note(_("There are more jobs than were looked at"))
    _warn(command, warnings)


def _warn(command: Command, warnings: Sequence[str]) -> None:
    for text in warnings:
        command.printer.note(_("warning: %(text)s") % {"text": text})


def _add(command: Command, options: dict[str, Any]) -> int:
    control = _control(command)
    values = _values(options, control.clock.now())
    row = control.create(name=options["name"], reason=options["reason"], **values)
    _warn(command, control.warnings(row))
    return _told(command, row, _("freeze %(name)s is made"))


def _end(command: Command, options: dict[str, Any]) -> int:
    row = _control(command).end(_named(options["name"]).pk)
    return _told(command, row, _("freeze %(name)s has ended"))


def _delete(command: Command, options: dict[str, Any]) -> int:
    row = _named(options["name"])
    command.confirm(_("Remove the freeze %(name)s?") % {"name": row.name}, options)
    _control(command).delete(row.pk)
    return _told(command, row, _("freeze %(name)s is removed"))


def _told(command: Command, row: JobFreeze, text: str) -> int:
    if command.printer.as_json:
        command.printer.document(_facts(row))
    else:
        command.printer.line(text % {"name": row.name})
    return 0


def _named(name: str) -> JobFreeze:
    found = JobFreeze.objects.filter(name=name).first()
    if found is None:
        raise NotPossible(_("there is no freeze %(name)s") % {"name": name})
    return found
