"""Paused queues: what workers claim, what is said of it, and who may do it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection

from scheduler.admin.explain import explain_execution
from scheduler.models import Activity, JobExecution, QueuePause, SchedulerProcess
from scheduler.operations.actor import Actor
from scheduler.operations.celery_app import own_app
from scheduler.operations.errors import InvalidJob, NotPossible
from scheduler.operations.queues import QueueControl
from scheduler.states import Door, ProcessKind, RunStatus
from tests.harness.scheduler_harness import SchedulerHarness
from tests.harness.waiting import wait_until
from tests.scheduler.test_fetcher import Fetching, Gate

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

ALICE = Actor(name="alice", door=Door.ADMIN)


def control(system: SchedulerHarness) -> QueueControl:
    return QueueControl(actor=ALICE, clock=system.clock)


def statuses(queue: str) -> list[str]:
    rows = JobExecution.objects.filter(queue=queue).order_by("id")
    return list(rows.values_list("status", flat=True))


def test_an_outage_at_the_question_for_pauses_keeps_no_child_from_its_end(
    system: SchedulerHarness,
) -> None:
    """The choice comes before the end is written: an error in it would leave the run as it is."""
    source = Fetching(system, places=1).source
    control(system).pause("", reason="the database moves")
    assert source.choice(1).queues == []
    system.clock.advance(1.1)

    def away(*_: Any) -> Any:
        raise OperationalError("gone")

    with connection.execute_wrapper(away):
        assert source.choice(1).queues == []
    control(system).resume("")
    assert source.choice(1).queues == [""]


def test_no_run_of_a_paused_queue_begins_and_those_that_run_go_on(
    system: SchedulerHarness,
) -> None:
    gate = Gate(system)
    worker = Fetching(system, places=4)
    worker.queues = ["slow", ""]
    system.execution(handler_name="gate", queue="slow")
    worker.fetcher.start()
    try:
        wait_until(lambda: gate.running == 1, 20, "the first run")
        pause = control(system).pause("slow", reason="the database moves")
        system.clock.advance(1.1)
        system.execution(handler_name="gate", queue="slow")
        system.execution(handler_name="gate")
        worker.fetcher.poke()
        wait_until(lambda: gate.running == 2, 20, "the run of the other queue")
        assert statuses("slow") == [RunStatus.RUNNING, RunStatus.PENDING]

        waiting = JobExecution.objects.get(status=RunStatus.PENDING)
        [_since, why, *_] = explain_execution(waiting, system.clock.now())
        assert "alice" in why
        assert "the database moves" in why
        assert pause.until is None
        control(system).resume("slow")
        system.clock.advance(1.1)
        worker.fetcher.poke()
        wait_until(lambda: gate.running == 3, 20, "the run that waited")
    finally:
        gate.open.set()
        worker.close()
    verbs = Activity.objects.order_by("id").values_list("verb", "target_kind", "target_name")
    assert list(verbs) == [("paused", "queue", "slow"), ("resumed", "queue", "slow")]


def test_a_pause_ends_by_itself_and_the_default_queue_has_two_names(
    system: SchedulerHarness,
) -> None:
    named = str(own_app().conf.task_default_queue)
    until = system.clock.now() + timedelta(seconds=30)
    control(system).pause(named, reason="a break", until=until)
    worker = Fetching(system)
    worker.queues = ["", named, "other"]

    assert [pause.queue for pause in QueuePause.objects.all()] == [""]
    assert worker.source._open_queues() == ("other",)
    assert control(system).pause_of(named) is not None
    system.clock.advance(31)
    assert worker.source._open_queues() == ("", named, "other")
    assert control(system).pause_of("") is None
    with pytest.raises(NotPossible):
        control(system).resume("")
    control(system).pause("", reason="again")
    assert QueuePause.objects.get().until is None


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"reason": " "}, "reason"),
        ({"reason": "x" * 501}, "reason"),
        ({"queue": "q" * 101}, "queue"),
        ({"queue": "a\0b"}, "queue"),
        ({"until": datetime(2020, 1, 1, tzinfo=UTC)}, "until"),
        ({"until": datetime(2999, 1, 1)}, "until"),  # noqa: DTZ001
    ],
)
def test_a_pause_that_makes_no_sense_is_refused(
    system: SchedulerHarness, given: dict[str, Any], field: str
) -> None:
    asked: dict[str, Any] = {"queue": "slow", "reason": "x", **given}
    with pytest.raises(InvalidJob) as refused:
        control(system).pause(asked.pop("queue"), **asked)
    assert list(refused.value.problems) == [field]
    assert not QueuePause.objects.exists()
    assert not Activity.objects.exists()


def test_queues_tell_depth_speed_and_who_serves_them(system: SchedulerHarness) -> None:
    now = system.clock.now()
    SchedulerProcess.objects.create(
        name="w1", kind=ProcessKind.WORKER, host="h", pid=1, started_at=now, heartbeat_at=now,
        queues=["", "fast"],
    )  # fmt: skip
    for _ in range(30):
        system.execution(handler_name="gate", queue="slow")
    JobExecution.objects.filter(queue="slow").update(
        created_at=now - timedelta(minutes=6), available_at=now - timedelta(minutes=6)
    )
    ended = [system.execution(handler_name="gate", queue="slow") for _ in range(60)]
    JobExecution.objects.filter(pk__in=[run.pk for run in ended]).update(
        status=RunStatus.SUCCESS, finished_at=now - timedelta(minutes=1),
        created_at=now - timedelta(hours=1),
    )  # fmt: skip

    found = {queue.name: queue for queue in control(system).all()}

    assert sorted(found) == ["", "fast", "slow"]
    slow = found["slow"]
    assert (slow.waiting, slow.running, slow.is_capped) == (30, 0, False)
    assert slow.oldest_at == now - timedelta(minutes=6)
    assert slow.out_per_second == pytest.approx(60 / 300)
    assert slow.in_per_second == 0
    assert slow.empty_in_seconds == pytest.approx(150)
    assert [worker.name for worker in found["fast"].workers] == ["w1"]
    assert list(slow.workers) == []
    control(system).pause("slow", reason="x")
    [paused] = [queue for queue in control(system).all() if queue.name == "slow"]
    assert paused.pause is not None
    assert paused.empty_in_seconds is None


def test_no_alert_says_that_nobody_claims_from_a_paused_queue(system: SchedulerHarness) -> None:
    from scheduler.alerts import watchers
    from scheduler.alerts.late_queues import late_queues

    system.execution(handler_name="gate", queue="slow")
    control(system).pause("slow", reason="x")
    system.clock.advance(watchers.WAITS_SECONDS + 60)

    assert late_queues(system.clock.now()) == {}
    control(system).resume("slow")
    assert list(late_queues(system.clock.now())) == ["slow"]
