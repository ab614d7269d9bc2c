"""Who changed what of a job: the fields with old and new value, in Django's own log entries.

The message stays one that Django can read ("Changed timeout."); the values lie beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.contrib.admin.models import LogEntry
from django.utils import translation
from django.utils.translation import gettext as _

from scheduler.models import EDITABLE, CronJob
from scheduler.operations import history
from scheduler.operations.json_equal import json_equal
from scheduler.operations.masking import MASK, looks_secret, mask

LONGEST: Final = 200
_PARAMS: Final = "handler_params"
_MISSING: Final = object()
# Who switched a job off is looked for in so many entries of its history.
_LOOKED_BACK: Final = 100


@dataclass(frozen=True, kw_only=True)
class Change:
    """One field, or one value inside the parameters, before and after."""

    field: str
    old: str
    new: str


def values_of(job: CronJob) -> dict[str, Any]:
    return {name: getattr(job, name) for name in EDITABLE}


def changes_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, str]]:
    """What differs, as it is kept: secrets hidden, long values cut."""
    found = []
    for name in EDITABLE:
        if name == _PARAMS:
            found += [
                {"field": name, "path": path, "old": old, "new": new}
                for path, old, new in _inside(before[name], after[name], "", hidden=False)
            ]
        elif before[name] != after[name]:
            found.append({"field": name, "old": _text(before[name]), "new": _text(after[name])})
    return found


def message(changes: list[dict[str, str]], since: datetime) -> list[dict[str, Any]]:
    """For LogEntry: Django reads "changed", this module the rest. `since`: `updated_at` before."""
    return _kept(_fields(changes), changes, since) if changes else []


def message_by(changes: list[dict[str, str]], since: datetime, by: str) -> list[dict[str, Any]]:
    """The same for another door than the admin: `by` says through which."""
    labels = _fields(changes)
    if labels:
        labels[-1] += f" {by}"
    return _kept(labels or [by], changes, since)


def _kept(
    labels: list[str], changes: list[dict[str, str]], since: datetime
) -> list[dict[str, Any]]:
    return [{"changed": {"fields": labels}, "diff": changes, "since": since.isoformat()}]


def paused(reason: str, until: datetime | None) -> str:
    """A pause in the words of the history."""
    end = f" until {until.isoformat()}" if until else ""
    return f"Paused{end}: {reason}"


def _fields(changes: list[dict[str, str]]) -> list[str]:
    """The names of the fields in the words of the code: Django translates when it shows them."""
    names = dict.fromkeys(change["field"] for change in changes)
    with translation.override(None):
        return [str(getattr(CronJob._meta.get_field(n), "verbose_name", n)) for n in names]


def read(entry: LogEntry, *, sees_params: bool) -> list[Change]:
    """The changes of an entry; none for one that tells something else."""
    found = []
    for change in _told(entry):
        label = str(getattr(CronJob._meta.get_field(change["field"]), "verbose_name", ""))
        old, new = change["old"], change["new"]
        if change["field"] == _PARAMS:
            path = change.get("path")
            label = f"{label}: {path}" if path else label
            if not sees_params:
                label, old, new = label.partition(":")[0], _("hidden"), _("hidden")
        found.append(Change(field=label, old=old, new=new))
    return list(dict.fromkeys(found))


def who_switched_off(job: CronJob) -> str:
    """Whose act it was that `job` is off, by entries that fit what the row says of its changes;
    empty: the history does not know. Commands, and beat, may have changed it without an entry.
    """
    entries = list(history.of(job)[:_LOOKED_BACK])
    written_at: datetime | None = job.updated_at
    while written_at is not None:
        # The first one after it: a later one has changed nothing.
        of_it = [each for each in entries if history.tells_of(each, written_at) and _writes(each)]
        if not of_it:
            return ""
        entry = of_it[-1]
        is_on = switched(entry)
        if is_on is not None:
            return "" if is_on else entry.user.get_username()
        before = _since(entry)
        written_at = before if before is not None and before < written_at else None
    return ""


def _writes(entry: LogEntry) -> bool:
    return switched(entry) is not None or any(True for _change in _told(entry))


def switched(entry: LogEntry) -> bool | None:
    """Whether the job was switched on, or off, by a verb or by an edit; None: neither."""
    if entry.change_message.startswith(("Enabled", "Resumed")):
        return True
    if entry.change_message.startswith(("Disabled", "Paused")):
        return False
    states = [change["new"] for change in _told(entry) if change["field"] == "is_enabled"]
    return states[-1] == str(True) if states else None


def _told(entry: LogEntry) -> Iterator[dict[str, str]]:
    """The changes as they are kept."""
    for part in _parts(entry):
        yield from part.get("diff", [])


def _since(entry: LogEntry) -> datetime | None:
    """When the job had been changed last before that edit."""
    found = [part["since"] for part in _parts(entry) if "since" in part]
    return datetime.fromisoformat(found[-1]) if found else None


def _parts(entry: LogEntry) -> list[Mapping[str, Any]]:
    try:
        told = json.loads(entry.change_message)
    except ValueError:
        return []
    return [part for part in told if isinstance(part, Mapping)] if isinstance(told, list) else []


def _inside(old: Any, new: Any, path: str, *, hidden: bool) -> Iterator[tuple[str, str, str]]:
    """The places that differ in two JSON values."""
    if json_equal(old, new):
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from _inside(
                old.get(key, _MISSING),
                new.get(key, _MISSING),
                f"{path}.{key}" if path else str(key),
                hidden=hidden or looks_secret(str(key)),
            )
        return
    yield path, _json(old, hidden=hidden), _json(new, hidden=hidden)


def _json(value: Any, *, hidden: bool) -> str:
    if value is _MISSING:
        return ""
    if hidden:
        return MASK
    return _cut(json.dumps(mask(value), ensure_ascii=False))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    return _cut(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
