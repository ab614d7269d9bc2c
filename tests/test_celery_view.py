"""Runs as Celery and Flower see them, in workers that no message tells of a run."""

from __future__ import annotations

import json
import os
import signal
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from jobu_project import brokers
from scheduler.clock import host_timestamp
from tests.harness.fork_server import the_fork_server
from tests.harness.process_helpers import execution, insert_run
from tests.harness.servers import Redis
from tests.harness.servers.base import free_port
from tests.harness.servers.daemon import Daemon
from tests.harness.system import Part, System

pytestmark = pytest.mark.processes

APP = "tests.harness.fake_runs"
FOREVER = 600.0


_KNOWN: dict[str, str] = {}


def broker_settings(jobu: System) -> tuple[str, dict[str, Any]]:
    """Returns the URL and the options of jobu's broker. Asks one process for each kind of broker.

    Two systems differ in the URL of Redis, or in the directory of the file broker.
    """
    own = jobu.broker_url or str(jobu.data_dir)
    kind = "redis" if jobu.broker_url else "files"
    if kind not in _KNOWN:
        said = jobu.manage(
            "shell",
            "-c",
            "from django.conf import settings as s; import json;"
            "print(json.dumps([s.CELERY_BROKER_URL, s.CELERY_BROKER_TRANSPORT_OPTIONS]))",
        )
        assert own in said
        _KNOWN[kind] = said.strip().splitlines()[-1].replace(own, "OWN")
    url, options = json.loads(_KNOWN[kind].replace("OWN", own))
    return url, options


class View:
    """A worker of tests/harness/fake_runs.py, and what others see of it."""

    def __init__(self, jobu: System, place: Path) -> None:
        self.jobu = jobu
        self.place = place
        self.jobu.environment["FAKE_RUNS"] = str(place)
        broker, options = broker_settings(jobu)
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


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> str:
    """Redis, unless a test says more."""
    return getattr(request, "param", "redis")


@pytest.fixture
def view(request: pytest.FixtureRequest, system: Any, broker: str, tmp_path: Path) -> View:
    server: Redis | None = request.getfixturevalue("redis_server") if broker == "redis" else None
    jobu: System = system(broker_url=server and server.create_database())
    jobu.migrate()
    place = tmp_path / "runs"
    place.mkdir()
    return View(jobu, place)


@pytest.fixture
def heard(view: View) -> Iterator[list[dict[str, Any]]]:
    """All events of tasks that somebody hears who listens now."""
    found: list[dict[str, Any]] = []
    ready = threading.Event()
    with view.app.connection() as connection:
        receiver = view.app.events.Receiver(connection, handlers={"*": found.append})
        receiver.on_consume_ready = lambda *_, **__: ready.set()

        def listen() -> None:
            # Without a timeout: after one it would subscribe anew, and nobody keeps what is sent
            # to this queue meanwhile.
            for _ in receiver.consume(limit=None, timeout=None, wakeup=False):
                pass

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        assert ready.wait(10)
        yield found
        receiver.should_stop = True
        thread.join(5)


def of(heard: list[dict[str, Any]], uuid: str) -> list[str]:
    return [event["type"] for event in list(heard) if event.get("uuid") == uuid]


@pytest.mark.parametrize(
    ("pool", "broker"),
    [
        ("threads", "redis"),
        ("prefork", "files"),
        ("solo", "redis"),
        # Each pool and each broker once is enough to see that both matter to nobody.
        pytest.param("prefork", "redis", marks=pytest.mark.slow),
        pytest.param("threads", "files", marks=pytest.mark.slow),
        pytest.param("solo", "files", marks=pytest.mark.slow),
    ],
    indirect=["broker"],
)
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


def test_nothing_is_sent_until_somebody_wants_to_see_it(view: View, heard: list[dict[str, Any]]):
    view.start()
    first = view.run(1)
    view.wait(lambda: not list(view.place.glob("*.json")), "the run to be taken")
    assert view.ask("stats")["jobu"]["events"] is False

    assert "ok" in view.ask("enable_events")
    view.wait(lambda: view.ask("stats")["jobu"]["events"], "the worker to notice", 2)
    second = view.run(2)
    view.wait(lambda: "task-succeeded" in of(heard, second), "the events of the second run")
    assert "ok" in view.ask("disable_events")
    view.wait(lambda: not view.ask("stats")["jobu"]["events"], "the worker to notice", 2)
    third = view.run(3)
    view.wait(lambda: not list(view.place.glob("*.json")), "the run to be taken")
    view.wait(lambda: view.ask("stats")["total"].get("mail") == 3, "all runs in the statistics")

    assert of(heard, first) == of(heard, third) == []


def test_worker_follows_its_queues_and_knows_who_waits(view: View):
    view.start(pool="prefork")
    assert view.ask("stats")["jobu"]["queues"] == ["celery"]

    view.ask("add_consumer", queue="mails")
    view.wait(lambda: view.ask("stats")["jobu"]["queues"] == ["celery", "mails"], "the queue", 5)
    view.ask("cancel_consumer", queue="celery")
    view.wait(lambda: view.ask("stats")["jobu"]["queues"] == ["mails"], "the other queue", 5)
    assert view.ask("stats")["jobu"]["changes"] == 3

    for id_ in (1, 2):
        view.run(id_, seconds=FOREVER)
    view.wait(lambda: len(view.active()) == 2, "two runs in the two children")
    view.app.send_task("shop.add", (1, 2), queue="mails")
    view.wait(lambda: view.ask("stats")["jobu"]["others_wait"] == 1, "the task that waits", 5)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGQUIT])
def test_worker_that_ends_reports_its_last_runs(
    view: View, heard: list[dict[str, Any]], end: signal.Signals
):
    worker = view.start("-E")
    lasting = view.run(1, seconds=FOREVER)
    view.wait(lambda: lasting in view.active(), "the run")

    worker.send(end)

    view.wait(lambda: "task-revoked" in of(heard, lasting), "the end of the run")
    worker.wait(20)
    assert "Traceback" not in worker.log()


def test_run_of_a_child_that_was_killed_is_active_no_longer(view: View):
    view.start(pool="prefork")
    lasting = view.run(1, seconds=FOREVER)
    pid = view.wait(lambda: view.active().get(lasting, {}).get("worker_pid"), "the run")

    os.kill(pid, signal.SIGKILL)

    view.wait(lambda: lasting not in view.active(), "Celery to notice", 30)
    after = view.run(2, seconds=FOREVER)
    view.wait(lambda: after in view.active(), "a run in another child")


RUNNING = {
    "status": "RUNNING",
    "attempt": 3,
    "lease_token": "a token",
    "lease_expires_at": "2099-01-01 00:00:00",
    "deadline_at": "2099-01-01 00:00:00",
}


# What a revoke writes: tests/scheduler/test_revoking.py, on each database.
def test_revoke_and_terminate_cancel_runs_and_nothing_else(view: View):
    jobu = view.jobu
    waiting, running, other = (
        insert_run(jobu, "mail"),
        insert_run(jobu, "mail", **RUNNING),
        insert_run(jobu, "mail", **RUNNING),
    )
    view.start("-E")
    in_shop = view.app.send_task("shop.wait", (FOREVER,), queue="celery").id
    view.wait(lambda: in_shop in view.active(), "the task of the shop")

    said = view.ask("revoke", task_id=[f"jobu-{waiting}-1", "a-foreign-task"])
    assert said["ok"].startswith(f"jobu-{waiting}-1: cancelled; ")
    assert "a-foreign-task" in said["ok"]
    assert view.ask("revoked") == ["a-foreign-task"]
    assert execution(jobu, waiting)["status"] == "CANCELLED"
    assert execution(jobu, waiting)["error_message"] == "cancelled by celery"

    said = view.ask("terminate", signal="KILL", task_id=f"jobu-{running}-3")
    assert said == {"ok": f"jobu-{running}-3: its worker is asked to cancel it"}
    assert execution(jobu, running)["cancel_requested_at"] is not None
    said = view.ask("revoke", task_id=f"jobu-{running}-3", terminate=True)
    assert said == {"ok": f"jobu-{running}-3: it is being cancelled already"}
    assert jobu.sql("SELECT count(*) AS n FROM jobu_activity")[0]["n"] == 2

    said = view.ask("revoke", task_id=f"jobu-{other}-2")
    assert "the execution is at attempt 3" in said["error"]
    assert execution(jobu, other)["cancel_requested_at"] is None


def test_garbage_is_answered_with_an_error(view: View):
    view.start()

    for garbage in ("jobu-", "jobu-1", "jobu-x-1", f"jobu-{10**17}-1", f"jobu-{2**63}-1"):
        said = view.ask("revoke", task_id=[garbage])
        assert said == {"error": f"{garbage}: no run has such an id"}
    assert view.ask("revoke", task_id=[17, None]) == {"error": "ids of tasks must be texts"}
    assert view.ask("ping") == {"ok": "pong"}


class Flower:
    """Flower beside the worker, without a login."""

    def __init__(self, view: View) -> None:
        self.port = free_port()
        log = view.place / "flower.log"
        process = the_fork_server().start(
            ["-m", "celery", "-A", APP, "flower", "--address=127.0.0.1", f"--port={self.port}"],
            environment=view.jobu.environment | {"FLOWER_UNAUTHENTICATED_API": "true"},
            output=log,
        )
        view.jobu.parts.append(Part("flower", Daemon.of(process, log)))
        view.wait(lambda: self.get("/healthcheck"), "Flower", 30)

    def get(self, path: str, *, method: str = "GET") -> str:
        """Returns what Flower answers; nothing while it does not."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    def task(self, uuid: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get(f"/api/task/info/{uuid}") or "{}")
        return found


@pytest.mark.parametrize("pool", ["threads", pytest.param("prefork", marks=pytest.mark.slow)])
def test_flower_shows_runs_and_its_buttons_cancel_them(view: View, redis_server: Redis, pool: str):
    row = insert_run(view.jobu, "mail", **RUNNING)
    worker = view.start(pool=pool)
    flower = Flower(view)
    view.wait(lambda: view.ask("stats")["jobu"]["events"], "Flower to ask for events")

    began = host_timestamp()
    lasting = view.run(row, attempt=3, seconds=FOREVER)
    done, failed = view.run(102, seconds=0.3), view.run(103, error="ValueError: no account")
    cancelled = view.run(104, error="cancelled")

    def states() -> list[str]:
        return [str(flower.task(uuid).get("state")) for uuid in (lasting, done, failed, cancelled)]

    view.wait(lambda: states() == ["STARTED", "SUCCESS", "FAILURE", "REVOKED"], "all four states")
    task = flower.task(done)
    assert (task["name"], task["worker"], task["retries"]) == ("mail", "fake@here", 0)
    assert task["runtime"] == pytest.approx(0.3, abs=0.2)
    assert abs(task["timestamp"] - began) < 30
    assert "ValueError: no account" in flower.task(failed)["exception"]
    page = "https://jobu.example.com/admin/scheduler/jobexecution/{}/change/"
    for uuid, number in ((done, 102), (failed, 103), (cancelled, 104)):
        assert page.format(number) in flower.get(f"/task/{uuid}"), "the way back to our page"
    pages = flower.get(f"/task/{done}") + flower.get("/tasks") + flower.get("/worker/fake@here")
    assert "hunter2" not in pages

    flower.get(f"/api/task/revoke/{lasting}?terminate=true", method="POST")
    view.wait(lambda: execution(view.jobu, row)["cancel_requested_at"], "Flower's button")

    redis_server.kill()
    meanwhile = view.run(105) if pool == "threads" else None
    view.wait(lambda: "Connection to broker lost" in worker.log(), "the worker to notice")
    redis_server.start()
    if meanwhile is not None:
        found = view.wait(lambda: flower.task(meanwhile), "the run of the outage", 45)
        assert (found["state"], found["name"]) == ("SUCCESS", "mail")
    after = view.run(106)
    view.wait(lambda: flower.task(after).get("state") == "SUCCESS", "a run after the outage", 90)


def heartbeats(heard: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Returns (active, of all runs those that are known to be counted) of each heartbeat."""
    beats = [event for event in list(heard) if event["type"] == "worker-heartbeat"]
    return [(event.get("active", 0), min(3, event.get("processed", 0))) for event in beats]
