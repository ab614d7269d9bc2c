"""`manage.py jobs export | plan | apply`: jobs in a file, such as one in git."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Any, Final

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _

from scheduler.management import job_files
from scheduler.management.cli import JobuCommand, Refused, Verb
from scheduler.management.job_versions import edited, line_of
from scheduler.management.output import exact, printable, utc_text
from scheduler.models import LISTS, CronJob
from scheduler.operations.job_files import JobFiles, Mistake, Plan, PlannedJob, document_of
from scheduler.operations.search import search_of

PREFIX: Final = "file:"
SOURCE_LENGTH: Final = 255
CHANGES: Final = 2
_SIGNS: Final = {"create": "+", "change": "~", "disable": "-", "same": "="}
_SHOWN_SLOTS: Final = 3


def verbs() -> Sequence[Verb]:
    return (
        Verb(name="export", help=_("print jobs as a file for plan and apply"), run=_export,
             arguments=_of_export),
        Verb(name="plan", help=_("what a file of jobs would change; changes nothing"), run=_plan,
             arguments=_of_plan),
        Verb(name="apply", help=_("make the jobs as a file says, all or none"), run=_apply,
             arguments=_of_file),
    )  # fmt: skip


def _of_export(parser: CommandParser) -> None:
    parser.add_argument("--tag", metavar="TAG", help=_("only jobs with this tag"))
    parser.add_argument("--search", metavar="TEXT", help=_("only what this text finds"))


def _of_file(parser: CommandParser) -> None:
    parser.add_argument("file", metavar="FILE", help=_("YAML or JSON, or - for standard input"))
    parser.add_argument(
        "--source",
        metavar="NAME",
        help=_("the name under which the file keeps its jobs; otherwise the name of the file"),
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help=_("disable jobs that were in the file and are gone from it"),
    )
    parser.add_argument(
        "--take-over", action="store_true", help=_("also jobs that another file keeps")
    )


def _of_plan(parser: CommandParser) -> None:
    _of_file(parser)
    parser.add_argument(
        "--detailed-exitcode",
        action="store_true",
        help=_("exit code 2 if there is something to change, 0 if there is nothing"),
    )


# --- the verbs -----------------------------------------------------------------------------------


def _export(command: JobuCommand, options: dict[str, Any]) -> int:
    rows = CronJob.objects.prefetch_related(*(kept.prefetch for kept in LISTS.values()))
    if options["tag"]:
        rows = rows.filter(tag_rows__tag=options["tag"])
    if options["search"]:
        rows = rows.filter(search_of(options["search"])).distinct()
    document = document_of(rows)
    if command.printer.as_json:
        command.printer.document(document)
    else:
        command.printer.file(job_files.write_yaml(document))
    return 0


def _plan(command: JobuCommand, options: dict[str, Any]) -> int:
    plan = _files(command, options).plan(job_files.read(options["file"]), prune=options["prune"])
    _show(command, plan, options)
    return CHANGES if options["detailed_exitcode"] and plan.changes_something else 0


def _apply(command: JobuCommand, options: dict[str, Any]) -> int:
    plan = _files(command, options).apply(job_files.read(options["file"]), prune=options["prune"])
    _show(command, plan, options)
    return 0


def _files(command: JobuCommand, options: dict[str, Any]) -> JobFiles:
    name = options["source"]
    if name is None:
        if options["file"] == "-":
            raise Refused(_("standard input has no name: give --source NAME"))
        name = PurePath(options["file"]).name
    source = PREFIX + name.removeprefix(PREFIX)
    if len(source) > SOURCE_LENGTH or not name.isprintable() or not name.strip():
        raise Refused(_("--source must be a printable name of at most 250 characters"))
    return JobFiles(
        actor=command.control.actor, source=source, takes_over=options["take_over"]
    )  # fmt: skip


# --- output --------------------------------------------------------------------------------------


def _show(command: JobuCommand, plan: Plan, options: dict[str, Any]) -> None:
    """Prints the plan. Raises Refused with all mistakes."""
    if plan.mistakes:
        raise _refusal(plan.mistakes, options["file"])
    if command.printer.as_json:
        command.printer.document(_facts(plan))
        return
    for each in plan.jobs:
        for line in _lines(each):
            command.printer.line(line)
    for name in plan.gone:
        command.printer.note(
            _("%(name)s is not in the file any more and stays on; --prune disables it")
            % {"name": repr(name)}
        )
    command.printer.line(_summary(plan, is_done=options["verb"] == "apply"))


def _summary(plan: Plan, *, is_done: bool) -> str:
    steps = [each.step for each in plan.jobs]
    counts = {step: steps.count(step) for step in ("create", "change", "disable", "same")}
    if is_done:
        text = _("Done: %(create)s created, %(change)s changed, %(disable)s disabled,"
                 " %(same)s as they were.")  # fmt: skip
    else:
        text = _("Plan: %(create)s to create, %(change)s to change, %(disable)s to disable,"
                 " %(same)s as they are.")  # fmt: skip
    return text % counts


def _refusal(mistakes: Sequence[Mistake], name: str) -> Refused:
    lines, fields = [], dict[str, list[str]]()
    for each in mistakes:
        place = ", ".join(
            part
            for part in (
                _("line %(line)s") % {"line": each.line} if each.line else "",
                each.job,
                each.field,
            )
            if part
        )
        lines.append(f"- {place}: {each.text}" if place else f"- {each.text}")
        key = ".".join(part for part in (each.job, each.field) if part) or "file"
        line = f"{_('line %(line)s') % {'line': each.line}}: " if each.line else ""
        fields.setdefault(key, []).append(f"{line}{each.text}")
    head = _("%(name)s cannot be used, nothing was changed:") % {"name": name}
    return Refused(printable("\n".join([head, *lines])), fields)


def _lines(each: PlannedJob) -> list[str]:
    if each.step == "same" and not each.is_adopted and each.drift is None:
        return []
    found = [f"{_SIGNS[each.step]} {each.name}"]
    if each.step == "create":
        found.append(f"    {each.values['cron_expression']}  {each.values['handler_name']}")
    elif each.is_adopted and each.governed:
        found.append("    " + _("is kept in this file from now on"))
    if each.drift is not None:
        found.append("    " + edited(each.drift))
        found += [f"      {line_of(change)}" for change in each.drift.changes]
    found += [f"    {line_of(change)}" for change in each.changes]
    if each.slots:
        found.append("    " + _("slots of the next 7 days: %(slots)s") % {"slots": _slots(each)})
    return found


def _slots(each: PlannedJob) -> str:
    slots = each.slots
    parts = [
        (_("%(count)s added"), [exact(slot) for slot in slots.added]),
        (_("%(count)s moved"), [f"{exact(old)} -> {exact(new)}" for old, new in slots.moved]),
        (_("%(count)s lost"), [exact(slot) for slot in slots.lost]),
    ]
    return "; ".join(
        f"{text % {'count': len(which)}} ({', '.join(which[:_SHOWN_SLOTS])}"
        f"{', ...' if len(which) > _SHOWN_SLOTS else ''})"
        for text, which in parts
        if which
    )


def _facts(plan: Plan) -> dict[str, Any]:
    steps = [each.step for each in plan.jobs]
    return {
        "changes": plan.changes_something,
        "create": steps.count("create"),
        "change": steps.count("change"),
        "disable": steps.count("disable"),
        "same": steps.count("same"),
        "not_in_file": list(plan.gone),
        "jobs": [_job_facts(each) for each in plan.jobs],
    }


def _job_facts(each: PlannedJob) -> dict[str, Any]:
    drift = each.drift
    return {
        "name": each.name,
        "id": each.job.pk if each.job is not None else None,
        "step": each.step,
        "adopted": each.is_adopted and bool(each.governed),
        "changes": [vars(change) for change in each.changes],
        "drift": None if drift is None else {
            "edited_by": drift.edited_by,
            "edited_at": drift.edited_at,
            "changes": [vars(change) for change in drift.changes],
        },
        "slots": {
            "added": _instants(each.slots.added),
            "moved": [_instants(pair) for pair in each.slots.moved],
            "lost": _instants(each.slots.lost),
        },
    }  # fmt: skip


def _instants(slots: Sequence[datetime]) -> list[str | None]:
    return [utc_text(slot) for slot in slots]
