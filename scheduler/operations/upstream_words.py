"""For which upstream jobs a run waits, or has waited in vain, in the reader's words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from scheduler.labels import label_of
from scheduler.operations.history import ShowInstant
from scheduler.states import RunStatus, UpstreamState
from scheduler.store.waits import Awaited


def facts_of(awaited: Awaited) -> dict[str, Any]:
    """Returns the same facts that a run keeps which has waited in vain, and until when it waits."""
    until = awaited.until.isoformat() if awaited.until is not None else None
    return {"upstreams": [dict(each) for each in awaited.missing], "until": until}


def waits_in_words(facts: Mapping[str, Any], show: ShowInstant) -> str:
    """Returns `It waits for load (...), until ...`."""
    found = _listed(facts, show)
    until = _instant(facts.get("until"))
    if until is None:
        return _("It waits for the success of %(upstreams)s.") % {"upstreams": found}
    text = _("It waits for the success of %(upstreams)s, until %(until)s; then it is skipped.")
    return text % {"upstreams": found, "until": show(until)}


def missed_in_words(facts: Mapping[str, Any], show: ShowInstant) -> str:
    """Returns the same of a run that was skipped, without a full stop."""
    return _("it has waited in vain for the success of %(upstreams)s") % {
        "upstreams": _listed(facts, show)
    }


def _listed(facts: Mapping[str, Any], show: ShowInstant) -> str:
    upstreams = facts.get("upstreams")
    rows = upstreams if isinstance(upstreams, list) else []
    return ", ".join(_one(row, show) for row in rows if isinstance(row, Mapping)) or "?"


def _one(row: Mapping[str, Any], show: ShowInstant) -> str:
    slot = _instant(row.get("slot"))
    return _("%(job)s (slot %(slot)s: %(state)s)") % {
        "job": row.get("job", "?"),
        "slot": show(slot) if slot is not None else "?",
        "state": _state(row, show),
    }


def _state(row: Mapping[str, Any], show: ShowInstant) -> str:
    state, number = str(row.get("state", "")), row.get("execution")
    match state:
        case UpstreamState.NO_RUN:
            return _("it has no run yet")
        case UpstreamState.DISABLED:
            return _("it has no run, because the job is disabled")
        case UpstreamState.PAUSED:
            return _("it has no run, because the job is paused")
        case UpstreamState.DELETED:
            return _("the job has been deleted")
        case RunStatus.RUNNING | RunStatus.FANNED_OUT if (
            since := _instant(row.get("started_at"))
        ) is not None:
            text = _("execution #%(id)s is running since %(since)s")
            return text % {"id": number, "since": show(since)}
        case _:
            text = _("execution #%(id)s is %(status)s")
            return text % {"id": number, "status": label_of(RunStatus, state)}


def _instant(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None
