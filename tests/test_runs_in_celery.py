"""jobu's own worker as Celery sees it: events, `inspect active`, revoke. No message names a run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from celery import Celery

from tests.harness.process_helpers import (
    HANDLERS,
    SHORT,
    Ledger,
    execution,
    insert_run,
    wait_until_final,
    wait_until_running,
)
from tests.harness.servers import Redis
from tests.harness.system import System

pytestmark = [pytest.mark.processes]


class Watcher:
    """Somebody who listens to events and asks workers, as Flower does."""

    def __init__(self, broker_url: str) -> None:
        self.app = Celery("watcher", broker=broker_url, set_as_current=False)
        self.events: list[dict[str, Any]] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def of(self, uuid: str) -> list[str]:
        return [event["type"] for event in list(self.events) if event.get("uuid") == uuid]

    def active(self) -> dict[str, str]:
        answers = self.app.control.broadcast("active", reply=True, timeout=5, limit=1)
        return {
            run["id"]: run["name"] for answer in answers for runs in answer.values() for run in runs
        }

    def _listen(self) -> None:
        with self.app.connection() as connection:
            self._receiver = self.app.events.Receiver(
                connection, handlers={"*": self.events.append}
            )
            self._receiver.on_consume_ready = lambda *_, **__: self._ready.set()
            # Without a timeout: after one it would subscribe anew, and miss what comes meanwhile.
            self._receiver.capture(limit=None, timeout=None, wakeup=False)

    def close(self) -> None:
        self._receiver.should_stop = True
        self._thread.join(5)


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_celery_sees_runs_and_no_wake_ups(
    system: Callable[..., System], redis_server: Redis, ledger: Ledger, pool: str
) -> None:
    url = redis_server.create_database()
    jobu = system(
        broker_url=url,
        config=SHORT,
        handler_paths=(HANDLERS,),
        environment={"JOBU_TEST_LEDGER": str(ledger.path)},
    )
    jobu.migrate()
    with closing(Watcher(url)) as watcher:
        jobu.start_worker("-E", pool=pool).wait_for_log("ready.")
        slow = insert_run(jobu, "slow_first_time")
        wait_until_running(jobu, slow)
        uuid = f"jobu-{slow}-1"
        jobu.wait_until(
            lambda: watcher.active() == {uuid: "slow_first_time"}, 20, "the run in inspect active"
        )
        watcher.app.control.revoke(uuid, terminate=True)
        assert wait_until_final(jobu, slow, 30)["status"] == "CANCELLED"
        quick, broken = insert_run(jobu, "ledger"), insert_run(jobu, "unknown", max_retry=0)
        late = insert_run(jobu, "slow_first_time", timeout_seconds=1, max_retry=0)
        for run, kinds in (
            (slow, ["task-received", "task-started", "task-revoked"]),
            (quick, ["task-received", "task-started", "task-succeeded"]),
            (broken, ["task-received", "task-started", "task-failed"]),
            (late, ["task-received", "task-started", "task-failed"]),
        ):
            jobu.wait_until(
                lambda run=run, kinds=kinds: watcher.of(f"jobu-{run}-1") == kinds,  # type: ignore[misc]
                20,
                f"the events of {execution(jobu, run)['handler_name']}",
            )
        names = {event.get("name") for event in watcher.events} - {None}
        assert names == {"slow_first_time", "ledger", "unknown"}
