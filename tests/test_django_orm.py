"""Django's ORM in handlers of a real worker."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.process_helpers import (
    HANDLERS,
    SHORT,
    execution,
    insert_run,
    instant,
    wait_until_final,
)
from tests.harness.system import System, deep_merge

pytestmark = [pytest.mark.processes, pytest.mark.database]

KINDS = ("orm_async", "orm_to_thread", "orm_plain", "celery:orm.count_users")
# All connections to the test's own database, except the one that asks.
CONNECTIONS = {
    "postgres": "SELECT pid AS id FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mysql": "SELECT id FROM information_schema.processlist"
    " WHERE db = database() AND id <> connection_id()",
}
END = {"postgres": "SELECT pg_terminate_backend(%s)", "mysql": "KILL %s"}


@pytest.fixture
def jobu(system: Any) -> System:
    config = deep_merge(SHORT, {"worker": {"handler_packages": ["orm_handlers"]}})
    started: System = system(config=config, handler_paths=(HANDLERS,))
    started.migrate()
    return started


def assert_succeed(jobu: System, runs: list[int]) -> None:
    for run in runs:
        row = wait_until_final(jobu, run, 60)
        assert (row["status"], row["attempt"]) == ("SUCCESS", 1), row["error_message"]


def test_runs_use_the_orm_side_by_side_survive_lost_connections_and_leave_none_open(
    jobu: System, job_database: str
) -> None:
    """One test, because each start of a worker costs seconds."""
    jobu.start_beat()
    jobu.start_worker(pool="threads", concurrency=8)
    assert_succeed(jobu, [insert_run(jobu, kind, max_retry=0) for kind in KINDS])

    if job_database != "sqlite":
        for row in jobu.sql(CONNECTIONS[job_database]):
            jobu.sql(END[job_database], row["id"])
    # Twice: each of them finds a connection that the server has ended, if one was kept.
    for _ in range(2):
        assert_succeed(jobu, [insert_run(jobu, kind, max_retry=0) for kind in KINDS])

    slow = [insert_run(jobu, "orm_slow", max_retry=0) for _ in range(6)]
    assert_succeed(jobu, slow)
    rows = [execution(jobu, run) for run in slow]
    took = [instant(row["finished_at"]) - instant(row["started_at"]) for row in rows]
    # On one shared connection the last of them takes 6 s.
    assert max(took).total_seconds() < 3.5

    if job_database == "sqlite":
        return
    before = len(jobu.sql(CONNECTIONS[job_database]))
    for _ in range(4):
        assert_succeed(jobu, [insert_run(jobu, "orm_plain", max_retry=0) for _ in range(10)])
    assert len(jobu.sql(CONNECTIONS[job_database])) <= before + 2
