"""Runs as Celery and Flower see them, in workers that no message tells of a run."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from jobu_project import brokers
from tests.harness.fork_server import the_fork_server
from tests.harness.servers import Redis
from tests.harness.servers.daemon import Daemon
from tests.harness.system import Part, System

pytestmark = pytest.mark.processes

APP = "tests.harness.fake_runs"
FOREVER = 600.0


class View:
    """A worker of tests/harness/fake_runs.py, and what others see of it."""

    def __init__(self, jobu: System, place: Path) -> None:
        self.jobu = jobu
        self.place = place
        self.jobu.environment["FAKE_RUNS"] = str(place)
        url = jobu.manage(
            "shell",
            "-c",
            "from django.conf import settings as s; import json;"
            "print(json.dumps([s.CELERY_BROKER_URL, s.CELERY_BROKER_TRANSPORT_OPTIONS]))",
        )
        broker, options = json.loads(url.strip().splitlines()[-1])
        brokers.register()
        self.app = Celery("watcher", broker=broker, set_as_current=False)
        self.app.conf.broker_transport_options = options

    def start(self, *arguments: str, pool: str = "threads") -> Part:
        log = self.place / f"{pool}.log"
        command = ["worker", f"--pool={pool}", "--concurrency=2", "--loglevel=INFO"]
        process = the_fork_server().start(
            ["-m", "celery", "-A", APP, *command, "--hostname=fake@here", *arguments],
            environment=self.jobu.environment,
            output=log,
        )
        part = Part("fake", Daemon.of(process, log))
        self.jobu.parts.append(part)
        part.wait_for_log("ready.")
        return part

    def run(
        self, id_: int, *, attempt: int = 1, seconds: float = 0, error: str = "", name: str = "mail"
    ) -> str:
        """Returns the id by which Celery knows the run."""
        text = json.dumps(
            {
                "id": id_,
                "attempt": attempt,
                "handler": name,
                "seconds": seconds,
                "error": error,
                "params": {"password": "hunter2"},
            }
        )
        written = self.place / f"{id_}.tmp"
        written.write_text(text)
        written.rename(self.place / f"{id_}.json")
        return f"jobu-{id_}-{attempt}"

    def ask(self, command: str, **arguments: Any) -> Any:
        answers = self.app.control.broadcast(
            command, arguments=arguments, reply=True, timeout=5, limit=1
        )
        return answers[0]["fake@here"] if answers else None

    def active(self) -> dict[str, dict[str, Any]]:
        return {request["id"]: request for request in self.ask("active") or []}

    def wait(self, predicate: Callable[[], Any], what: str, timeout: float = 20) -> Any:
        return self.jobu.wait_until(predicate, timeout, what)


@pytest.fixture(params=["redis", "files"])
def broker_url(request: pytest.FixtureRequest) -> str | None:
    if request.param == "files":
        return None
    server: Redis = request.getfixturevalue("redis_server")
    return server.create_database()


@pytest.fixture
def view(system: Any, broker_url: str | None, tmp_path: Path) -> View:
    jobu: System = system(broker_url=broker_url)
    jobu.migrate()
    place = tmp_path / "runs"
    place.mkdir()
    return View(jobu, place)


@pytest.fixture
def heard(view: View) -> Iterator[list[dict[str, Any]]]:
    """All events of tasks that somebody hears who listens now."""
    found: list[dict[str, Any]] = []
    ready, stop = threading.Event(), threading.Event()

    def listen() -> None:
        with view.app.connection() as connection:
            receiver = view.app.events.Receiver(connection, handlers={"*": found.append})
            while not stop.is_set():
                try:
                    for _ in receiver.consume(limit=None, timeout=0.5, wakeup=False):
                        ready.set()
                except TimeoutError:
                    ready.set()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    assert ready.wait(10)
    yield found
    stop.set()
    thread.join(5)


def of(heard: list[dict[str, Any]], uuid: str) -> list[str]:
    return [event["type"] for event in list(heard) if event.get("uuid") == uuid]


@pytest.mark.parametrize("pool", ["threads", "solo", "prefork"])
def test_celery_and_listeners_see_runs_and_the_tasks_of_the_shop(
    view: View, heard: list[dict[str, Any]], pool: str
):
    view.start("-E", pool=pool)

    lasting = view.run(1, seconds=FOREVER, name="report")
    done, failed = view.run(2), view.run(3, error="ValueError: no such account")

    view.wait(lambda: lasting in view.active(), "the run in `inspect active`")
    view.wait(lambda: "task-failed" in of(heard, failed), "the event of the failure")
    view.wait(lambda: "task-succeeded" in of(heard, done), "the event of the success")
    assert of(heard, done) == ["task-received", "task-started", "task-succeeded"]
    assert of(heard, lasting) == ["task-received", "task-started"]
    active = view.active()
    assert list(active) == [lasting]
    assert (active[lasting]["name"], active[lasting]["args"]) == ("report", [1])
    found = view.wait(lambda: view.ask("query_task", ids=[lasting]), "the run in `query_task`")
    ((state, info),) = found.values()
    assert (state, info["id"], info["name"]) == ("active", lasting, "report")
    stats = view.ask("stats")
    assert stats["jobu"]["queues"] == ["celery"]
    assert "hunter2" not in json.dumps([active, stats, heard])

    view.app.send_task("shop.add", (1, 2), queue="celery", task_id="a-task")
    view.wait(lambda: "task-succeeded" in of(heard, "a-task"), "the task of the shop")
    view.wait(lambda: heartbeats(heard)[-1:] == [(1, 3)], "the heartbeat that counts runs", 30)


def heartbeats(heard: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Returns (active, of all runs those that are known to be counted) of each heartbeat."""
    beats = [event for event in list(heard) if event["type"] == "worker-heartbeat"]
    return [(event.get("active", 0), min(3, event.get("processed", 0))) for event in beats]
