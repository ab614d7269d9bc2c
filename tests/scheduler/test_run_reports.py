"""What runs report while they go on: one run's line never delays the other runs."""

from __future__ import annotations

from threading import Thread
from typing import Any

import pytest
from django.db import OperationalError

from scheduler.models import JobLog
from scheduler.store import executions
from scheduler.worker.verdict import StopReason
from tests.harness.scheduler_harness import START, SchedulerHarness
from tests.harness.waiting import wait_until

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


def test_a_line_that_cannot_be_stored_delays_no_other_run(
    system: SchedulerHarness, caplog: pytest.LogCaptureFixture
):
    system.configure(cancel_poll_seconds=0.05)
    broken, fine, cancelled = (system.held(system.execution()) for _ in range(3))
    impossible: Any = None  # no text that a handler logs is refused; the column takes no NULL
    broken.report.log("INFO", impossible)
    fine.report.log("INFO", "one")
    executions.request_cancel(cancelled.lease.execution_id, now=START, reason="enough")

    system.worker.leases.hold([broken, fine, cancelled])
    wait_until(lambda: cancelled.stop_reason, 10, "the cancel")
    wait_until(lambda: JobLog.objects.count() == 1, 10, "the line of the other run")
    fine.report.log("INFO", "two")
    wait_until(lambda: JobLog.objects.count() == 2, 10, "the next line of the other run")

    assert cancelled.stop_reason == StopReason.CANCELLED
    assert fine.stop_reason is None
    refusals = [record for record in caplog.records if "refuses a line" in record.getMessage()]
    assert len(refusals) == 1
    # The line is still there for the verdict, which gives up details that are refused.
    with broken.report.taken(wait_seconds=1) as left:
        assert len(left.lines) == 1


def test_the_end_of_a_run_has_the_lines_that_another_thread_fails_to_save(system: SchedulerHarness):
    run = system.held(system.execution())
    run.report.log("INFO", "one")
    at_the_end: list[str] = []

    def end() -> None:
        with run.report.taken(wait_seconds=30) as report:
            at_the_end.extend(line.message for line in report.lines)

    ending = Thread(target=end)

    def fails_to_save() -> None:
        with run.report.taken():
            ending.start()
            ending.join(0.1)
            assert ending.is_alive()
            raise OperationalError("the database went away")

    with pytest.raises(OperationalError):
        fails_to_save()
    ending.join(30)

    assert at_the_end == ["one"]


def test_the_thread_of_all_runs_does_not_wait_for_the_end_of_one(system: SchedulerHarness):
    run = system.held(system.execution())
    with run.report.taken(wait_seconds=30):
        run.report.log("INFO", "one")
        system.worker.leases.save_report(run)

        assert not JobLog.objects.exists()

    system.worker.leases.save_report(run)
    assert JobLog.objects.get().message == "one"
