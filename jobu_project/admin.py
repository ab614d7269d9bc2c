"""The results of ordinary Celery tasks in the admin, with their secrets hidden.

django_celery_results stores what a task was called with and what it returned as text. It is masked
when it is shown: the rows belong to that package, and programs read them.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any, Final

from django.contrib import admin
from django.http import HttpRequest
from django_celery_results.admin import TaskResultAdmin as StockTaskResultAdmin
from django_celery_results.models import TaskResult

from scheduler.operations.masking import MASK, mask
from scheduler.operations.redaction import Redactor
from scheduler.operations.secret_names import looks_secret

# 'name': value or "name": value in the text of a dictionary that Celery has shortened.
_PAIR: Final = re.compile(
    r"""(?P<before>(?P<quote>['"])(?P<name>[^'"\n]{1,100})(?P=quote)\s*:\s*)"""
    r"""(?P<value>'(?:[^'\\]|\\.)*'?|"(?:[^"\\]|\\.)*"?|[^,}\]\n]+)"""
)

_HIDDEN: Final = frozenset({"task_args", "task_kwargs", "result", "traceback", "meta"})

admin.site.unregister(TaskResult)


@admin.register(TaskResult)
class TaskResultAdmin(StockTaskResultAdmin):  # type: ignore[misc]
    # Not the arguments: a search, or a filter in the address, would tell what is hidden letter by
    # letter.
    search_fields = ("task_name", "task_id", "status")

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        field = lookup.partition("__")[0]
        return field not in _HIDDEN and super().lookup_allowed(lookup, value, request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # saving the page would store what it shows: the masks

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        found = super().get_object(request, object_id, from_field)
        return None if found is None else masked(found)


def masked(task: TaskResult) -> TaskResult:
    """Returns the row as it may be shown. It must not be saved."""
    given = [_read(task.task_kwargs), _read(task.task_args)]
    redactor = Redactor(given)
    for name in ("task_args", "task_kwargs", "result", "meta"):
        setattr(task, name, _shown(getattr(task, name), redactor))
    task.traceback = None if task.traceback is None else redactor.text(task.traceback)
    return task


def _shown(text: str | None, redactor: Redactor) -> str | None:
    if text is None:
        return None
    value = _read(text)
    if isinstance(value, dict | list):
        return json.dumps(redactor.value(mask(value)), ensure_ascii=False, default=repr)
    return redactor.text(str(mask(_PAIR.sub(_masked_pair, text))))


def _read(text: str | None) -> Any:
    """The value that a column holds: JSON, or JSON of what Python's repr() made. None: neither."""
    value: Any = text
    for _ in range(2):
        if not isinstance(value, str):
            break
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            try:
                value = ast.literal_eval(value)
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                return None
    return list(value) if isinstance(value, tuple) else value


def _masked_pair(found: re.Match[str]) -> str:
    return found["before"] + (repr(MASK) if looks_secret(found["name"]) else found["value"])
