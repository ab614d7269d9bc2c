"""What a person does in an old system to switch an entry off there, or on again."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Final

from django.utils.translation import gettext as _

from scheduler.models import CronJob


def instruction(job: CronJob, *, on: bool) -> str:
    """Returns the command or the edit, for the entry that the job was imported from."""
    kind, _colon, key = job.source.partition(":")
    place, _colon, entry = key.rpartition(":")
    tell = _OF_KIND.get(kind)
    if tell is None:
        return _("switch the entry %(entry)s of %(kind)s") % {"entry": key, "kind": kind}
    return tell(place, entry, job.name, on)


def _django_celery_beat(place: str, entry: str, name: str, on: bool) -> str:
    facts = {"id": entry, "place": place}
    if on:
        return _("tick Enabled of the periodic task %(id)s in the admin of %(place)s") % facts
    return _("clear Enabled of the periodic task %(id)s in the admin of %(place)s") % facts


def _celery(place: str, entry: str, name: str, on: bool) -> str:
    facts = {"name": repr(entry), "place": place}
    if on:
        text = _("add the entry %(name)s to the beat_schedule of %(place)s, and restart its beat")
    else:
        text = _(
            "remove the entry %(name)s from the beat_schedule of %(place)s, and restart its beat"
        )
    return text % facts


def _redbeat(place: str, entry: str, name: str, on: bool) -> str:
    key = f"{place.partition(':')[2]}:{entry}" if ":" in place else entry
    # Without the second call RedBeat runs it at once, because its last run is long ago.
    after = "; e.reschedule()" if on else ""
    return (
        f"e = redbeat.RedBeatSchedulerEntry.from_key({key!r}, app=app); e.enabled = {on};"
        f" e.save(){after}"
    )


def _apscheduler(place: str, entry: str, name: str, on: bool) -> str:
    return f"scheduler.{'resume' if on else 'pause'}_job({entry!r})"


def _crontab(place: str, entry: str, name: str, on: bool) -> str:
    facts = {"path": place, "name": repr(name)}
    if on:
        return _("remove the # before the line of %(name)s in %(path)s") % facts
    return _("put a # before the line of %(name)s in %(path)s") % facts


def _kubernetes(place: str, entry: str, name: str, on: bool) -> str:
    namespace, _slash, cron_job = entry.rpartition("/")
    suspend = "false" if on else "true"
    where = f" -n {shlex.quote(namespace)}" if namespace else ""
    patch = f'{{"spec":{{"suspend":{suspend}}}}}'
    return f"kubectl patch cronjob {shlex.quote(cron_job)}{where} -p '{patch}'"


def _airflow(place: str, entry: str, name: str, on: bool) -> str:
    return f"airflow dags {'unpause' if on else 'pause'} {shlex.quote(entry)}"


_OF_KIND: Final[Mapping[str, Callable[[str, str, str, bool], str]]] = {
    "django-celery-beat": _django_celery_beat,
    "celery": _celery,
    "redbeat": _redbeat,
    "apscheduler": _apscheduler,
    "crontab": _crontab,
    "crontab-system": _crontab,
    "kubernetes": _kubernetes,
    "airflow": _airflow,
}
