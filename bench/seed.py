"""Fills a job database for measurements: many jobs and a month of their executions.

The database itself makes the executions, so that a million rows take a minute and not an hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

DAYS = 30
HANDLERS = ("sample", *(f"report_{number}" for number in range(1, 12)))
RUNNING = 60
WAITING = 400
PART = 100_000


def seed(*, jobs: int, executions: int, now: datetime) -> None:
    """Inserts jobs, their executions of the last DAYS days, and attempts and logs for some of them.

    Of 1000 executions 920 succeed. The newest ones run or wait. The tables must be empty.
    """
    from django.db import connection

    from scheduler.models import CronJob
    from scheduler.store.connection import execute

    sql = _Dialect(connection.vendor)
    now = now.replace(microsecond=0)
    _insert_jobs(jobs, now)
    first_job = min(CronJob.objects.values_list("id", flat=True))
    with _digits():
        for start in range(0, executions, PART):
            part = _numbers(start, min(start + PART, executions))
            execute(_executions(sql, part, executions, jobs, first_job), [now] * 7)
    execute(_ATTEMPTS.format(token=sql.text("'t'", "id")), ())
    execute(_LOGS, ())
    for kind, age_seconds in (("beat", 2), ("worker", 3)):
        _insert_process(kind, now - timedelta(seconds=age_seconds))
    _count_ends(now)
    analyze()


def _count_ends(now: datetime) -> None:
    """Counts the ends of the last day, as beat does, so that most jobs have counters."""
    from scheduler.models import Counting
    from scheduler.store import counters

    Counting.objects.create(id=1, counted_until=now - timedelta(days=1))
    while counters.count(now, lease_seconds=60):
        pass


def analyze() -> None:
    """Updates the statistics, as a database that has run for a while has done by itself."""
    from django.db import connection

    tables = (
        "cron_jobs", "job_executions", "job_attempts", "job_logs", "jobu_failure_groups",
        "jobu_failure_days", "jobu_failed_runs",
    )  # fmt: skip
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # VACUUM also updates the visibility map, which autovacuum would have done by itself.
            cursor.execute(f"VACUUM (ANALYZE) {', '.join(tables)}")
        elif connection.vendor == "mysql":
            cursor.execute(f"ANALYZE TABLE {', '.join(tables)}")
            cursor.fetchall()
        else:
            cursor.execute("ANALYZE")


def _insert_jobs(count: int, now: datetime) -> None:
    """Inserts jobs with about 800 schedules in three zones: half daily, the others more often."""
    from scheduler.models import CronJob

    def job(n: int) -> CronJob:
        kind = n % 10
        if kind < 5:
            expression = f"{n % 60} {n // 60 % 24} * * *"
        elif kind < 7:
            expression = f"{n % 60} * * * *"
        elif kind < 9:
            expression = f"*/{5 + n % 3 * 5} * * * *"
        else:
            expression = f"{n % 60} {n % 24} * * {n % 7}"
        is_enabled = n % 50 != 7
        failed = n % 100 == 11
        return CronJob(
            name=f"job {n:05d}",
            description=f"what job number {n} is good for",
            cron_expression=expression,
            timezone=("", "", "Europe/Berlin", "America/New_York")[n % 4],
            handler_name=HANDLERS[n % len(HANDLERS)],
            handler_params={"action": "read", "id": n},
            is_enabled=is_enabled,
            pause_reason="" if is_enabled or n % 100 == 7 else "month end",
            schedule_error="minute: 'x' cannot be read" if n % 1000 == 107 else "",
            queue=("", "", "slow")[n % 3],
            next_run_at=now + timedelta(seconds=1 + n * 86_400 // count) if is_enabled else None,
            last_run_at=now - timedelta(seconds=n * 86_400 // count),
            last_status="FAILED" if failed else "SUCCESS",
        )

    CronJob.objects.bulk_create((job(n) for n in range(count)), batch_size=500)


def _insert_process(kind: str, heartbeat_at: datetime) -> None:
    from scheduler.models import SchedulerProcess

    SchedulerProcess.objects.create(
        name=f"{kind}@bench",
        kind=kind,
        host="bench",
        pid=1,
        started_at=heartbeat_at - timedelta(hours=5),
        heartbeat_at=heartbeat_at,
    )


@contextmanager
def _digits() -> Iterator[None]:
    """Creates a table of ten digits. Joined with itself it counts, on every database alike."""
    from scheduler.store.connection import execute

    execute("CREATE TABLE bench_digits (d INTEGER)", ())
    execute(f"INSERT INTO bench_digits VALUES {', '.join(f'({d})' for d in range(10))}", ())
    try:
        yield
    finally:
        execute("DROP TABLE bench_digits", ())


def _numbers(start: int, end: int) -> str:
    """Returns a derived table whose column n holds the numbers from `start` to `end` - 1."""
    places = range(5)
    number = " + ".join(f"{10**place} * d{place}.d" for place in places)
    tables = ", ".join(f"bench_digits d{place}" for place in places)
    return (
        f"(SELECT {start} + c AS n FROM (SELECT {number} AS c FROM {tables}) counted"
        f" WHERE c < {end - start}) numbered"
    )


class _Dialect:
    """The few expressions that the databases write differently."""

    def __init__(self, vendor: str) -> None:
        self._vendor = vendor

    def moved(self, seconds: str) -> str:
        """Returns an expression: the parameter, an instant, moved by an expression of seconds."""
        if self._vendor == "postgresql":
            return f"CAST(%s AS timestamptz) + ({seconds}) * interval '1 second'"
        if self._vendor == "mysql":
            return f"CAST(%s AS DATETIME(6)) + INTERVAL ({seconds}) SECOND"
        # Microseconds, as Django writes them. The cursor formats: therefore the doubled percents.
        return f"strftime('%%Y-%%m-%%d %%H:%%M:%%f', %s, (({seconds}) || ' seconds')) || '000'"

    def text(self, *parts: str) -> str:
        if self._vendor == "mysql":
            return f"CONCAT({', '.join(parts)})"
        return " || ".join(f"CAST({part} AS varchar(40))" for part in parts)

    def json(self, *parts: str) -> str:
        text = self.text(*parts)
        return f"CAST({text} AS jsonb)" if self._vendor == "postgresql" else text


def _executions(sql: _Dialect, numbers: str, count: int, jobs: int, first_job: int) -> str:
    """Returns an INSERT with seven parameters: each of them is the present instant."""
    apart = DAYS * 86_400 / count
    began = f"-({count} - n) * {apart:.6f}"  # the start of row n, in seconds relative to now
    waits, runs = f"n >= {count - WAITING}", f"n >= {count - WAITING - RUNNING}"
    ended = f"n < {count - WAITING - RUNNING}"
    # From 0.3 s to 90 s, and a tenth of the runs are long. The last ones have not ended yet.
    took = "0.3 + (n %% 97) * 0.04 + CASE WHEN n %% 10 = 3 THEN n %% 89 ELSE 0 END"
    finished = f"CASE WHEN {began} + 1 + {took} > 0 THEN 0 ELSE {began} + 1 + {took} END"
    handlers = " ".join(f"WHEN {i} THEN '{name}'" for i, name in enumerate(HANDLERS))
    job = f"(n %% {jobs}) * 7919 %% {jobs}"
    status = (
        f"CASE WHEN {waits} THEN 'PENDING' WHEN {runs} THEN 'RUNNING' "
        "WHEN n * 37 %% 1000 < 40 THEN 'FAILED' WHEN n * 37 %% 1000 < 50 THEN 'TIMEOUT' "
        "WHEN n * 37 %% 1000 < 60 THEN 'CANCELLED' WHEN n * 37 %% 1000 < 80 THEN 'SKIPPED' "
        "ELSE 'SUCCESS' END"
    )
    params = sql.json("""'{"action": "read", "id": '""", "n", "'}'")
    result = sql.json("""'{"success": true, "count": '""", "n", "'}'")
    return f"""
        INSERT INTO job_executions
               (job_id, job_name, handler_name, scheduled_time, status, params, param_source,
                attempt, available_at, lease_token, lease_owner, lease_expires_at,
                deadline_at, started_at, finished_at, progress, result, error_message,
                created_at)
        SELECT {first_job} + {job}, {sql.text("'job '", job)},
               CASE {job} %% {len(HANDLERS)} {handlers} END,
               {sql.moved(began)}, {status}, {params},
               CASE WHEN n %% 50 = 49 THEN 'manual' ELSE 'cron' END,
               CASE WHEN {waits} THEN 0 ELSE 1 END,
               {sql.moved(began)},
               CASE WHEN {runs} AND NOT {waits} THEN {sql.text("'r'", "n")} END,
               CASE WHEN NOT {waits} THEN 'worker@bench' END,
               CASE WHEN {runs} AND NOT {waits} THEN {sql.moved("3600")} END,
               CASE WHEN {runs} AND NOT {waits} THEN {sql.moved("3600")} END,
               CASE WHEN NOT ({waits}) AND n * 37 %% 1000 NOT BETWEEN 60 AND 79
                    THEN {sql.moved(f"{began} + 1")} END,
               CASE WHEN {ended} THEN {sql.moved(finished)} END,
               CASE WHEN {runs} AND NOT {waits} THEN n %% 100 END,
               CASE WHEN {ended} AND n * 37 %% 1000 >= 80
                    THEN {result} END,
               CASE WHEN {ended} AND n * 37 %% 1000 < 40 THEN 'RuntimeError: it went wrong' END,
               {sql.moved(began)}
          FROM {numbers}
    """


_ATTEMPTS = """
INSERT INTO job_attempts
       (execution_id, attempt, lease_token, worker, started_at, ended_at, outcome, error, traceback)
SELECT id, 1, {token}, 'worker@bench', started_at, finished_at,
       CASE WHEN status IN ('SUCCESS', 'FAILED', 'TIMEOUT', 'CANCELLED') THEN status
            ELSE 'LOST' END,
       COALESCE(error_message, ''), ''
  FROM job_executions
 WHERE id %% 5 = 0 AND started_at IS NOT NULL AND finished_at IS NOT NULL
"""

_LOGS = """
INSERT INTO job_logs (execution_id, attempt, seq, at, level, message)
SELECT id, 1, 1, started_at, 'INFO', 'the first line of a log'
  FROM job_executions
 WHERE id %% 20 = 0 AND started_at IS NOT NULL
"""
