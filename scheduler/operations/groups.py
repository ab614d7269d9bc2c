"""Groups of jobs with limits, for people: what goes on and waits in them, and changing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.utils.translation import gettext as _

from scheduler import wakeups
from scheduler.models import ConcurrencyGroup
from scheduler.operations import limit_rules, validation
from scheduler.operations.base import Operations
from scheduler.operations.errors import InvalidJob, NotPossible, StaleEdit
from scheduler.states import ActivityVerb, TargetKind
from scheduler.store import limit_figures, limited_jobs
from scheduler.store.limit_figures import Waiting
from scheduler.transient import in_transaction

#: What a person may set of a group besides its name.
SETTABLE: Final = (
    "description",
    "max_running",
    "max_running_per_key",
    "rate_count",
    "rate_seconds",
    "rate_per_key",
)
_LONGEST_NAME: Final = 100
_LONGEST_DESCRIPTION: Final = 500
_SHOWN: Final = 5


@dataclass(frozen=True, kw_only=True)
class Group:
    """A group as it is now."""

    row: ConcurrencyGroup
    jobs: int
    waiting: Waiting


@dataclass(frozen=True, kw_only=True)
class GroupControl(Operations):
    """The operations on groups of jobs with limits."""

    def all(self) -> list[Group]:
        """Returns the groups by name, with what goes on and waits in each, and by which key."""
        rows = limited_jobs.groups()
        figures = limit_figures.of_groups([row.name for row in rows])
        jobs = limit_figures.jobs_by_group()
        return [
            Group(row=row, jobs=jobs.get(row.name, 0), waiting=figures[row.name]) for row in rows
        ]

    def get(self, name: str) -> ConcurrencyGroup | None:
        return None if _name_problem(name) else limited_jobs.group(name)

    def set_limits(
        self, name: str, *, is_new: bool = False, seen_at: datetime | None = None, **values: Any
    ) -> ConcurrencyGroup:
        """Make a group, or change it: what is left out stays as it is, or is the default.

        What may go on under the new limits is woken. Raises InvalidJob, which names every wrong
        field, and NotPossible for a group of the configuration. `is_new`: a group that is there is
        not changed. With `seen_at`, its `updated_at` as it was read, a change made since then, or
        its end, raises StaleEdit.
        """
        unknown = sorted(set(values) - set(SETTABLE))
        if unknown:
            text = _("is not a field that can be set")
            raise InvalidJob({field: [text] for field in unknown})

        def work() -> set[str]:
            old = _locked(name)
            now = self.clock.now()
            if seen_at is not None and (old is None or old.updated_at != seen_at):
                raise StaleEdit
            before = {} if old is None else {field: getattr(old, field) for field in SETTABLE}
            wanted = {"description": "", "rate_per_key": False, **before, **values}
            self._check(name, wanted, is_new=old is None)
            if is_new and old is not None:
                raise InvalidJob({"name": [_("is taken by another group")]})
            _refuse_of_settings(old)
            if wanted == before:
                return set()
            queues = limited_jobs.save_group(name, wanted, now=now)
            verb = ActivityVerb.CREATED if old is None else ActivityVerb.CHANGED
            facts = {"before": before, "after": wanted}
            self._remember(verb, TargetKind.GROUP, None, name, now, facts)
            return queues

        _wake(in_transaction(work))
        saved = self.get(name)
        assert saved is not None
        return saved

    def delete(self, name: str) -> None:
        """Raises NotPossible while jobs name it, or the configuration has it."""

        def work() -> set[str]:
            row = _locked(name)
            if row is None:
                raise NotPossible(_("there is no group %(name)s") % {"name": name})
            now = self.clock.now()
            _refuse_of_settings(row)
            if jobs := limited_jobs.jobs_of_group(name, _SHOWN):
                facts = {"name": name, "jobs": ", ".join(jobs)}
                raise NotPossible(_("the group %(name)s limits jobs still: %(jobs)s") % facts)
            queues = limited_jobs.delete_group(name, now=now)
            self._remember(ActivityVerb.DELETED, TargetKind.GROUP, None, name, now, {})
            return queues

        _wake(in_transaction(work))

    def _check(self, name: object, values: dict[str, Any], *, is_new: bool) -> None:
        problems = limit_rules.group_problems(values)
        found = {
            "name": _name_problem(name) or (validation.new_name_problem(name) if is_new else None),
            "description": validation.text_problem(values["description"], _LONGEST_DESCRIPTION),
        }
        problems |= {field: [text] for field, text in found.items() if text}
        if values["rate_per_key"] not in (True, False):
            problems["rate_per_key"] = [_("must be true or false")]
        if problems:
            raise InvalidJob(problems)


def _name_problem(name: object) -> str | None:
    return validation.text_problem(name, _LONGEST_NAME, required=True)


def _locked(name: str) -> ConcurrencyGroup | None:
    """Returns the group, which nobody else changes before the transaction ends, if it exists."""
    return None if _name_problem(name) else limited_jobs.lock_group(name)


def _refuse_of_settings(row: ConcurrencyGroup | None) -> None:
    if row is not None and row.is_of_settings:
        raise NotPossible(
            _("the group %(name)s is of the configuration, and is changed there")
            % {"name": row.name}
        )


def _wake(queues: set[str]) -> None:
    for queue in sorted(queues):
        wakeups.wake(queue)


def names() -> Sequence[str]:
    return [row.name for row in limited_jobs.groups()]
