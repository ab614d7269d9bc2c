"""`manage.py queues VERB`: what waits in queues, and pausing one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _

from scheduler.management import inputs
from scheduler.management.cli import JobuCommand, Verb
from scheduler.management.output import exact
from scheduler.operations.queues import Queue, QueueControl, queue_in_words


class Command(JobuCommand):
    help = "Queues: what waits in them, and pausing one."
    about = staticmethod(lambda: _("Queues: what waits in them, and pausing one."))

    def verbs(self) -> Sequence[Verb]:
        return (
            Verb(name="list", help=_("what waits, how fast it moves, who serves it"), run=_list),
            Verb(name="pause", help=_("no worker begins its runs; those that run go on"),
                 run=_pause, arguments=_pause_arguments),
            Verb(name="resume", help=_("workers take its runs again"), run=_resume,
                 arguments=_name),
        )  # fmt: skip


def _name(parser: CommandParser) -> None:
    parser.add_argument("queue", metavar="QUEUE", help=_('"" is the default queue'))


def _pause_arguments(parser: CommandParser) -> None:
    _name(parser)
    parser.add_argument("--reason", required=True, metavar="TEXT")
    parser.add_argument("--until", metavar="TIME", help=_("it ends by itself then"))


def _control(command: Command) -> QueueControl:
    return QueueControl(actor=command.control.actor)


def _list(command: Command, options: dict[str, Any]) -> int:
    found = _control(command).all()
    if command.printer.as_json:
        command.printer.document({"items": [_facts(queue) for queue in found]})
        return 0
    command.printer.table(
        (_("queue"), _("waiting"), _("oldest"), _("running"), _("in/min"), _("out/min"),
         _("workers"), _("paused")),
        [
            (
                queue.name or _("(default)"),
                f"{queue.waiting}{'+' if queue.is_capped else ''}",
                exact(queue.oldest_at) if queue.oldest_at else "",
                queue.running,
                f"{queue.in_per_second * 60:.1f}",
                f"{queue.out_per_second * 60:.1f}",
                ", ".join(worker.name for worker in queue.workers),
                _pause_in_words(queue),
            )
            for queue in found
        ],
    )  # fmt: skip
    return 0


def _pause_in_words(queue: Queue) -> str:
    pause = queue.pause
    if pause is None:
        return ""
    until = _("until %s") % exact(pause.until) if pause.until else _("until somebody resumes it")
    return f"{until}: {pause.reason}"


def _facts(queue: Queue) -> dict[str, Any]:
    pause = queue.pause
    names = ("name", "waiting", "oldest_at", "running", "in_per_second", "out_per_second")
    return {
        **{name: getattr(queue, name) for name in names},
        "empty_in_seconds": queue.empty_in_seconds,
        "workers": [worker.name for worker in queue.workers],
        "pause": pause
        and {name: getattr(pause, name) for name in ("reason", "until", "who", "at")},
    }


def _pause(command: Command, options: dict[str, Any]) -> int:
    control = _control(command)
    until = options["until"]
    pause = control.pause(
        options["queue"],
        reason=options["reason"],
        until=inputs.instant_of(until, "until", control.clock.now()) if until else None,
    )
    if command.printer.as_json:
        command.printer.document({"queue": pause.queue, "until": pause.until})
    else:
        command.printer.line(_("%(queue)s is paused") % {"queue": queue_in_words(pause.queue)})
    return 0


def _resume(command: Command, options: dict[str, Any]) -> int:
    _control(command).resume(options["queue"])
    if command.printer.as_json:
        command.printer.document({"queue": options["queue"]})
    else:
        command.printer.line(
            _("%(queue)s is resumed") % {"queue": queue_in_words(options["queue"])}
        )
    return 0
