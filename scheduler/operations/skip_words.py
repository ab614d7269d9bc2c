"""Why a run was skipped, cancelled or held, in the reader's words: from the code and its facts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from scheduler.labels import label_of
from scheduler.operations.history import ShowInstant
from scheduler.operations.slot_answer import cause_of
from scheduler.operations.upstream_words import missed_in_words
from scheduler.states import MisfirePolicy, ReasonCode, SkipCause


def why_not_run(code: str, facts: Mapping[str, Any], show: ShowInstant) -> str:
    """Returns the reason of a SKIPPED run, without a full stop. Empty: the code says none."""
    match code:
        case ReasonCode.MISFIRE:
            return _("%(slots)s; the misfire policy is “%(policy)s”") % {
                "slots": missed_slots(facts, show),
                "policy": label_of(MisfirePolicy, str(facts.get("policy", ""))),
            }
        case ReasonCode.MISSED:
            return f"{missed_slots(facts, show)}; {_decided(facts)}"
        case ReasonCode.SHADOW:
            return _("the job is a shadow: another system runs this slot")
        case ReasonCode.FROZEN:
            return _("frozen by “%(freeze)s”: %(note)s") % freeze_in(facts)
        case ReasonCode.NOT_APPROVED:
            return _("nobody approved it in time")
        case ReasonCode.REJECTED:
            return _rejected(facts)
        case ReasonCode.OVERLAP_RUNNING:
            return _("execution #%(id)s of the job was still running") % {
                "id": facts.get("running", "?")
            }
        case ReasonCode.OVERLAP_WAITING:
            return _("execution #%(id)s of the job was waiting already") % {
                "id": facts.get("waiting", "?")
            }
        case ReasonCode.OVERLAP_NEWER:
            return _("execution #%(id)s of the job took its place") % {
                "id": facts.get("newer", "?")
            }
        case ReasonCode.UPSTREAM_MISSING:
            return missed_in_words(facts, show)
        case _:
            return ""


def freeze_in(facts: Mapping[str, Any]) -> dict[str, str]:
    """Returns the name and the reason of the freeze that the facts of a run name."""
    return {"freeze": str(facts.get("freeze", "?")), "note": str(facts.get("note", "?"))}


def _rejected(facts: Mapping[str, Any]) -> str:
    by, note = facts.get("by") or _("somebody"), facts.get("note")
    if note:
        return _("%(by)s rejected it: %(note)s") % {"by": by, "note": note}
    return _("%(by)s rejected it") % {"by": by}


def missed_slots(facts: Mapping[str, Any], show: ShowInstant) -> str:
    """Returns how many slots were missed, and from when to when."""
    first, last = (_instant(facts.get(name)) for name in ("first", "last"))
    if first is None or last is None:
        return _("slots were missed")
    count = facts.get("count")
    if not isinstance(count, int):
        text = _("many slots were missed, from %(first)s to %(last)s")
        return text % {"first": show(first), "last": show(last)}
    if count == 1:
        return _("the slot was missed")
    return ngettext(
        "%(count)s slot from %(first)s to %(last)s was missed",
        "%(count)s slots from %(first)s to %(last)s were missed",
        count,
    ) % {"count": count, "first": show(first), "last": show(last)}


def _decided(facts: Mapping[str, Any]) -> str:
    by = facts.get("by") or _("somebody")
    match cause_of(facts):
        case SkipCause.PAUSE:
            return _("the job was paused")
        case SkipCause.ENABLING:
            return _("the job was off, and %(by)s did not want them when enabling it") % {"by": by}
        case SkipCause.EDIT:
            return _("%(by)s changed the schedule then, and an edit fires nothing") % {"by": by}
        case None:
            return _("nobody wanted them")


def _instant(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None
