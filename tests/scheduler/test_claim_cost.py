"""What a claim costs: its statements, the rows it reads and the rows it locks.

Both are the same however many runs wait, wait for their time, or wait behind a guard.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from scheduler.models import JobExecution, JobGuard
from scheduler.states import AttemptOutcome, RunStatus
from scheduler.store import claims, endings, heads
from scheduler.store.claims import Claims, Floors, MostUrgent
from scheduler.store.turns import end_and_claim
from scheduler.worker.overlap import decide
from tests.harness.scheduler_harness import START, SchedulerHarness
from tests.scheduler.test_statements import analyze

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

FUTURE = 10_000
BLOCKED = 5_000
AT_ONCE = 50
KEY = -7


def new_claim() -> claims.Claim:
    return claims.Claim(owner="worker", lease_seconds=60, decide=decide)


def take(places: int, floors: Floors, now: datetime = START) -> Claims:
    return new_claim().take(MostUrgent(["", "celery"], places, floors), now)


def successes(taken: Claims) -> list[endings.Ending]:
    return [
        endings.Ending(
            lease=claimed.lease, outcome=AttemptOutcome.SUCCESS, status=RunStatus.SUCCESS
        )
        for claimed in taken.started
    ]


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements of a transaction, without its beginning, its end and its limits."""
    found: list[str] = []
    with CaptureQueriesContext(connection) as captured:
        yield found
    others = ("BEGIN", "COMMIT", "SET LOCAL", "SAVEPOINT", "RELEASE")
    texts = [query["sql"].strip() for query in captured.captured_queries]
    found += [text for text in texts if not text.startswith(others)]


@pytest.mark.parametrize(
    ("policy", "of_claim", "of_end", "of_turn"),
    [
        ("allow", 3, 3, 6),  # heads, lock, begin; lock, finish, attempts
        # and: lock the guards, write them; lock them, who waits, write them; all at once
        ("skip", 5, 6, 9),
    ],
)
@pytest.mark.parametrize("number", [1, AT_ONCE])
def test_statements_of_a_claim_and_an_end(
    number: int, policy: str, of_claim: int, of_end: int, of_turn: int, system: SchedulerHarness
):
    jobs = [system.job(overlap_policy=policy) for _ in range(number)]
    JobGuard.objects.bulk_create(JobGuard(id=job.pk) for job in jobs)
    for job in jobs * 3:
        system.execution(job)
    floors = Floors()

    with statements() as claim:
        taken = take(number, floors)
    with statements() as end:
        assert len(endings.end(successes(taken), now=START)) == number
    taken = take(number, floors)
    with statements() as turn:
        ended, next_ = end_and_claim(
            successes(taken), new_claim(), MostUrgent([""], number, floors), START
        )

    assert len(ended) == len(next_.started) == number
    assert (len(claim), len(end), len(turn)) == (of_claim, of_end, of_turn)
    with statements() as idle:
        take(1, floors)
    assert len(idle) == 1


# Numbers from digits: no function that makes rows is in all databases.
_DIGITS = " UNION ALL ".join(f"SELECT {digit} AS n" for digit in range(10))
_INSERT = """
INSERT INTO job_executions
       (handler_name, scheduled_time, created_at, available_at, priority, overlap_key)
SELECT 'ok', %s, %s, %s, %s, %s FROM {numbers} WHERE {number} < %s
"""


def insert(number: int, available_at: datetime, priority: int, key: int | None = None) -> None:
    adapt = connection.ops.adapt_datetimefield_value
    now = adapt(START)
    places = range(len(str(number - 1)))
    statement = _INSERT.format(
        numbers=" CROSS JOIN ".join(f"({_DIGITS}) d{place}" for place in places),
        number=" + ".join(f"d{place}.n * {10**place}" for place in places),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [now, now, adapt(available_at), priority, key, number])


class Cost:
    """Counts what the statements of a block read and lock."""

    def __init__(self) -> None:
        self.reads = 0
        """PostgreSQL: pages of SELECTs; MySQL: rows; SQLite: thousands of machine instructions."""
        self.locks = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        match connection.vendor:
            case "postgresql":
                with connection.execute_wrapper(self._explained):
                    yield
            case "mysql":
                before = self._rows_of_mysql()
                with connection.execute_wrapper(self._locks_of_mysql):
                    yield
                self.reads = self._rows_of_mysql() - before
            case _:
                connection.connection.set_progress_handler(self._instructions, 1_000)
                yield
                connection.connection.set_progress_handler(None, 0)

    def _instructions(self) -> int:
        self.reads += 1
        return 0

    def _explained(self, execute: Any, statement: str, params: Any, many: bool, more: Any) -> Any:
        if " FROM job_executions" in statement and "SELECT" in statement:
            with connection.connection.cursor() as cursor:
                explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT TEXT) {statement}"
                if not statement.lstrip().startswith("UPDATE"):
                    plan = [row[0] for row in cursor.execute(explain, params).fetchall()]
                    assert not any("Seq Scan on job_exec" in line for line in plan), plan
                    if "ANY(" not in statement:  # a list of ids, which is short, may be sorted
                        assert not any(line.strip().startswith("Sort") for line in plan), plan
                    pages = next((line for line in plan if "Buffers:" in line), "")
                    self.reads += sum(map(int, re.findall(r"(?:hit|read)=(\d+)", pages)))
                    locked = next((line for line in plan if "LockRows" in line), "")
                    self.locks += sum(map(int, re.findall(r"actual .*rows=(\d+)", locked)))
        return execute(statement, params, many, more)

    @staticmethod
    def _rows_of_mysql() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
            return sum(int(value) for _, value in cursor.fetchall())

    def _locks_of_mysql(self, execute: Any, statement: str, *rest: Any) -> Any:
        found = execute(statement, *rest)
        if "FOR UPDATE SKIP LOCKED" in statement and not self.locks:
            threading.Event().wait(0.15)  # the server remembers its answer for 0.1 s
            with connection.connection.cursor() as cursor:
                cursor.execute(
                    "SELECT trx_rows_locked FROM information_schema.innodb_trx"
                    " WHERE trx_mysql_thread_id = CONNECTION_ID()"
                )
                ((self.locks,),) = cursor.fetchall()
        return found


# Per claim of 50: some pages or rows of the heads, and of each claimed row its entry, itself, and
# what its writes look up. All of the backlog would be at least twenty times as much.
MOST_READS = {"postgresql": 600, "mysql": 1_500, "sqlite": 60}
# The entry of the index and the row. SQLite locks the file.
MOST_LOCKS = {"postgresql": AT_ONCE, "mysql": 2 * AT_ONCE + 2, "sqlite": 0}


def cost_of_a_claim(floors: Floors) -> tuple[Cost, Claims]:
    cost = Cost()
    with cost.counted():
        taken = take(AT_ONCE, floors)
    assert cost.reads < MOST_READS[connection.vendor], cost.reads
    assert cost.locks <= MOST_LOCKS[connection.vendor], cost.locks
    return cost, taken


@contextmanager
def old_snapshot() -> Iterator[None]:
    """A report of somebody else: nothing that leaves an index meanwhile is removed from it."""
    other = connections.create_connection("default")
    other.settings_dict = {**connection.settings_dict}
    try:
        with other.cursor() as cursor:
            if connection.vendor == "mysql":
                cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            elif connection.vendor == "postgresql":
                cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            else:
                cursor.execute("BEGIN DEFERRED")
            cursor.execute("SELECT COUNT(*) FROM job_guard")
            cursor.fetchall()
            yield
            cursor.execute("ROLLBACK")
    finally:
        other.close()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("runnable", [40_000, pytest.param(200_000, marks=pytest.mark.slow)])
def test_a_claim_reads_and_locks_what_it_takes_whatever_waits(
    system: SchedulerHarness, runnable: int
):
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous=OFF")
    holder = system.execution(overlap_key=KEY, priority=9)
    (claimed,) = new_claim().take(claims.ByIds([holder.pk]), START).started
    with transaction.atomic():
        insert(runnable, START - timedelta(seconds=60), 0)
        insert(FUTURE, START + timedelta(hours=1), 9)
        insert(BLOCKED, START - timedelta(seconds=90), 5, KEY)
    analyze("job_executions")
    floors = Floors()

    # At first those that the guard blocks: they are seen, and wait in line.
    for _ in range(3):
        _cost, taken = cost_of_a_claim(floors)
        assert (len(taken.started), len(taken.held), taken.is_full) == (0, AT_ONCE, True)
    JobExecution.objects.filter(overlap_key=KEY, status=RunStatus.PENDING).update(queue="other")

    with old_snapshot():
        for _ in range(40):
            assert len(take(AT_ONCE, floors).started) == AT_ONCE
        _cost, taken = cost_of_a_claim(floors)
    assert len(taken.started) == AT_ONCE

    # An end finds the next one in a long line, and beat what waits, by probes as well. The first
    # look after the old snapshot marks what has left the index.
    heads.heads(START)
    cost = Cost()
    with cost.counted():
        endings.end(
            [
                endings.Ending(
                    lease=claimed.lease, outcome=AttemptOutcome.SUCCESS, status=RunStatus.SUCCESS
                )
            ],
            now=START,
        )
        assert heads.runnable_queues(START) == ["", "other"]
        assert heads.next_available_at(START) == START + timedelta(seconds=60)
    assert cost.reads < MOST_READS[connection.vendor], cost.reads
