"""Many unsuccessful executions are retried at once: those of a range, or of one kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from scheduler.models import Activity, CronJob
from scheduler.operations.approvals import ApprovalOperations
from scheduler.states import ActivityVerb, TargetKind
from scheduler.store import activity, executions, freezes, shard_changes
from scheduler.store.executions import FailedRange
from scheduler.store.failures import FailedGroup
from scheduler.transient import in_transaction
from scheduler.wakeups import became_runnable

RETRY_LIMIT: Final = 10_000
RETRY_BATCH: Final = 500

#: Unsuccessful executions that are retried together.
Failed = FailedRange | FailedGroup


@dataclass(frozen=True, kw_only=True)
class RetryOperations(ApprovalOperations):
    """Retries of many executions, batch by batch."""

    def count_failed(self, failed: Failed) -> int:
        """Counts the executions that `retry_range` would retry, at most RETRY_LIMIT + 1."""
        return failed.rows().order_by()[: RETRY_LIMIT + 1].count()

    def retry_range(self, failed: FailedRange) -> tuple[int, bool]:
        """Retries a range, oldest first. Returns how many, and whether RETRY_LIMIT left out some.

        Each batch commits on its own, so that it locks its rows only for a short time. Each batch
        updates the count in the one entry in the history.
        """

        def remember(now: datetime, retried: int) -> Activity:
            job = CronJob.objects.filter(pk=failed.job_id).first() if failed.job_id else None
            name = job.name if job else ""
            facts = {**failed.facts(), "retried": retried}
            kind, verb = TargetKind.EXECUTION, ActivityVerb.RETRIED_RANGE
            return self._remember(verb, kind, None, name, now, facts)

        return self._retry_all(failed, remember)

    def _retry_all(
        self, failed: Failed, remember: Callable[[datetime, int], Activity]
    ) -> tuple[int, bool]:
        retried, entry = 0, None
        rows = failed.rows()
        now = self.clock.now()
        exception: dict[str, Any] = {}
        if freezes.enabled(now, self.settings.default_timezone):
            exception = self._check_freezes(executions.jobs_of_first(rows, RETRY_LIMIT), now)
        for _ in range(RETRY_LIMIT // RETRY_BATCH):
            batch = list(rows.values_list("scheduled_time", "id")[:RETRY_BATCH])
            if not batch:
                break
            ids = [id_ for _, id_ in batch]
            retried, entry = in_transaction(
                partial(self._retry_batch, ids, remember, exception, retried=retried, entry=entry)
            )
            rows = failed.after(*batch[-1])
        return retried, rows.exists()

    def _retry_batch(
        self,
        ids: list[int],
        remember: Callable[[datetime, int], Activity],
        exception: Mapping[str, Any],
        *,
        retried: int,
        entry: Activity | None,
    ) -> tuple[int, Activity]:
        now = self.clock.now()
        retried += shard_changes.retry_all(ids, now=now)
        waiting = self._ask_or_approve(ids, now)
        for queue in executions.queues_of([id_ for id_ in ids if id_ not in waiting]):
            became_runnable(queue)
        if entry is None:
            entry = remember(now, retried)
            if exception:
                activity.set_facts(entry.pk, {**entry.facts, **exception})
                entry.facts = {**entry.facts, **exception}
            return retried, entry
        activity.set_facts(entry.pk, {**entry.facts, "retried": retried})
        return retried, entry
