"""`manage.py workers VERB`: the processes that run executions, and draining one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _

from scheduler.management import inputs
from scheduler.management.cli import JobuCommand, Verb
from scheduler.management.output import exact
from scheduler.models import SchedulerProcess
from scheduler.operations.liveness import is_alive
from scheduler.operations.workers import WorkerControl
from scheduler.states import ProcessKind


class Command(JobuCommand):
    help = "Workers: what they run, and draining one."
    about = staticmethod(lambda: _("Workers: what they run, and draining one."))

    def verbs(self) -> Sequence[Verb]:
        return (
            Verb(name="list", help=_("which are alive, their places and queues"), run=_list),
            Verb(name="drain", help=_("take no more runs, and hand back what does not end"),
                 run=_drain, arguments=_names),
            Verb(name="undrain", help=_("take runs again"), run=_undrain, arguments=_names),
        )  # fmt: skip


def _names(parser: CommandParser) -> None:
    parser.add_argument("names", nargs="+", metavar="WORKER", help=_("as `list` shows it"))


def _list(command: Command, options: dict[str, Any]) -> int:
    now = command.control.clock.now()
    found = SchedulerProcess.objects.filter(kind=ProcessKind.WORKER.value).order_by("name")
    if command.printer.as_json:
        items = [_facts(worker) | {"is_alive": is_alive(worker.heartbeat_at, now)}
                 for worker in found]  # fmt: skip
        command.printer.document({"items": items})
        return 0
    command.printer.table(
        (_("worker"), _("alive"), _("running"), _("places"), _("queues"), _("started"),
         _("drained")),
        [
            (
                worker.name,
                _("yes") if is_alive(worker.heartbeat_at, now) else _("no"),
                worker.running,
                "" if worker.places is None else worker.places,
                _queues(worker),
                worker.started_at,
                _drained(worker),
            )
            for worker in found
        ],
    )  # fmt: skip
    return 0


def _facts(worker: SchedulerProcess) -> dict[str, Any]:
    names = (
        "name", "host", "pid", "started_at", "heartbeat_at", "running", "places", "queues",
        "drained_at", "drained_by",
    )  # fmt: skip
    return {name: getattr(worker, name) for name in names}


def _queues(worker: SchedulerProcess) -> str:
    names = worker.queues if isinstance(worker.queues, list) else []
    return ", ".join(str(name) or _("(default)") for name in names)


def _drained(worker: SchedulerProcess) -> str:
    if worker.drained_at is None:
        return ""
    return f"{exact(worker.drained_at)} {worker.drained_by}".strip()


def _drain(command: Command, options: dict[str, Any]) -> int:
    text = _("takes no more runs, within a few seconds")
    return _each(command, options, WorkerControl.drain, text)


def _undrain(command: Command, options: dict[str, Any]) -> int:
    text = _("takes runs again, within a few seconds")
    return _each(command, options, WorkerControl.undrain, text)


def _each(
    command: Command,
    options: dict[str, Any],
    act: Callable[[WorkerControl, str], None],
    text: str,
) -> int:
    control = WorkerControl(actor=command.control.actor)

    def work(name: str) -> dict[str, Any]:
        act(control, name)
        return {"text": text}

    return command.each(inputs.without_doubles(options["names"]), work)
