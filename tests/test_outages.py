"""Outages of database and broker while beats and workers run: all parts continue by themselves,
nothing is lost, and the log reports the outage once.
"""

from __future__ import annotations

import re
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.harness.process_helpers import (
    HANDLERS,
    SHORT,
    Ledger,
    assert_every_slot_has_one_row,
    assert_no_attempt_began_twice,
    insert_job,
    slots_recorded,
    stop_scheduling_and_drain,
)
from tests.harness.servers import MariaDB, Postgres, RabbitMQ, Redis
from tests.harness.system import Part, System

pytestmark = [pytest.mark.processes]

# Poll interval, the longest back-off of beat and of Celery's consumer, and time for a busy machine.
RETURN_BOUND_SECONDS = 0.5 + 5 + 30
LONG = [6, pytest.param(60, marks=pytest.mark.slow)]
# In addition to one record a second: one for each new attempt, one for each message in transit, and
# of each child those of its tries to write an end, twice a second as long as its lease lasts.
RECORDS_PER_OUTAGE = 32
RECORD = re.compile(r"\d\d:\d\d:\d\d\.\d\d\d (?!INFO|DEBUG)")


def start(jobu: System, ledger: Ledger) -> list[Part]:
    for number in range(5):
        insert_job(jobu, f"job {number}", misfire_grace_seconds=3600)
    parts = [jobu.start_beat(), jobu.start_worker(), jobu.start_worker(pool="threads")]
    jobu.wait_until(lambda: ledger.count("end") > 10, 90, "the first runs")
    return parts


def assert_all_goes_on(jobu: System, ledger: Ledger, parts: list[Part]) -> None:
    """Checks that new slots run in time, and that all runs end."""
    ended = ledger.count("end")
    jobu.wait_until(
        lambda: ledger.count("end") > ended + 10, RETURN_BOUND_SECONDS, "runs after the outage"
    )
    assert all(part.is_alive for part in parts), jobu.logs()
    stop_scheduling_and_drain(jobu, timeout=120)
    assert_every_slot_has_one_row(jobu)
    assert_no_attempt_began_twice(ledger)
    found = jobu.sql("SELECT DISTINCT status FROM job_executions")
    assert found == [{"status": "SUCCESS"}]


def passes(jobu: System, seconds: float) -> None:
    """Lets real time pass during an outage."""
    with pytest.raises(subprocess.TimeoutExpired):
        jobu.parts[0].wait(seconds)


def count_in_log(part: Part, text: str) -> int:
    return part.log().count(text)


def assert_no_flood(part: Part, lines_before: int, seconds: int) -> None:
    new = [line for line in part.log().splitlines()[lines_before:] if RECORD.match(line)]
    assert len(new) < RECORDS_PER_OUTAGE + seconds, "\n".join(new)


# --- the database ---------------------------------------------------------------------------------


@pytest.mark.database
@pytest.mark.parametrize("seconds", LONG)
def test_beat_and_workers_survive_an_outage_of_the_database(
    jobu: System, ledger: Ledger, job_server: Postgres | MariaDB | None, seconds: int
) -> None:
    parts = start(jobu, ledger)
    beat = parts[0]
    lines = {part: len(part.log().splitlines()) for part in parts}

    if job_server is None:
        with closing(sqlite3.connect(sqlite_path(jobu), isolation_level=None)) as greedy:
            greedy.execute("BEGIN EXCLUSIVE")
            passes(jobu, seconds)
            greedy.execute("ROLLBACK")
    else:
        job_server.kill()
        passes(jobu, seconds)
        job_server.start()

    # Runs that were in progress when the outage began may have lost their lease and run again.
    ended = ledger.count("end")
    jobu.wait_until(
        lambda: ledger.count("end") > ended + 10, RETURN_BOUND_SECONDS, "runs after the outage"
    )
    assert all(part.is_alive for part in parts), jobu.logs()
    stop_scheduling_and_drain(jobu, timeout=180)
    assert_every_slot_has_one_row(jobu)
    assert_no_attempt_began_twice(ledger)
    assert jobu.sql("SELECT DISTINCT status FROM job_executions") == [{"status": "SUCCESS"}]
    if job_server is not None:
        assert count_in_log(beat, "beat cannot work") == 1
        assert count_in_log(beat, "beat works again after") == 1
    for part, before in lines.items():
        assert_no_flood(part, before, seconds)


def sqlite_path(jobu: System) -> str:
    return jobu.database_url.removeprefix("sqlite:///")


# --- the broker -----------------------------------------------------------------------------------


class Broker:
    def __init__(self, server: Redis | RabbitMQ) -> None:
        self.server = server
        self.url = (
            server.create_database() if isinstance(server, Redis) else server.create_vhost("jobu")
        )


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    made = Broker(request.getfixturevalue(f"{request.param}_server"))
    yield made
    made.server.heal()


@pytest.fixture
def brokered(system: Callable[..., System], broker: Broker, ledger: Ledger) -> System:
    """A system on each of the brokers; no process is started yet."""
    made = system(
        broker_url=broker.url,
        config=SHORT,
        handler_paths=(HANDLERS,),
        environment={"JOBU_TEST_LEDGER": str(ledger.path)},
    )
    made.migrate()
    return made


@pytest.mark.parametrize("seconds", LONG)
def test_beat_and_workers_survive_an_outage_of_the_broker(
    brokered: System, ledger: Ledger, broker: Broker, seconds: int
) -> None:
    parts = start(brokered, ledger)
    beat = parts[0]
    lines = {part: len(part.log().splitlines()) for part in parts}

    broker.server.kill()
    before, begun = slots_recorded(brokered), ledger.count("begin")
    passes(brokered, seconds)
    # Slots are still recorded and run: the broker only wakes the workers, and threads look by
    # themselves.
    assert slots_recorded(brokered) >= before + 5 * (seconds - 3)
    assert ledger.count("begin") >= begun + 5 * (seconds - 3)
    broker.server.start()

    # Nothing is sent for up to 10 s after the last failure.
    beat.wait_for_log("the broker takes messages again after", RETURN_BOUND_SECONDS)
    assert_all_goes_on(brokered, ledger, parts)
    assert count_in_log(beat, "the broker takes no messages") == 1
    assert count_in_log(beat, "the broker takes messages again after") == 1
    for part, count in lines.items():
        assert_no_flood(part, count, seconds)


def test_no_run_waits_for_a_message_that_the_broker_has_lost(
    jobu: System, ledger: Ledger, redis_server: Redis
) -> None:
    """Redis loses all of them. RabbitMQ, which keeps them, crashes in the test above."""
    parts = start(jobu, ledger)
    for _ in range(3):
        redis_server.kill()
        redis_server.start()
        ended = ledger.count("end")
        jobu.wait_until(
            lambda ended=ended: ledger.count("end") > ended + 5,  # type: ignore[misc]
            RETURN_BOUND_SECONDS,
            "runs after a crash of the broker",
        )
    assert_all_goes_on(jobu, ledger, parts)


def test_rabbitmq_delivers_runs_like_redis(
    system: Callable[..., Any], rabbitmq_server: RabbitMQ, ledger: Ledger
) -> None:
    jobu: System = system(
        broker_url=rabbitmq_server.create_vhost("jobu"),
        config=SHORT,
        handler_paths=(HANDLERS,),
        environment={"JOBU_TEST_LEDGER": str(ledger.path)},
    )
    jobu.migrate()
    for number in range(40):
        insert_job(jobu, f"job {number}", misfire_grace_seconds=3600)
    parts = [jobu.start_beat(), jobu.start_beat(), jobu.start_worker(), jobu.start_worker()]
    jobu.wait_until(lambda: ledger.count("end") > 200, 90, "200 runs")
    doomed = parts[-1]
    doomed.kill()
    parts[-1] = jobu.start_worker()
    stop_scheduling_and_drain(jobu, timeout=120)

    assert_every_slot_has_one_row(jobu)
    assert_no_attempt_began_twice(ledger)
    assert jobu.sql("SELECT DISTINCT status FROM job_executions") == [{"status": "SUCCESS"}]
