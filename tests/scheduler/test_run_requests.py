"""Runs in Celery's own sets of requests, which its commands and its heartbeat read."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from celery.worker import state

from scheduler.worker.run_requests import RunRequest, RunRequests


@pytest.fixture(autouse=True)
def _empty_state() -> Iterator[None]:
    state.reset_state()
    yield
    state.reset_state()


def begin(requests: RunRequests, uuid: str, stop: threading.Event | None = None) -> None:
    stopped = stop or threading.Event()
    requests.began(uuid, "mail", "mails", execution_id=17, stop=stopped.set)


def test_run_is_a_request_from_one_refresh_to_another():
    requests = RunRequests("worker@here")
    begin(requests, "jobu-17-1")
    assert not state.active_requests  # only the main loop changes Celery's sets

    requests.refresh()
    (request,) = state.active_requests
    assert (request.id, request.info()["worker_pid"] > 0) == ("jobu-17-1", True)
    assert state.requests["jobu-17-1"] is request
    assert not state.reserved_requests  # the autoscaler counts those
    requests.ended("jobu-17-1")
    requests.refresh()

    assert not state.active_requests
    assert not state.requests
    assert state.all_total_count == [1]


def test_runs_too_short_to_be_seen_are_counted():
    requests = RunRequests("worker@here")
    for number in range(100):
        begin(requests, f"jobu-{number}-1")
        if number == 50:
            requests.refresh()
        requests.ended(f"jobu-{number}-1")
    requests.refresh()

    assert dict(state.total_count) == {"mail": 100}
    assert state.all_total_count == [100]
    assert len(requests) == 0


def test_celery_stops_a_run_when_it_ends_at_once():
    requests, stopped = RunRequests("worker@here"), threading.Event()
    begin(requests, "jobu-17-1", stopped)
    requests.refresh()

    (request,) = state.active_requests
    request.cancel(None, emit_retry=True)

    assert isinstance(request, RunRequest)
    assert stopped.is_set()


def test_main_loop_looks_at_the_requests_while_threads_report_runs():
    """A WeakSet that changes while somebody goes through it raises RuntimeError."""
    requests, stop = RunRequests("worker@here"), threading.Event()

    def report(first: int) -> None:
        number = first
        while not stop.is_set():
            begin(requests, f"jobu-{number}-1")
            requests.ended(f"jobu-{number - 50}-1")
            number += 10

    threads = [threading.Thread(target=report, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    seen = 0
    for _ in range(200):
        requests.refresh()
        seen += len([request.info() for request in state.active_requests])
    stop.set()
    for thread in threads:
        thread.join()
    assert seen
