"""`manage.py jobs VERB`: shows, creates and changes jobs, and runs them now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.utils.translation import gettext as _

from scheduler.management import documents, inputs, job_file_verbs, job_slot
from scheduler.management import job_arguments as arguments
from scheduler.management.cli import JobuCommand, Verb
from scheduler.management.job_switches import switch
from scheduler.management.job_versions import drift_facts, drift_lines, restore
from scheduler.management.output import exact
from scheduler.management.waiting import finish
from scheduler.models import CronJob, JobExecution
from scheduler.models.job_state import IN_STATE, state_of
from scheduler.operations.control import InvalidJob
from scheduler.operations.drift import drift_of
from scheduler.operations.frozen import blocks_of
from scheduler.operations.masking import mask
from scheduler.operations.search import search_of
from scheduler.schedule import ScheduleError, schedule_of
from scheduler.schedule.freezes import Block
from scheduler.schedule.warnings import warnings_about
from scheduler.schedule.words_of_kinds import words_of
from scheduler.states import JobState

SLOTS_SHOWN: Final = 5
RUNS_SHOWN: Final = 5


class Command(JobuCommand):
    help = "See, create and change jobs, and run them out of turn."
    about = staticmethod(lambda: _("See, create and change jobs, and run them out of turn. A job"
                                   " is named by its name or its id."))  # fmt: skip

    def verbs(self) -> Sequence[Verb]:
        return (
            Verb(name="list", help=_("jobs by name"), run=_list, arguments=arguments.of_list),
            Verb(name="show", help=_("one job, its next and its last runs"), run=_show,
                 arguments=arguments.of_one),
            Verb(name="create", help=_("a new job"), run=_create, arguments=arguments.of_create),
            Verb(name="update", help=_("change a job; what is not named stays as it is"),
                 run=_update, arguments=arguments.of_update),
            Verb(name="enable", help=_("switch jobs on"), run=_enable,
                 arguments=arguments.of_enable),
            Verb(name="resume", help=_("switch paused jobs on; the same as enable"), run=_enable,
                 arguments=arguments.of_enable),
            Verb(name="disable", help=_("switch jobs off"), run=_disable,
                 arguments=arguments.of_many),
            Verb(name="pause", help=_("switch jobs off with a reason, and for a time"),
                 run=_pause, arguments=arguments.of_pause),
            Verb(name="run", help=_("run jobs now; their schedules do not notice"), run=_run,
                 arguments=arguments.of_run),
            Verb(name="clone", help=_("a copy under a new name, switched off"), run=_clone,
                 arguments=arguments.of_clone),
            Verb(name="shadow", help=_("record slots without running them, or run them"),
                 run=_shadow, arguments=arguments.of_shadow),
            Verb(name="switch", help=_("let jobu run a job instead of its old system, or back"),
                 run=switch, arguments=arguments.of_switch),
            Verb(name="slot", help=_("was there a run at a time, and if not, why?"),
                 run=job_slot.answer, arguments=arguments.of_slot),
            Verb(name="restore", help=_("make a job what it was, by its history"), run=restore,
                 arguments=arguments.of_restore),
            Verb(name="delete", help=_("remove jobs and all of their history"), run=_delete,
                 arguments=arguments.of_delete),
            *job_file_verbs.verbs(),
        )  # fmt: skip


# --- see -----------------------------------------------------------------------------------------


def _list(command: Command, options: dict[str, Any]) -> int:
    limit = options["limit"]
    rows = CronJob.objects.order_by("name")
    if options["search"]:
        rows = rows.filter(search_of(options["search"])).distinct()
    if options["handler"]:
        rows = rows.filter(handler_name=options["handler"])
    if options["after"]:
        rows = rows.filter(name__gt=options["after"])
    if options["state"]:
        rows = rows.filter(IN_STATE[JobState(options["state"])])
    found = list(rows[: limit + 1])
    more, found = len(found) > limit, found[:limit]
    if command.printer.as_json:
        command.printer.document(
            {
                "items": [documents.job_facts(job) for job in found],
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
                job.pk, job.name, state_of(job), job.cron_expression, job.handler_name,
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


def _in_words(slots: Sequence[datetime], frozen: Mapping[datetime, Block]) -> str:
    by = _("frozen by %s")
    return "\n".join(
        f"{exact(slot)} {by % frozen[slot].freeze.name if slot in frozen else ''}".rstrip()
        for slot in slots
    )


def _show(command: Command, options: dict[str, Any]) -> int:
    job = inputs.job_named(options["job"])
    facts = documents.job_facts(job)
    try:
        slots = command.control.preview(job, SLOTS_SHOWN)
        in_words = words_of(job)
        schedule, now = schedule_of(job, command.control.settings), command.control.clock.now()
        warnings = warnings_about(job, schedule, slots, now)
        frozen = blocks_of(job, schedule, slots, now, command.control.settings)
    except ScheduleError as error:
        slots, in_words, warnings, frozen = [], "", [str(error)], {}
    warnings = [*warnings, *command.control.warnings(job)]
    # The index on (job, scheduled_time) serves this query, so a million runs do not slow it down.
    last = list(JobExecution.objects.filter(job=job).order_by("-scheduled_time")[:RUNS_SHOWN])
    drift = drift_of(job, sees_params=True)
    if command.printer.as_json:
        command.printer.document(
            {
                **facts,
                "drift": drift_facts(drift),
                "words": in_words,
                "warnings": warnings,
                "next_slots": slots if job.is_enabled else [],
                "frozen_slots": list(frozen) if job.is_enabled else [],
                "last_executions": [documents.execution_facts(row) for row in last],
            }
        )
        return 0
    command.printer.facts(
        [
            *((name, value) for name, value in facts.items() if name != "tick_seq"),
            (_("in words"), in_words),
            *((_("warning"), text) for text in warnings),
            *drift_lines(drift),
            *((_("next slots"), _in_words(slots, frozen)) for _slot in slots[:1] if job.is_enabled),
        ]
    )  # fmt: skip
    if last:
        command.printer.line()
        command.printer.table(
            ("ID", _("slot, or asked for"), _("status"), _("attempt"), _("error")),
            [(row.pk, row.slot, row.status, row.attempt, row.error_message) for row in last],
        )
    return 0


# --- change --------------------------------------------------------------------------------------


def _create(command: Command, options: dict[str, Any]) -> int:
    now = command.control.clock.now()
    given = arguments.given_values(options, stored={}, stored_rules={}, now=now)
    job = command.control.create_job(**given, is_enabled=not options["disabled"])
    return _saved(command, job, _("created"))


def _update(command: Command, options: dict[str, Any]) -> int:
    job = inputs.job_named(options["job"])
    given = arguments.given_values(
        options,
        stored=job.handler_params,
        stored_rules=job.alert_rules,
        now=command.control.clock.now(),
    )
    if not given:
        raise InvalidJob({"job": [_("nothing to change was named")]})
    return _saved(command, command.control.update_job(job.pk, **given), _("changed"))


def _clone(command: Command, options: dict[str, Any]) -> int:
    job = inputs.job_named(options["job"])
    clone = command.control.clone_job(job.pk, name=options["name"])
    return _saved(command, clone, _("created"))


def _saved(command: Command, job: CronJob, what: str) -> int:
    warnings = command.control.warnings(job)
    if command.printer.as_json:
        command.printer.document({**documents.job_facts(job), "warnings": warnings})
        return 0
    command.printer.line(
        _("%(what)s job %(id)s %(name)s")
        % {"what": what, "id": job.pk, "name": repr(job.name)}
    )  # fmt: skip
    for text in warnings:
        command.printer.note(_("warning: %(text)s") % {"text": text})
    return 0


def _enable(command: Command, options: dict[str, Any]) -> int:
    def work(name: str) -> dict[str, Any]:
        job = inputs.job_named(name)
        return _now(command.control.enable(job.pk, missed=options["missed"]))

    return command.each(inputs.without_doubles(options["jobs"]), work)


def _disable(command: Command, options: dict[str, Any]) -> int:
    def work(name: str) -> dict[str, Any]:
        return _now(command.control.disable(inputs.job_named(name).pk))

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
        return _now(command.control.pause(job.pk, reason=options["reason"], until=until))

    return command.each(inputs.without_doubles(options["jobs"]), work)


def _now(job: CronJob) -> dict[str, Any]:
    state = state_of(job).value
    text = state
    if job.paused_until is not None:
        text = _("%(state)s until %(when)s") % {"state": state, "when": exact(job.paused_until)}
    return {"id": job.pk, "state": state, "text": text}


def _shadow(command: Command, options: dict[str, Any]) -> int:
    job = command.control.shadow(inputs.job_named(options["job"]).pk, on=options["what"] == "on")
    if command.printer.as_json:
        command.printer.document(documents.job_facts(job))
        return 0
    text = (
        _("%(name)s is a shadow: its slots are recorded and do not run")
        if job.is_shadow
        else (_("%(name)s is no shadow: its slots run"))
    )
    command.printer.line(text % {"name": repr(job.name)})
    if not job.is_enabled:
        command.printer.note(_("It is off: without `jobs enable` it has no slots."))
    return 0


def _delete(command: Command, options: dict[str, Any]) -> int:
    names = inputs.without_doubles(options["jobs"])
    command.confirm(
        _("Remove %(names)s with all executions and logs?")
        % {"names": ", ".join(map(repr, names))},
        options,
    )

    def work(name: str) -> dict[str, Any]:
        job = inputs.job_named(name)
        command.control.delete_job(job.pk)
        return {"id": job.pk, "text": _("removed")}

    return command.each(names, work)


# --- run -----------------------------------------------------------------------------------------


def _run(command: Command, options: dict[str, Any]) -> int:
    made: list[int] = []

    def work(name: str) -> dict[str, Any]:
        job = inputs.job_named(name)
        params = inputs.params_of(options, job.handler_params)
        execution = command.control.run_now(job.pk, params)
        made.append(execution.pk)
        return {
            "id": job.pk,
            "execution_id": execution.pk,
            "params": mask(execution.params),
            "text": _("execution %(id)s") % {"id": execution.pk},
        }

    outcomes, code = command.outcomes(inputs.without_doubles(options["jobs"]), work)
    return finish(command, outcomes, code, made, options)
