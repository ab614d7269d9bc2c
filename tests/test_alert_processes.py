"""Alerts of real beats and workers: each once, also when a beat dies at any point."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conftest import SystemFactory
from tests.harness.fork_server import ForkedProcess, the_fork_server
from tests.harness.system import System
from tests.harness.waiting import wait_until

pytestmark = [pytest.mark.processes, pytest.mark.database]

# Nobody listens there: what is told is seen in the rows.
CHANNEL = {
    "kind": "webhook", "url": "http://127.0.0.1:49151/", "secret": "a" * 32,
    "allow_private": True, "allow_http": True,
}  # fmt: skip
CONFIG: dict[str, dict[str, Any]] = {
    "scheduler": {
        "min_cron_interval_seconds": 1,
        "alerts": {"channels": {"hook": CHANNEL}, "default_channels": ["hook"]},
    },
    # A worker looks for beats with each of its heartbeats.
    "worker": {"heartbeat_seconds": 1},
}
RULES = {"failed": True, "recovered": True}


def right_now() -> str:
    now = datetime.now(UTC)  # noqa: TID251 - real processes use the real time
    return now.strftime("%Y-%m-%d %H:%M:%S.%f")


@pytest.fixture
def jobu(system: SystemFactory) -> System:
    made = system(config=CONFIG)
    made.migrate()
    return made


def insert_job(jobu: System, expression: str, **params: Any) -> int:
    jobu.sql(
        "insert into cron_jobs (name, cron_expression, timezone, handler_name, handler_params,"
        " alert_rules, max_retry) values (%s, %s, 'UTC', 'sample', %s, %s, 0)",
        "watched", expression, json.dumps(params), json.dumps(RULES),
    )  # fmt: skip
    return int(jobu.sql("select id from cron_jobs")[0]["id"])


def alerts_of(jobu: System) -> list[tuple[str, str, str]]:
    rows = jobu.sql("select kind, state, close_reason from jobu_alerts order by id")
    return [(row["kind"], row["state"], row["close_reason"]) for row in rows]


# On PostgreSQL: tests/test_every_alert.py.
@pytest.mark.database("sqlite", "mysql")
def test_three_beats_tell_once_of_a_failure_and_of_its_end_and_a_worker_that_no_beat_is_left(
    jobu: System,
):
    beats = [jobu.start_beat() for _ in range(3)]
    worker = jobu.start_worker(pool="threads")
    worker.wait_for_log("ready")
    job_id = insert_job(jobu, "* * * * * *", should_fail=True)
    failed = ("failed", "open", "")
    jobu.wait_until(lambda: alerts_of(jobu) == [failed], 40, "one alert")

    calm = json.dumps({"message": "well"})
    jobu.sql("update cron_jobs set handler_params = %s where id = %s", calm, job_id)
    over = ("failed", "closed", "recovered")
    jobu.wait_until(lambda: alerts_of(jobu) == [over], 40, "its end")
    for beat in beats:
        beat.terminate()
    jobu.wait_until(
        lambda: alerts_of(jobu) == [over, ("no_beat", "open", "")], 40, "the worker's alert"
    )

    told = jobu.sql("select event, count(*) as times from jobu_alert_messages group by event")
    assert {row["event"]: row["times"] for row in told} == {"opened": 2, "closed": 1}


def test_a_beat_that_dies_while_it_tells_repeats_nothing_and_loses_nothing(jobu: System):
    job_id = insert_job(jobu, "0 0 1 1 *")
    for _ in range(3):
        now = right_now()
        jobu.sql(
            "insert into job_executions (job_id, job_name, handler_name, scheduled_time, status,"
            " attempt, started_at, finished_at) values (%s, 'watched', 'sample', %s, 'FAILED', 1,"
            " %s, %s)",
            job_id, now, now, now,
        )  # fmt: skip
    told = {"alerts.advanced": 0, "alerts.written": 0, "alerts.committed": 1}
    for point, alerts in told.items():
        dying = _beat(jobu, crash=point)
        code = wait_until(dying.poll, 40, f"the crash at {point}", details=jobu.logs)
        assert code == -signal.SIGKILL
        assert len(alerts_of(jobu)) == alerts, point

    healthy = jobu.start_beat()
    jobu.wait_until(lambda: alerts_of(jobu) == [("failed", "open", "")], 40, "the alert")
    healthy.wait_for_log("beat")
    seen = jobu.sql("select count from jobu_alerts")
    messages = jobu.sql("select event, channel from jobu_alert_messages")

    assert [row["count"] for row in seen] == [3]
    assert [(row["event"], row["channel"]) for row in messages] == [("opened", "hook")]


def _beat(jobu: System, *, crash: str) -> ForkedProcess:
    return the_fork_server().start(
        ["-m", "tests.crashes.part", f"--crash={crash}", "beat"],
        environment=jobu.environment,
        output=jobu.place / "dying.log",
    )
