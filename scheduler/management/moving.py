"""What the commands `import` and `compare` share: the source, and how they show what they found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any
from zoneinfo import available_timezones

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _

from scheduler.management.cli import JobuCommand, Refused
from scheduler.management.output import Printer
from scheduler.moving import reading
from scheduler.moving.beside import Compared
from scheduler.moving.entries import Options, UnreadableSource, Verdict
from scheduler.moving.importing import Planned, Step
from scheduler.moving.mapping import Mapped, map_entries
from scheduler.moving.words import cause_in_words, facts_of, in_words
from scheduler.operations.imports import ImportControl

UNREADABLE_EXIT_CODE = 2


def add_source(parser: CommandParser) -> None:
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help=_("KIND:WHERE, such as crontab:FILE; KIND is one of %(known)s")
        % {"known": ", ".join(reading.KINDS)},
    )
    parser.add_argument(
        "--timezone", default="", metavar="ZONE", help=_("the zone of entries that name none")
    )
    parser.add_argument(
        "--broker",
        choices=("redis", "amqp"),
        default="",
        help=_("how its priorities count; otherwise as the Celery app's broker does"),
    )
    parser.add_argument(
        "--handler",
        action="append",
        default=[],
        metavar="NAME=HANDLER",
        help=_("the handler for a function, a DAG or a program of the source; repeatable"),
    )


def add_only(parser: CommandParser) -> None:
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help=_("only the entries of these names")
    )


def import_control(command: JobuCommand) -> ImportControl:
    return ImportControl(actor=command.control.actor)


def mapped_entries(command: JobuCommand, options: dict[str, Any]) -> list[Mapped]:
    """Reads and maps the source. Raises Refused, with exit code 2 if it cannot be read."""
    control = command.control
    now = control.clock.now()
    try:
        kind, entries = reading.read(options["source"], _options(options, now))
    except UnreadableSource as error:
        refused = Refused(str(error))
        refused.returncode = UNREADABLE_EXIT_CODE
        raise refused from error
    if only := set(options["only"]):
        if missing := sorted(only - {entry.name for entry in entries}):
            raise Refused(_("the source has no entry %(name)s") % {"name": repr(missing[0])})
        entries = [entry for entry in entries if entry.name in only]
    return map_entries(kind, entries, control=control, now=now)


def _options(options: dict[str, Any], now: Any) -> Options:
    zone = options["timezone"]
    if zone and zone not in available_timezones():
        raise Refused(_("unknown time zone %(zone)s") % {"zone": repr(zone)})
    pairs = [text.partition("=") for text in options["handler"]]
    if wrong := next((name for name, equals, value in pairs if not (equals and value)), None):
        raise Refused(_("--handler %(text)s: write NAME=HANDLER") % {"text": wrong})
    handlers = {name: value for name, _equals, value in pairs}
    return Options(now=now, timezone=zone, broker=options["broker"], handlers=handlers)


# --- import ---------------------------------------------------------------------------------------


def planned_facts(
    planned: Sequence[Planned], *, is_dry_run: bool, problem: str | None
) -> dict[str, Any]:
    """Returns the answer of `import` for `--json`. `problem`: why nothing was changed."""
    verdicts = Counter(each.mapped.verdict for each in planned)
    steps = Counter(each.step for each in planned)
    facts: dict[str, Any] = {
        "is_dry_run": is_dry_run,
        "is_applied": not is_dry_run and problem is None,
        **{verdict.value: verdicts[verdict] for verdict in Verdict},
        "steps": {step.value: steps[step] for step in Step},
        "entries": [_entry_facts(each) for each in planned],
    }
    if problem:
        facts["error"] = {"message": problem}
    return facts


def _entry_facts(planned: Planned) -> dict[str, Any]:
    mapped = planned.mapped
    return {
        "name": mapped.entry.name,
        "where": mapped.entry.where,
        "job": mapped.name,
        "source": mapped.source,
        "verdict": mapped.verdict.value,
        "step": planned.step.value,
        "cron_expression": mapped.values.get("cron_expression"),
        "timezone": mapped.values.get("timezone"),
        "handler_name": mapped.values.get("handler_name"),
        "changes": sorted(planned.changes) if planned.step is Step.UPDATE else [],
        "kept": list(planned.kept),
        "findings": [facts_of(finding) for finding in mapped.findings],
    }


def show_planned(printer: Printer, planned: Sequence[Planned], facts: dict[str, Any]) -> None:
    for each in planned:
        mapped = each.mapped
        said = [in_words(finding) for finding in mapped.findings]
        if each.kept:
            said.append(_("kept as edited here: %(names)s") % {"names": ", ".join(each.kept)})
        if each.step is Step.UPDATE:
            said.append(_("changes: %(names)s") % {"names": ", ".join(sorted(each.changes))})
        place = f" ({mapped.entry.where})" if mapped.entry.where else ""
        text = f"{mapped.verdict.value}: {mapped.name}{place}"
        printer.line(f"{text}: {'; '.join(said)}" if said else text)
    totals = {name: facts[name] for name in ("same", "differs", "impossible")}
    steps = {name: facts["steps"][name] for name in ("create", "update", "nothing")}
    text = _("%(same)s same, %(differs)s differ, %(impossible)s impossible; jobs: %(create)s new,"
             " %(update)s changed, %(nothing)s as they are")  # fmt: skip
    printer.line(text % {**totals, **steps})
    if facts["is_dry_run"]:
        printer.note(_("dry run: nothing was changed"))
    elif "error" in facts:
        printer.note(facts["error"]["message"])


# --- compare --------------------------------------------------------------------------------------


def compared_facts(compared: Sequence[Compared], days: int) -> dict[str, Any]:
    causes = sum((each.causes for each in compared), Counter[Any]())
    return {
        "days": days,
        "entries": [_compared_facts(each) for each in compared],
        "causes": {cause.value: count for cause, count in sorted(causes.items())},
    }


def _compared_facts(each: Compared) -> dict[str, Any]:
    found = each.comparison
    return {
        "name": each.mapped.entry.name,
        "job": each.mapped.name,
        "is_imported": each.is_imported,
        "is_on_there": each.mapped.entry.is_enabled,
        "cron_expression": each.expression,
        "not_compared": each.not_compared or None,
        "slots": found.slots if found else 0,
        "is_sampled": bool(found and found.is_sampled),
        "causes": {cause.value: count for cause, count in sorted(each.causes.items())},
        "examples": [
            {"at": item.at, "side": _side(in_old=item.in_old), "cause": item.cause.value}
            for item in (found.examples() if found else ())
        ],
    }


def _side(*, in_old: bool) -> str:
    return "old" if in_old else "new"


def show_compared(printer: Printer, compared: Sequence[Compared], days: int) -> None:
    same = 0
    for each in compared:
        if each.not_compared:
            text = _("%(name)s: not compared: %(reason)s")
            printer.line(text % {"name": each.mapped.name, "reason": each.not_compared})
        elif each.causes:
            _show_differences(printer, each)
        else:
            same += 1
    text = _("%(same)s of %(count)s entries have the same slots over %(days)s days and all clock"
             " changes of the next year")  # fmt: skip
    printer.line(text % {"same": same, "count": len(compared), "days": days})


def _show_differences(printer: Printer, each: Compared) -> None:
    assert each.comparison is not None
    told = ", ".join(
        f"{cause_in_words(cause)} ({count})" for cause, count in sorted(each.causes.items())
    )
    printer.line(f"{each.mapped.name}: {told}")
    for item in each.comparison.examples():
        side = _("only there") if item.in_old else _("only here")
        printer.line(f"    {item.at:%Y-%m-%d %H:%M:%S} UTC  {side}  {cause_in_words(item.cause)}")
