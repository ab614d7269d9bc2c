"""`manage.py probe` on a working system, on an idle system, and without database or broker."""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import Any

import pytest

from scheduler.models import JobExecution, SchedulerProcess
from scheduler.operations.control import Control
from tests.conftest import SystemFactory
from tests.test_commands import manage, run

HERE = socket.gethostname()


def alive(kind: str, *, seconds_ago: float = 1, host: str = HERE) -> None:
    at = Control().clock.now() - timedelta(seconds=seconds_ago)
    SchedulerProcess.objects.create(
        name=f"{kind}@{host}:{seconds_ago}", kind=kind, host=host, pid=1, started_at=at,
        heartbeat_at=at,
    )  # fmt: skip


def waiting(seconds: float) -> None:
    at = Control().clock.now() - timedelta(seconds=seconds)
    JobExecution.objects.create(handler_name="sample", scheduled_time=at, available_at=at)


@pytest.mark.database
@pytest.mark.django_db
def test_a_working_system_is_reported_in_one_line():
    alive("beat")
    alive("worker")

    done = run("probe")

    assert done.code == 0
    assert done.out.startswith("OK: a beat ticked ")
    assert done.out.count("\n") == 1
    facts = run("probe", "--json").json
    assert (facts["ok"], facts["problems"]) == (True, [])
    assert (facts["beats_alive"], facts["workers_alive"]) == (1, 1)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 1),
        (["--max-beat-age", 300], 0),
        (["--max-beat-age", 0], 0),
        (["--max-beat-age", 90], 1),
    ],
)
def test_last_tick_that_is_too_old_is_reported(arguments: list[Any], code: int):
    alive("beat", seconds_ago=120)
    alive("worker")

    done = run("probe", *arguments)

    assert done.code == code
    assert code == 0 or "FAILED: the last beat ticked 2 min" in done.out


@pytest.mark.django_db
def test_run_that_waits_long_for_a_worker_is_reported():
    alive("beat")
    alive("worker")
    waiting(650)

    assert "a run has waited 10 min 50 s for a worker" in run("probe").out
    assert run("probe").code == 1
    assert run("probe", "--max-waiting-age", 900).code == 0
    assert run("probe", "--max-waiting-age", 0).code == 0


@pytest.mark.django_db
def test_workers_with_a_fresh_heartbeat_are_counted():
    alive("beat")
    alive("worker")
    alive("worker", seconds_ago=31)

    done = run("probe", "--min-workers", 2)

    assert done.code == 1
    assert "1 workers are alive, fewer than 2" in done.out
    assert run("probe", "--min-workers", 0).code == 0


@pytest.mark.django_db
def test_probe_of_an_empty_system_names_every_missing_part():
    done = run("probe")

    assert done.code == 1
    assert "no beat has ever ticked" in done.out
    assert "0 workers are alive" in done.out
    assert len(run("probe", "--json").json["problems"]) == 2


@pytest.mark.django_db
def test_probe_with_here_checks_only_processes_of_this_host():
    alive("worker", host="elsewhere")
    alive("beat")

    assert run("probe", "--here", "beat").code == 0
    done = run("probe", "--here", "worker")
    assert done.code == 1
    assert f"no worker of this host ({HERE}) is alive" in done.out


@pytest.mark.processes
def test_probe_without_database_or_broker_soon_exits_with_1(system: SystemFactory):
    gone = system(database_url="postgresql://jobu:secret-word@127.0.0.1:1/jobu")
    done = manage("probe", environment=gone.environment)
    assert done.returncode == 1
    assert done.stdout.startswith("FAILED: the database: ")
    assert done.stdout.count("\n") == 1
    assert "secret-word" not in done.stdout + done.stderr

    deaf = system(broker_url="redis://127.0.0.1:1/0")
    deaf.migrate()
    done = manage("probe", "--broker", "--min-workers", "0", environment=deaf.environment)
    assert done.returncode == 1
    assert "the broker: " in done.stdout
