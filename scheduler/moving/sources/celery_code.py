"""The beat_schedule of a Celery app, which is imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from celery import Celery
from celery.schedules import crontab, maybe_schedule
from django.utils.translation import gettext as _

from scheduler.moving.celery_schedules import CeleryEntry, broker_of_app, found_in, zone_of
from scheduler.moving.entries import Entry, Options, Reason, UnreadableSource, impossible
from scheduler.moving.importing_code import imported


def read(where: str, options: Options) -> Iterator[Entry]:
    """Yields the entries. `where`: `module:app`."""
    app = imported(where)
    if not isinstance(app, Celery):
        text = _("%(where)s is no Celery app but a %(type)s")
        raise UnreadableSource(text % {"where": where, "type": type(app).__name__})
    try:
        app.finalize()  # as beat does: entries may be added in on_after_finalize
        schedule = dict(app.conf.beat_schedule or {})
    except Exception as error:
        facts = {"where": where, "error": f"{type(error).__name__}: {error}"}
        raise UnreadableSource(_("%(where)s cannot be imported: %(error)s") % facts) from error
    has_priorities = any(_priority_of(entry) is not None for entry in schedule.values())
    broker = options.broker or broker_of_app(str(app.conf.broker_url or ""))
    known = Options(**{**vars(options), "broker": broker})
    for name, entry in schedule.items():
        yield _entry(app, where, str(name), entry, known, has_priorities=has_priorities)


def _priority_of(entry: Any) -> Any:
    options = entry.get("options") if isinstance(entry, Mapping) else None
    return options.get("priority") if isinstance(options, Mapping) else None


def _entry(
    app: Celery, where: str, name: str, entry: Any, options: Options, *, has_priorities: bool
) -> Entry:
    facts: dict[str, Any] = {"key": f"{where}:{name}", "name": name, "where": repr(name)}
    try:
        unknown = sorted(set(entry) - {"task", "schedule", "args", "kwargs", "options", "relative"})
        if unknown:
            return Entry(**facts, findings=[impossible(Reason.UNKNOWN_KEY, key=unknown[0])])
        schedule = maybe_schedule(entry["schedule"], relative=entry.get("relative", False), app=app)
        if isinstance(schedule, crontab):
            schedule.tz = app.timezone
        found = found_in(
            CeleryEntry(
                task=str(entry["task"]),
                schedule=schedule,
                zone=zone_of(app.timezone),
                args=list(entry.get("args") or ()),
                kwargs=dict(entry.get("kwargs") or {}),
                options=dict(entry.get("options") or {}),
            ),
            options,
            has_priorities=has_priorities,
        )
    except Exception as error:  # noqa: BLE001 - the entry is somebody's code
        problem = f"{type(error).__name__}: {error}"
        return Entry(**facts, findings=[impossible(Reason.UNREADABLE, problem=problem)])
    return found.entry(**facts)
