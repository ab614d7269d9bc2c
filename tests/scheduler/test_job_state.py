"""The state of one job and the query for a state are the same rule; so are the counts by state."""

from __future__ import annotations

from itertools import product

import pytest

from scheduler.models import CronJob
from scheduler.models.job_state import IN_STATE, state_of
from scheduler.operations.liveness import OVERDUE_AFTER
from scheduler.states import JobState
from scheduler.store import statistics
from tests.harness.scheduler_harness import START, SchedulerHarness

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def test_each_job_is_in_the_one_state_that_the_queries_find_it_in(system: SchedulerHarness):
    columns = product((True, False), ("", "minute 61"), ("", "moving"), (None, START))
    for is_enabled, error, reason, until in columns:
        system.job(
            is_enabled=is_enabled, schedule_error=error, pause_reason=reason, paused_until=until
        )

    found = {state: set(CronJob.objects.filter(IN_STATE[state])) for state in JobState}

    for job in CronJob.objects.all():
        assert [state for state in JobState if job in found[state]] == [state_of(job)]
    counts = statistics.job_counts(overdue_before=START - OVERDUE_AFTER)
    assert {state: len(jobs) for state, jobs in found.items()} == {
        JobState.ENABLED: counts.enabled,
        JobState.PAUSED: counts.paused,
        JobState.ERROR: counts.broken,
        JobState.DISABLED: counts.disabled,
    }
    assert [len(found[state]) for state in JobState] == [8, 3, 4, 1]
