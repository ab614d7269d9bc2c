"""Beat removes old entries of the history and old runs, as the settings say."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from scheduler.models import Activity, JobExecution
from scheduler.store import retention
from tests.harness.scheduler_harness import START, SchedulerHarness

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

DAY = 24 * 3600


def test_entries_older_than_the_setting_are_removed(system: SchedulerHarness):
    system.configure(activity_retention_days=10)
    old, young = system.job(), system.job()
    system.control.disable(old.pk)
    system.clock.advance(9 * DAY)
    system.control.disable(young.pk)

    system.tick()
    before = Activity.objects.count()
    system.clock.advance(2 * DAY)
    system.tick()

    assert before == 2
    assert [entry.target_id for entry in Activity.objects.all()] == [young.pk]


def test_zero_keeps_them_for_ever(system: SchedulerHarness):
    system.configure(activity_retention_days=0)
    system.control.disable(system.job().pk)
    system.clock.advance(4000 * DAY)

    system.tick()

    assert Activity.objects.count() == 1


def test_shards_are_as_old_as_their_parent(system: SchedulerHarness):
    """A parent that was tried again after a month is not behind with its deletion."""
    ended: dict[str, Any] = {"status": "SUCCESS", "started_at": START, "shard_count": 2}
    later = START + timedelta(days=40)
    parent = system.execution(system.job(), **ended, finished_at=later)
    for shard in range(2):
        system.execution(**ended, parent=parent, shard=shard, finished_at=START)
    assert retention.oldest_end() == later

    assert retention.prune(START + timedelta(days=30), 1000) == 0
    assert JobExecution.objects.count() == 3
    assert retention.prune(START + timedelta(days=41), 1000) == 3
    assert not JobExecution.objects.exists()
