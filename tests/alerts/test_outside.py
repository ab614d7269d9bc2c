"""What outsiders see: `/health/scheduler`, and what systemd is told."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from django.test import Client

from scheduler import service_manager
from scheduler.alerts import outside
from scheduler.clock import DatabaseClock
from scheduler.operations.queues import QueueControl
from scheduler.states import ProcessKind
from scheduler.store import processes
from scheduler.store.connection import database_now
from tests.harness.scheduler_harness import SchedulerHarness


@pytest.mark.django_db(transaction=True)
@pytest.mark.database
def test_the_scheduler_is_well_while_a_beat_ticks_and_work_finds_a_worker(
    system: SchedulerHarness, client: Client
):
    def well() -> bool:
        return outside.Health(outside.ask, system.clock.monotonic).is_well()

    assert not well()
    now = database_now()
    processes.heartbeat(
        name="b", kind=ProcessKind.BEAT, host="a", pid=1, started_at=now, running=0, now=now
    )
    assert well()

    system.execution(available_at=system.clock.now(), queue="q")  # long ago, for the database
    assert not well()

    QueueControl().pause("q", reason="the shop is closed")
    assert well()


@pytest.mark.django_db(transaction=True)
def test_the_probe_needs_no_sign_in_says_no_details_and_keeps_its_answer(client: Client):
    first = client.get("/health/scheduler")

    assert first.status_code in (200, 503)
    assert first.json() == {"status": "ok" if first.status_code == 200 else "failed"}
    assert "no-store" in first.headers["Cache-Control"]
    assert client.post("/health/scheduler").status_code == 405


def test_an_answer_is_kept_for_five_seconds_and_a_silent_database_is_not_waited_for():
    asked, at = [], [0.0]
    health = outside.Health(lambda: asked.append(1), lambda: at[0])
    for seconds in (0.0, 4.9, 5.1):
        at[0] = seconds
        assert health.is_well()
    assert len(asked) == 2

    def silent() -> None:
        raise TimeoutError

    assert not outside.Health(silent, DatabaseClock(database_now, 0).monotonic).is_well()


def test_systemd_is_told_by_a_datagram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not service_manager.notify("READY=1")
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        assert service_manager.notify("WATCHDOG=1")
        assert manager.recv(100) == b"WATCHDOG=1"
    path.unlink()
    assert not service_manager.notify("WATCHDOG=1")
