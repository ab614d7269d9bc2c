"""A job begins with its runs; two of them are compared; each run shows the slot it stands for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from scheduler.models import (
    CronJob,
    JobExecution,
    JobFreeze,
    JobLog,
    JobTag,
    SlotOfRun,
    with_slot,
)
from scheduler.operations.control import Control
from scheduler.states import ParamSource, RunStatus
from tests.api.conftest import Program, ok, program
from tests.test_commands import run as command

pytestmark = pytest.mark.django_db
on_each_database = pytest.mark.database

JOBS = "admin:scheduler_cronjob"
RUNS = "admin:scheduler_jobexecution"
SCRIPT = "<script>alert(1)</script>"
FIRST = datetime(2026, 3, 1, 3, tzinfo=UTC)


@pytest.fixture
def alice(django_user_model: type[User]) -> User:
    return django_user_model.objects.create_superuser("alice")


@pytest.fixture
def admin(alice: User) -> Client:
    client = Client()
    client.force_login(alice)
    return client


@pytest.fixture
def job() -> CronJob:
    return Control().create_job(name="report", cron_expression="0 3 * * *", handler_name="sample")


def made(
    job: CronJob, at: datetime, seconds: float = 5, status: RunStatus = RunStatus.SUCCESS,
    **values: Any,
) -> JobExecution:  # fmt: skip
    return JobExecution.objects.create(
        **{
            "job": job, "job_name": job.name, "handler_name": "sample", "scheduled_time": at,
            "status": status, "attempt": 1, "started_at": at + timedelta(seconds=2),
            "finished_at": at + timedelta(seconds=2 + seconds), **values,
        }
    )  # fmt: skip


def days(job: CronJob, count: int) -> list[JobExecution]:
    return [made(job, FIRST + timedelta(days=day), seconds=day + 1) for day in range(count)]


def page(client: Client, name: str, *ids: int, **query: Any) -> str:
    response = client.get(reverse(name, args=ids), query)
    assert response.status_code == 200, (name, response.status_code)
    return unescape(response.content.decode())


@on_each_database
def test_the_overview_shows_state_next_slots_runs_and_their_durations(admin: Client, job: CronJob):
    days(job, 19)
    made(job, FIRST + timedelta(days=19), seconds=40, status=RunStatus.FAILED)

    response = admin.get(reverse(f"{JOBS}_overview", args=[job.pk]))

    html = unescape(response.content.decode())
    assert dict(response.context["figures"]) == {
        "success rate": "95 % (19 of 20)",
        "took: median": "10 s",
        "took: 95 %": "19 s",
        "began after its slot: median": "2 s",
        "began after its slot: 95 %": "2 s",
    }
    assert "median 10 s, 95 % within 19 s, the longest 40 s" in html
    assert html.count('class="job-point ') == 20
    assert len(response.context["next_slots"]) == 5
    titles = [tab["title"] for tab in response.context["tabs"]]
    assert titles == ["Overview", "Definition", "Runs", "History", "Backfills", "Alerts"]
    for tab in response.context["tabs"]:
        assert admin.get(tab["url"]).status_code == 200


def test_the_number_of_queries_does_not_grow_with_the_runs(admin: Client, job: CronJob):
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            page(admin, f"{JOBS}_overview", job.pk)
        return len(captured)

    days(job, 2)
    before = queries()
    for day in range(60):
        made(job, FIRST - timedelta(days=day + 1))
    assert queries() == before <= 23


def test_a_job_without_runs_off_or_broken_has_an_overview(admin: Client, job: CronJob):
    assert "It has no execution yet." in page(admin, f"{JOBS}_overview", job.pk)
    made(job, FIRST)
    assert "job-durations" not in page(admin, f"{JOBS}_overview", job.pk)  # one makes no line
    Control().pause(job.pk, reason=SCRIPT)
    html = admin.get(reverse(f"{JOBS}_overview", args=[job.pk])).content.decode()
    assert SCRIPT not in html
    assert "Paused until somebody enables it." in html
    CronJob.objects.filter(pk=job.pk).update(cron_expression="nonsense", timezone="Mars")
    page(admin, f"{JOBS}_overview", job.pk)
    CronJob.objects.filter(pk=job.pk).update(is_enabled=True, calendar="none")
    page(admin, f"{JOBS}_overview", job.pk)
    assert admin.get(reverse(f"{JOBS}_overview", args=[job.pk + 1])).status_code == 404


def test_lists_link_to_the_overview_and_saving_leads_there(admin: Client, job: CronJob):
    assert reverse(f"{JOBS}_overview", args=[job.pk]) in page(admin, f"{JOBS}_changelist")
    url = reverse(f"{JOBS}_change", args=[job.pk])
    form = admin.get(url).context["adminform"].form
    sent: dict[str, Any] = {}
    for bound in form:
        value = bound.value()
        if hasattr(bound.field, "fields"):
            sent |= {f"{bound.name}_0": "", f"{bound.name}_1": ""}
        elif isinstance(value, bool):
            sent |= {bound.name: "on"} if value else {}
        else:
            sent[bound.name] = "" if value is None else value
    saved = admin.post(url, {**sent, "description": "new"})
    assert saved["Location"] == reverse(f"{JOBS}_overview", args=[job.pk])
    stays = admin.get(url).context["adminform"].form
    sent |= {name: stays[name].value() for name in ("tick_seq", "seen")}
    stayed = admin.post(url, {**sent, "description": "newer", "_continue": "1"})
    assert stayed["Location"] == url


def test_who_may_not_see_runs_sees_no_runs_on_the_overview(client: Client, job: CronJob):
    run = made(job, FIRST)
    user = User.objects.create_user("carol", is_staff=True)
    client.force_login(user)
    assert client.get(reverse(f"{JOBS}_overview", args=[job.pk])).status_code == 403
    user.user_permissions.set(Permission.objects.filter(codename="view_cronjob"))
    html = page(client, f"{JOBS}_overview", job.pk)
    assert "job-last-runs" not in html
    assert "job-slot-form" not in html
    assert "Run now" not in html
    compare = reverse(f"{JOBS}_compare", args=[job.pk])
    assert client.get(compare, {"run": [run.pk, run.pk + 1]}).status_code == 403


# --- two runs ------------------------------------------------------------------------------------


@on_each_database
def test_two_runs_are_shown_side_by_side_with_what_differs(admin: Client, job: CronJob):
    one = made(job, FIRST, params={"shop": 1, "token": "hunter2", "same": SCRIPT}, result=[1])
    other = made(
        job, FIRST + timedelta(days=1), 9, params={"shop": 2, "token": "hunter3", "same": SCRIPT},
        result=[1],
    )  # fmt: skip
    for run, texts in ((one, ["begin", "1 row"]), (other, ["begin", "2 rows", "end"])):
        for seq, text in enumerate(texts):
            JobLog.objects.create(
                execution=run, attempt=1, seq=seq, at=FIRST, level="INFO", message=text
            )

    response = admin.get(reverse(f"{JOBS}_compare", args=[job.pk]), {"run": [other.pk, one.pk]})

    assert response.status_code == 200
    assert SCRIPT not in response.content.decode()
    assert "hunter" not in response.content.decode()
    assert [run["id"] for run in response.context["runs"]] == [one.pk, other.pk]
    differing = {each.name for each in response.context["facts"] if each.differs}
    assert differing == {"slot", "started", "took"}
    params, result = response.context["values"]
    assert [(each.name, each.one, each.other) for each in params["places"]] == [
        ("shop", "1", "2"), ("token", "********", "********"),
    ]  # fmt: skip
    assert result["places"] == []
    assert [(line.one, line.other, line.differs) for line in response.context["log"]] == [
        ("INFO begin", "INFO begin", False),
        ("INFO 1 row", "INFO 2 rows", True),
        ("", "INFO end", True),
    ]


@pytest.mark.parametrize(
    "chosen", [[], ["1"], ["1", "1"], ["x", "y"], ["9" * 30, "1"], ["1", "2", "3"], ["7", "8"]]
)
def test_anything_but_two_runs_of_the_job_leads_back(admin: Client, job: CronJob, chosen):
    made(job, FIRST)
    response = admin.get(reverse(f"{JOBS}_compare", args=[job.pk]), {"run": chosen})
    assert response["Location"] == reverse(f"{JOBS}_overview", args=[job.pk])


def test_params_and_logs_are_hidden_from_who_may_not_see_them(client: Client, job: CronJob):
    ids = [made(job, FIRST + timedelta(days=day), params={"shop": f"s{day}"}).pk for day in (0, 1)]
    user = User.objects.create_user("carol", is_staff=True)
    codes = ("view_cronjob", "view_jobexecution")
    user.user_permissions.set(Permission.objects.filter(codename__in=codes))
    client.force_login(user)
    html = page(client, f"{JOBS}_compare", job.pk, run=ids)
    assert "you may not see parameters" in html
    assert "s1" not in html.replace("css1", "")


# --- the slot of a run ----------------------------------------------------------------------------


def kinds(job: CronJob) -> dict[str, JobExecution]:
    """Runs that were all made in April, for slots of March."""
    asked = datetime(2026, 4, 1, 12, tzinfo=UTC)
    return {
        "slot": made(job, FIRST),
        "backfilled": made(
            job, asked, param_source=ParamSource.BACKFILL.value,
            logical_time=FIRST + timedelta(hours=1),
        ),
        "replayed": made(
            job, asked + timedelta(seconds=1), param_source=ParamSource.MANUAL.value,
            logical_time=FIRST + timedelta(hours=2),
        ),
        "by hand": made(
            job, asked + timedelta(seconds=2), param_source=ParamSource.MANUAL.value
        ),
    }  # fmt: skip


@on_each_database
def test_lists_filters_and_orders_follow_the_slot(admin: Client, job: CronJob):
    runs = kinds(job)

    def listed(**query: str) -> list[int]:
        response = admin.get(reverse(f"{RUNS}_changelist"), query)
        return [row.pk for row in response.context["cl"].result_list]

    march = [runs[name].pk for name in ("replayed", "backfilled", "slot")]
    assert listed(scheduled_time_from="2026-03-01", scheduled_time_to="2026-03-01") == march
    at_one = {"scheduled_time_from": "2026-03-01 13:00", "scheduled_time_to": "2026-03-01 13:00"}
    assert listed(**at_one) == [runs["backfilled"].pk]  # in Seoul
    assert listed(scheduled_time_from="2026-04-01") == [runs["by hand"].pk]
    html = page(admin, f"{RUNS}_changelist")
    assert html.count("asked for<") == 1
    assert "2026-03-01 13:00:00 KST" in html
    strip = page(admin, f"{JOBS}_changelist")
    assert "SUCCESS, slot 2026-03-01 14:00:00 KST, took 5 s" in strip
    assert "SUCCESS, asked for at 2026-04-01 21:00:02 KST, took 5 s" in strip


@on_each_database
def test_the_api_gives_the_slot_and_pages_by_it(alice: User, job: CronJob):
    api: Program = program(alice)
    runs = kinds(job)

    answer = ok(api.get("/jobs?from_date=2026-03-01&to_date=2026-03-02&size=2"))
    then = ok(api.get(f"/jobs?from_date=2026-03-01&size=2&cursor={answer['next_cursor']}"))

    found = [item["id"] for item in (*answer["items"], *then["items"])]
    assert found == [runs[name].pk for name in ("replayed", "backfilled", "slot")]
    assert answer["items"][0]["slot_at"] == "2026-03-01T05:00:00Z"
    assert ok(api.get(f"/jobs/{runs['by hand'].pk}"))["slot_at"] is None


@on_each_database
def test_the_slot_is_read_by_its_index(job: CronJob):
    days(job, 3)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # With few rows it would read the whole table.
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_sort = off")
    rows = with_slot_until(FIRST + timedelta(days=2))
    assert "executions_by_slot" in rows.explain()


def with_slot_until(until: datetime) -> Any:
    rows = with_slot(JobExecution.objects.all()).filter(of_slot__lte=until)
    return rows.order_by(SlotOfRun().desc(), "-id")[:25]


def test_the_overview_is_kept_up_to_date_by_the_same_script_as_the_form(
    admin: Client, job: CronJob
):
    made(job, FIRST)
    html = page(admin, f"{JOBS}_overview", job.pk)
    live = reverse(f"{JOBS}_live", args=[job.pk])
    assert f'data-live="{live}"' in html
    assert "scheduler/live.js" in html
    assert 'data-label="choose"' in html  # the table writes its headers into attributes, too
    for part in ("job-glance", "job-last-runs"):
        assert f'id="{part}"' in html
        assert f'id="{part}"' in page(admin, f"{JOBS}_live", job.pk)


@on_each_database
def test_every_reader_of_a_job_s_next_slots_says_what_a_freeze_will_block(
    admin: Client, alice: User, job: CronJob
):
    slots = Control().preview(job, 3)
    CronJob.objects.filter(pk=job.pk).update(next_run_at=slots[0])
    JobTag.objects.create(job_id=job.pk, tag="books")
    JobFreeze.objects.create(
        name="year end", reason="the books close", tags=["books"], blocked_slots="skip",
        since=slots[0] - timedelta(hours=1), until=slots[1] + timedelta(hours=1),
    )  # fmt: skip

    response = admin.get(reverse(f"{JOBS}_overview", args=[job.pk]))
    listed = page(admin, f"{JOBS}_changelist")
    answer = ok(program(alice).get(f"/crons/{job.pk}/next?count=3"))
    shown = command("jobs", "show", "report", "--json").json

    marks = [bool(frozen) for _at, _distance, frozen in response.context["next_slots"]]
    assert marks == [True, True, False, False, False]
    assert "frozen by “year end”" in unescape(response.content.decode())
    assert "will block its next slot: the books close" in unescape(response.content.decode())
    assert "year end: the books close" in listed
    assert [slot["frozen_by"] for slot in answer["slots"]] == ["year end", "year end", None]
    assert len(shown["frozen_slots"]) == 2
    assert shown["next_slots"][:2] == shown["frozen_slots"]
    assert "frozen by year end" in command("jobs", "show", "report").out
    JobFreeze.objects.all().delete()
    assert "year end" not in page(admin, f"{JOBS}_changelist")
