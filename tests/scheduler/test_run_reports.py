"""What runs report while they go on: one run's line never delays the other runs."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler.models import JobLog
from scheduler.store import executions
from scheduler.worker.lease import HeldRun, RunReport
from scheduler.worker.verdict import StopReason
from tests.harness.scheduler_harness import START, SchedulerHarness
from tests.harness.waiting import wait_until

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


def held_run(system: SchedulerHarness) -> HeldRun:
    row = system.execution()
    lease = system.claim(row)
    return HeldRun(
        lease=lease,
        report=RunReport(lambda: START, 100),
        name=f"run {row.pk}",
        task_name="",
        cancel=lambda: None,
        claimed_at=system.clock.monotonic(),
    )


def test_a_line_that_cannot_be_stored_delays_no_other_run(
    system: SchedulerHarness, caplog: pytest.LogCaptureFixture
):
    system.configure(cancel_poll_seconds=0.05)
    broken, fine, cancelled = (held_run(system) for _ in range(3))
    impossible: Any = None  # no text that a handler logs is refused; the column takes no NULL
    broken.report.log("INFO", impossible)
    fine.report.log("INFO", "one")
    executions.request_cancel(cancelled.lease.execution_id, now=START, reason="enough")

    for run in (broken, fine, cancelled):
        system.worker.leases.hold(run)
    wait_until(lambda: cancelled.stop_reason, 10, "the cancel")
    wait_until(lambda: JobLog.objects.count() == 1, 10, "the line of the other run")
    fine.report.log("INFO", "two")
    wait_until(lambda: JobLog.objects.count() == 2, 10, "the next line of the other run")

    assert cancelled.stop_reason == StopReason.CANCELLED
    assert fine.stop_reason is None
    refusals = [record for record in caplog.records if "refuses a line" in record.getMessage()]
    assert len(refusals) == 1
    # The line is still there for the verdict, which gives up details that are refused.
    assert len(broken.report.take().lines) == 1
