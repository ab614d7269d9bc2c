"""Jobs as a file says them: field names, defaults, and what is wrong with them.

The fields are those of the API. Four of them have a short name. A field that is left out has its
default; only `enabled` then stays as it is, so that a file does not undo what a person switches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from django.db import models
from django.utils.translation import gettext as _

from dbpools.nearest import nearest
from scheduler.models import EDITABLE, CronJob
from scheduler.operations.definition import values_of

SHORT: Final[Mapping[str, str]] = {
    "cron": "cron_expression",
    "handler": "handler_name",
    "params": "handler_params",
    "enabled": "is_enabled",
}
LONG: Final = {column: short for short, column in SHORT.items()}
# The name is the key. A pause is an act of a person, for a time.
COLUMNS: Final = tuple(n for n in EDITABLE if n not in ("name", "pause_reason", "paused_until"))
ENABLED: Final = "is_enabled"
JOBS: Final = "jobs"

Path = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """What is wrong with a file, where. `line`: counted from 1; None: the syntax has no lines."""

    text: str
    job: str = ""
    field: str = ""
    line: int | None = None


@dataclass(frozen=True, kw_only=True)
class Document:
    """A file that was read. `lines`: the lines of its first three levels, by their keys."""

    value: Any = field(repr=False)  # it may hold secrets
    lines: Mapping[Path, int] = field(default_factory=dict)
    mistakes: tuple[Mistake, ...] = ()
    """What its syntax forbids, such as a name that is there twice."""

    def line_of(self, *path: str) -> int | None:
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[:-1]
        return None


@dataclass(frozen=True, kw_only=True)
class WrittenJob:
    """One job of a file. `values`: every column that the file decides."""

    name: str
    values: Mapping[str, Any] = field(repr=False)  # they may hold secrets


def mistake_at(document: Document, text: str, job: str = "", key: str = "") -> Mistake:
    path = tuple(part for part in (JOBS, job, key) if part)
    return Mistake(text=text, job=job, field=key, line=document.line_of(*path))


def read_jobs(document: Document) -> tuple[list[WrittenJob], list[Mistake]]:
    """Returns the jobs, and what is wrong with their form. Their values are not checked."""
    mistakes = list(document.mistakes)
    top = document.value
    if not isinstance(top, Mapping) or not isinstance(top.get(JOBS), Mapping | None):
        text = _("must hold “jobs:”, and below it the jobs by their names")
        return [], [*mistakes, Mistake(text=text, line=1)]
    for key in top:
        if key != JOBS:
            line = document.line_of(str(key))
            mistakes.append(Mistake(text=_unknown(str(key), [JOBS]), field=str(key), line=line))
    found = []
    for name, fields in (top.get(JOBS) or {}).items():
        if not isinstance(name, str):
            text = _("a name must be text: write it in quotes")
            mistakes.append(mistake_at(document, text, str(name)))
        elif not isinstance(fields, Mapping):
            text = _("must be a mapping of fields to values")
            mistakes.append(mistake_at(document, text, name))
        else:
            problems = dict(_problems_of_form(fields))
            mistakes += [mistake_at(document, text, name, key) for key, text in problems.items()]
            given = {k: v for k, v in fields.items() if k not in problems and v is not None}
            found.append(WrittenJob(name=name, values=_values(given)))
    return found, mistakes


def _problems_of_form(fields: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    known = [LONG.get(column, column) for column in COLUMNS]
    for key in fields:
        column = SHORT.get(key, key) if isinstance(key, str) else key
        if column not in COLUMNS:
            yield str(key), _unknown(str(key), known)
        elif key in LONG and LONG[key] in fields:
            yield key, _("says the same as %(short)s: write one of the two") % {"short": LONG[key]}
    for short in ("cron", "handler"):
        if fields.get(short) is None and fields.get(SHORT[short]) is None:
            yield short, _("is missing")


def _unknown(key: str, known: list[str]) -> str:
    if near := nearest(key, known):
        return _("is no field, did you mean %(near)s?") % {"near": near}
    return _("is no field; the fields are %(known)s") % {"known": ", ".join(known)}


def _values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the columns, with the defaults of those that are left out."""
    defaults = values_of(CronJob())
    found = {name: defaults[name] for name in COLUMNS if name != ENABLED}
    for key, value in given.items():
        column = SHORT.get(key, key)
        found[column] = _instant(value) if column in _INSTANTS else value
    return found


def _instant(value: Any) -> Any:
    """Returns a text as an instant in UTC. What is none stays: validation refuses it."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return value
    if isinstance(found, datetime) and found.tzinfo is not None:
        try:
            return found.astimezone(UTC)
        except OverflowError:
            return value
    return found


_INSTANTS: Final = {
    name
    for name in COLUMNS
    if name in {column.name for column in CronJob._meta.concrete_fields}
    and isinstance(CronJob._meta.get_field(name), models.DateTimeField)
}
