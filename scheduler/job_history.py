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

from scheduler.control import EDITABLE
from scheduler.masking import MASK, looks_secret, mask
from scheduler.models import CronJob
from scheduler.same_json import same_json

LONGEST: Final = 200
_PARAMS: Final = "handler_params"
_MISSING: Final = object()


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


def message(changes: list[dict[str, str]]) -> list[dict[str, Any]]:
    """For LogEntry: Django reads "changed", this module "diff"."""
    return [{"changed": {"fields": _fields(changes)}, "diff": changes}] if changes else []


def message_by(changes: list[dict[str, str]], by: str) -> list[dict[str, Any]]:
    """The same for another door than the admin: `by` says through which."""
    labels = _fields(changes)
    if labels:
        labels[-1] += f" {by}"
    return [{"changed": {"fields": labels or [by]}, "diff": changes}]


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
    try:
        told = json.loads(entry.change_message)
    except ValueError:
        return
    for part in told if isinstance(told, list) else []:
        yield from part.get("diff", []) if isinstance(part, Mapping) else []


def _inside(old: Any, new: Any, path: str, *, hidden: bool) -> Iterator[tuple[str, str, str]]:
    """The places that differ in two JSON values."""
    if same_json(old, new):
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
