"""Reads Django's admin log: what people did before jobu had a history. Writes nothing.

Django still writes its log for changes of users and groups.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, QuerySet
from django.utils.translation import gettext as _

from scheduler.models import CronJob
from scheduler.operations.definition import PARAMS
from scheduler.operations.history import Change

_DIFF: Final = "diff"


def entries_of(target: Model) -> QuerySet[LogEntry]:
    """Returns the entries about a row, newest first."""
    kind = ContentType.objects.get_for_model(target)
    found = LogEntry.objects.filter(content_type=kind, object_id=str(target.pk))
    return found.select_related("user").order_by("-action_time", "-id")


def changes_of(entry: LogEntry, *, sees_params: bool) -> list[Change]:
    """Returns the changes of fields that jobu has added to Django's entry about a job."""
    found = []
    for change in _diff(entry):
        field = CronJob._meta.get_field(change["field"])
        label = str(getattr(field, "verbose_name", ""))
        old, new = change["old"], change["new"]
        if change["field"] == PARAMS and not sees_params:
            old, new = _("hidden"), _("hidden")
        elif path := change.get("path"):
            label = f"{label}: {path}"
        found.append(Change(field=label, old=old, new=new))
    return list(dict.fromkeys(found))


def _diff(entry: LogEntry) -> Iterator[Mapping[str, Any]]:
    try:
        parts = json.loads(entry.change_message)
    except ValueError:
        return
    for part in parts if isinstance(parts, list) else []:
        if isinstance(part, Mapping):
            yield from part.get(_DIFF, [])
