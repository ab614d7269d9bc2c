"""A Celery app whose worker plays runs: what Celery sees of them is real, the runs are files.

A run is a file in the directory that FAKE_RUNS names: `<execution id>.json` with attempt, handler,
seconds and error. A worker takes it by renaming it. With threads and solo a thread of the worker
does so; with prefork the children do, which only `Feed` wakes.
"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import django
from celery import Celery, Task

from jobu_project import brokers

django.setup()
brokers.register()

# After django.setup(): they import models.
from scheduler.worker import celery_steps, revoking  # noqa: E402
from scheduler.worker.board import Board  # noqa: E402
from scheduler.worker.run_events import RunEvents, run_uuid  # noqa: E402
from scheduler.worker.run_requests import RunRequests, WakeUpRequest  # noqa: E402

WORK = "fake.work"
PLACE = Path(os.environ["FAKE_RUNS"])

app = Celery("fake")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.task_ignore_result = True

PAGES = "https://jobu.example.com/admin/scheduler"
board = Board()
events = RunEvents(board, page_of=lambda number: f"{PAGES}/jobexecution/{number}/change/")
requests: RunRequests | None = None
is_draining = threading.Event()
changes: list[tuple[str, ...]] = []
stops: list[threading.Event] = []


def waiting() -> list[Path]:
    return sorted(PLACE.glob("*.json"))


def claim() -> dict[str, Any] | None:
    for path in waiting():
        taken = path.with_suffix(".taken")
        try:
            path.rename(taken)
        except FileNotFoundError:
            continue
        found: dict[str, Any] = json.loads(taken.read_text())
        return found
    return None


def play(run: dict[str, Any]) -> None:
    stopped = threading.Event()
    stops.append(stopped)
    uuid = run_uuid(run["id"], run["attempt"])
    assert requests is not None
    requests.began(uuid, run["handler"], "celery", execution_id=run["id"], stop=stopped.set)
    events.received(uuid, run["handler"], lambda: run["params"], run["attempt"], "celery")
    events.started(uuid)
    began = time.monotonic()
    stopped.wait(run["seconds"])
    seconds = time.monotonic() - began
    if stopped.is_set() or run["error"] == "cancelled":
        events.revoked(uuid)
    elif run["error"]:
        events.failed(uuid, run["error"], f"Traceback\n{run['error']}", seconds)
    else:
        events.succeeded(uuid, seconds)
    requests.ended(uuid)


class Work(Task):  # type: ignore[misc]
    Request = WakeUpRequest
    send_events = False


@app.task(base=Work, name=WORK)
def work(*_: Any, **__: Any) -> None:
    while (run := claim()) is not None:
        play(run)
        if board.others_wait:
            return


@app.task(name="shop.add")
def add(a: int, b: int) -> int:
    return a + b


@app.task(name="shop.wait")
def wait(seconds: float) -> None:
    threading.Event().wait(seconds)


def fetch() -> None:
    while not is_draining.wait(0.05):
        run = claim()
        if run is not None:
            threading.Thread(target=play, args=(run,), daemon=True).start()


def prepare(worker: Any) -> None:
    global requests
    requests = RunRequests(worker.hostname)


def start(worker: Any) -> None:
    has_children = celery_steps.has_children(worker)
    events.start(app, worker.hostname, monotonic=time.monotonic, has_children=has_children)
    if not has_children:
        threading.Thread(target=fetch, daemon=True).start()


def stop(worker: Any) -> None:
    """Ends the runs at once, as at the end of a drain."""
    is_draining.set()
    for stopped in stops:
        stopped.set()
    deadline = time.monotonic() + 5
    while requests and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    events.close()


def refresh() -> None:
    if requests is not None:
        requests.refresh()


celery_steps.Runs.hooks = celery_steps.RunsHooks(
    prepare=prepare,
    start=start,
    close=lambda worker: is_draining.set(),
    stop=stop,
    terminate=stop,
    info=lambda worker: {
        "events": board.events_on,
        "queues": list(board.queues),
        "others_wait": board.others_wait,
        "running": len(requests or ()),
        "changes": len(changes),
    },
)
celery_steps.Watch.hooks = celery_steps.WatchHooks(
    board=board,
    task_name=WORK,
    on_change=lambda: changes.append(board.queues),
    on_reconnect=events.broker_returned,
    refresh=refresh,
)
celery_steps.Feed.hooks = celery_steps.FeedHooks(task_name=WORK, how_many=lambda: len(waiting()))
celery_steps.install(app)
celery_steps.install(app)
revoking.install()
revoking.install()
