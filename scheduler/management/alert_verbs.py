"""The verbs of `manage.py alerts` about alerts themselves: list, show, ack, snooze,
unsnooze, close."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _

from scheduler.alert_states import AlertKind, AlertState
from scheduler.management import inputs
from scheduler.management.cli import JobuCommand, Verb
from scheduler.models import LARGEST_ID, Alert, AlertMessage
from scheduler.operations.alerts import AlertOperations
from scheduler.store import alerts

_ALERT = (
    "id", "kind", "state", "subject_key", "job_id", "job_name", "owner", "queue", "execution_id",
    "last_execution_id", "count", "opened_at", "last_seen_at", "closed_at", "close_reason",
    "closed_by", "acknowledged_by", "acknowledged_at", "snoozed_until", "snoozed_by", "facts",
)  # fmt: skip
_MESSAGE = (
    "id", "event", "channel", "recipient", "state", "not_before", "created_at", "sent_at", "tries",
    "error", "execution_id",
)  # fmt: skip


def verbs() -> Sequence[Verb]:
    return (
        Verb(name="list", help=_("what is open, newest first"), run=_list, arguments=_of_list),
        Verb(name="show", help=_("one alert, and who was told of it"), run=_show,
             arguments=_of_one),
        Verb(name="ack", help=_("say that somebody works on them"), run=_acknowledge,
             arguments=inputs.add_ids),
        Verb(name="snooze", help=_("tell nobody of them until then"), run=_snooze,
             arguments=_of_snooze),
        Verb(name="unsnooze", help=_("end their snooze"), run=_unsnooze,
             arguments=inputs.add_ids),
        Verb(name="close", help=_("close them by hand"), run=_close, arguments=inputs.add_ids),
    )  # fmt: skip


def _of_one(parser: CommandParser) -> None:
    parser.add_argument("id", type=inputs.whole(1, LARGEST_ID), metavar="ID")


def _of_list(parser: CommandParser) -> None:
    parser.add_argument("--all", action="store_true", help=_("closed ones, too"))
    parser.add_argument("--state", choices=[each.value for each in AlertState])
    parser.add_argument("--kind", choices=[each.value for each in AlertKind])
    parser.add_argument("--job", metavar="JOB", help=_("its name or id"))
    inputs.add_limit(parser)


def _of_snooze(parser: CommandParser) -> None:
    inputs.add_ids(parser)
    parser.add_argument(
        "--until", required=True, metavar="TIME", help=_("such as 'in 2h' or 2026-01-31 18:00")
    )


def _list(command: JobuCommand, options: dict[str, Any]) -> int:
    rows = alerts.listed()
    if options["state"]:
        rows = rows.filter(state=options["state"])
    elif not options["all"]:
        rows = rows.filter(alerts.IS_OPEN)
    if options["kind"]:
        rows = rows.filter(kind=options["kind"])
    if options["job"]:
        rows = rows.filter(job_id=inputs.job_named(options["job"]).pk)
    limit = options["limit"]
    found = list(rows[: limit + 1])
    more, found = len(found) > limit, found[:limit]
    if command.printer.as_json:
        items = [_facts(alert, _ALERT) for alert in found]
        command.printer.document({"items": items, "more": more})
        return 0
    command.printer.table(
        ("ID", _("kind"), _("state"), _("subject"), _("how often"), _("opened"), _("owner")),
        [
            (
                alert.pk, alert.kind, alert.state, alert.job_name or alert.subject_key,
                alert.count, alert.opened_at, alert.owner,
            )
            for alert in found
        ],
    )  # fmt: skip
    if more:
        command.printer.note(_("There are more; --limit shows them"))
    return 0


def _show(command: JobuCommand, options: dict[str, Any]) -> int:
    alert = Alert.objects.get(pk=options["id"])
    messages = [_facts(each, _MESSAGE) for each in alerts.messages_of(alert.pk)]
    facts = _facts(alert, _ALERT)
    if command.printer.as_json:
        command.printer.document({**facts, "messages": messages})
        return 0
    command.printer.facts(list(facts.items()))
    command.printer.table(
        (_("event"), _("channel"), _("recipient"), _("state"), _("sent"), _("error")),
        [
            tuple(
                each[name]
                for name in ("event", "channel", "recipient", "state", "sent_at", "error")
            )
            for each in messages
        ],
    )
    return 0


def _acknowledge(command: JobuCommand, options: dict[str, Any]) -> int:
    return _each(command, options, lambda id_: _operations(command).acknowledge(id_))


def _snooze(command: JobuCommand, options: dict[str, Any]) -> int:
    until = inputs.instant_of(options["until"], "until", command.control.clock.now())
    return _each(command, options, lambda id_: _operations(command).snooze(id_, until))


def _unsnooze(command: JobuCommand, options: dict[str, Any]) -> int:
    return _each(command, options, lambda id_: _operations(command).unsnooze(id_))


def _close(command: JobuCommand, options: dict[str, Any]) -> int:
    return _each(command, options, lambda id_: _operations(command).close(id_))


def _each(command: JobuCommand, options: dict[str, Any], work: Callable[[int], Alert]) -> int:
    def one(alert_id: int) -> dict[str, Any]:
        alert = work(alert_id)
        return {"text": alert.state, "state": alert.state}

    return command.each(inputs.without_doubles(options["ids"]), one)


def _operations(command: JobuCommand) -> AlertOperations:
    return command.control.of(AlertOperations)


def _facts(row: Alert | AlertMessage, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}
