"""Reports of attempts to fake services that watch for silence, and the dead-man switch."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from handlers import BaseHandler, handler
from scheduler.alerts.check_ins import reporting
from scheduler.alerts.check_ins.services import crontab_of
from scheduler.conf import AlertSettings
from scheduler.models import CheckInPing, CronJob, JobExecution
from scheduler.operations.control import Control, InvalidJob
from scheduler.states import RunStatus
from scheduler.store import check_ins
from scheduler.store.check_ins import END_UNKNOWN
from tests.harness.receivers import Receiver, Request, answer, http_server
from tests.harness.scheduler_harness import SchedulerHarness
from tests.harness.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]
once = pytest.mark.database("sqlite")  # asks no question to which databases have different answers


@pytest.fixture
def service() -> Iterator[Receiver]:
    with http_server() as receiver:
        yield receiver


@pytest.fixture
def job(system: SchedulerHarness, service: Receiver) -> CronJob:
    """A job that reports to healthchecks and to Sentry. It never runs by its schedule here."""
    configure(system)
    dsn = f"http://key@127.0.0.1:{service.port}/sub/2"
    rules = {
        "check_ins": [
            {"kind": "healthchecks", "url": f"{service.url}/ping/abc"},
            {"kind": "sentry", "dsn": dsn, "slug": "report"},
        ]
    }
    made = Control(clock=system.clock).create_job(
        name="report", cron_expression="0 3 1 1 *", timezone="Asia/Seoul", handler_name="ok",
        alert_rules=rules, timeout_seconds=90, retry_backoff_seconds=30,
    )  # fmt: skip
    system.tick()
    return made


def configure(system: SchedulerHarness, **alerts: Any) -> None:
    allowed = {"check_ins": {"allow_private": True, "allow_http": True}}
    system.configure(alerts=AlertSettings.model_validate({**allowed, **alerts}))


def look(system: SchedulerHarness, seconds: float = 2) -> None:
    """One tick, and the requests that it sends."""
    system.clock.advance(seconds)
    system.tick()
    wait_until(is_settled, 20, "the reports of this tick")


def is_settled() -> bool:
    # A report that was taken comes back after five minutes, one that failed much earlier.
    return not any(
        (ping.next_at - ping.created_at).total_seconds() >= 290
        for ping in CheckInPing.objects.filter(state="waiting").exclude(next_at=END_UNKNOWN)
    )


def pings(service: Receiver) -> list[tuple[str, str]]:
    """What healthchecks got: the end of the path, and the id."""
    found = [r for r in service.requests if r.path.startswith("/ping/abc")]
    return [(p.removeprefix("/ping/abc"), q) for r in found for p, _, q in [r.path.partition("?")]]


def sentry(service: Receiver) -> list[dict[str, Any]]:
    return [
        json.loads(request.body.splitlines()[2])
        for request in service.requests
        if request.path == "/sub/api/2/envelope/"
    ]


def run(system: SchedulerHarness, job: CronJob) -> JobExecution:
    return Control(clock=system.clock).run_now(job.pk)


def test_start_and_end_of_an_attempt_have_one_id(
    system: SchedulerHarness, service: Receiver, job: CronJob
):
    execution = run(system, job)
    lease = system.claim(execution)
    look(system)
    (start,) = pings(service)
    assert start[0] == "/start"
    assert [each["status"] for each in sentry(service)] == ["in_progress"]

    run(system, job)
    system.deliver()  # another run of the job begins and ends between two looks
    look(system)
    look(system)

    assert [path for path, _ in pings(service)] == ["/start", "/start", ""]
    assert len({rid for _, rid in pings(service)}) == 2
    _, begun, done = sentry(service)
    assert (begun["status"], done["status"]) == ("in_progress", "ok")
    assert begun["check_in_id"] == done["check_in_id"]
    assert done["monitor_slug"] == "report"
    assert done["monitor_config"] == {
        "schedule": {"type": "crontab", "value": "0 3 1 1 *"},
        "timezone": "Asia/Seoul",
        "max_runtime": 2,
    }
    assert lease.token not in str(service.requests)


def test_an_attempt_that_failed_is_reported_with_the_end_of_its_log(
    system: SchedulerHarness, service: Receiver, job: CronJob
):
    def fails(self: BaseHandler, params: Any) -> None:
        for number in range(4):
            self.context.log.warning("%s page %s", "y" * 3900, number)
        raise RuntimeError("no stock")

    system.handler("fails", fails)
    CronJob.objects.filter(pk=job.pk).update(handler_name="fails")
    run(system, job)
    system.deliver()
    look(system)

    assert [path for path, _ in pings(service)] == ["/start", "/fail"]
    body = last(service, "/fail").body
    assert b"no stock" in body[-200:]
    assert len(body) == 10_000
    assert b"page 3" in body
    assert b"page 0" not in body
    # The next attempt is another check-in.
    system.clock.advance(60)
    system.deliver()
    look(system)
    assert [path for path, _ in pings(service)] == ["/start", "/fail"] * 2
    assert len({rid for _, rid in pings(service)}) == 2


def last(service: Receiver, end: str) -> Request:
    return [r for r in service.requests if r.path.partition("?")[0].endswith(end)][-1]


def test_a_killed_worker_gives_an_error(system: SchedulerHarness, service: Receiver, job: CronJob):
    system.claim(run(system, job), owner="killed")
    look(system)

    for _ in range(3):
        look(system, system.settings.lease_seconds)

    assert [path for path, _ in pings(service)] == ["/start", "/fail"]
    assert len({rid for _, rid in pings(service)}) == 1
    assert [each["status"] for each in sentry(service)] == ["in_progress", "error"]
    assert b"worker lost" in last(service, "/fail").body


def divide(
    system: SchedulerHarness,
    job: CronJob,
    plan: list[dict[str, Any]],
    mended: threading.Event | None = None,
) -> JobExecution:
    """A run of the job that has divided itself. A shard whose params say `bad` fails until then."""

    async def planned(self: BaseHandler, params: Any) -> list[dict[str, Any]]:
        return plan

    async def execute(self: BaseHandler, params: Any) -> None:
        if params.get("bad") and not (mended and mended.is_set()):
            raise RuntimeError("a bad part")

    members = {"plan": planned, "execute": execute, "__module__": __name__}
    handler("divided")(type("Divided", (BaseHandler,), members))
    CronJob.objects.filter(pk=job.pk).update(handler_name="divided", max_retry=0)
    execution = run(system, job)
    system.worker.execute(execution.pk)
    execution.refresh_from_db()
    assert execution.status == RunStatus.FANNED_OUT
    return execution


def test_a_run_that_divided_itself_is_reported_with_its_own_end(
    system: SchedulerHarness, service: Receiver, job: CronJob
):
    mended = threading.Event()
    parent = divide(system, job, [{}, {"bad": True}, {}], mended)
    for _ in range(3):
        look(system, 11)
    assert [path for path, _ in pings(service)] == ["/start"]
    assert [each["status"] for each in sentry(service)] == ["in_progress"]

    system.clock.advance(400)
    while system.deliver():
        pass
    for _ in range(3):
        look(system, 11)
    # What is read once more in the overlap is not reported once more.
    reporting.Reporting(system.clock, lambda: system.settings).look(system.clock.now())

    parent.refresh_from_db()
    assert parent.status == RunStatus.FAILED
    assert [path for path, _ in pings(service)] == ["/start", "/fail"]
    assert len({rid for _, rid in pings(service)}) == 1
    assert b"1 of 3 shards failed" in last(service, "/fail").body
    begun, ended = sentry(service)
    assert (begun["status"], ended["status"]) == ("in_progress", "error")
    assert ended["duration"] >= 400
    assert not CheckInPing.objects.exclude(state="sent").exists()

    # A retry is another attempt with an end of its own.
    mended.set()
    Control(clock=system.clock).retry(parent.pk)
    while system.deliver():
        pass
    look(system)
    assert [path for path, _ in pings(service)] == ["/start", "/fail", "/start", ""]
    assert len({rid for _, rid in pings(service)}) == 2


def test_a_retry_before_beat_has_looked_leaves_the_first_end_a_failure(
    system: SchedulerHarness, service: Receiver, job: CronJob
):
    mended = threading.Event()
    parent = divide(system, job, [{"bad": True}], mended)
    look(system)
    while system.deliver():
        pass
    mended.set()
    Control(clock=system.clock).retry(parent.pk)
    while system.deliver():
        pass
    look(system)

    assert sorted(path for path, _ in pings(service)) == ["", "/fail", "/start", "/start"]


def test_a_divided_run_that_goes_on_for_days_is_reported_at_its_end(
    system: SchedulerHarness, service: Receiver, job: CronJob
):
    divide(system, job, [{}])
    for _ in range(3):
        look(system, 11)
    system.clock.advance(4 * 86_400)
    check_ins.prune(system.clock.now(), 100)
    while system.deliver():
        pass
    look(system)

    assert [path for path, _ in pings(service)] == ["/start", ""]


def test_the_report_of_a_divided_run_that_was_deleted_is_dropped(
    system: SchedulerHarness, service: Receiver, job: CronJob
):
    parent = divide(system, job, [{}])
    look(system)
    JobExecution.objects.filter(parent_id=parent.pk).delete()
    JobExecution.objects.filter(pk=parent.pk).delete()
    look(system)

    assert [path for path, _ in pings(service)] == ["/start"]
    assert not CheckInPing.objects.filter(state="waiting").exists()


def test_a_service_that_is_away_is_told_later_and_by_any_beat_once(
    system: SchedulerHarness, service: Receiver, job: CronJob
):
    service.behave = lambda request: answer(request, 500)
    run(system, job)
    system.deliver()
    look(system)
    assert CheckInPing.objects.filter(state="waiting").count() == 4
    service.behave = lambda request: answer(request, 200)
    service.requests.clear()

    other = system.new_dispatcher()
    for _ in range(4):
        look(system, 10)
        other.tick()
        wait_until(is_settled, 20, "the reports of the other beat")

    # The start may have been dropped: the end was reported before it was tried again.
    assert [path for path, _ in pings(service)].count("") == 1
    assert [each["status"] for each in sentry(service)].count("ok") == 1
    assert not CheckInPing.objects.filter(state="waiting").exists()


def test_a_service_that_hangs_holds_up_no_other_one_and_uses_up_no_tries(
    system: SchedulerHarness, service: Receiver, job: CronJob
):
    hangs = threading.Event()

    def hang(request: BaseHTTPRequestHandler) -> None:
        hangs.wait(20)
        answer(request, 200)

    with http_server() as slow:
        slow.behave = hang
        url = f"http://localhost:{slow.port}/ping/slow"
        Control(clock=system.clock).create_job(
            name="slow", cron_expression="0 3 1 1 *", handler_name="ok",
            alert_rules={"check_ins": [{"kind": "healthchecks", "url": url}]},
        )  # fmt: skip
        try:
            for number in range(8):
                run(system, CronJob.objects.get(name="slow"))
                if number == 4:
                    run(system, job)
                system.deliver()
                system.clock.advance(4)
                system.tick()
            wait_until(lambda: len(pings(service)) == 2, 10, "the reports of the other job")
            assert len(slow.requests) == 1
            waits = CheckInPing.objects.filter(state="waiting", job_id__gt=job.pk)
            assert max(waits.values_list("tries", flat=True)) <= 1
        finally:
            hangs.set()
        for _ in range(3):
            look(system, 4)

    assert not CheckInPing.objects.exclude(state__in=["sent", "dropped"]).exists()


def test_more_ended_attempts_than_one_look_reads_are_all_reported(
    system: SchedulerHarness, service: Receiver, job: CronJob, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reporting, "_MOST_READ", 2)
    for _ in range(7):
        run(system, job)
        system.deliver()
    for _ in range(8):
        look(system, 11)

    assert [path for path, _ in pings(service)].count("") == 7


def test_jobs_without_check_ins_report_nothing_and_cost_one_statement(
    system: SchedulerHarness, service: Receiver, django_assert_num_queries: Any
):
    configure(system)
    system.tick()
    execution = system.execution(system.job())
    system.worker.execute(execution.pk)

    with django_assert_num_queries(1):
        system.dispatcher._outward._reporting.look(system.clock.now())

    assert not CheckInPing.objects.exists()


def test_the_dead_mans_switch_is_pinged_once_in_each_interval_by_all_beats(
    system: SchedulerHarness, service: Receiver
):
    url = {"url": f"{service.url}/alive", "every_seconds": 60}
    configure(system, dead_man={**url, "allow_private": True, "allow_http": True})
    beats = [system.new_dispatcher() for _ in range(3)]
    for _ in range(13):
        for beat in beats:
            beat.tick()
        system.clock.advance(10)

    wait_until(lambda: len(service.requests) >= 3, 10, "the pings")
    assert [request.path for request in service.requests] == ["/alive"] * 3


@once
@pytest.mark.parametrize(
    "given",
    [
        {"kind": "healthchecks", "url": "https://2130706433/ping/abc"},
        {"kind": "healthchecks", "url": "https://169.254.169.254/latest"},
        {"kind": "healthchecks", "url": "http://hc.example.com/ping/abc"},
        {"kind": "sentry", "dsn": "https://key@127.0.0.1/2", "slug": "a"},
    ],
)  # fmt: skip
def test_a_service_that_the_settings_do_not_allow_is_refused_where_it_is_typed(
    system: SchedulerHarness, given: dict[str, Any]
):
    values: Any = {"cron_expression": "@daily", "handler_name": "ok"}
    rules = {"check_ins": [given]}
    with pytest.raises(InvalidJob, match="allow_"):
        Control(clock=system.clock).create_job(name="a", alert_rules=rules, **values)

    configure(system)
    Control(clock=system.clock).create_job(name="a", alert_rules=rules, **values)


@once
@pytest.mark.parametrize(
    ("expression", "crontab"),
    [
        ("0 3 * * mon-fri", "0 3 * * mon-fri"), ("@daily", "0 0 * * *"),
        ("*/5 * * * *", "*/5 * * * *"),
        ("0 0 3 * * *", None), ("0 3 L * *", None), ("0 3 * * 5#2", None),
        ("0 3 * * *\n0 5 * * *", None), ("every 36h", None),
    ],
)  # fmt: skip
def test_a_schedule_is_given_to_sentry_where_it_means_the_same(
    expression: str, crontab: str | None
):
    assert crontab_of(expression) == crontab
