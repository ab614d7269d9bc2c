"""A prefork child is never made while another thread of the worker is inside a database library."""

from __future__ import annotations

import os
import threading

import pytest

from scheduler.worker import process as tasks


@pytest.fixture(autouse=True)
def _own_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_in_database", threading.Lock())
    monkeypatch.setattr(tasks, "_fork_waited", False)


def test_a_fork_waits_until_the_heartbeat_has_left_the_database() -> None:
    tasks._in_database.acquire()
    forking = threading.Thread(target=tasks._before_fork)
    forking.start()

    forking.join(0.2)
    assert forking.is_alive()
    tasks._in_database.release()
    forking.join(30)
    assert not forking.is_alive()

    tasks._after_fork()
    assert not tasks._in_database.locked()


@pytest.mark.parametrize("is_child", [False, True])
def test_a_fork_in_an_outage_does_not_wait_for_its_end(
    monkeypatch: pytest.MonkeyPatch, is_child: bool
) -> None:
    monkeypatch.setattr(tasks, "_FORK_WAITS_SECONDS", 0.01)
    monkeypatch.setattr(tasks, "_main_pid", -1 if is_child else os.getpid())
    tasks._in_database.acquire()

    tasks._before_fork()
    tasks._after_fork()

    # The parent's heartbeat still holds it. A child has no such thread.
    assert tasks._in_database.locked() is not is_child
