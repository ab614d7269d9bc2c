"""Reads a SOURCE, `kind:where`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from django.utils.translation import gettext as _

from dbpools.nearest import nearest
from scheduler.moving.entries import Entry, Options, UnreadableSource
from scheduler.moving.sources import (
    airflow,
    apscheduler,
    celery_code,
    crontab,
    django_celery_beat,
    kubernetes,
    redbeat,
)
from scheduler.moving.twin_lines import numbered

KINDS: Final[Mapping[str, Callable[[str, Options], Iterator[Entry]]]] = {
    "django-celery-beat": django_celery_beat.read,
    "celery": celery_code.read,
    "redbeat": redbeat.read,
    "apscheduler": apscheduler.read,
    "crontab": crontab.read,
    "crontab-system": crontab.read_system,
    "kubernetes": kubernetes.read,
    "airflow": airflow.read,
}
_CRONTABS: Final = ("crontab", "crontab-system")


def read(source: str, options: Options) -> tuple[str, list[Entry]]:
    """Returns the kind and all entries. Raises UnreadableSource."""
    kind, colon, where = source.partition(":")
    if kind not in KINDS or not colon or not where:
        near = nearest(kind, KINDS)
        hint = _(" (did you mean %(name)s?)") % {"name": near} if near and near != kind else ""
        facts = {"source": repr(kind), "known": ", ".join(KINDS), "hint": hint}
        raise UnreadableSource(
            _("%(source)s is no source%(hint)s: write KIND:WHERE, KIND one of %(known)s") % facts
        )
    entries = KINDS[kind](where, options)
    return kind, numbered(kind, entries) if kind in _CRONTABS else list(entries)
