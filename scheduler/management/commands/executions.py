"""`manage.py executions VERB`: shows, starts, stops and repeats executions, and follows logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _

from scheduler.management import approval_verbs, documents, follow, inputs
from scheduler.management.cli import JobuCommand, Verb, add_yes
from scheduler.management.output import exact, span
from scheduler.management.waiting import add_timeout, add_wait, finish, wait_for
from scheduler.models import JobExecution, JobLog, in_slots
from scheduler.operations.control import RETRY_LIMIT, InvalidJob, NotPossible
from scheduler.states import GOING_ON, RETRYABLE, ParamSource, RunStatus, WaitsFor
from scheduler.store.deliveries import of_handler
from scheduler.store.executions import FailedRange
from scheduler.store.listing import in_status
from scheduler.store.waiting import waits_for

_UNSUCCESSFUL: Final = (RunStatus.FAILED, RunStatus.TIMEOUT)


class Command(JobuCommand):
    help = "See, stop and repeat executions, and read their logs."
    about = staticmethod(lambda: _("See, stop and repeat executions, and read their logs."))

    def verbs(self) -> Sequence[Verb]:
        return (
            Verb(name="list", help=_("executions, newest first"), run=_list,
                 arguments=_list_arguments),
            Verb(name="show", help=_("one execution and its attempts"), run=_show,
                 arguments=_one),
            Verb(name="event", help=_("a run because something happened, now or later"), run=_event,
                 arguments=_event_arguments),
            Verb(name="cancel", help=_("stop executions that wait or run"), run=_cancel,
                 arguments=_cancel_arguments),
            Verb(name="retry", help=_("send unsuccessful ones back, by id or by range"),
                 run=_retry, arguments=_retry_arguments),
            Verb(name="replay", help=_("a new run of each, the original stays"), run=_replay,
                 arguments=_replay_arguments),
            *approval_verbs.VERBS,
            Verb(name="logs", help=_("the lines of a run"), run=_logs,
                 arguments=_logs_arguments),
            Verb(name="wait", help=_("until they end; exit code 0 if all succeeded"), run=_wait,
                 arguments=_wait_arguments),
        )  # fmt: skip


# --- arguments -----------------------------------------------------------------------------------


def _one(parser: CommandParser) -> None:
    inputs.add_ids(parser, many=False)


def _list_arguments(parser: CommandParser) -> None:
    parser.add_argument("--job", metavar="JOB", help=_("its name or id"))
    parser.add_argument("--status", action="append", choices=[each.value for each in RunStatus])
    parser.add_argument("--handler", metavar="NAME")
    parser.add_argument(
        "--waits-for",
        choices=[each.value for each in WaitsFor],
        help=_("only those that wait, and for this"),
    )
    parser.add_argument("--source", choices=[each.value for each in ParamSource])
    parser.add_argument("--since", metavar="TIME", help=_("planned for then or later"))
    parser.add_argument("--until", metavar="TIME", help=_("planned for then or earlier"))
    parser.add_argument(
        "--shards-of", type=inputs.ID, metavar="ID", help=_("the shards of this one; else none")
    )
    parser.add_argument("--before", type=inputs.ID, metavar="ID", help=_("go on below this id"))
    inputs.add_limit(parser)


def _event_arguments(parser: CommandParser) -> None:
    parser.add_argument("--handler", default="", metavar="NAME", help=_("or that of the job"))
    parser.add_argument("--job", metavar="JOB", help=_("its name or id"))
    inputs.add_params(parser)
    parser.add_argument("--key", metavar="TEXT", help=_("a second event with it makes no run"))
    parser.add_argument("--at", metavar="TIME", help=_("not before then"))
    parser.add_argument("--after", metavar="SPAN", help=_("not before, such as 30m, 2h or 1d"))
    add_wait(parser)


def _cancel_arguments(parser: CommandParser) -> None:
    inputs.add_ids(parser)
    parser.add_argument("--reason", default="", metavar="TEXT")
    add_yes(parser)


def _retry_arguments(parser: CommandParser) -> None:
    parser.add_argument("ids", nargs="*", type=inputs.ID, metavar="ID")
    parser.add_argument("--since", metavar="TIME", help=_("all planned for then or later ..."))
    parser.add_argument("--until", metavar="TIME", help=_("... and for then or earlier (now)"))
    parser.add_argument("--job", metavar="JOB", help=_("... of this job"))
    parser.add_argument(
        "--status",
        action="append",
        choices=sorted(each.value for each in RETRYABLE),
        help=_("... that ended so (FAILED and TIMEOUT)"),
    )
    inputs.add_despite_freeze(parser)
    add_yes(parser)


def _replay_arguments(parser: CommandParser) -> None:
    inputs.add_ids(parser)
    inputs.add_params(parser)
    add_wait(parser)


def _logs_arguments(parser: CommandParser) -> None:
    inputs.add_ids(parser, many=False)
    parser.add_argument(
        "-f", "--follow", action="store_true", help=_("and those that come, until it has ended")
    )
    parser.add_argument("--attempt", type=inputs.whole(1, 2**31 - 1), metavar="N")
    parser.add_argument(
        "--tail", type=inputs.whole(0, 100_000), metavar="N", help=_("only the last ones")
    )


def _wait_arguments(parser: CommandParser) -> None:
    inputs.add_ids(parser)
    add_timeout(parser)


# --- see -----------------------------------------------------------------------------------------


def _list(command: Command, options: dict[str, Any]) -> int:
    limit = options["limit"]
    now = command.control.clock.now()
    # The order by id and the limit keep the query fast for any number of rows.
    rows = JobExecution.objects.order_by("-id").defer("params", "result")
    if options["job"]:
        rows = rows.filter(job_id=inputs.job_named(options["job"]).pk)
    if options["status"]:
        rows = in_status(rows, options["status"])
    if options["waits_for"]:
        rows = rows.filter(waits_for(WaitsFor(options["waits_for"]), now))
    rows = of_handler(rows, options["handler"] or None)
    rows = rows.filter(parent_id=options["shards_of"])  # None: no shards
    if options["source"]:
        rows = rows.filter(param_source=options["source"])
    if options["since"] or options["until"]:
        since, until = (
            inputs.instant_of(options[name], name, now) if options[name] else None
            for name in ("since", "until")
        )
        rows = in_slots(rows, since, until)
    if options["before"]:
        rows = rows.filter(pk__lt=options["before"])
    found = list(rows[: limit + 1])
    more, found = len(found) > limit, found[:limit]
    if command.printer.as_json:
        command.printer.document(
            {
                "items": [documents.execution_facts(row) for row in found],
                "next_before": found[-1].pk if more else None,
            }
        )
        return 0
    headers = ("ID", _("job"), _("handler"), _("slot, or asked for"), _("source"), _("status"),
               _("reason"), _("attempt"), _("took"))  # fmt: skip
    command.printer.table(
        headers,
        [
            (
                row.pk, row.job_name, row.handler_name, row.slot, row.param_source,
                row.status, row.reason_code, row.attempt, span(documents.duration(row)),
            )
            for row in found
        ],
    )  # fmt: skip
    if more:
        command.printer.note(_("There are more; go on with --before %(id)s") % {"id": found[-1].pk})
    return 0


def _execution(execution_id: int) -> JobExecution:
    found = JobExecution.objects.filter(pk=execution_id).first()
    if found is None:
        raise NotPossible(_("there is no execution %(id)s") % {"id": execution_id})
    return found


def _show(command: Command, options: dict[str, Any]) -> int:
    facts = documents.execution_details(_execution(options["id"]))
    if command.printer.as_json:
        command.printer.document(facts)
        return 0
    attempts = facts.pop("attempts")
    duration = facts.pop("duration_seconds")
    command.printer.facts([*facts.items(), (_("took"), span(duration))])
    if attempts:
        command.printer.line()
        command.printer.table(
            (_("attempt"), _("outcome"), _("worker"), _("started"), _("ended"), _("error")),
            [
                (
                    each["attempt"], each["outcome"], each["worker"], each["started_at"],
                    each["ended_at"], each["error"],
                )
                for each in attempts
            ],
        )  # fmt: skip
        if last := attempts[-1]["traceback"]:
            command.printer.line()
            command.printer.line(last)
    return 0


# --- start ---------------------------------------------------------------------------------------


def _event(command: Command, options: dict[str, Any]) -> int:
    job = inputs.job_named(options["job"]) if options["job"] else None
    at = after = None
    if options["at"] is not None:
        at = inputs.instant_of(options["at"], "at", command.control.clock.now())
    if options["after"] is not None:
        after = inputs.seconds_of(options["after"], "after")
    execution, is_new = command.control.event(
        handler_name=options["handler"],
        params=inputs.params_of(options, {}) or {},
        job_id=job.pk if job else None,
        idempotency_key=options["key"],
        at=at,
        after_seconds=after,
    )
    if not command.printer.as_json:
        text = _("execution %(id)s") if is_new else _("execution %(id)s, made before with this key")
        command.printer.line(text % {"id": execution.pk})
    outcome = {**documents.execution_details(execution), "is_new": is_new}
    return finish(command, outcome, 0, [execution.pk], options)


# --- stop and repeat -----------------------------------------------------------------------------


def _cancel(command: Command, options: dict[str, Any]) -> int:
    ids = inputs.without_doubles(options["ids"])
    if len(ids) > 1:
        command.confirm(_("Cancel %(count)s executions?") % {"count": len(ids)}, options)

    reason = options["reason"].strip()

    def work(execution_id: int) -> dict[str, Any]:
        _execution(execution_id)
        status = command.control.cancel(execution_id, reason=reason)
        is_asked = status in GOING_ON
        text = _("its worker was asked to stop it") if is_asked else status.value
        return {"id": execution_id, "status": status.value, "text": text}

    return command.each(ids, work)


def _retry(command: Command, options: dict[str, Any]) -> int:
    ids = inputs.without_doubles(options["ids"])
    if not ids:
        return _retry_range(command, options)
    if options["since"] or options["until"] or options["job"] or options["status"]:
        raise InvalidJob({"ids": [_("give ids, or a range, not both")]})

    def work(execution_id: int) -> dict[str, Any]:
        _execution(execution_id)
        status = command.control.retry(execution_id).status
        return {"id": execution_id, "status": status, "text": status}

    return command.each(ids, work)


def _retry_range(command: Command, options: dict[str, Any]) -> int:
    if not options["since"]:
        raise InvalidJob({"since": [_("give ids, or the beginning of a range")]})
    now = command.control.clock.now()
    job = inputs.job_named(options["job"]) if options["job"] else None
    failed = FailedRange(
        since=inputs.instant_of(options["since"], "since", now),
        until=inputs.instant_of(options["until"] or "now", "until", now),
        statuses=frozenset(map(RunStatus, options["status"] or _UNSUCCESSFUL)),
        job_id=job.pk if job else None,
    )
    count = command.control.count_failed(failed)
    facts: dict[str, object] = {"count": count if count <= RETRY_LIMIT else f"{RETRY_LIMIT}+"}
    facts |= {"since": exact(failed.since), "until": exact(failed.until)}
    if count:
        command.confirm(
            _("Retry %(count)s executions from %(since)s to %(until)s?") % facts, options
        )
    retried, more = command.control.retry_range(failed)
    if command.printer.as_json:
        command.printer.document({"retried": retried, "more": more})
    else:
        command.printer.line(_("%(count)s sent back") % {"count": retried})
        if more:
            command.printer.note(_("There are more; do it again for the rest"))
    return 0


def _replay(command: Command, options: dict[str, Any]) -> int:
    made: list[int] = []

    def work(execution_id: int) -> dict[str, Any]:
        original = _execution(execution_id)
        stored = original.params if isinstance(original.params, dict) else {}
        params = inputs.params_of(options, stored)
        execution = command.control.replay(execution_id, params)
        made.append(execution.pk)
        text = _("execution %(id)s") % {"id": execution.pk}
        return {"id": execution_id, "execution_id": execution.pk, "text": text}

    outcomes, code = command.outcomes(inputs.without_doubles(options["ids"]), work)
    return finish(command, outcomes, code, made, options)


# --- follow --------------------------------------------------------------------------------------


def _logs(command: Command, options: dict[str, Any]) -> int:
    execution = _execution(options["id"])
    if options["follow"] and options["attempt"]:
        raise InvalidJob({"attempt": [_("--follow goes through all attempts")]})
    known = follow.lines_of(execution.pk, attempt=options["attempt"], tail=options["tail"])
    if options["follow"]:
        for line in known:
            _tell(command, line)
        # With --tail 0 no line was printed, but only lines that come from now on are wanted.
        seen = known or (follow.lines_of(execution.pk, tail=1) if options["tail"] == 0 else [])
        for line in follow.new_lines(execution.pk, seen):
            _tell(command, line)
    elif command.printer.as_json:
        command.printer.document({"items": [documents.log_facts(line) for line in known]})
    else:
        for line in known:
            _tell(command, line)
    return 0


def _tell(command: Command, line: JobLog) -> None:
    if command.printer.as_json:
        command.printer.json_line(documents.log_facts(line))
    else:
        message = line.message.replace("\n", "\n    ")
        command.printer.line(f"{exact(line.at)} [{line.attempt}] {line.level:<7} {message}")


def _wait(command: Command, options: dict[str, Any]) -> int:
    ids = inputs.without_doubles(options["ids"])
    for each in ids:
        _execution(each)
    code, executions = wait_for(command, ids, options["timeout"])
    if command.printer.as_json:
        command.printer.document({"items": executions})
    return code
