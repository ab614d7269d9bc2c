"""The versions of a job that its history keeps, and how one of them is restored.

A version is the definition without the switch: restoring one neither enables nor disables a job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.utils.translation import gettext as _

from scheduler.models import EDITABLE, INSTANTS, Activity, CronJob
from scheduler.operations.definition import (
    changed_secrets,
    definition_of,
    is_changed,
    values_of,
)
from scheduler.operations.errors import InvalidJob, NotPossible
from scheduler.operations.history import Change, changes_between
from scheduler.operations.jobs import JobOperations
from scheduler.operations.masking import left_masked, unmask
from scheduler.states import ActivityVerb, TargetKind
from scheduler.store import activity, jobs
from scheduler.store.jobs import StaleEdit
from scheduler.transient import in_transaction

_KEEPERS: Final = (ActivityVerb.CREATED, ActivityVerb.CLONED, ActivityVerb.CHANGED)
_SWITCH: Final = frozenset({"is_enabled", "pause_reason", "paused_until"})


@dataclass(frozen=True, kw_only=True)
class Version:
    """A definition that a job has had. `at`: when it began, or the instant that was asked for."""

    entry_id: int
    at: datetime
    actor: str
    definition: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Restoration:
    """What a restore changes. `kept_secrets`: places whose value of today stays, because the
    history keeps no secrets.
    """

    version: Version
    changes: list[Change]
    kept_secrets: list[str]
    values: Mapping[str, Any] = field(repr=False)


def keeps_version(entry: Activity) -> bool:
    """True if the job can be restored to what it was after this entry."""
    is_keeper = entry.verb in {verb.value for verb in _KEEPERS}
    return is_keeper and isinstance(_facts(entry).get("after"), Mapping)


@dataclass(frozen=True, kw_only=True)
class VersionOperations(JobOperations):
    """The operations on the versions of jobs."""

    def version(
        self, job_id: int, *, entry_id: int | None = None, at: datetime | None = None
    ) -> Version:
        """Returns the version after an entry of the history, or the one in force at an instant.

        Raises NotPossible if the history has none.
        """
        if (entry_id is None) == (at is None):
            raise InvalidJob({"at": [_("give an instant or an entry, one of the two")]})
        entries = activity.of_target(TargetKind.JOB, job_id)
        if entry_id is not None:
            entry = entries.filter(pk=entry_id).first()
            if entry is None or not keeps_version(entry):
                raise NotPossible(
                    _("entry #%(id)s of the history keeps no version of this job")
                    % {"id": entry_id}
                )
            return _version(entry, "after", entry.at)
        assert at is not None
        edits = entries.filter(verb__in=[verb.value for verb in _KEEPERS])
        if (entry := edits.filter(at__lte=at).first()) is not None:
            return _version(entry, "after", entry.at)
        # The first edit that is known says what was there before it.
        later = edits.last()
        if later is None or later.verb != ActivityVerb.CHANGED:
            raise NotPossible(_("the history has no version of that time"))
        return _version(later, "before", at)

    def restoration(self, job: CronJob, version: Version, *, sees_params: bool) -> Restoration:
        """Returns what a restore would change now. InvalidJob if a secret is missing."""
        before = values_of(job)
        values = _values(version, before)
        after = {**before, **values}
        changes = changes_between(
            definition_of(before), definition_of(after), changed_secrets(before, after),
            sees_params=sees_params,
        )  # fmt: skip
        kept = [
            place
            for name in values
            for place in left_masked(version.definition[name], name)
        ]  # fmt: skip
        return Restoration(version=version, changes=changes, kept_secrets=kept, values=values)

    def restore(self, job_id: int, version: Version, *, tick_seq: int | None = None) -> CronJob:
        """Make a job what it was, as an edit: see `update_job`. The switch stays as it is."""

        def work() -> CronJob:
            job = jobs.lock_job(job_id)
            if tick_seq is not None and tick_seq != job.tick_seq:
                raise StaleEdit
            values = _values(version, values_of(job))
            restored = {"id": version.entry_id, "at": version.at.isoformat()}
            return self._update(job_id, values, ActivityVerb.CHANGED, facts={"restored": restored})

        return in_transaction(work)


def _version(entry: Activity, part: str, at: datetime) -> Version:
    definition = _facts(entry).get(part)
    if not isinstance(definition, Mapping):
        raise NotPossible(_("the history has no version of that time"))
    return Version(entry_id=entry.pk, at=at, actor=entry.actor, definition=definition)


def _values(version: Version, today: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the columns of the version that differ from today's, with today's secrets."""
    found: dict[str, Any] = {}
    missing: dict[str, list[str]] = {}
    for name in EDITABLE:
        if name in _SWITCH or name not in version.definition:
            continue
        value = unmask(version.definition[name], today[name])
        if name in INSTANTS and isinstance(value, str):
            value = datetime.fromisoformat(value)
        if places := list(left_masked(value, name)):
            text = _("the history keeps no secrets, and none is stored now: %(places)s")
            missing[name] = [text % {"places": ", ".join(places)}]
        elif is_changed(name, today[name], value):
            found[name] = value
    if missing:
        raise InvalidJob(missing)
    return found


def _facts(entry: Activity) -> Mapping[str, Any]:
    return entry.facts if isinstance(entry.facts, Mapping) else {}
