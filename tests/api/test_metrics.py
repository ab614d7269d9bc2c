"""/metrics: its series, their bounds, and what Prometheus' own parser reads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from prometheus_client.parser import text_string_to_metric_families

from scheduler.api.metrics.kept import Kept
from scheduler.conf import MetricsSettings
from scheduler.models import CronJob, JobExecution, SchedulerProcess
from scheduler.operations.control import Control
from scheduler.states import ParamSource, ProcessKind, RunStatus
from scheduler.store import counters
from scheduler.store.connection import database_now
from tests.admin.test_admin import make_run
from tests.api.conftest import Program, error_of, make_job, person, program

pytestmark = pytest.mark.django_db
on_each_database = pytest.mark.database

Found = dict[tuple[str, ...], float]


@pytest.fixture(autouse=True)
def _kept_for_no_time(settings: Any) -> None:
    """Most tests look at what they have just changed."""
    keep(settings, 0)


def keep(settings: Any, seconds: float, max_jobs: int = 1000) -> None:
    metrics = MetricsSettings(kept_seconds=seconds, max_jobs=max_jobs)
    settings.JOBU = settings.JOBU.model_copy(update={"metrics": metrics})


def scrape(api: Program) -> Found:
    """Returns each value by the name of its series and the values of its labels."""
    answer = api.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found: Found = {}
    for family in text_string_to_metric_families(answer.content.decode()):
        assert family.documentation, family.name
        assert family.type in ("gauge", "counter", "histogram", "summary"), family.name
        for sample in family.samples:
            key = (sample.name, *sample.labels.values())
            assert key not in found
            found[key] = sample.value
    return found


def count_ends(later: float = 2) -> None:
    while counters.count(database_now() + timedelta(seconds=later), lease_seconds=60):
        pass


@on_each_database
def test_metrics_are_read_from_the_tables(api: Program, job: CronJob):
    make_job(name="off", is_enabled=False)
    for status in (
        RunStatus.SUCCESS,
        RunStatus.SUCCESS,
        RunStatus.FAILED,
        RunStatus.PENDING,
    ):
        make_run(None, status)
    make_run(None, now=database_now() - timedelta(hours=1))

    found = scrape(api)

    assert found["jobu_executions_pending",] == 1
    assert found["jobu_executions_ended_recently", "SUCCESS"] == 2
    assert found["jobu_executions_ended_recently", "FAILED"] == 1
    assert found["jobu_executions_ended_recently", "SKIPPED"] == 0
    assert found["jobu_jobs", "enabled"] == 1
    assert found["jobu_jobs", "disabled"] == 1
    assert found["jobu_workers",] == 0
    assert ("jobu_beat_age_seconds",) not in found


@on_each_database
def test_a_job_has_its_outcomes_times_and_histograms(api: Program, job: CronJob):
    now = database_now()
    for seconds, status in (
        (30, RunStatus.SUCCESS),
        (20, RunStatus.FAILED),
        (10, RunStatus.TIMEOUT),
    ):
        end = now - timedelta(seconds=seconds)
        make_run(
            job, status, now=end, attempt=1, scheduled_time=end - timedelta(seconds=65),
            param_source=ParamSource.CRON,
        )  # fmt: skip
    count_ends()

    found = scrape(api)

    assert found["jobu_job_runs_total", "report", "SUCCESS"] == 1
    assert found["jobu_job_runs_total", "report", "FAILED"] == 1
    assert found["jobu_job_runs_total", "report", "SKIPPED"] == 0
    assert found["jobu_runs_total", "TIMEOUT"] == 1
    assert found["jobu_job_failures_in_a_row", "report"] == 2
    success_at = found["jobu_job_last_success_timestamp_seconds", "report"]
    assert success_at == pytest.approx(now.timestamp() - 30, abs=0.001)
    end_at = found["jobu_job_last_end_timestamp_seconds", "report"]
    assert end_at == pytest.approx(now.timestamp() - 10, abs=0.001)
    created_at = found["jobu_job_created_timestamp_seconds", "report"]
    assert created_at == pytest.approx(now.timestamp(), abs=5)
    next_at = found["jobu_job_next_run_timestamp_seconds", "report"]
    assert 0 < next_at - now.timestamp() <= 86_400
    # Each took 5 s and began a minute after its slot.
    assert found["jobu_job_duration_seconds_bucket", "report", "1"] == 0
    assert found["jobu_job_duration_seconds_bucket", "report", "5"] == 3
    assert found["jobu_job_duration_seconds_sum", "report"] == pytest.approx(15, abs=0.01)
    assert found["jobu_job_lateness_seconds_bucket", "report", "60"] == 3
    assert found["jobu_job_lateness_seconds_bucket", "report", "15"] == 0
    assert found["jobu_run_lateness_seconds_count",] == 3
    assert found["jobu_run_duration_seconds_bucket", "+Inf"] == 3


def test_a_success_from_before_runs_were_counted_is_shown(api: Program, job: CronJob):
    at = database_now() - timedelta(hours=30)
    CronJob.objects.filter(pk=job.pk).update(last_status=RunStatus.SUCCESS, last_run_at=at)

    found = scrape(api)

    shown = found["jobu_job_last_success_timestamp_seconds", "report"]
    assert shown == pytest.approx(at.timestamp(), abs=0.001)


@on_each_database
def test_only_so_many_jobs_have_series_and_always_the_same(api: Program, settings: Any):
    keep(settings, 0, max_jobs=2)
    for name in ("z", "off", "b", "a"):
        make_job(name=name, is_enabled=name != "off")

    found = scrape(api)

    shown = [key[1] for key in found if key[0] == "jobu_job_failures_in_a_row"]
    assert shown == ["z", "b"]
    assert found["jobu_metrics_jobs_omitted",] == 1


def test_no_name_can_forge_a_series(api: Program):
    names = ['a"} 7\njobu_forged{x="', "back\\slash\\n", "한글 이름"]
    for number, name in enumerate(names):
        make_job(name=f"job {number}")
        CronJob.objects.filter(name=f"job {number}").update(name=name)
    make_run(None, RunStatus.PENDING, queue='mail"} 1\n#')

    found = scrape(api)

    shown = {key[1] for key in found if key[0] == "jobu_job_failures_in_a_row"}
    assert shown == set(names)
    assert found["jobu_queue_waiting", 'mail"} 1\n#'] == 1
    assert not any("forged" in key[0] for key in found)


@on_each_database
def test_queues_have_depth_and_age(api: Program):
    now = database_now()
    for queue, ages in (("mail", (5, 100, -60)), ("", (7,)), ("celery", (3,)), ("later", (-60,))):
        for age in ages:
            at = now - timedelta(seconds=age)
            make_run(None, RunStatus.PENDING, queue=queue, now=at, priority=age % 3)

    found = scrape(api)

    assert found["jobu_queue_waiting", "mail"] == 2
    assert found["jobu_queue_oldest_waiting_seconds", "mail"] == pytest.approx(100, abs=5)
    # "" is Celery's default queue.
    assert found["jobu_queue_waiting", "celery"] == 2
    assert found["jobu_queue_oldest_waiting_seconds", "celery"] == pytest.approx(7, abs=5)
    assert ("jobu_queue_waiting", "later") not in found
    assert found["jobu_metrics_queues_omitted",] == 0


@on_each_database
def test_workers_show_what_they_have_counted(api: Program):
    now = database_now()
    figures = {
        "claims": {"groups": 3, "runs": 12},
        "ends": {"groups": 4, "runs": 11},
        "loop": {"probes": 2, "lag_seconds": 0.25},
        "pools": {"default": {"acquired": 9, "wait_seconds": 1.5, "timeouts": 1}},
    }
    for name, written, age in (
        ("w1", figures, 1), ("w2", None, 1), ("w3", {"claims": 7, "pools": ["?"]}, 1),
        ("gone", figures, 300),
    ):  # fmt: skip
        at = now - timedelta(seconds=age)
        SchedulerProcess.objects.create(
            name=name, kind=ProcessKind.WORKER, host="h", pid=1, started_at=at, heartbeat_at=at,
            running=2, figures=written,
        )  # fmt: skip

    found = scrape(api)

    assert found["jobu_worker_claim_runs_sum", "w1"] == 12
    assert found["jobu_worker_claim_runs_count", "w1"] == 3
    assert found["jobu_worker_end_runs_sum", "w1"] == 11
    assert found["jobu_worker_loop_lag_seconds_sum", "w1"] == 0.25
    assert found["jobu_worker_pool_wait_seconds_total", "w1", "default"] == 1.5
    assert found["jobu_worker_pool_timeouts_total", "w1", "default"] == 1
    assert found["jobu_worker_running", "w2"] == 2
    # What a worker of another version wrote breaks nothing.
    assert found["jobu_worker_claim_runs_sum", "w3"] == 0
    assert not any("gone" in key for key in found)


def test_metrics_take_the_same_statements_for_any_number_of_jobs(
    api: Program, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*row: Any) -> None:
        raise AssertionError(row)

    for name in ("one", "two"):
        Control().pause(make_job(name=name).pk, reason="why")
    Control().disable(make_job(name="off").pk)
    scrape(api)  # the first request also writes that the token is used
    with monkeypatch.context() as patch:
        patch.setattr(CronJob, "from_db", refuse)
        with CaptureQueriesContext(connection) as few:
            found = scrape(api)
    for number in range(20):
        make_run(make_job(name=f"job {number}"))
    count_ends()
    with CaptureQueriesContext(connection) as many:
        scrape(api)

    for state, count in {"enabled": 0, "paused": 2, "disabled": 1, "error": 0}.items():
        assert found["jobu_jobs", state] == count
    assert len(many) == len(few)
    assert JobExecution.objects.count() == 20


def test_metrics_need_login(alice: User):
    assert error_of(Client().get("/metrics"), 401)
    assert error_of(program(alice, ["operate"]).get("/metrics"), 403)
    viewer = program(person("vera", "view_jobexecution"))
    assert error_of(viewer.get("/metrics"), 403)


def test_an_answer_is_kept_for_some_seconds_and_nobody_without_the_right_gets_it(
    api: Program, alice: User, settings: Any
):
    keep(settings, 60)
    assert scrape(api)["jobu_jobs", "enabled"] == 0
    make_job(name="new")
    with CaptureQueriesContext(connection) as asked:
        assert scrape(api)["jobu_jobs", "enabled"] == 0
    assert not any("cron_jobs" in query["sql"] for query in asked)
    assert error_of(Client().get("/metrics"), 401)
    assert error_of(program(alice, ["operate"]).get("/metrics"), 403)

    # What is configured now decides, and how old the answer is.
    keep(settings, 60, max_jobs=0)
    assert scrape(api)["jobu_jobs", "enabled"] == 1
    make_job(name="newer")
    keep(settings, 0, max_jobs=0)
    assert scrape(api)["jobu_jobs", "enabled"] == 2


def test_of_many_requests_at_once_one_makes_the_answer():
    made = []
    begun, may_end = threading.Event(), threading.Event()

    def make() -> bytes:
        made.append(threading.get_ident())
        begun.set()
        assert may_end.wait(20)
        return b"page"

    kept = Kept()
    with ThreadPoolExecutor(20) as threads:
        answers = [threads.submit(kept.get, make, seconds=60, of=1) for _ in range(20)]
        assert begun.wait(20)
        may_end.set()
        assert {each.result(20) for each in answers} == {b"page"}
    assert len(made) == 1


def test_an_error_is_not_kept():
    now = [0.0]
    kept = Kept(lambda: now[0])

    def fail() -> bytes:
        raise RuntimeError("away")

    with pytest.raises(RuntimeError):
        kept.get(fail, seconds=5, of=1)
    assert kept.get(lambda: b"a", seconds=5, of=1) == b"a"
    now[0] = 4.9
    assert kept.get(fail, seconds=5, of=1) == b"a"
    now[0] = 5.0
    assert kept.get(lambda: b"b", seconds=5, of=1) == b"b"
