"""The timeline, on each job database."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from scheduler.admin.timeline import found as finding
from scheduler.models import CronJob, JobCounters, JobExecution
from scheduler.states import RunStatus
from scheduler.store import timeline
from scheduler.store.connection import database_now
from tests.admin.test_admin import make_job, make_run

pytestmark = [pytest.mark.django_db, pytest.mark.database]
once = pytest.mark.database("sqlite")  # asks no question to which databases have different answers

PAGE = "/admin/timeline/"
DATA = "/admin/timeline/data/"
STATUSES = list(RunStatus)


@pytest.fixture(autouse=True)
def _no_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "PLAN_SECONDS", 60.0)


@pytest.fixture
def admin(django_user_model: type[User]) -> Client:
    client = Client()
    client.force_login(django_user_model.objects.create_superuser("alice", "a@example.com"))
    return client


def ran(
    job: CronJob, due: datetime, *, after: float = 1.0, seconds: float = 60.0, **values: Any
) -> JobExecution:
    """A run that began `after` its slot."""
    started = due + timedelta(seconds=after)
    run = make_run(
        job,
        values.pop("status", RunStatus.SUCCESS),
        scheduled_time=due,
        started_at=started,
        **values,
    )
    if run.finished_at is not None:
        JobExecution.objects.filter(pk=run.pk).update(
            finished_at=started + timedelta(seconds=seconds)
        )
    return run


def data(client: Client, **query: str) -> Any:
    response = client.get(DATA, query)
    assert response.status_code == 200
    return response.json()


def test_runs_lie_at_their_time_with_their_duration_and_outcome(admin: Client) -> None:
    now = database_now()
    since = (now - timedelta(days=2)).replace(minute=0, second=0, microsecond=0)
    job, other = make_job(name="a report"), make_job(name="b report")
    in_it = ran(job, since + timedelta(minutes=10), seconds=90, status=RunStatus.FAILED)
    long_before = ran(other, since - timedelta(hours=3), seconds=4 * 3600)
    ran(job, since - timedelta(hours=2), seconds=30)
    ran(job, since + timedelta(hours=2))
    slot = since + timedelta(minutes=20)
    skipped = make_run(job, RunStatus.SKIPPED, scheduled_time=slot, started_at=None)

    found = data(admin, zoom="1h", at=since.strftime("%Y-%m-%dT%H:%MZ"))

    assert [name for _, name, *_ in found["jobs"]] == ["a report", "b report"]
    assert found["span"] == 3600
    assert found["since"] == since.timestamp()
    assert [run[5] for run in found["runs"]] == [in_it.pk, skipped.pk, long_before.pk]
    row, kind, due, started, finished, _id = found["runs"][0]
    assert (row, STATUSES[kind]) == (0, RunStatus.FAILED)
    assert [due, started, finished] == pytest.approx([600, 601, 691], abs=0.01)
    assert found["runs"][1][3] is None, "a skipped run never began"
    assert found["runs"][2][3] == pytest.approx(-3 * 3600 + 1, abs=0.01)
    assert found["planned"] == []
    assert found["notes"] == []


def test_running_and_planned_runs_are_shown_with_the_usual_duration(admin: Client) -> None:
    job = make_job(name="often", cron_expression="*/10 * * * *", timezone="UTC")
    make_job(name="off", cron_expression="* * * * *", is_enabled=False)
    counted = {"1": 90, "60": 10, "sum": 100.0}
    JobCounters.objects.create(job_id=job.pk, duration=counted)
    now = database_now()
    running = make_run(
        job,
        RunStatus.RUNNING,
        scheduled_time=now - timedelta(days=9),
        started_at=now - timedelta(hours=30),
    )

    found = data(admin, zoom="6h")

    assert [(run[5], STATUSES[run[1]], run[4]) for run in found["runs"]] == [
        (running.pk, RunStatus.RUNNING, None)
    ]
    often = [name for _, name, *_ in found["jobs"]].index("often")
    [(row, slots)] = found["planned"]
    assert row == often
    at = [datetime.fromtimestamp(found["since"] + slot, UTC) for slot in slots]
    assert all(now <= slot and slot.minute % 10 == 0 and slot.second == 0 for slot in at)
    # Windows begin at full steps.
    assert 10 <= len(at) <= 13, "a third of six hours lies ahead"
    assert found["jobs"][often][3] == pytest.approx(15 + 45 / 2, abs=0.1)


def test_planned_slots_equal_those_of_the_preview_over_a_clock_change() -> None:
    from scheduler.conf import current
    from scheduler.schedule import parse, slots_between
    from scheduler.store.planned_slots import slots_of

    start = datetime(2026, 10, 24, 20, 30, tzinfo=UTC)
    jobs = [
        make_job(name=expression, cron_expression=expression, timezone=zone)
        for expression, zone in (
            ("30 1,2,3 * * *", "Europe/Berlin"), ("*/7 * * * *", "Europe/Berlin"),
            ("15 9 * * 1-5", "Asia/Kolkata"), ("0 0 * * *", "Asia/Seoul"),
        )
    ]  # fmt: skip
    for until in (start + timedelta(hours=3), start + timedelta(days=2)):
        for job in jobs:
            job.next_run_at = start
        found = slots_of(jobs, start, until, start, settings=current(), is_late=lambda: False)
        for job in jobs:
            slots = slots_between(
                parse(job.cron_expression, job.timezone), start - timedelta(seconds=1),
                until - timedelta(seconds=1), 300,
            )  # fmt: skip
            assert found.slots[job.pk] == [slot.timestamp() for slot in slots], job.name


def test_of_too_many_runs_the_newest_of_each_job_are_read_and_it_is_said() -> None:
    now = database_now().replace(microsecond=0)
    since = now - timedelta(hours=1)
    dense, sparse = make_job(name="dense"), make_job(name="sparse")
    for minute in range(30):
        ran(dense, since + timedelta(minutes=minute), seconds=5)
    few = [ran(sparse, since + timedelta(minutes=minute)).pk for minute in (1, 2)]

    found = timeline.runs_of([dense.pk, sparse.pk], since, now, now, limit=20)

    assert found.cut_jobs == {dense.pk}
    assert [run.id for run in found.runs if run.job_id == sparse.pk] == few
    of_dense = [run.due for run in found.runs if run.job_id == dense.pk]
    assert of_dense == pytest.approx([60.0 * minute for minute in range(20, 30)], abs=0.01)


@once
def test_filters_choose_jobs_and_bad_addresses_are_answered(admin: Client) -> None:
    make_job(name="a", queue="slow", tags=["night"])
    make_job(name="b", is_enabled=False)

    def names(**query: str) -> list[str]:
        return [name for _, name, *_ in data(admin, **query)["jobs"]]

    assert names() == ["a", "b"]
    assert names(queue="slow") == names(tag="night") == names(state="enabled") == ["a"]
    assert names(queue="-") == names(state="disabled") == names(q="B") == ["b"]
    assert names(handler="nosuch") == names(q="\0" + "x" * 10_000) == []
    for at in ("yesterday", "0001-01-01T00:00", "9999-12-31T23:59", "2026-13-01", "\0"):
        page = admin.get(PAGE, {"at": at, "zoom": "century", "page": "x"})
        assert page.status_code == 200
        assert page.context["problem"]
    assert admin.get(PAGE, {"at": "1970-01-01T12:00"}).context["problem"] == ""


@once
def test_table_says_the_same_without_scripts_in_the_readers_zone(admin: Client) -> None:
    now = database_now()
    since = (now - timedelta(days=2)).replace(minute=0, second=0, microsecond=0)
    job = make_job(name="<b>report</b>")
    one = ran(job, since + timedelta(minutes=10), seconds=90)
    two = ran(job, since + timedelta(minutes=11), seconds=90, status=RunStatus.TIMEOUT)

    page = admin.get(PAGE, {"view": "table", "zoom": "1h", "at": since.strftime("%Y-%m-%dT%H:%MZ")})

    text = page.content.decode()
    assert "<b>report</b>" not in text
    local = (since + timedelta(minutes=10, seconds=1)).astimezone(timezone.get_default_timezone())
    assert f"<td>{local:%Y-%m-%d %H:%M:%S}</td>" in text
    assert re.findall(r"jobexecution/(\d+)/change", text) == [str(one.pk), str(two.pk)]
    assert page.context["busiest"]["count"] == 2
    assert "1 min 30 s" in text


@once
def test_who_may_not_see_runs_sees_plans_and_who_may_not_see_jobs_sees_nothing(
    django_user_model: type[User],
) -> None:
    job = make_job(cron_expression="* * * * *")
    ran(job, database_now() - timedelta(minutes=5))
    user = django_user_model.objects.create_user("bob", "b@example.com", is_staff=True)
    client = Client()
    client.force_login(user)
    assert [client.get(address).status_code for address in (PAGE, DATA)] == [403, 403]

    user.user_permissions.set(Permission.objects.filter(codename="view_cronjob"))
    found = data(client, zoom="1h")
    assert found["runs"] == []
    assert found["planned"]
    assert Client().get(DATA).status_code == 302


def test_statements_do_not_grow_with_the_jobs(admin: Client) -> None:
    def statements(address: str) -> int:
        admin.get(address)
        with CaptureQueriesContext(connection) as seen:
            admin.get(address)
        return len(seen)

    ran(make_job(name="first"), database_now())
    few = [statements(PAGE), statements(DATA), statements(f"{PAGE}?view=table")]
    for number in range(20):
        ran(make_job(name=f"job {number}"), database_now())
    assert [statements(PAGE), statements(DATA), statements(f"{PAGE}?view=table")] == few
    assert max(few) <= 16
