"""A prefork child is never made while another thread of the worker is inside a database library."""

from __future__ import annotations

import os
import threading

import pytest

from scheduler.worker import heartbeat


@pytest.fixture(autouse=True)
def _own_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "_in_database", threading.Lock())
    monkeypatch.setattr(heartbeat, "_fork_waited", False)


def test_a_fork_waits_until_the_heartbeat_has_left_the_database() -> None:
    heartbeat._in_database.acquire()
    forking = threading.Thread(target=heartbeat._before_fork)
    forking.start()

    forking.join(0.2)
    assert forking.is_alive()
    heartbeat._in_database.release()
    forking.join(30)
    assert not forking.is_alive()

    heartbeat._after_fork()
    assert not heartbeat._in_database.locked()


@pytest.mark.parametrize("is_child", [False, True])
def test_a_fork_in_an_outage_does_not_wait_for_its_end(
    monkeypatch: pytest.MonkeyPatch, is_child: bool
) -> None:
    monkeypatch.setattr(heartbeat, "_FORK_WAITS_SECONDS", 0.01)
    monkeypatch.setattr(heartbeat, "_main_pid", -1 if is_child else os.getpid())
    heartbeat._in_database.acquire()

    heartbeat._before_fork()
    heartbeat._after_fork()

    # The parent's heartbeat still holds it. A child has no such thread.
    assert heartbeat._in_database.locked() is not is_child
