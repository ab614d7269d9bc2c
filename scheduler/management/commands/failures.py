"""`manage.py failures VERB`: what failed, by kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _

from scheduler.management import inputs
from scheduler.management.cli import JobuCommand, Verb, add_yes
from scheduler.models import CronJob, FailureGroup
from scheduler.operations.control import RETRY_LIMIT, NotPossible
from scheduler.operations.failures import FailureControl
from scheduler.store import failures

_STATES: Final = {"open": True, "seen": False, "all": None}
_RUNS: Final = 20
_DAYS: Final = 30


class Command(JobuCommand):
    help = "Failures by kind: see them, mark them as seen, retry their runs."
    about = staticmethod(
        lambda: _("Failures by kind: see them, mark them as seen, retry their runs.")
    )

    def verbs(self) -> Sequence[Verb]:
        return (
            Verb(name="list", help=_("the kinds, the one that happened last first"), run=_list,
                 arguments=_list_arguments),
            Verb(name="show", help=_("one kind, its jobs and its runs"), run=_show, arguments=_one),
            Verb(name="seen", help=_("hide kinds until they happen again"), run=_seen,
                 arguments=_many),
            Verb(name="retry", help=_("retry the failed runs of kinds"), run=_retry,
                 arguments=_retry_arguments),
        )  # fmt: skip


# --- arguments -----------------------------------------------------------------------------------


def _list_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "--state", choices=list(_STATES), default="open", help=_("open: nobody has seen it")
    )
    parser.add_argument(
        "--days", type=inputs.whole(1, 3650), metavar="N", help=_("that happened since then")
    )
    parser.add_argument("--handler", default="", metavar="NAME")
    parser.add_argument("--job", metavar="JOB", help=_("its name or id"))
    parser.add_argument("--text", default="", metavar="TEXT", help=_("words of the error"))
    inputs.add_limit(parser)


def _one(parser: CommandParser) -> None:
    inputs.add_ids(parser, many=False)


def _many(parser: CommandParser) -> None:
    inputs.add_ids(parser)


def _retry_arguments(parser: CommandParser) -> None:
    inputs.add_ids(parser)
    add_yes(parser)


# --- verbs ---------------------------------------------------------------------------------------


def _control(command: Command) -> FailureControl:
    return command.control.of(FailureControl)


def _group(group_id: int) -> FailureGroup:
    found = FailureGroup.objects.filter(pk=group_id).first()
    if found is None:
        raise NotPossible(_("there is no kind of failures %(id)s") % {"id": group_id})
    return found


def _list(command: Command, options: dict[str, Any]) -> int:
    now, limit = command.control.clock.now(), options["limit"]
    jobs = None
    if options["job"]:
        jobs = CronJob.objects.filter(pk=inputs.job_named(options["job"]).pk)
    wanted = failures.Wanted(
        since=failures.last_days(now, options["days"])[0] if options["days"] else None,
        is_open=_STATES[options["state"]],
        handler=options["handler"],
        text=options["text"],
        jobs=jobs,
    )
    found = list(failures.groups(wanted)[: limit + 1])
    has_more, found = len(found) > limit, found[:limit]
    if command.printer.as_json:
        command.printer.document(
            {"items": [failures.facts_of(group) for group in found], "more": has_more}
        )
        return 0
    command.printer.table(
        ("ID", _("failure"), _("handler"), _("runs"), _("first"), _("last"), _("seen by")),
        [
            (
                group.pk, str(group), group.handler_name, group.runs, group.first_at,
                group.last_at, "" if group.is_open else group.seen_by,
            )
            for group in found
        ],
    )  # fmt: skip
    if has_more:
        command.printer.note(_("There are more; a higher --limit shows them"))
    return 0


def _show(command: Command, options: dict[str, Any]) -> int:
    group = _group(options["id"])
    since = failures.last_days(command.control.clock.now(), _DAYS)[0]
    jobs = failures.jobs_of(group.pk, since, _RUNS)
    runs = failures.ids_of(group.pk, _RUNS)
    facts = {
        **failures.facts_of(group),
        "jobs": [{"job_id": job_id or None, "runs": count} for job_id, count in jobs],
        "execution_ids": runs,
    }
    if command.printer.as_json:
        command.printer.document(facts)
        return 0
    shown = {
        **facts,
        "jobs": ", ".join(f"{job_id or _('none')}: {count}" for job_id, count in jobs),
        "execution_ids": ", ".join(map(str, runs)),
    }
    command.printer.facts(list(shown.items()))
    return 0


def _seen(command: Command, options: dict[str, Any]) -> int:
    def work(group_id: int) -> dict[str, Any]:
        _group(group_id)
        return {"text": str(_control(command).see(group_id))}

    return command.each(inputs.without_doubles(options["ids"]), work)


def _retry(command: Command, options: dict[str, Any]) -> int:
    control = _control(command)

    def work(group_id: int) -> dict[str, Any]:
        _group(group_id)
        count = control.count_failed(failures.FailedGroup(group_id=group_id))
        if count:
            shown = count if count <= RETRY_LIMIT else f"{RETRY_LIMIT}+"
            command.confirm(_("Retry %(count)s executions?") % {"count": shown}, options)
        retried, more = control.retry_group(group_id)
        text = _("%(count)s sent back") % {"count": retried}
        if more:
            text = _("%(text)s; there are more, do it again for the rest") % {"text": text}
        return {"retried": retried, "more": more, "text": text}

    return command.each(inputs.without_doubles(options["ids"]), work)
