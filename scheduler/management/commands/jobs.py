"""`manage.py jobs VERB`: see, make and change jobs, and run them out of turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _

from scheduler.management import inputs, shapes
from scheduler.management.cli import BY, JobuCommand, Verb, add_yes
from scheduler.management.output import exact
from scheduler.management.runs import add_wait, finish
from scheduler.models import LIMITS, CronJob, JobExecution
from scheduler.operations import job_history
from scheduler.operations.control import InvalidJob
from scheduler.operations.history import ADDITION, CHANGE, DELETION
from scheduler.operations.masking import mask
from scheduler.schedule import cron, words
from scheduler.states import MisfirePolicy, OverlapPolicy
from scheduler.store import people

STATES: Final = ("enabled", "disabled", "paused", "error")
SLOTS_SHOWN: Final = 5
RUNS_SHOWN: Final = 5
_TEXTS: Final = ("description", "timezone", "calendar", "queue")
_INSTANTS: Final = ("start_at", "end_at")
NO_INSTANT: Final = ("", "none")


class Command(JobuCommand):
    help = "See, create and change jobs, and run them out of turn."
    about = staticmethod(lambda: _("See, create and change jobs, and run them out of turn. A job"
                                   " is named by its name or its id."))  # fmt: skip

    def verbs(self) -> Sequence[Verb]:
        return (
            Verb(name="list", help=_("jobs by name"), run=_list, arguments=_list_arguments),
            Verb(name="show", help=_("one job, its next and its last runs"), run=_show,
                 arguments=_one),
            Verb(name="create", help=_("a new job"), run=_create, arguments=_create_arguments),
            Verb(name="update", help=_("change a job; what is not named stays as it is"),
                 run=_update, arguments=_update_arguments),
            Verb(name="enable", help=_("switch jobs on"), run=_enable,
                 arguments=_enable_arguments),
            Verb(name="resume", help=_("switch paused jobs on; the same as enable"), run=_enable,
                 arguments=_enable_arguments),
            Verb(name="disable", help=_("switch jobs off"), run=_disable, arguments=_many),
            Verb(name="pause", help=_("switch jobs off with a reason, and for a time"),
                 run=_pause, arguments=_pause_arguments),
            Verb(name="run", help=_("run jobs now; their schedules do not notice"), run=_run,
                 arguments=_run_arguments),
            Verb(name="clone", help=_("a copy under a new name, switched off"), run=_clone,
                 arguments=_clone_arguments),
            Verb(name="delete", help=_("remove jobs and all of their history"), run=_delete,
                 arguments=_delete_arguments),
        )  # fmt: skip


# --- arguments -----------------------------------------------------------------------------------


def _one(parser: CommandParser) -> None:
    parser.add_argument("job", metavar="JOB", help=_("its name or id"))


def _many(parser: CommandParser) -> None:
    parser.add_argument("jobs", nargs="+", metavar="JOB", help=_("names or ids"))


def _list_arguments(parser: CommandParser) -> None:
    parser.add_argument("--search", metavar="TEXT", help=_("a part of the name or description"))
    parser.add_argument("--handler", metavar="NAME")
    parser.add_argument("--state", choices=STATES)
    parser.add_argument("--after", metavar="NAME", help=_("go on behind this name"))
    inputs.add_limit(parser)


def _create_arguments(parser: CommandParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--cron", required=True, metavar="EXPRESSION", dest="cron_expression")
    parser.add_argument("--handler", required=True, metavar="NAME", dest="handler_name")
    parser.add_argument("--disabled", action="store_true", help=_("do not switch it on yet"))
    _settings(parser)


def _update_arguments(parser: CommandParser) -> None:
    _one(parser)
    parser.add_argument("--name", metavar="NAME", help=_("a new name"))
    parser.add_argument("--cron", metavar="EXPRESSION", dest="cron_expression")
    parser.add_argument("--handler", metavar="NAME", dest="handler_name")
    _settings(parser)


def _settings(parser: CommandParser) -> None:
    inputs.add_params(parser)
    for name in _TEXTS:
        parser.add_argument(_option(name), dest=name, metavar="TEXT")
    for name in _INSTANTS:
        parser.add_argument(_option(name), dest=name, metavar="TIME", help=_("or none"))
    for name, policy in (("overlap_policy", OverlapPolicy), ("misfire_policy", MisfirePolicy)):
        parser.add_argument(_option(name), dest=name, choices=[each.value for each in policy])
    for name, (low, high) in LIMITS.items():
        parser.add_argument(
            _option(name), dest=name, metavar="N", type=inputs.whole(low, high),
            help=f"{low} ... {high}",
        )  # fmt: skip


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _enable_arguments(parser: CommandParser) -> None:
    _many(parser)
    parser.add_argument(
        "--missed",
        choices=("none", "latest", "all"),
        default="none",
        help=_("which of the slots that they missed while off are run now (none)"),
    )


def _pause_arguments(parser: CommandParser) -> None:
    _many(parser)
    parser.add_argument("--reason", default="", metavar="TEXT")
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--until", metavar="TIME", help=_("come back by itself then"))
    when.add_argument("--for", dest="span", metavar="SPAN", help=_("such as 30m, 2h or 1d"))


def _run_arguments(parser: CommandParser) -> None:
    _many(parser)
    inputs.add_params(parser)
    add_wait(parser)


def _clone_arguments(parser: CommandParser) -> None:
    _one(parser)
    parser.add_argument("--name", required=True, metavar="NAME")


def _delete_arguments(parser: CommandParser) -> None:
    _many(parser)
    add_yes(parser)


# --- see -----------------------------------------------------------------------------------------


def _list(command: Command, options: dict[str, Any]) -> int:
    limit = options["limit"]
    rows = CronJob.objects.order_by("name")
    if options["search"]:
        text = options["search"]
        rows = rows.filter(name__icontains=text) | rows.filter(description__icontains=text)
    if options["handler"]:
        rows = rows.filter(handler_name=options["handler"])
    if options["after"]:
        rows = rows.filter(name__gt=options["after"])
    rows = _of_state(rows, options["state"])
    found = list(rows[: limit + 1])
    more, found = len(found) > limit, found[:limit]
    if command.printer.as_json:
        command.printer.document(
            {
                "items": [shapes.job_facts(job) for job in found],
                "next_after": found[-1].name if more else None,
            }
        )
        return 0
    headers = ("ID", _("name"), _("state"), "cron", _("handler"), _("next run"), _("last run"),
               _("last status"))  # fmt: skip
    command.printer.table(
        headers,
        [
            (
                job.pk, job.name, shapes.state_of(job), job.cron_expression, job.handler_name,
                job.next_run_at if job.is_enabled else None, job.last_run_at, job.last_status,
            )
            for job in found
        ],
    )  # fmt: skip
    if more:
        command.printer.note(
            _("There are more; go on with --after %(name)s") % {"name": repr(found[-1].name)}
        )
    return 0


def _of_state(rows: Any, state: str | None) -> Any:
    paused = {"paused_until__isnull": True, "pause_reason": ""}
    if state == "enabled":
        return rows.filter(is_enabled=True)
    if state == "error":
        return rows.filter(is_enabled=False).exclude(schedule_error="")
    if state == "paused":
        return rows.filter(is_enabled=False, schedule_error="").exclude(**paused)
    if state == "disabled":
        return rows.filter(is_enabled=False, schedule_error="", **paused)
    return rows


def _show(command: Command, options: dict[str, Any]) -> int:
    job = inputs.job_named(options["job"])
    facts = shapes.job_facts(job)
    try:
        slots = command.control.preview(job, SLOTS_SHOWN)
        in_words = words.in_words(job.cron_expression)
        warnings = words.warnings_of(job.cron_expression)
    except cron.ScheduleError as error:
        slots, in_words, warnings = [], "", [str(error)]
    warnings = [*warnings, *command.control.warnings(job)]
    # By the index on (job, scheduled_time): a job with a million runs shows as fast.
    last = list(JobExecution.objects.filter(job=job).order_by("-scheduled_time")[:RUNS_SHOWN])
    if command.printer.as_json:
        command.printer.document(
            {
                **facts,
                "words": in_words,
                "warnings": warnings,
                "next_slots": slots if job.is_enabled else [],
                "last_executions": [shapes.execution_facts(row) for row in last],
            }
        )
        return 0
    command.printer.facts(
        [
            *((name, value) for name, value in facts.items() if name != "tick_seq"),
            (_("in words"), in_words),
            *((_("warning"), text) for text in warnings),
            *((_("next slots"), "\n".join(map(exact, slots))) for _slot in slots[:1]
              if job.is_enabled),
        ]
    )  # fmt: skip
    if last:
        command.printer.line()
        command.printer.table(
            ("ID", _("scheduled"), _("status"), _("attempt"), _("error")),
            [
                (row.pk, row.scheduled_time, row.status, row.attempt, row.error_message)
                for row in last
            ],
        )
    return 0


# --- change --------------------------------------------------------------------------------------


def _given(command: Command, options: Mapping[str, Any], stored: object) -> dict[str, Any]:
    """The fields that were named."""
    names = ("name", "cron_expression", "handler_name", *_TEXTS, "overlap_policy",
             "misfire_policy", *LIMITS)  # fmt: skip
    found = {name: options[name] for name in names if options.get(name) is not None}
    now = command.control.clock.now()
    for name in _INSTANTS:
        if (text := options.get(name)) is not None:
            is_none = text.strip().lower() in NO_INSTANT
            found[name] = None if is_none else inputs.instant_of(text, name, now)
    params = inputs.params_of(options, stored)
    if params is not None:
        found["handler_params"] = params
    return found


def _create(command: Command, options: dict[str, Any]) -> int:
    given = _given(command, options, {})
    job = command.kept(
        lambda: command.control.create_job(**given, is_enabled=not options["disabled"]),
        lambda made: (made, ADDITION, "Added"),
    )
    return _saved(command, job, _("created"))


def _update(command: Command, options: dict[str, Any]) -> int:
    job = inputs.job_named(options["job"])
    given = _given(command, options, job.handler_params)
    if not given:
        raise InvalidJob({"job": [_("nothing to change was named")]})
    before: dict[str, Any] = {}

    def work() -> CronJob:
        stored = people.lock_job(job.pk)
        before.update(job_history.values_of(stored), updated_at=stored.updated_at)
        return command.control.update_job(job.pk, **given)

    def changes(saved: CronJob) -> tuple[CronJob, int, list[dict[str, Any]]]:
        told = job_history.changes_between(before, job_history.values_of(saved))
        return saved, CHANGE, job_history.message_by(told, before["updated_at"], BY)

    return _saved(command, command.kept(work, changes), _("changed"))


def _clone(command: Command, options: dict[str, Any]) -> int:
    job = inputs.job_named(options["job"])
    clone = command.kept(
        lambda: command.control.clone_job(job.pk, name=options["name"]),
        lambda made: (made, ADDITION, f"Cloned from #{job.pk}"),
    )
    return _saved(command, clone, _("created"))


def _saved(command: Command, job: CronJob, what: str) -> int:
    warnings = command.control.warnings(job)
    if command.printer.as_json:
        command.printer.document({**shapes.job_facts(job), "warnings": warnings})
        return 0
    command.printer.line(
        _("%(what)s job %(id)s %(name)s")
        % {"what": what, "id": job.pk, "name": repr(job.name)}
    )  # fmt: skip
    for text in warnings:
        command.printer.note(_("warning: %(text)s") % {"text": text})
    return 0


def _enable(command: Command, options: dict[str, Any]) -> int:
    words = "Resumed" if options["verb"] == "resume" else "Enabled"

    def work(name: str) -> dict[str, Any]:
        job = inputs.job_named(name)
        return _now(
            command.kept(
                lambda: command.control.enable(job.pk, missed=options["missed"]),
                lambda done: (done, CHANGE, words),
            )
        )

    return command.each(inputs.without_doubles(options["jobs"]), work)


def _disable(command: Command, options: dict[str, Any]) -> int:
    def work(name: str) -> dict[str, Any]:
        job = inputs.job_named(name)
        return _now(
            command.kept(
                lambda: command.control.disable(job.pk), lambda done: (done, CHANGE, "Disabled")
            )
        )

    return command.each(inputs.without_doubles(options["jobs"]), work)


def _pause(command: Command, options: dict[str, Any]) -> int:
    now = command.control.clock.now()
    until = None
    if options["until"] is not None:
        until = inputs.instant_of(options["until"], "until", now)
    elif options["span"] is not None:
        until = inputs.instant_of(f"in {options['span']}", "for", now)

    def work(name: str) -> dict[str, Any]:
        job = inputs.job_named(name)
        return _now(
            command.kept(
                lambda: command.control.pause(job.pk, reason=options["reason"], until=until),
                lambda done: (done, CHANGE, job_history.paused(options["reason"], until)),
            )
        )

    return command.each(inputs.without_doubles(options["jobs"]), work)


def _now(job: CronJob) -> dict[str, Any]:
    state = shapes.state_of(job)
    told = state
    if job.paused_until is not None:
        told = _("%(state)s until %(when)s") % {"state": state, "when": exact(job.paused_until)}
    return {"id": job.pk, "state": state, "told": told}


def _delete(command: Command, options: dict[str, Any]) -> int:
    names = inputs.without_doubles(options["jobs"])
    command.confirm(
        _("Remove %(names)s with all executions and logs?")
        % {"names": ", ".join(map(repr, names))},
        options,
    )

    def work(name: str) -> dict[str, Any]:
        job = inputs.job_named(name)
        command.kept(
            lambda: command.control.delete_job(job.pk), lambda _none: (job, DELETION, "Deleted")
        )
        return {"id": job.pk, "told": _("removed")}

    return command.each(names, work)


# --- run -----------------------------------------------------------------------------------------


def _run(command: Command, options: dict[str, Any]) -> int:
    made: list[int] = []

    def work(name: str) -> dict[str, Any]:
        job = inputs.job_named(name)
        params = inputs.params_of(options, job.handler_params)
        execution = command.kept(
            lambda: command.control.run_now(job.pk, params),
            lambda made: (job, CHANGE, f"Run now: execution #{made.pk}"),
        )
        made.append(execution.pk)
        return {
            "id": job.pk,
            "execution_id": execution.pk,
            "params": mask(execution.params),
            "told": _("execution %(id)s") % {"id": execution.pk},
        }

    outcomes, code = command.outcomes(inputs.without_doubles(options["jobs"]), work)
    return finish(command, outcomes, code, made, options)
