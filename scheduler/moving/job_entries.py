"""The entry of the old system from which a job was imported, found again by the job's source."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Final

from django.utils.translation import gettext as _

from scheduler.models import CronJob
from scheduler.moving.entries import Entry, Options, UnreadableSource
from scheduler.moving.names import source_key
from scheduler.moving.old_sides import DJANGO_CELERY_BEAT, REDBEAT, place_of
from scheduler.moving.reading import read
from scheduler.operations.celery_app import own_app

# Their keys are the file's path, and what names the entry in it.
_FILES: Final = ("crontab", "crontab-system", "kubernetes", "airflow")


def where_of(job: CronJob) -> str:
    """Returns the SOURCE of a job, KIND:WHERE. Raises UnreadableSource if it is not known.

    Code is read only if it is the Celery app of this project: reading another module runs it.
    """
    kind, _colon, key = job.source.partition(":")
    place = key.rpartition(":")[0]
    if kind in (DJANGO_CELERY_BEAT, REDBEAT):
        place = place_of(job.source)
    elif kind == "celery":
        place = place if _is_own_app(place) else ""
    elif kind not in _FILES:
        place = ""
    if not place:
        raise UnreadableSource(
            _("this page cannot open %(kind)s; use “manage.py compare %(kind)s:WHERE”")
            % {"kind": kind}
        )
    return f"{kind}:{place}"


def entry_of(job: CronJob, now: datetime) -> Entry:
    """Returns the entry as the old system has it now. Raises UnreadableSource."""
    options = Options(now=now, timezone=job.timezone, sources=frozenset({job.source}))
    kind, entries = read(where_of(job), options)
    for entry in entries:
        if source_key(kind, entry.key) == job.source:
            return entry
    raise UnreadableSource(_("the old system does not have this entry any more"))


def _is_own_app(place: str) -> bool:
    module, _colon, name = place.partition(":")
    return getattr(sys.modules.get(module), name, None) is own_app()
