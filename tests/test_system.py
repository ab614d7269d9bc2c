"""Tests the class System, which starts real beats and workers for process tests."""

from __future__ import annotations

import signal

import pytest
import yaml

from tests.conftest import SystemFactory
from tests.harness.servers import Redis
from tests.harness.system import deep_merge
from tests.harness.waiting import WaitedTooLongError

pytestmark = pytest.mark.processes


@pytest.mark.database
def test_migrated_system_runs_a_job_that_was_inserted_by_sql(system: SystemFactory):
    jobu = system(config={"scheduler": {"min_cron_interval_seconds": 1}})
    jobu.migrate()
    jobu.sql(
        "insert into cron_jobs (name, cron_expression, handler_name) values (%s, %s, %s)",
        "every second",
        "* * * * * *",
        "sample",
    )

    jobu.start_beat()
    jobu.start_worker(pool="threads")

    query = "select status from job_executions where status = %s"
    jobu.wait_until(lambda: jobu.sql(query, "SUCCESS"), 60, "one successful execution")


@pytest.mark.database
def test_sql_returns_rows_as_mappings(system: SystemFactory):
    jobu = system()
    jobu.sql("create table pairs (left_one int, right_one varchar(9))")
    jobu.sql("insert into pairs values (%s, %s)", 1, "100%")

    assert jobu.sql("select * from pairs") == [{"left_one": 1, "right_one": "100%"}]


def test_parts_are_paused_resumed_and_killed_with_their_children(
    system: SystemFactory, redis_server: Redis
):
    jobu = system(broker_url=redis_server.create_database())
    jobu.migrate()
    worker = jobu.start_worker()
    worker.wait_for_log("ready")

    worker.stop()
    worker.cont()
    worker.kill()

    assert worker.exit_code == -signal.SIGKILL
    assert "ended with -9" in jobu.logs()


def test_worker_that_gets_sigterm_exits_cleanly(system: SystemFactory):
    jobu = system()
    jobu.migrate()
    worker = jobu.start_worker(pool="solo")
    worker.wait_for_log("ready")

    worker.terminate()

    assert worker.wait(timeout=30) == 0


def test_timeout_of_a_wait_shows_the_logs(system: SystemFactory):
    jobu = system()
    part = jobu.start_beat("--no-such-option")
    part.wait(timeout=30)

    with pytest.raises(WaitedTooLongError, match=r"waited 0 s for a miracle[\s\S]*no-such-option"):
        jobu.wait_until(lambda: False, 0, "a miracle")


def test_failing_command_shows_what_it_printed(system: SystemFactory):
    with pytest.raises(AssertionError, match="Unknown command: 'nonsense'"):
        system().manage("nonsense")


def test_configuration_is_overridden_by_section(system: SystemFactory):
    jobu = system(config={"worker": {"lease_seconds": 6}, "scheduler": {"calendars": {"us": {}}}})

    worker = yaml.safe_load((jobu.config_dir / "worker.yaml").read_text())["worker"]
    calendars = yaml.safe_load((jobu.config_dir / "scheduler.yaml").read_text())["scheduler"][
        "calendars"
    ]
    assert worker["lease_seconds"] == 6
    assert worker["grace_seconds"] > 0
    assert set(calendars) == {"kr", "us"}


def test_unknown_section_is_refused(system: SystemFactory):
    with pytest.raises(ValueError, match="skeduler"):
        system(config={"skeduler": {}})


def test_merge_replaces_lists_and_does_not_change_the_base():
    base = {"a": {"b": [1], "c": 2}}

    assert deep_merge(base, {"a": {"b": [3]}}) == {"a": {"b": [3], "c": 2}}
    assert base == {"a": {"b": [1], "c": 2}}


# What a claim leaves alone: tests/scheduler/test_queue_pauses.py, on each database.
def test_children_of_a_worker_leave_a_paused_queue_alone_until_it_is_resumed(
    system: SystemFactory,
):
    jobu = system()
    jobu.migrate()
    for name in ("slow", "fast"):
        jobu.sql(
            "insert into cron_jobs (name, cron_expression, handler_name, queue)"
            " values (%s, '0 0 1 1 *', 'sample', %s)",
            name,
            name,
        )
    jobu.manage("queues", "pause", "slow", "--reason", "moving")
    worker = jobu.start_worker(pool="prefork", queues=["slow", "fast"])
    worker.wait_for_log("ready")

    def succeeded() -> list[str]:
        rows = jobu.sql("select queue from job_executions where status = 'SUCCESS' order by id")
        return [row["queue"] for row in rows]

    for name in ("slow", "fast", "fast"):
        jobu.manage("jobs", "run", name)
    jobu.wait_until(lambda: succeeded() == ["fast", "fast"], 60, "the runs of the other queue")
    jobu.manage("queues", "resume", "slow")
    jobu.wait_until(
        lambda: sorted(succeeded()) == ["fast", "fast", "slow"], 60, "the run that waited"
    )
