"""What `manage.py jobs` says of the versions of a job: its drift from a file, and `restore`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.utils.translation import gettext as _

from scheduler.management import inputs
from scheduler.management.cli import JobuCommand
from scheduler.management.output import exact
from scheduler.operations.drift import Drift
from scheduler.operations.history import Change
from scheduler.operations.versions import Restoration


def drift_facts(drift: Drift | None) -> dict[str, Any] | None:
    """Returns the drift for `--json`. None: no file keeps the job."""
    if drift is None:
        return None
    return {**vars(drift), "changes": [vars(change) for change in drift.changes]}


def drift_lines(drift: Drift | None) -> Iterator[tuple[str, str]]:
    if drift is None:
        return
    when = exact(drift.applied_at)
    yield _("kept in"), _("%(source)s, applied by %(who)s at %(when)s") % {
        "source": drift.source, "who": drift.applied_by, "when": when,
    }  # fmt: skip
    if drift.changes:
        head = edited(drift)
        yield _("drift"), "\n".join([head, *(line_of(change) for change in drift.changes)])


def edited(drift: Drift) -> str:
    """Returns who has edited a job that differs from its file."""
    if drift.edited_by is None or drift.edited_at is None:
        return _("changed since the file was applied, and the history does not say by whom:")
    return _("edited by %(who)s at %(when)s since the file was applied:") % {
        "who": drift.edited_by, "when": exact(drift.edited_at),
    }  # fmt: skip


def line_of(change: Change, longest: int = 200) -> str:
    """Returns a change in one line: the field, before and after."""
    texts = [" ".join(text.split()) or "-" for text in (change.old, change.new)]
    old, new = (text if len(text) <= longest else text[:longest] + " ..." for text in texts)
    return f"{change.field}: {old} -> {new}"


def restore(command: JobuCommand, options: dict[str, Any]) -> int:
    job = inputs.job_named(options["job"])
    at = None
    if options["at"] is not None:
        at = inputs.instant_of(options["at"], "at", command.control.clock.now())
    version = command.control.version(job.pk, entry_id=options["entry"], at=at)
    restoration = command.control.restoration(job, version, sees_params=True)
    if not options["dry_run"]:
        command.control.restore(job.pk, version, tick_seq=None)
    _show(command, job.name, restoration, is_done=not options["dry_run"])
    return 0


def _show(command: JobuCommand, name: str, restoration: Restoration, *, is_done: bool) -> None:
    version = restoration.version
    if command.printer.as_json:
        command.printer.document(
            {
                "name": name,
                "done": is_done,
                "entry_id": version.entry_id,
                "at": version.at,
                "changes": [vars(change) for change in restoration.changes],
                "kept_secrets": restoration.kept_secrets,
            }
        )
        return
    facts = {"name": name, "when": exact(version.at), "id": version.entry_id}
    if not restoration.changes:
        command.printer.line(_("%(name)s is as it was at %(when)s already") % facts)
    elif is_done:
        command.printer.line(_("%(name)s is as it was at %(when)s (entry #%(id)s):") % facts)
    else:
        text = _("%(name)s would be as it was at %(when)s (entry #%(id)s):")
        command.printer.line(text % facts)
    for change in restoration.changes:
        command.printer.line(f"    {line_of(change)}")
    if restoration.changes:
        command.printer.note(_("Whether it is on or off stays as it is."))
    for place in restoration.kept_secrets:
        text = _("%(place)s keeps the value of today: the history keeps no secrets.")
        command.printer.note(text % {"place": place})
