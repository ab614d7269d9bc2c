"""The entry of a job in its old system: read and switched, where jobu may write there.

django-celery-beat by its tables, RedBeat by Redis. The other systems keep their schedules in code
or in files of somebody else: see instructions.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlencode

from django.db import connections
from django.utils.translation import gettext as _

from scheduler.moving.entries import UnreadableSource
from scheduler.moving.sources import redbeat
from scheduler.moving.tables import Writer, instant_of, writing
from scheduler.operations.celery_app import own_app

DJANGO_CELERY_BEAT: Final = "django-celery-beat"
REDBEAT: Final = "redbeat"
WRITABLE: Final = (DJANGO_CELERY_BEAT, REDBEAT)
_TASKS: Final = "django_celery_beat_periodictask"
_CHANGES: Final = "django_celery_beat_periodictasks"
_MILLISECOND: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, kw_only=True)
class OldState:
    """What the old system says of its entry. `runs`: how many it has had; None: it does not say."""

    is_enabled: bool
    last_run_at: datetime | None
    runs: int | None = None


class OldTask(Protocol):
    """An entry of an old system. Each call commits on its own. Raises UnreadableSource."""

    def state(self) -> OldState: ...

    def ask_to_write(self, now: datetime) -> None:
        """Lets its scheduler write down the last runs that only its memory knows."""

    def switch_off(self, now: datetime) -> None: ...

    def switch_on(self, now: datetime, last_run_at: datetime) -> None:
        """`last_run_at`: up to then its runs have been made here."""


def place_of(source: str) -> str:
    """Returns where the source of a job is, if jobu can open that without being told, or "".

    A Django alias, a SQLite file, or the Redis of RedBeat in this project's Celery app.
    """
    kind, _colon, key = source.partition(":")
    if kind == REDBEAT:
        return _redbeat_of_app(key)
    label = key.rpartition(":")[0]
    if kind != DJANGO_CELERY_BEAT:
        return ""
    if label in connections:
        return label
    return f"sqlite:///{label}" if label.startswith("/") and Path(label).is_file() else ""


def _redbeat_of_app(key: str) -> str:
    conf = own_app().conf
    url, prefix = conf.get("redbeat_redis_url"), conf.get("redbeat_key_prefix") or "redbeat:"
    if not url or not key.startswith(f"{redbeat.label_of(url)}:{prefix}"):
        return ""
    return f"{url}{'&' if '?' in url else '?'}{urlencode({'prefix': prefix})}"


def old_task(source: str, where: str = "") -> OldTask:
    """Returns the entry of a job. `where`: as in SOURCE; "": as place_of says.

    Raises UnreadableSource.
    """
    kind, _colon, key = source.partition(":")
    given_kind, _colon, given = where.partition(":")
    if where and given_kind != kind:
        facts = {"kind": kind, "given": given_kind}
        raise UnreadableSource(_("the job comes from %(kind)s, not from %(given)s") % facts)
    place = given or place_of(source)
    if kind not in WRITABLE:
        raise UnreadableSource(_("jobu does not write into %(kind)s") % {"kind": kind})
    if not place:
        text = _("where is it? write --source %(kind)s:URL")
        raise UnreadableSource(text % {"kind": kind})
    if kind == REDBEAT:
        return _RedBeatTask(place=place, source_key=key)
    label, _colon, number = key.rpartition(":")
    if not number.isdigit():
        raise UnreadableSource(_("%(source)s names no entry") % {"source": source})
    return _BeatTask(place=place, label=label, number=int(number))


@dataclass(frozen=True, kw_only=True)
class _BeatTask:
    """A row of django-celery-beat. Its scheduler looks every five seconds whether rows changed,
    writes the last runs that it remembers, and reads all rows.
    """

    place: str
    label: str
    number: int

    def state(self) -> OldState:
        with self._opened() as database:
            row = self._row(database)
        return OldState(
            is_enabled=bool(row["enabled"]),
            last_run_at=instant_of(row["last_run_at"]),
            runs=int(row.get("total_run_count") or 0),
        )

    def ask_to_write(self, now: datetime) -> None:
        with self._opened() as database:
            self._tell(database, now)

    def switch_off(self, now: datetime) -> None:
        with self._opened() as database:
            self._row(database)
            statement = f"UPDATE {_TASKS} SET enabled = %s WHERE id = %s"  # noqa: S608
            database.execute(statement, [False, self.number])
            self._tell(database, now)

    def switch_on(self, now: datetime, last_run_at: datetime) -> None:
        with self._opened() as database:
            self._row(database)
            statement = f"UPDATE {_TASKS} SET enabled = %s, last_run_at = %s WHERE id = %s"  # noqa: S608
            database.execute(statement, [True, last_run_at, self.number])
            self._tell(database, now)

    @contextmanager
    def _opened(self) -> Iterator[Writer]:
        with writing(self.place) as database:
            if database.label != self.label:
                facts = {"label": database.label, "wanted": self.label}
                raise UnreadableSource(
                    _("%(label)s is another database than %(wanted)s, from which the job comes")
                    % facts
                )
            yield database

    def _row(self, database: Writer) -> dict[str, Any]:
        row = database.row(_TASKS, "id", self.number)
        if row is None:
            text = _("the old system has no entry %(id)s any more")
            raise UnreadableSource(text % {"id": self.number})
        return row

    def _tell(self, database: Writer, now: datetime) -> None:
        """Its scheduler compares this instant with the one that it has seen: it must be later."""
        row = database.row(_CHANGES, "ident", 1)
        seen = instant_of(row["last_update"]) if row else None
        later = now if seen is None else max(now, seen + _MILLISECOND)
        if row is None:
            statement = f"INSERT INTO {_CHANGES} (ident, last_update) VALUES (%s, %s)"  # noqa: S608
            database.execute(statement, [1, later])
        else:
            statement = f"UPDATE {_CHANGES} SET last_update = %s WHERE ident = %s"  # noqa: S608
            database.execute(statement, [later, 1])


@dataclass(frozen=True, kw_only=True)
class _RedBeatTask:
    """A hash of RedBeat. Its scheduler reads it at each run, and writes the last run at once."""

    place: str
    source_key: str

    def state(self) -> OldState:
        with self._opened() as (client, key):
            fields = client.hgetall(key)
            return OldState(
                is_enabled=bool(json.loads(fields["definition"]).get("enabled", True)),
                last_run_at=redbeat.meta_of(fields).get("last_run_at"),
            )

    def ask_to_write(self, now: datetime) -> None:
        """It keeps nothing in its memory."""

    def switch_off(self, now: datetime) -> None:
        self._set(is_enabled=False)

    def switch_on(self, now: datetime, last_run_at: datetime) -> None:
        self._set(is_enabled=True, last_run_at=last_run_at)

    def _set(self, *, is_enabled: bool, last_run_at: datetime | None = None) -> None:
        with self._opened() as (client, key):

            def work(pipe: Any) -> None:
                definition = json.loads(pipe.hget(key, "definition"))
                definition["enabled"] = is_enabled
                meta = json.loads(pipe.hget(key, "meta") or "{}")
                pipe.multi()
                pipe.hset(key, "definition", json.dumps(definition))
                if last_run_at is not None:
                    meta["last_run_at"] = redbeat.stored_instant(last_run_at)
                    pipe.hset(key, "meta", json.dumps(meta))
                    # Due at once: it then reads the entry, and finds when the next run is.
                    due = f"{redbeat.prefix_of(self.place)}:schedule"
                    pipe.zadd(due, {key: int(last_run_at.timestamp())})

            client.transaction(work, key)

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, str]]:
        with redbeat.opened(self.place) as (client, label):
            start, key = f"{label}:", self.source_key.removeprefix(f"{label}:")
            if not self.source_key.startswith(start):
                facts = {"label": label, "wanted": self.source_key}
                raise UnreadableSource(
                    _("%(label)s is another database than %(wanted)s, from which the job comes")
                    % facts
                )
            if not client.hexists(key, "definition"):
                text = _("the old system has no entry %(id)s any more")
                raise UnreadableSource(text % {"id": key})
            try:
                yield client, key
            except ValueError as error:
                text = _("the entry cannot be read: %(problem)s")
                raise UnreadableSource(text % {"problem": error}) from error
