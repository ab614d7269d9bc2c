"""An attempt that Celery's revoke names is cancelled, and no other one."""

from __future__ import annotations

import pytest

from scheduler.models import Activity
from scheduler.operations.actor import Actor
from scheduler.operations.executions import CancelledAttempt, ExecutionOperations
from scheduler.states import RunStatus
from tests.harness.scheduler_harness import SchedulerHarness, fresh

pytestmark = [pytest.mark.database, pytest.mark.django_db]


@pytest.fixture
def door(system: SchedulerHarness) -> ExecutionOperations:
    return ExecutionOperations(actor=Actor(name="celery"), clock=system.clock)


def test_waiting_attempt_is_cancelled_once(system: SchedulerHarness, door: ExecutionOperations):
    row = system.execution()

    first, second = door.cancel_attempt(row.pk, 1), door.cancel_attempt(row.pk, 1)

    assert first == CancelledAttempt(attempt=1, is_new=True, has_ended=True)
    assert not second.is_new
    assert fresh(row).status == RunStatus.CANCELLED
    assert Activity.objects.count() == 1


def test_worker_of_the_attempt_that_runs_is_asked_once(
    system: SchedulerHarness, door: ExecutionOperations
):
    row = system.execution()
    system.claim(row)

    first, second = door.cancel_attempt(row.pk, 1), door.cancel_attempt(row.pk, 1)

    assert first == CancelledAttempt(attempt=1, is_new=True, has_ended=False)
    assert second == CancelledAttempt(attempt=1, is_new=False, has_ended=False)
    assert fresh(row).error_message == "cancelled by celery"
    assert Activity.objects.count() == 1


def test_attempt_that_is_over_or_to_come_cancels_nothing(
    system: SchedulerHarness, door: ExecutionOperations
):
    row = system.execution()
    system.claim(row)

    for attempt in (0, 2):
        found = door.cancel_attempt(row.pk, attempt)
        assert found == CancelledAttempt(attempt=1, is_new=False, has_ended=False)
    assert fresh(row).cancel_requested_at is None
    assert not Activity.objects.exists()
