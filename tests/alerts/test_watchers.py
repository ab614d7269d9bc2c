"""What beats and workers see of each other, of their host and of the history."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from scheduler.alert_states import AlertKind
from scheduler.alerts import watchers
from scheduler.alerts.condition import Condition
from scheduler.alerts.watchers import HostReadings
from scheduler.alerts.watching import BeatWatch, WorkerWatch, settle
from scheduler.models import Alert
from scheduler.operations.liveness import ClockState
from scheduler.states import ProcessKind
from scheduler.store import processes
from scheduler.store.processes import LiveWorker
from tests.harness.scheduler_harness import START, SchedulerHarness

_LONG_AGO = START - timedelta(seconds=90)


def kinds(found: Any) -> list[tuple[str, str]]:
    return [(condition.kind.value, condition.subject_key) for condition in found]


def test_a_queue_waits_for_a_worker_for_idle_workers_or_for_its_turn():
    waiting = dict.fromkeys(("none", "idle", "busy"), _LONG_AGO) | {"short": START}
    live = [
        LiveWorker(queues=frozenset({"idle", "short"}), running=0),
        LiveWorker(queues=frozenset({"busy"}), running=3),
    ]

    found = watchers.workers(START, waiting, live)

    assert kinds(found) == [
        ("claiming_stands", "queue:idle"), ("no_worker", "queue:none"),
    ]  # fmt: skip


def test_a_worker_that_does_not_say_its_queues_may_serve_any():
    found = watchers.workers(START, {"x": _LONG_AGO}, [LiveWorker(queues=None, running=1)])

    assert found == []


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ({}, []),
        ({"clock": ClockState.DIFFERS, "clock_off_seconds": -9.0}, ["clock"]),
        ({"clock_jumped_seconds": 60.0}, ["clock"]),
        ({"broker_away_seconds": 59.0}, []),
        ({"broker_away_seconds": 61.0}, ["publishing_stands"]),
        ({"disk": (100 * 2**30, 6 * 2**30)}, []),
        ({"disk": (100 * 2**30, 4 * 2**30)}, ["disk"]),
        ({"disk": (2**30, 150 * 2**20)}, ["disk"]),
    ],
)
def test_what_is_wrong_on_a_host(readings: dict[str, Any], expected: list[str]):
    found = watchers.of_host(HostReadings(host="a", **readings))

    assert kinds(found) == [(kind, "host:a") for kind in expected]


def test_a_history_that_is_not_pruned():
    days = timedelta(days=1)
    assert watchers.retention(START, None, 30) is None
    assert watchers.retention(START, START - 30.5 * days, 30) is None
    assert watchers.retention(START, START - 32 * days, 30) is not None


@pytest.mark.django_db(transaction=True)
@pytest.mark.database
class TestRows:
    def test_workers_tell_once_that_no_beat_ticks_and_once_that_one_does(
        self, system: SchedulerHarness
    ):
        workers = [WorkerWatch() for _ in range(3)]
        _beat_lives(system)
        self._look(system, workers)
        system.clock.advance(9)
        self._look(system, workers)
        assert not Alert.objects.exists()

        system.clock.advance(2)
        self._look(system, workers)

        (alert,) = Alert.objects.all()
        assert (alert.kind, alert.subject_key, alert.state) == ("no_beat", "beat", "open")

        _beat_lives(system)
        self._look(system, workers)

        (alert,) = Alert.objects.all()
        assert (alert.state, alert.close_reason) == ("closed", "condition_gone")

    def test_a_beat_that_ended_in_order_is_missed_and_one_that_is_late_at_the_start_is_not(
        self, system: SchedulerHarness
    ):
        worker = WorkerWatch()
        self._look(system, [worker])
        system.clock.advance(45)
        self._look(system, [worker])
        assert not Alert.objects.exists()
        _beat_lives(system)
        self._look(system, [worker])
        processes.forget_process("beat")
        self._look(system, [worker])
        assert not Alert.objects.exists()

        for _ in range(2):
            system.clock.advance(6)
            self._look(system, [worker])

        assert Alert.objects.get().kind == AlertKind.NO_BEAT

    def test_a_worker_that_cannot_tell_yet_ends_no_alert_of_another_one(
        self, system: SchedulerHarness
    ):
        first = WorkerWatch()
        _beat_lives(system)
        for _ in range(3):
            self._look(system, [first])
            system.clock.advance(6)
        assert Alert.objects.get().state == "open"
        second = WorkerWatch()

        for _ in range(10):
            self._look(system, [second, first])
            system.clock.advance(6)

        assert Alert.objects.get().state == "open"

    def test_after_an_outage_of_the_database_beats_and_workers_have_time_to_come_back(
        self, system: SchedulerHarness
    ):
        worker, beat = WorkerWatch(), BeatWatch(system.clock.monotonic)
        system.execution(queue="reports")
        _beat_lives(system)
        self._look(system, [worker])
        system.clock.advance(70)
        worker.database_is_away()
        beat.database_is_away(5, "gone")

        self._look(system, [worker])
        beat.look(system.clock.now(), lambda: HostReadings(host="a"))
        assert not Alert.objects.exists()

        system.clock.advance(6)
        self._look(system, [worker])
        system.clock.advance(25)
        beat.look(system.clock.now(), lambda: HostReadings(host="a"))
        assert [alert.kind for alert in Alert.objects.all()] == ["no_worker"]

    def test_beats_tell_once_of_a_queue_without_a_worker(self, system: SchedulerHarness):
        beats = [BeatWatch(system.clock.monotonic) for _ in range(3)]
        system.execution(queue="reports")
        for _ in range(3):
            system.clock.advance(40)
            for beat in beats:
                beat.look(system.clock.now(), lambda: HostReadings(host="a"))

        (alert,) = Alert.objects.all()
        assert (alert.kind, alert.queue, alert.facts["workers"]) == ("no_worker", "reports", 0)

        processes.heartbeat(
            name="w", kind=ProcessKind.WORKER, host="a", pid=1, started_at=system.clock.now(),
            running=1, now=system.clock.advance(20), queues=["reports"],
        )  # fmt: skip
        beats[0].look(system.clock.now(), lambda: HostReadings(host="a"))

        assert Alert.objects.get().state == "closed"

    def test_each_host_ends_only_its_own_alerts(self, system: SchedulerHarness):
        full = Condition(kind=AlertKind.DISK, subject_key="host:a", facts={"free_bytes": 1})
        for host, seen in (("a", [full]), ("b", []), ("a", [full])):
            settle(seen, [AlertKind.DISK], system.clock.advance(20), host=host)
        assert Alert.objects.get().state == "open"

        # The host is gone, and another one cleans up after it.
        settle([], [AlertKind.DISK], system.clock.advance(700), host="b")

        assert Alert.objects.get().state == "closed"

    def test_beats_of_a_host_that_see_it_with_different_eyes_tell_it_once(
        self, system: SchedulerHarness
    ):
        beats = [BeatWatch(system.clock.monotonic) for _ in range(2)]
        away = [HostReadings(host="a", broker_away_seconds=61), HostReadings(host="a")]
        for _ in range(6):
            beats[0].look(system.clock.now(), lambda: away[0])
            beats[1].look(system.clock.now(), lambda: away[1])
            system.clock.advance(10)
        assert [alert.state for alert in Alert.objects.all()] == ["open"]

        for _ in range(3):
            beats[0].look(system.clock.advance(10), lambda: away[1])

        assert [alert.state for alert in Alert.objects.all()] == ["closed"]

    def test_a_clock_that_was_set_back_ends_no_alert_of_a_host(self, system: SchedulerHarness):
        away = [Condition(kind=AlertKind.PUBLISHING_STANDS, subject_key="host:a")]
        kinds_of_host = [AlertKind.PUBLISHING_STANDS]
        now = system.clock.now()
        settle(away, kinds_of_host, now, host="a")
        set_back = now - timedelta(seconds=3600)

        settle([], kinds_of_host, set_back, host="a")
        assert Alert.objects.get().state == "open"

        settle([], kinds_of_host, set_back + timedelta(seconds=40), host="a")
        assert Alert.objects.get().state == "closed"

    def test_an_alert_closed_by_hand_comes_back_after_an_hour_if_its_cause_is_still_there(
        self, system: SchedulerHarness
    ):
        seen = [Condition(kind=AlertKind.RETENTION_BEHIND, subject_key="history")]
        settle(seen, [AlertKind.RETENTION_BEHIND], system.clock.now())
        Alert.objects.update(
            state="closed", open_key=None, closed_at=system.clock.now(), close_reason="by_person"
        )
        settle(seen, [AlertKind.RETENTION_BEHIND], system.clock.advance(3500))
        assert Alert.objects.count() == 1

        settle(seen, [AlertKind.RETENTION_BEHIND], system.clock.advance(200))

        assert Alert.objects.filter(state="open").count() == 1

    @staticmethod
    def _look(system: SchedulerHarness, workers: list[WorkerWatch]) -> None:
        for worker in workers:
            worker.look(system.clock.now())


def _beat_lives(system: SchedulerHarness) -> None:
    now = system.clock.now()
    processes.heartbeat(
        name="beat", kind=ProcessKind.BEAT, host="a", pid=1, started_at=now, running=0, now=now
    )
