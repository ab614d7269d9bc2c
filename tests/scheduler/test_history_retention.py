"""Beat removes old entries of the history, as the setting says."""

from __future__ import annotations

import pytest

from scheduler.models import Activity
from tests.harness.scheduler_harness import SchedulerHarness

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
