"""The queries of each tick are index probes, however many rows there are."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from scheduler.beat.rescue import rescue_expired
from scheduler.conf import current
from scheduler.models import CronJob, JobExecution, JobGuard, JobUpstream
from scheduler.states import RunStatus
from scheduler.store import jobs, last_results, overlap, slots, statistics
from scheduler.store.deliveries import COUNTED
from scheduler.store.listing import FEW, count_up_to, in_status, part_of
from scheduler.transient import in_transaction
from tests.harness.scheduler_harness import START, SchedulerHarness

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

ROWS = 2_000


def plans(work: Callable[[], object]) -> list[tuple[str, str]]:
    """(statement, the database's plan for it) of each SELECT in `work`."""
    with CaptureQueriesContext(connection) as captured, transaction.atomic():
        work()
    found = []
    for query in captured.captured_queries:
        statement = query["sql"].strip()
        if statement.startswith("SELECT") and " FROM " in statement:
            prefix = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
            with connection.cursor() as cursor:
                cursor.execute(prefix + statement)
                rows = cursor.fetchall()
            found.append((statement, "\n".join(" ".join(map(str, row)) for row in rows)))
    assert found
    return found


def assert_probes(work: Callable[[], object], index: str) -> None:
    for statement, plan in plans(work):
        assert index in plan, f"{statement}\n{plan}"
        # Whether there is any freeze ends at the first one that is enabled, and there are few.
        others = re.sub(r"Seq Scan on jobu_freezes f|SCAN f\b", "", plan)
        assert not re.search(
            r"^\d+ \d+ \d+ SCAN|Seq Scan|\bfilesort\b|USE TEMP B-TREE", others, re.MULTILINE
        ), f"{statement}\n{plan}"


def reads_of_mysql(work: Callable[[], object]) -> int:
    """So many rows and entries of indexes MySQL reads for `work`: its plans do not say. Else 0."""
    if connection.vendor != "mysql":
        return 0

    def reads() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
            return sum(int(count) for _, count in cursor.fetchall())

    reads()  # to ask costs some reads, too
    before = reads()
    asking = reads() - before
    work()
    return reads() - before - 2 * asking


def analyze(*tables: str) -> None:
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(
                f"ANALYZE TABLE {table}" if connection.vendor == "mysql" else f"ANALYZE {table}"
            )
            if connection.vendor == "mysql":
                cursor.fetchall()


@pytest.fixture
def many_jobs(system: SchedulerHarness) -> SchedulerHarness:
    CronJob.objects.bulk_create(
        CronJob(
            name=f"job {number}",
            cron_expression="0 3 * * *",
            handler_name="ok",
            is_enabled=number % 10 != 0,
            next_run_at=START + timedelta(seconds=60 * number - 300),
        )
        for number in range(ROWS)
    )
    # Some jobs wait for others. A server reads an empty table as a whole.
    off = list(CronJob.objects.filter(is_enabled=False).values_list("id", flat=True))
    JobUpstream.objects.bulk_create(
        JobUpstream(job_id=job_id, upstream_id=upstream_id)
        for job_id in off
        for upstream_id in off[:20]
        if upstream_id != job_id
    )
    analyze("cron_jobs", "job_upstreams")
    return system


@pytest.fixture
def many_executions(system: SchedulerHarness) -> SchedulerHarness:
    def execution(number: int) -> JobExecution:
        if number % 500 == 1:
            shape: dict[str, object] = {"status": RunStatus.PENDING}
        elif number % 500 == 2:
            shape = {
                "status": RunStatus.RUNNING,
                "lease_token": f"{number:032d}",
                "lease_expires_at": START + timedelta(seconds=number - 700),
                "deadline_at": START + timedelta(hours=1),
            }
        else:
            shape = {"status": RunStatus.SUCCESS, "finished_at": START}
        return JobExecution(
            handler_name="ok", scheduled_time=START, available_at=START, created_at=START, **shape
        )

    JobExecution.objects.bulk_create([execution(number) for number in range(ROWS)])
    analyze("job_executions")
    return system


def test_the_questions_of_a_tick_to_jobs_are_index_probes(many_jobs: SchedulerHarness):
    with transaction.atomic():
        assert len(slots.claim_due_jobs(START, 500)) in (4, 5)
    for question in (
        lambda: slots.claim_due_jobs(START, 500),
        # ANALYZE ends a transaction on MySQL, so neither test is in one.
        lambda: slots.claim_new_jobs(START, 500),
        lambda: slots.has_due(START - timedelta(days=1)),
        slots.has_new,
        slots.next_due_at,
    ):
        assert_probes(question, "cron_jobs_due")
    # Of all jobs that are off only those with a pause that ends are looked at.
    assert_probes(lambda: jobs.any_pause_over(START), "cron_jobs_paused")
    assert_probes(lambda: jobs.claim_paused(START, 500), "cron_jobs_paused")


def test_the_questions_of_a_tick_to_executions_are_index_probes(many_executions: SchedulerHarness):
    def expired() -> object:
        return rescue_expired(START - timedelta(days=1), current(), random=lambda: 0.5)

    for statement, plan in plans(expired):
        index = (
            "executions_going_on" if connection.vendor == "postgresql" else "executions_to_rescue"
        )
        assert index in plan, f"{statement}\n{plan}"

    def read() -> object:
        return last_results.refresh_last_results(START, START + timedelta(seconds=12))

    [(statement, plan)] = plans(read)
    assert "executions_ended" in plan, f"{statement}\n{plan}"
    assert not re.search(r"Seq Scan on job_exec|SCAN e\b|\be ALL\b", plan), plan

    # The results of history, step by step.
    def step() -> object:
        return last_results.refresh_older_results(START - timedelta(days=30), START, 500)

    [(statement, plan)] = plans(step)
    assert "executions_ended" in plan, f"{statement}\n{plan}"
    assert not re.search(r"Seq Scan on job_exec|\bfilesort\b|USE TEMP B-TREE", plan), plan

    # Who waits behind a guard, however many other runs wait.
    JobExecution.objects.filter(status=RunStatus.SUCCESS).update(
        status=RunStatus.PENDING, finished_at=None
    )
    waiting = JobExecution.objects.order_by("-id").values_list("id", flat=True)[:3]
    JobExecution.objects.filter(pk__in=list(waiting)).update(in_line=-7)
    JobGuard.objects.create(id=-7, running_id=1)
    analyze("job_executions")

    def release() -> object:
        return in_transaction(
            lambda: overlap.release(overlap.lock_guards([-7]), {1: -7}, now=START)
        )

    asked = [each for each in plans(release) if "in_line" in each[0] and "SELECT" in each[0][:8]]
    assert asked
    for statement, plan in asked:
        assert "executions_in_line" in plan, f"{statement}\n{plan}"


def test_the_lists_of_people_are_index_probes(many_executions: SchedulerHarness):
    """Of a million runs each of these read or sorted all, on one of the databases."""
    runs = JobExecution.objects.filter(COUNTED).order_by("-id")

    def ids(statuses: set[RunStatus]) -> object:
        return list(in_status(runs, statuses).values_list("pk", flat=True)[:50])

    # The newest of one state: in order, without a sort. PostgreSQL has an index of these alone.
    unwell = "executions_unwell" if connection.vendor == "postgresql" else "executions_to_rescue"
    JobExecution.objects.filter(id__in=list(runs.values_list("id", flat=True)[:20])).update(
        status=RunStatus.FAILED
    )
    analyze("job_executions")
    assert_probes(lambda: ids({RunStatus.FAILED}), unwell)
    # Of several states: by the index of each.
    for statement, plan in plans(
        lambda: count_up_to(in_status(runs, {RunStatus.PENDING, RunStatus.RUNNING}), 10_001)
    ):
        assert not re.search("Seq Scan|SCAN job_executions", plan), f"{statement}\n{plan}"
    # On each page: the newest end, against which the database's clock is held.
    assert_probes(statistics.newest_end, "executions_ended")
    assert reads_of_mysql(statistics.newest_end) < 5


def test_a_page_of_few_rows_does_not_walk_the_index_of_its_order(
    many_executions: SchedulerHarness,
):
    rows = JobExecution.objects.filter(param_source="backfill").order_by("-scheduled_time", "-id")
    assert count_up_to(rows, FEW + 1) == 0
    for statement, plan in plans(lambda: part_of(rows, 0, 21, count=0)):
        assert "executions_scheduled" not in plan, f"{statement}\n{plan}"

    # A page is the same part of the list, few rows or many.
    all_of_them = JobExecution.objects.order_by("-scheduled_time", "-id")
    expected = [run.pk for run in all_of_them][30:80]
    for count in (FEW, ROWS):
        few = all_of_them.filter(pk__gte=min(expected)) if count == FEW else all_of_them
        assert [run.pk for run in part_of(few, 30, 80, count=count)] == expected


@pytest.mark.database("sqlite")  # the number of statements is the same on each database
def test_a_tick_costs_the_same_with_two_thousand_idle_jobs_as_with_none(system: SchedulerHarness):
    system.tick()
    with CaptureQueriesContext(connection) as few:
        system.tick()
    CronJob.objects.bulk_create(
        CronJob(
            name=f"idle {number}",
            cron_expression="0 3 * * *",
            handler_name="ok",
            next_run_at=START + timedelta(days=1),
        )
        for number in range(ROWS)
    )
    system.tick()
    with CaptureQueriesContext(connection) as many:
        system.tick()
    assert len(many) <= len(few)


def test_a_burst_of_jobs_costs_a_few_statements(system: SchedulerHarness):
    for _ in range(200):
        system.job(next_run_at=START.replace(second=0))
    with CaptureQueriesContext(connection) as captured:
        system.tick()
    assert JobExecution.objects.count() == 200
    # A first tick also does what is due now and then, whatever the jobs are.
    assert len(captured) < 55


def ended_jobs(number: int, status: RunStatus = RunStatus.SUCCESS) -> None:
    """Jobs with a run that ended a second ago; each run has its own start."""
    CronJob.objects.bulk_create(
        CronJob(name=f"ended {at}", cron_expression="* * * * *", handler_name="ok")
        for at in range(number)
    )
    JobExecution.objects.bulk_create(
        JobExecution(
            job=job,
            handler_name="ok",
            status=status,
            scheduled_time=START,
            available_at=START,
            created_at=START,
            started_at=START - timedelta(seconds=2, microseconds=at),
            finished_at=START - timedelta(seconds=1),
        )
        for at, job in enumerate(CronJob.objects.order_by("id"))
    )


def refresh() -> tuple[int, list[str]]:
    """How many jobs were written, and in how many statements."""
    with CaptureQueriesContext(connection) as captured:
        shown = last_results.refresh_last_results(START - timedelta(seconds=12), START)
    assert shown.left_out == 0
    statements = [query["sql"] for query in captured.captured_queries]
    # The connection of a real beat has its limits from the start.
    return shown.jobs, [each for each in statements if not each.startswith("SET LOCAL")]


def test_last_results_of_many_jobs_cost_a_few_statements_and_nothing_when_they_are_shown(
    system: SchedulerHarness,
):
    ended_jobs(500)
    written, statements = refresh()
    assert (written, len(statements) < 10) == (500, True), statements
    for job in CronJob.objects.prefetch_related("executions"):
        (row,) = job.executions.all()
        assert (job.last_run_at, job.last_status) == (row.started_at, "SUCCESS")
    written, [select] = refresh()
    assert written == 0
    assert select.lstrip().startswith("SELECT")


def test_a_job_that_shows_a_later_run_keeps_it(system: SchedulerHarness):
    ended_jobs(3)
    before, same, after = CronJob.objects.order_by("id")
    later = START + timedelta(seconds=1)
    CronJob.objects.filter(pk=before.pk).update(last_run_at=later, last_status="TIMEOUT")
    # Retried, and cancelled as it waited: the same run, with another end.
    started_at = JobExecution.objects.get(job=same).started_at
    CronJob.objects.filter(pk=same.pk).update(last_run_at=started_at, last_status="FAILED")
    assert refresh()[0] == 2
    shown = dict(CronJob.objects.values_list("id", "last_status"))
    assert shown == {before.pk: "TIMEOUT", same.pk: "SUCCESS", after.pk: "SUCCESS"}
    # It was shown after we had looked.
    assert last_results._show_results({before.pk: (START, "FAILED")}).jobs == 0
    assert CronJob.objects.get(pk=before.pk).last_run_at == later
