"""`manage.py jobs switch`: lets jobu run a job instead of its old system, or back."""

from __future__ import annotations

import sys
import threading
from typing import Any

from django.utils.translation import gettext as _

from scheduler.management import inputs
from scheduler.management.cli import JobuCommand, Refused
from scheduler.models import CronJob, JobSwitch
from scheduler.moving.instructions import instruction
from scheduler.moving.switching import Switching
from scheduler.operations.errors import NotPossible
from scheduler.operations.switches import SwitchControl
from scheduler.states import OldSide, SwitchDirection
from scheduler.store import switches

_LIMIT = 1000


def switch(command: JobuCommand, options: dict[str, Any]) -> int:
    if options["resume"] == (options["job"] is not None):
        raise Refused(_("name a job, or write --resume"))
    switching = Switching(
        control=SwitchControl(actor=command.control.actor), where=options["source"]
    )
    if options["resume"]:
        return _resume(command, switching, options)
    job = inputs.job_named(options["job"])
    direction = SwitchDirection.BACK if options["back"] else SwitchDirection.HERE
    by_jobu = options["old_side"] == "written"
    old_side = OldSide.WRITTEN if by_jobu else OldSide.BY_HAND
    begun = switching.control.begin_switch(job.pk, direction, old_side)
    facts = _finish(command, switching, job, begun, options)
    text = facts.pop("text")
    if command.printer.as_json:
        command.printer.document(facts)
    else:
        command.printer.line(text)
    return 0


def _resume(command: JobuCommand, switching: Switching, options: dict[str, Any]) -> int:
    """Goes on with all switches. One that cannot go on does not stop the others."""
    begun = {each.job_id: each for each in switches.unfinished(_LIMIT)}
    jobs = {job.name: job for job in CronJob.objects.filter(id__in=begun)}

    def work(name: str) -> dict[str, Any]:
        job = jobs[name]
        return _finish(command, switching, job, begun[job.pk], options)

    return command.each(jobs, work)


def _finish(
    command: JobuCommand,
    switching: Switching,
    job: CronJob,
    begun: JobSwitch,
    options: dict[str, Any],
) -> dict[str, Any]:
    is_done_there = False
    if begun.old_side == OldSide.BY_HAND and not begun.is_done:
        is_done_there = options["old_side"] == "by-hand" or _is_done_there(command, job, begun)
    while not begun.is_done:
        wait = switching.seconds_to_wait(begun)
        if wait > 0:
            if not command.printer.as_json:
                command.printer.note(_("waiting until the old scheduler has noticed ..."))
            threading.Event().wait(wait)
        begun = switching.step(begun, is_done_there=is_done_there)
    return _facts(CronJob.objects.get(pk=job.pk), begun)


def _is_done_there(command: JobuCommand, job: CronJob, begun: JobSwitch) -> bool:
    """Says what is to be done in the old system, and asks. Raises NotPossible if it is not done."""
    on = begun.direction == SwitchDirection.BACK
    command.printer.note(_("in the old system: %(text)s") % {"text": instruction(job, on=on)})
    if not sys.stdin.isatty():
        text = _("the switch waits; when this is done there, repeat it with --old-side by-hand")
        raise NotPossible(text)
    command.confirm(_("Is it done?"), {})
    return True


def _facts(job: CronJob, done: JobSwitch) -> dict[str, Any]:
    facts = {"id": job.pk, "direction": done.direction, "state": done.state}
    if done.direction == SwitchDirection.HERE:
        text = _("%(name)s runs here; its next run: %(next)s")
    else:
        text = _("%(name)s is a shadow again")
    return {**facts, "text": text % {"name": job.name, "next": job.next_run_at or "-"}}
