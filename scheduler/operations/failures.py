"""Failures by their kind: a person has seen one, or retries all its runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _

from scheduler.models import Activity, FailureGroup
from scheduler.operations.errors import NotPossible
from scheduler.operations.executions import ExecutionOperations
from scheduler.states import ActivityVerb, TargetKind
from scheduler.store import failures
from scheduler.store.failures import FailedGroup
from scheduler.transient import in_transaction


@dataclass(frozen=True, kw_only=True)
class FailureControl(ExecutionOperations):
    """The operations on kinds of failures."""

    def see(self, group_id: int) -> FailureGroup:
        """Marks a kind of failure as seen, until it happens again. NotPossible: it was already."""

        def work() -> FailureGroup | None:
            now = self.clock.now()
            group = FailureGroup.objects.get(pk=group_id)
            if not failures.see(group_id, now=now, by=self.actor.name):
                return None
            self._remember_group(ActivityVerb.SEEN, group, now, runs=group.runs)
            return group

        seen = in_transaction(work)
        if seen is not None:
            return seen
        group = FailureGroup.objects.get(pk=group_id)
        raise NotPossible(_("%(who)s has marked it as seen already") % {"who": group.seen_by})

    def retry_group(self, group_id: int) -> tuple[int, bool]:
        """Retries the failed runs of a kind, oldest first. As `retry_range`.

        NotPossible: none of its runs is there any more, or all were retried.
        """
        group = FailureGroup.objects.get(pk=group_id)

        def remember(now: datetime, retried: int) -> Activity:
            return self._remember_group(ActivityVerb.RETRIED, group, now, retried=retried)

        retried, more = self._retry_all(FailedGroup(group_id=group_id), remember)
        if not retried and not more:
            raise NotPossible(_("No failed run of this kind is left: they were retried or deleted"))
        return retried, more

    def _remember_group(
        self, verb: ActivityVerb, group: FailureGroup, now: datetime, **facts: object
    ) -> Activity:
        return self._remember(
            verb, TargetKind.FAILURE, group.pk, str(group) or group.handler_name, now, facts
        )
