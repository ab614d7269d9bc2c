"""Who did what, for people: reads the entries of `jobu_activity` and describes them in words.

Operations write codes and facts (base.py). Every decision here compares codes. Words are made for
the reader, in the current language.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Model
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from scheduler.labels import label_of
from scheduler.models import EDITABLE, LISTS, Activity, ConcurrencyGroup, CronJob, JobFreeze
from scheduler.operations.definition import (
    PARAMS,
    RULES,
    columns_with_new_secrets,
    differences,
)
from scheduler.operations.masking import MASK, mask
from scheduler.states import ActivityVerb, Door, TargetKind

# The parts of facts that hold a whole definition.
_DEFINITIONS: Final = ("before", "after")

# Rows besides jobs that people edit: where an entry has their columns before and after.
_ROWS: Final[Mapping[str, tuple[type[Model], str, str]]] = {
    TargetKind.FREEZE: (JobFreeze, "old", "values"),
    TargetKind.GROUP: (ConcurrencyGroup, "before", "after"),
}

ShowInstant = Callable[[datetime], str]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One field, or one value inside the parameters, before and after."""

    field: str
    old: str
    new: str


def describe(entry: Activity, show: ShowInstant) -> str:
    """Returns what was done, as a sentence in the current language. `show` formats an instant."""
    text, freeze = _describe(entry, show), facts_in(entry).get("despite_freeze")
    if not freeze:
        return text
    return _("%(text)s, in spite of the freeze “%(freeze)s”") % {"text": text, "freeze": freeze}


def _describe(entry: Activity, show: ShowInstant) -> str:
    facts = facts_in(entry)
    match entry.verb:
        case ActivityVerb.CREATED:
            return _("Created")
        case ActivityVerb.CHANGED if entry.target_kind in _ROWS:
            labels = [label for label, _old, _new in _changed_columns(entry.target_kind, facts)]
            return _("Changed %(fields)s") % {"fields": ", ".join(labels)}
        case ActivityVerb.CHANGED:
            return _changed(facts, show)
        case ActivityVerb.DELETED:
            return _("Deleted")
        case ActivityVerb.CLONED:
            return _("Cloned from %(job)s") % {"job": facts.get("source_name", "")}
        case ActivityVerb.ENABLED:
            return _enabled(facts)
        case ActivityVerb.DISABLED:
            return _("Disabled")
        case ActivityVerb.PAUSED:
            return _paused(facts, show)
        case ActivityVerb.RESUMED:
            return _("Resumed")
        case ActivityVerb.SHADOWED:
            return _("Made a shadow: its slots are recorded and do not run")
        case ActivityVerb.UNSHADOWED:
            return _("No shadow any more: its slots run")
        case ActivityVerb.SWITCHED:
            return _switched_side(facts)
        case ActivityVerb.RUN:
            return _("Run now: execution #%(id)s") % {"id": facts.get("execution_id", "")}
        case ActivityVerb.CANCELLED:
            return _cancelled(facts)
        case ActivityVerb.RETRIED:
            return _retried(facts)
        case ActivityVerb.RETRIED_RANGE:
            return _retried_range(facts, show)
        case ActivityVerb.BULK:
            return _bulk(facts)
        case ActivityVerb.REPLAYED:
            return _("Replayed from execution #%(id)s") % {"id": facts.get("source_id", "")}
        case ActivityVerb.EVENT:
            return _("Made by an event")
        case ActivityVerb.STARTED:
            count = _number(facts.get("slots"))
            text = ngettext("Started: %(count)s slot", "Started: %(count)s slots", count)
            return text % {"count": count}
        case ActivityVerb.ACKNOWLEDGED:
            return _("Acknowledged")
        case ActivityVerb.SNOOZED:
            until = instant_in(facts.get("until"))
            return _("Snoozed until %(until)s") % {"until": show(until) if until else "?"}
        case ActivityVerb.UNSNOOZED:
            return _("Snooze ended")
        case ActivityVerb.CLOSED:
            return _("Closed")
        case ActivityVerb.REVOKED:
            return _("Revoked")
        case ActivityVerb.TESTED:
            return _("Sent a test")
        case ActivityVerb.SEEN:
            return _("Marked as seen")
        case ActivityVerb.ENDED:
            return _("Ended before its time")
        case ActivityVerb.APPROVED:
            return _("Approved")
        case ActivityVerb.REJECTED:
            note = facts.get("reason")
            return f"{_('Rejected')}: {note}" if note else _("Rejected")
        case ActivityVerb.DRAINED:
            return _("Drained: it takes no more runs")
        case _:
            return entry.verb  # a verb that a newer release has written


def _changed_columns(kind: str, facts: Mapping[str, Any]) -> list[tuple[str, object, object]]:
    """Returns label, old and new value of what an edit of a row that is no job has changed."""
    model, before, after = _ROWS[kind]
    old, new = facts.get(before), facts.get(after)
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return []
    return [
        (str(column.verbose_name), old[name], new[name])
        for column in model._meta.concrete_fields
        if (name := column.name) in old and name in new and old[name] != new[name]
    ]


def describe_door(entry: Activity) -> str:
    """Returns the door of the act in the current language, with the name of the token."""
    door = label_of(Door, entry.door)
    token = facts_in(entry).get("token")
    return _("%(door)s, token %(token)s") % {"door": door, "token": token} if token else door


def changes_of(entry: Activity, *, sees_params: bool, longest: int | None = None) -> list[Change]:
    """Returns what an edit changed, field by field. `longest`: longer values are cut."""
    facts = facts_in(entry)
    if entry.target_kind in _ROWS:
        found = _changed_columns(entry.target_kind, facts)
        return [_change(label, old, new, longest) for label, old, new in found]
    before, after = definitions_in(facts)
    secrets = facts.get("secrets", [])
    return changes_between(before, after, secrets, sees_params=sees_params, longest=longest)


def changes_between(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    secrets: Collection[str] = (),
    *,
    sees_params: bool,
    longest: int | None = None,
) -> list[Change]:
    """Returns how two definitions differ, or parts of them that have the same fields.

    `secrets`: what `changed_secrets` has found.
    """
    found: list[Change] = []
    for name in _differing_fields(before, after, secrets):
        (label,) = _labels([name])
        if name == RULES and RULES in secrets:
            found.append(Change(field=label, old=MASK, new=MASK))
        elif name != PARAMS:
            old, new = before.get(name), after.get(name)
            found.append(_change(label, old, new, longest))
        elif not sees_params:
            found.append(Change(field=label, old=_("hidden"), new=_("hidden")))
        else:
            places = differences(before.get(name), after.get(name))
            for path, old, new, _is_secret in places:
                found.append(_change(f"{label}: {path}" if path else label, old, new, longest))
            found += [
                Change(field=f"{label}: {path}", old=MASK, new=MASK)
                for path in secrets
                if path != RULES
            ]
    return found


def definition_in(
    entry: Activity, *, sees_params: bool, longest: int | None = None
) -> list[Change]:
    """Returns what a job was when it was deleted, field by field. Empty for any other entry."""
    before = facts_in(entry).get("before")
    if entry.verb != ActivityVerb.DELETED or not isinstance(before, Mapping):
        return []
    return changes_between(before, {}, sees_params=sees_params, longest=longest)


def facts_of(entry: Activity, *, sees_params: bool) -> dict[str, Any]:
    """Returns the facts for a program. Without `sees_params`, the parameters are None."""
    facts = facts_in(entry)
    if entry.verb == ActivityVerb.BULK:
        for name in ("question", "waiting"):  # jobu's own: operations/bulk.py
            facts.pop(name, None)
    if sees_params:
        return facts
    for part in _DEFINITIONS:
        if isinstance(facts.get(part), Mapping):
            facts[part] = {**facts[part], PARAMS: None}
    facts.pop("secrets", None)
    return facts


# --- words ---------------------------------------------------------------------------------------


def _changed(facts: Mapping[str, Any], show: ShowInstant) -> str:
    fields = ", ".join(_labels(_changed_fields(facts)))
    restored = facts.get("restored")
    at = instant_in(restored.get("at")) if isinstance(restored, Mapping) else None
    if at is None:
        return _("Changed %(fields)s") % {"fields": fields}
    text = _("Restored the version of %(when)s: changed %(fields)s")
    return text % {"when": show(at), "fields": fields}


def _switched_side(facts: Mapping[str, Any]) -> str:
    if facts.get("direction") != "here":
        return _("Switched back to the system from which it was imported")
    text = _("Switched here from the system that ran it before; slots that were left: %(count)s")
    return text % {"count": facts.get("count", 0)}


def _enabled(facts: Mapping[str, Any]) -> str:
    match facts.get("missed"):
        case "none":
            return _("Enabled; none of the missed slots was run")
        case "latest":
            return _("Enabled; the latest missed slot was run")
        case "all":
            return _("Enabled; the missed slots were run")
        case _:
            return _("Enabled")


def _paused(facts: Mapping[str, Any], show: ShowInstant) -> str:
    until, reason = instant_in(facts.get("until")), facts.get("reason")
    if until is not None:
        text = _("Paused until %(until)s") % {"until": show(until)}
    else:
        text = _("Paused")
    return f"{text}: {reason}" if reason else text


def _cancelled(facts: Mapping[str, Any]) -> str:
    if facts.get("running"):
        return _("Cancelled, with what was running")
    reason = facts.get("reason")
    return f"{_('Cancelled')}: {reason}" if reason else _("Cancelled")


def _retried(facts: Mapping[str, Any]) -> str:
    if "retried" not in facts:
        return _("Retried")
    count = _number(facts["retried"])
    return ngettext("Retried %(count)s execution", "Retried %(count)s executions", count) % {
        "count": count
    }


def _retried_range(facts: Mapping[str, Any], show: ShowInstant) -> str:
    count = _number(facts.get("retried"))
    since, until = instant_in(facts.get("since")), instant_in(facts.get("until"))
    return ngettext(
        "Retried %(count)s execution from %(since)s to %(until)s",
        "Retried %(count)s executions from %(since)s to %(until)s",
        count,
    ) % {
        "count": count,
        "since": show(since) if since else "?",
        "until": show(until) if until else "?",
    }


def _bulk(facts: Mapping[str, Any]) -> str:
    titles = {
        "run": _("Run now"),
        "enable": _("Enable"),
        "disable": _("Disable"),
        "pause": _("Pause"),
        "resume": _("Resume"),
        "cancel": _("Cancel"),
        "retry": _("Retry"),
        "delete": _("Delete"),
        "revoke": _("Revoke"),
    }
    action = facts.get("action")
    return _("%(action)s, %(total)s rows: %(done)s done, %(refused)s refused") % {
        "action": titles.get(action, action) if isinstance(action, str) else "?",
        "total": _number(facts.get("total")),
        "done": _number(facts.get("done")),
        "refused": _refused_counts(facts),
    }


def _labels(fields: Iterator[str] | list[str]) -> list[str]:
    return [
        str(
            LISTS[name].verbose_name
            if name in LISTS
            else getattr(CronJob._meta.get_field(name), "verbose_name", name)
        )
        for name in fields
    ]


def _change(label: str, old: object, new: object, longest: int | None) -> Change:
    return Change(field=label, old=_text(old, longest), new=_text(new, longest))


def _text(value: object, longest: int | None) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if longest is None or len(text) <= longest else text[: longest - 3] + "..."


# --- facts ---------------------------------------------------------------------------------------
# SQL may have written any value into the facts, so the functions below check every type.


def facts_in(entry: Activity) -> dict[str, Any]:
    facts = dict(entry.facts) if isinstance(entry.facts, Mapping) else {}
    for part in _DEFINITIONS:
        # An older release may have written what is a secret for this one.
        if isinstance(kept := facts.get(part), Mapping) and kept.get(RULES):
            facts[part] = {**kept, RULES: mask(kept[RULES])}
    return facts


def _refused_counts(facts: Mapping[str, Any]) -> int:
    refused = facts.get("refused")
    rows = refused if isinstance(refused, list) else []
    return sum(_number(row[1]) for row in rows if isinstance(row, list) and len(row) > 1)


def definitions_in(facts: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    before, after = (facts.get(part) for part in _DEFINITIONS)
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return before, after
    return {}, {}


def _changed_fields(facts: Mapping[str, Any]) -> list[str]:
    before, after = definitions_in(facts)
    return _differing_fields(before, after, facts.get("secrets") or ())


def _differing_fields(
    before: Mapping[str, Any], after: Mapping[str, Any], secrets: Collection[str]
) -> list[str]:
    with_secrets = columns_with_new_secrets(secrets)
    return [
        name
        for name in EDITABLE
        if name in with_secrets
        or any(True for _place in differences(before.get(name), after.get(name)))
    ]


def instant_in(value: object) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
