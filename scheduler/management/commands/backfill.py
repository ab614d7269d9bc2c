"""`manage.py backfill VERB`: makes runs for the slots of a range. Beat makes a few at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _

from scheduler.management import documents, inputs
from scheduler.management.cli import JobuCommand, Verb, add_yes
from scheduler.management.follow import until_backfilled
from scheduler.management.output import exact
from scheduler.models import Backfill, CronJob
from scheduler.operations.backfill_plans import PlannedRun
from scheduler.operations.backfills import LARGEST_PARALLELISM, LARGEST_RATE, SLOTS_SHOWN
from scheduler.operations.control import NotPossible
from scheduler.operations.masking import mask
from scheduler.states import BackfillOrder, BackfillState, RunStatus


class Command(JobuCommand):
    help = "Run a job's slots of a range of time."
    about = staticmethod(lambda: _("Run a job's slots of a range of time."))

    def verbs(self) -> Sequence[Verb]:
        return (
            Verb(name="preview", help=_("what it would run; changes nothing"), run=_preview,
                 arguments=_range),
            Verb(name="start", help=_("begin; beat makes the runs"), run=_start,
                 arguments=_start_arguments),
            Verb(name="list", help=_("backfills, newest first"), run=_list,
                 arguments=_list_arguments),
            Verb(name="show", help=_("how far one is"), run=_show, arguments=_show_arguments),
            Verb(name="pause", help=_("no further runs for now"), run=_pause,
                 arguments=inputs.add_ids),
            Verb(name="resume", help=_("go on"), run=_resume, arguments=inputs.add_ids),
            Verb(name="cancel", help=_("no further runs; those that wait are cancelled"),
                 run=_cancel, arguments=_cancel_arguments),
        )  # fmt: skip


# --- arguments -----------------------------------------------------------------------------------


def _range(parser: CommandParser) -> None:
    parser.add_argument("job", metavar="JOB", help=_("its name or id"))
    parser.add_argument("--since", required=True, metavar="TIME")
    parser.add_argument("--until", metavar="TIME", help=_("both ends belong to it (now)"))
    parser.add_argument(
        "--order", choices=[each.value for each in BackfillOrder], default="oldest_first"
    )
    parser.add_argument(
        "--only-missing",
        action="store_true",
        help=_("leave out slots that have succeeded, wait or run"),
    )
    parser.add_argument(
        "--with-downstream",
        action="store_true",
        help=_("also the jobs that wait for this one, slot by slot after it"),
    )
    inputs.add_params(parser)


def _start_arguments(parser: CommandParser) -> None:
    _range(parser)
    parser.add_argument(
        "--parallelism",
        type=inputs.whole(1, LARGEST_PARALLELISM),
        default=1,
        metavar="N",
        help=_("how many of its runs may be unfinished at a time (1)"),
    )
    parser.add_argument(
        "--per-minute",
        type=inputs.whole(1, LARGEST_RATE),
        metavar="N",
        help=_("the most runs that are made in a minute"),
    )
    parser.add_argument(
        "--ignore-overlap",
        action="store_true",
        help=_("the job's overlap policy does not hold for its runs"),
    )
    inputs.add_despite_freeze(parser)
    _follow(parser)


def _list_arguments(parser: CommandParser) -> None:
    parser.add_argument("--job", metavar="JOB", help=_("its name or id"))
    parser.add_argument("--state", choices=[each.value for each in BackfillState])
    parser.add_argument("--before", type=inputs.ID, metavar="ID", help=_("go on below this id"))
    inputs.add_limit(parser)


def _show_arguments(parser: CommandParser) -> None:
    inputs.add_ids(parser, many=False)
    _follow(parser)


def _follow(parser: CommandParser) -> None:
    parser.add_argument(
        "--follow",
        action="store_true",
        help=_("wait for its last run; exit code 0 if all of its runs succeeded"),
    )


def _cancel_arguments(parser: CommandParser) -> None:
    inputs.add_ids(parser)
    parser.add_argument("--running", action="store_true", help=_("stop those that run, too"))
    add_yes(parser)


# --- verbs ---------------------------------------------------------------------------------------


def _planned(command: Command, options: dict[str, Any]) -> tuple[CronJob, dict[str, Any]]:
    job = inputs.job_named(options["job"])
    now = command.control.clock.now()
    stored = job.handler_params if isinstance(job.handler_params, dict) else {}
    return job, {
        "since": inputs.instant_of(options["since"], "since", now),
        "until": inputs.instant_of(options["until"] or "now", "until", now),
        "order": options["order"],
        "only_missing": options["only_missing"],
        "with_downstream": options["with_downstream"],
        "params": inputs.params_of(options, stored),
    }


def _preview(command: Command, options: dict[str, Any]) -> int:
    job, planned = _planned(command, options)
    found = command.backfills.preview(job.pk, **planned)
    warnings = command.backfills.warnings(job, parallelism=1, until=planned["until"])
    params = mask(found.params_of_first)
    if command.printer.as_json:
        command.printer.document(
            {
                "job_id": job.pk,
                "since": planned["since"],
                "until": planned["until"],
                "total": found.total,
                "slots": found.slots,
                "params_of_first": params,
                "runs": _documents(found.runs),
                "downstream": [
                    {
                        "job_id": each.job.pk,
                        "name": each.job.name,
                        "total": each.total,
                        "runs": _documents(each.runs(SLOTS_SHOWN)),
                    }
                    for each in found.downstream
                ],
                "warnings": warnings,
            }
        )
        return 0
    command.printer.facts(
        [
            (_("job"), job.name),
            (_("since"), planned["since"]),
            (_("until"), planned["until"]),
            (_("slots"), found.total),
            *([(_("params of the first"), params)] if found.total else []),
            *((_("warning"), text) for text in warnings),
        ]
    )
    _print_runs(command, found.runs, found.total)
    for each in found.downstream:
        facts = {"job": each.job.name, "count": each.total}
        command.printer.line(_("then %(job)s: %(count)s slots") % facts)
        _print_runs(command, each.runs(SLOTS_SHOWN), each.total)
    return 0


def _print_runs(command: Command, runs: Sequence[PlannedRun], total: int) -> None:
    for run in runs:
        params = json.dumps(mask(run.params), ensure_ascii=False)
        command.printer.line(f"  {exact(run.slot)}  {params}")
    if total > len(runs):
        command.printer.line(_("  ... and %(count)s more") % {"count": total - len(runs)})


def _documents(runs: Sequence[PlannedRun]) -> list[dict[str, Any]]:
    return [{"slot": run.slot, "params": mask(run.params)} for run in runs]


def _start(command: Command, options: dict[str, Any]) -> int:
    job, planned = _planned(command, options)
    parallelism = options["parallelism"]
    backfill = command.backfills.start(
        job.pk,
        **planned,
        parallelism=parallelism,
        per_minute=options["per_minute"],
        ignores_overlap=options["ignore_overlap"],
    )
    if not command.printer.as_json:
        facts = {"id": backfill.pk, "count": backfill.total, "job": repr(job.name)}
        command.printer.line(_("backfill %(id)s: %(count)s slots of %(job)s") % facts)
        for text in command.backfills.warnings(
            job,
            parallelism=parallelism,
            until=planned["until"],
            ignores_overlap=options["ignore_overlap"],
        ):
            command.printer.note(_("warning: %(text)s") % {"text": text})
    return _print_progress(command, backfill, options, facts_too=False)


def _list(command: Command, options: dict[str, Any]) -> int:
    limit = options["limit"]
    rows = Backfill.objects.order_by("-id")
    if options["job"]:
        rows = rows.filter(job_id=inputs.job_named(options["job"]).pk)
    if options["state"]:
        rows = rows.filter(state=options["state"])
    if options["before"]:
        rows = rows.filter(pk__lt=options["before"])
    found = list(rows.select_related("job")[: limit + 1])
    more, found = len(found) > limit, found[:limit]
    if command.printer.as_json:
        command.printer.document(
            {
                "items": [documents.backfill_facts(each) for each in found],
                "next_before": found[-1].pk if more else None,
            }
        )
        return 0
    command.printer.table(
        ("ID", _("job"), _("since"), _("until"), _("state"), _("made"), _("slots"), _("by")),
        [
            (
                each.pk, each.job.name, each.since, each.until, each.state, each.made, each.total,
                each.requested_by,
            )
            for each in found
        ],
    )  # fmt: skip
    if more:
        command.printer.note(_("There are more; go on with --before %(id)s") % {"id": found[-1].pk})
    return 0


def _show(command: Command, options: dict[str, Any]) -> int:
    return _print_progress(command, _backfill(options["id"]), options, facts_too=True)


def _backfill(backfill_id: int) -> Backfill:
    found = Backfill.objects.filter(pk=backfill_id).first()
    if found is None:
        raise NotPossible(_("there is no backfill %(id)s") % {"id": backfill_id})
    return found


def _print_progress(
    command: Command, backfill: Backfill, options: dict[str, Any], *, facts_too: bool
) -> int:
    """Prints the progress of a backfill, with `--follow` after its end. Returns the exit code."""
    code = 0
    if options["follow"]:
        backfill = until_backfilled(
            backfill, command.backfills, command.printer, command.printer.line
        )
        counts = command.backfills.counts(backfill)
        is_well = backfill.state == BackfillState.DONE and set(counts) <= {RunStatus.SUCCESS}
        code = 0 if is_well else 1
    seen = command.backfills.progress(backfill)
    progress = {status.value: count for status, count in seen.counts.items()}
    facts = documents.backfill_facts(backfill)
    more = {"progress": progress, "percent": seen.percent, "ends_at": seen.ends_at}
    if command.printer.as_json:
        command.printer.document({**facts, **more})
    elif facts_too:
        command.printer.facts(list({**facts, **more}.items()))
    elif options["follow"]:
        counted = ", ".join(f"{count} {status}" for status, count in sorted(progress.items()))
        command.printer.line(f"{backfill.state}: {counted}")
    return code


def _pause(command: Command, options: dict[str, Any]) -> int:
    return _each(command, options, command.backfills.pause)


def _resume(command: Command, options: dict[str, Any]) -> int:
    return _each(command, options, command.backfills.resume)


def _cancel(command: Command, options: dict[str, Any]) -> int:
    ids = inputs.without_doubles(options["ids"])
    names = ", ".join(map(str, ids))
    command.confirm(_("Cancel the backfills %(ids)s?") % {"ids": names}, options)
    return _each(
        command,
        options,
        lambda each: command.backfills.cancel(each, running=options["running"]),
    )


def _each(command: Command, options: dict[str, Any], verb: Callable[[int], Backfill]) -> int:
    def work(backfill_id: int) -> dict[str, Any]:
        _backfill(backfill_id)
        state = verb(backfill_id).state
        return {"id": backfill_id, "state": state, "text": state}

    return command.each(inputs.without_doubles(options["ids"]), work)
