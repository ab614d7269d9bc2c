"""The admin's front page, on each job database."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.staticfiles import finders
from django.test import Client
from django.utils.timezone import localtime

from scheduler.admin.dashboard import limits
from scheduler.models import CronJob, JobExecution, SchedulerProcess
from scheduler.operations.control import Control
from scheduler.states import ReasonCode, RunStatus
from scheduler.store.connection import database_now
from scheduler.store.deliveries import DELIVERY_HANDLER
from tests.admin.test_admin import SCRIPT, make_job, make_run

pytestmark = pytest.mark.django_db

on_each_database = pytest.mark.database

FRONT = "/admin/"


DEADLINES = (
    "HOURS_SECONDS",
    "FORECAST_SECONDS",
    "HOUR_OF_RUNS_SECONDS",
    "SPEEDS_WITHIN_SECONDS",
)


@pytest.fixture(autouse=True)
def _no_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps a busy machine from making pages partial."""
    for name in DEADLINES:
        monkeypatch.setattr(limits, name, 60.0)


@pytest.fixture
def admin(django_user_model: type[User]) -> Client:
    client = Client()
    client.force_login(django_user_model.objects.create_superuser("alice", "a@example.com"))
    return client


def person(django_user_model: type[User], *codenames: str) -> Client:
    user = django_user_model.objects.create_user("bob", "b@example.com", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def alive(kind: str, *, age: float = 1.0) -> None:
    now = database_now()
    SchedulerProcess.objects.create(
        name=f"{kind}@here",
        kind=kind,
        host="here",
        pid=1,
        started_at=now - timedelta(hours=1),
        heartbeat_at=now - timedelta(seconds=age),
    )


def context_of(client: Client, **query: Any) -> Any:
    response = client.get(FRONT, query)
    assert response.status_code == 200
    return response.context


def cards(client: Client) -> dict[str, str]:
    return {card.title: card.value for card in context_of(client)["cards"]}


class Texts(HTMLParser):
    """Collects the text of the element with an id."""

    def __init__(self, wanted: str) -> None:
        super().__init__()
        self._wanted, self._depth, self.text = wanted, 0, ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if self._depth or dict(attrs).get("id") == self._wanted:
            self._depth += tag not in {"br", "link", "meta", "input", "img"}

    def handle_endtag(self, tag: str) -> None:
        self._depth -= bool(self._depth)

    def handle_data(self, data: str) -> None:
        if self._depth:
            self.text += data


def text_of(client: Client, element: str, address: str = FRONT) -> str:
    parser = Texts(element)
    parser.feed(client.get(address).content.decode())
    return " ".join(parser.text.split())


@on_each_database
def test_front_page_of_an_empty_system_names_the_missing_parts(admin: Client):
    assert cards(admin) == {
        "Running": "0",
        "Waiting": "0",
        "Failed in 24 h": "0",
        "Succeeded in 24 h": "0",
        "Enabled jobs": "0",
    }
    health = text_of(admin, "dash-health")
    assert "No beat is running" in health
    assert "No worker is running" in health
    assert "Nothing runs just now." in text_of(admin, "dash-running")
    assert "No enabled job's last run failed." in text_of(admin, "dash-failing")
    assert "No run is planned then." in text_of(admin, "dash-next")
    assert "No beat and no worker has reported yet." in text_of(admin, "dash-parts")


@on_each_database
def test_each_card_has_the_same_count_as_its_linked_list(admin: Client):
    job = make_job()
    now = database_now()
    make_run(job, RunStatus.RUNNING)
    for seconds in (1, 2):
        make_run(job, RunStatus.PENDING, now=now - timedelta(minutes=seconds))
    for hours, status in enumerate(
        (
            RunStatus.FAILED,
            RunStatus.FAILED,
            RunStatus.FAILED,
            RunStatus.TIMEOUT,
        )
    ):
        make_run(job, status, now=now - timedelta(hours=hours, minutes=5))
    make_run(job, RunStatus.SUCCESS, now=now - timedelta(minutes=7))
    make_run(job, RunStatus.SUCCESS, now=now - timedelta(hours=30))
    CronJob.objects.create(
        name="off", cron_expression="@daily", handler_name="sample", is_enabled=False
    )

    assert cards(admin) == {
        "Running": "1",
        "Waiting": "2",
        "Failed in 24 h": "4",
        "Succeeded in 24 h": "1",
        "Enabled jobs": "1",
    }
    texts = {text: url for card in context_of(admin)["cards"] for text, url in card.parts}
    assert "3 failed" in texts
    assert "1 timed out" in texts
    assert "1 disabled" in texts
    for card in context_of(admin)["cards"]:
        counted = [(card.value, card.url)] if card.url else []
        counted += [part for part in card.parts if part[0][0].isdigit()]
        for text, url in counted:
            listed = admin.get(url).context["cl"].result_count
            assert str(listed) == text.partition(" ")[0], (card.title, text)


def counts_and_lists(client: Client) -> dict[str, tuple[int, int]]:
    """By the text of a card's part, or its title: the number shown, and how many its list has."""
    found = {}
    for card in context_of(client)["cards"]:
        for text, url in [(f"{card.value} {card.title}", card.url), *card.parts]:
            number, _space, words = text.partition(" ")
            if url and number.isdigit():
                found[words] = (int(number), client.get(url).context["cl"].result_count)
    return found


@on_each_database
def test_what_runs_wait_for_is_shown_and_each_number_leads_to_its_list(admin: Client):
    job, later = make_job(), database_now() + timedelta(hours=1)
    make_run(job, RunStatus.PENDING)
    parent = make_run(job, RunStatus.FANNED_OUT, shard_count=2)
    make_run(None, RunStatus.PENDING, parent=parent, shard=0)  # not counted, not listed
    make_run(None, RunStatus.PENDING, handler_name=DELIVERY_HANDLER)
    for code in (
        ReasonCode.LIMIT_REACHED, ReasonCode.RATE_REACHED, ReasonCode.AWAITS_APPROVAL,
        ReasonCode.UPSTREAM_AWAITED, ReasonCode.OVERLAP_HELD, ReasonCode.FROZEN_HELD, None,
    ):  # fmt: skip
        make_run(job, RunStatus.PENDING, available_at=later, reason_code=code)

    found = counts_and_lists(admin)

    assert found["Running"] == (1, 1)
    assert found["Waiting"] == (8, 8)
    waits = {words: counts for words, counts in found.items() if words[0].islower()}
    assert waits == {
        "for a worker": (1, 1),
        "under a limit": (2, 2),
        "for the end of another run": (1, 1),
        "for an approval": (1, 1),
        "for upstream jobs": (1, 1),
        "for the end of a freeze": (1, 1),
        "for their time": (1, 1),
        "paused": (0, 0),
        "disabled": (0, 0),
        "in error": (0, 0),
        "failed": (0, 0),
        "timed out": (0, 0),
    }
    panel = context_of(admin)["running"]
    assert admin.get(panel["url"]).context["cl"].result_count == len(panel["rows"]) == 1


@on_each_database
def test_the_numbers_of_a_queue_lead_to_lists_of_the_same_runs(admin: Client):
    job, later = make_job(queue="reports"), database_now() + timedelta(hours=1)
    other = {"queue": "other"}
    parent = make_run(job, RunStatus.FANNED_OUT, shard_count=2, **other)
    for queue in ("reports", "", "other"):
        make_run(job, RunStatus.PENDING, queue=queue)
        make_run(job, RunStatus.RUNNING, queue=queue)
    make_run(None, RunStatus.PENDING, parent=parent, shard=0, **other)
    make_run(None, RunStatus.RUNNING, parent=parent, shard=1, **other)
    make_run(None, RunStatus.PENDING, handler_name=DELIVERY_HANDLER, **other)
    make_run(job, RunStatus.PENDING, available_at=later, **other)

    rows = admin.get("/admin/queues/").context["rows"]

    shown = {row["name"]: (int(row["waiting"]), int(row["running"])) for row in rows}
    listed = {
        row["name"]: tuple(
            admin.get(row[url]).context["cl"].result_count for url in ("waiting_url", "running_url")
        )
        for row in rows
    }
    assert shown == listed == {"": (1, 1), "reports": (1, 1), "other": (3, 2)}


@on_each_database
def test_count_of_each_job_state_matches_its_linked_list(admin: Client):
    off = {"cron_expression": "@daily", "handler_name": "sample", "is_enabled": False}
    later = database_now() + timedelta(days=1)
    make_job()
    CronJob.objects.create(name="off", **off)
    CronJob.objects.create(name="off too", **off)
    CronJob.objects.create(name="paused", pause_reason="why", **off)
    CronJob.objects.create(name="for a while", paused_until=later, **off)
    CronJob.objects.create(name="and for good", paused_until=later, pause_reason="why", **off)
    CronJob.objects.create(name="broken", schedule_error="no", pause_reason="why", **off)

    (card,) = (card for card in context_of(admin)["cards"] if card.title == "Enabled jobs")

    assert [text for text, _url in card.parts] == ["3 paused", "2 disabled", "1 in error"]
    for text, url in ((card.value, card.url), *card.parts):
        listed = admin.get(url).context["cl"].result_count
        assert str(listed) == text.partition(" ")[0], text


@on_each_database
def test_link_to_failing_jobs_lists_the_jobs_that_the_front_page_shows(admin: Client):
    now = database_now()
    for name, status, is_enabled in (
        ("failed", "FAILED", True),
        ("timed out", "TIMEOUT", True),
        ("well", "SUCCESS", True),
        ("switched off", "FAILED", False),
    ):
        job = make_job(name=name, is_enabled=is_enabled)
        CronJob.objects.filter(pk=job.pk).update(last_status=status, last_run_at=now)

    failing = context_of(admin)["failing"]

    listed = admin.get(failing["url"]).context["cl"].result_list
    assert {job.name for job in listed} == {"failed", "timed out"}
    assert {row["name"] for row in failing["rows"]} == {"failed", "timed out"}


@on_each_database
def test_timeline_shows_finished_and_planned_runs(admin: Client):
    now = database_now()
    job = make_job(cron_expression="0 * * * *", timezone="UTC")
    make_job(name="seoul", cron_expression="0 9 * * *", timezone="Asia/Seoul")
    make_run(job, RunStatus.SUCCESS, now=now - timedelta(hours=3))
    make_run(None, RunStatus.SUCCESS, now=now - timedelta(hours=3))
    make_run(job, RunStatus.FAILED, now=now - timedelta(hours=20))
    make_run(job, RunStatus.SUCCESS, now=now - timedelta(hours=26))

    context = context_of(admin)
    chart = context["timeline"]
    by_label = {label: dict(zip(names(chart), cells, strict=True)) for label, cells in chart.rows}

    assert len(chart.rows) == 49
    assert chart.note == ""
    assert not context["is_partial"]
    assert by_label[hour(now - timedelta(hours=3))]["SUCCESS"] == ("2", "2")
    assert by_label[hour(now - timedelta(hours=20))]["FAILED"] == ("1", "1")
    assert by_label[chart.now_label]["planned"][0] in {"0", "1"}
    assert sum(int(cells["SUCCESS"][0]) for cells in by_label.values()) == 2
    later = [cells["planned"] for label, cells in by_label.items() if label > chart.now_label]
    plans = sorted(int(value) for value, _text in later)
    # Once an hour, and one of the hours has the daily job too (or two, at the edges of the day).
    assert len(plans) == 24
    assert sum(plans) in {24, 25}
    past = [cells["planned"] for label, cells in by_label.items() if label < chart.now_label]
    assert set(past) == {("", "")}


def names(chart: Any) -> list[str]:
    return [column.label for column in chart.columns]


def hour(instant: datetime) -> str:
    return localtime(instant).strftime("%m-%d %H:00")


@on_each_database
def test_duration_chart_uses_only_successful_runs(admin: Client):
    job = make_job()
    ended = database_now() - timedelta(hours=2)
    for seconds in (2, 2, 2, 30):
        make_timed(job, ended, seconds)

    chart = context_of(admin)["durations"]

    row = dict(chart.rows)[hour(ended)]
    assert [text for _value, text in row] == ["2 s", "30 s"]


def make_timed(job: CronJob, ended: datetime, seconds: float) -> JobExecution:
    slot = ended - timedelta(seconds=JobExecution.objects.count())
    started = ended - timedelta(seconds=seconds)
    return make_run(job, now=ended, scheduled_time=slot, started_at=started)


@on_each_database
def test_front_page_shows_failing_running_and_next_runs(admin: Client):
    alive("beat")
    alive("worker")
    now = database_now()
    job = make_job(name=SCRIPT)
    CronJob.objects.filter(pk=job.pk).update(
        last_status="FAILED", last_run_at=now, next_run_at=now + timedelta(minutes=2)
    )
    make_run(job, RunStatus.SUCCESS, now=now - timedelta(hours=5))
    make_run(job, RunStatus.FAILED, now=now - timedelta(hours=4))
    newest = make_run(job, RunStatus.FAILED, now=now - timedelta(hours=1))
    running = make_run(
        job, RunStatus.RUNNING, progress=41.6, progress_message="row <9>", job_name=SCRIPT
    )

    page = admin.get(FRONT).content.decode()

    assert SCRIPT not in page
    failing = text_of(admin, "dash-failing")
    assert SCRIPT in failing
    assert "4 h ago" in failing
    assert f"#{newest.pk}" in failing
    assert "42 %row <9>" in text_of(admin, "dash-running")
    assert f"/jobexecution/{running.pk}/change/" in page
    soon = localtime(now + timedelta(minutes=2)).strftime("%Y-%m-%d %H:%M:%S")
    assert soon in text_of(admin, "dash-next")
    assert "The last run of 1 job failed." in text_of(admin, "dash-health")
    assert "alive" in text_of(admin, "dash-parts")


@on_each_database
def test_next_runs_of_a_chosen_hour_are_listed(admin: Client):
    make_job(name="hourly", cron_expression="20 * * * *")
    make_job(name="twin", cron_expression="20 * * * *")
    make_job(name="often", cron_expression="*/10 * * * *", timezone="UTC")
    choices = context_of(admin)["from_hours"]
    wanted = choices[5][0]

    runs = context_of(admin, **{"from": wanted})["next_runs"]
    live = admin.get("/admin/dashboard/now", {"from": wanted}).context["next_runs"]

    assert len(choices) == 25
    minutes = [re.findall(r" \d\d:(\d\d):00 [A-Z]", str(run["at"]))[0] for run in runs]
    found = list(zip(minutes, [run["name"] for run in runs], strict=True))
    assert sorted(found) == [
        ("00", "often"), ("10", "often"), ("20", "hourly"), ("20", "often"), ("20", "twin"),
        ("30", "often"), ("40", "often"), ("50", "often"),
    ]  # fmt: skip
    assert [run["name"] for run in live] == [run["name"] for run in runs]
    for nonsense in ("x", "2020-01-01T00:00Z", "' or 1=1"):
        assert context_of(admin, **{"from": nonsense})["from_hours"][0][2]


def test_health_is_good_without_problems(admin: Client):
    alive("beat")
    alive("worker")

    health = text_of(admin, "dash-health")

    assert health.startswith("All is well: 1 beat and 1 worker are alive")
    assert "no job's last run failed" in health


@pytest.mark.parametrize("permission", ["view_jobexecution", "view_schedulerprocess"])
def test_user_without_job_permission_sees_no_job_data(
    django_user_model: type[User], permission: str
):
    alive("beat")
    alive("worker")

    health = text_of(person(django_user_model, permission), "dash-health")

    assert health.startswith("All is well: 1 beat and 1 worker are alive. as of ")


def test_silent_parts_overdue_jobs_and_long_waits_are_named(admin: Client):
    alive("beat", age=100)
    alive("worker")
    job = make_job()
    now = database_now()
    CronJob.objects.filter(pk=job.pk).update(next_run_at=now - timedelta(minutes=10))
    make_run(job, RunStatus.PENDING, now=now - timedelta(minutes=11))

    health = text_of(admin, "dash-health")

    assert "No beat is running" in health
    assert "1 job is overdue" in health
    assert "waiting for a worker for 11 min" in health
    assert "No worker" not in health
    assert "silent" in text_of(admin, "dash-parts")


@on_each_database
def test_page_that_reaches_its_time_limit_names_what_is_not_counted_yet(
    admin: Client, monkeypatch: pytest.MonkeyPatch
):
    make_job(cron_expression="0 * * * *")
    for name in DEADLINES:
        monkeypatch.setattr(limits, name, -1.0)

    context = context_of(admin)

    assert context["timeline"].note == (
        "23 of 25 hours are still being counted. The planned runs of 1 job are still being counted."
    )
    assert context["is_partial"]
    page = admin.get(FRONT).content.decode()
    rest = unescape(re.findall(r'id="dash-live-rest" data-live="([^"]+)"', page)[0])
    assert "X-Live" not in admin.get(rest).headers
    assert "Still being counted." in text_of(admin, "dash-speeds")
    for name in DEADLINES:
        monkeypatch.setattr(limits, name, 60.0)
    assert admin.get(rest).headers["X-Live"] == "done"
    assert "dash-live-rest" not in admin.get(FRONT).content.decode()


def test_without_scripts_the_page_is_complete_after_some_reloads(
    admin: Client, monkeypatch: pytest.MonkeyPatch
):
    for name in ("HOURS_SECONDS", "SPEEDS_WITHIN_SECONDS"):
        monkeypatch.setattr(limits, name, -1.0)

    loads = [context_of(admin) for _reload in range(30)]

    is_partial = [context["is_partial"] for context in loads]
    assert is_partial == sorted(is_partial, reverse=True)
    assert not is_partial[-1]
    assert loads[-1]["timeline"].note == ""
    assert loads[-1]["speeds"] is not None


def test_speeds_are_not_computed_if_the_page_is_already_late(
    admin: Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(limits, "SPEEDS_WITHIN_SECONDS", -1.0)

    assert "Still being counted." in text_of(admin, "dash-speeds")
    assert "No job takes much longer" in text_of(admin, "dash-speeds")


def test_live_requests_return_only_the_parts_of_the_page(admin: Client):
    now = admin.get("/admin/dashboard/now").content.decode()
    charts = admin.get("/admin/dashboard/charts?days=7").content.decode()

    assert "<html" not in now + charts
    wanted = {
        "dash-health",
        "dash-cards",
        "dash-failing",
        "dash-next",
        "dash-running",
        "dash-parts",
    }
    assert wanted <= set(re.findall(r'id="([a-z-]+)"', now))
    assert {"dash-timeline", "dash-throughput", "dash-durations", "dash-speeds"} <= set(
        re.findall(r'id="([a-z-]+)"', charts)
    )
    assert charts.count('<th scope="row">') == 49 + 2 * 169
    front = admin.get(FRONT).content.decode()
    for element in re.findall(r'id="(dash-[a-z-]+)"', now + charts):
        assert f'id="{element}"' in front


def test_every_chart_has_its_numbers_as_a_table(admin: Client):
    page = admin.get(FRONT).content.decode()

    for name in ("timeline", "throughput", "durations"):
        assert f'data-chart-of="dash-{name}"' in page
        assert f'id="dash-{name}"' in page
    assert page.count("<summary>The numbers as a table</summary>") == 3


def test_the_front_page_explains_missing_permissions(django_user_model: type[User]):
    make_job(name="secret")

    client = person(django_user_model)

    page = client.get(FRONT).content.decode()
    assert "may not see jobs or executions yet" in page
    assert "dash-cards" not in page
    for address in ("/admin/dashboard/now", "/admin/dashboard/charts"):
        assert "secret" not in client.get(address).content.decode()
        assert "dash-value" not in client.get(address).content.decode()


def test_user_with_permission_for_executions_only_sees_no_jobs(django_user_model: type[User]):
    job = make_job(name="secret")
    CronJob.objects.filter(pk=job.pk).update(
        last_status="FAILED",
        last_run_at=database_now(),
        next_run_at=database_now() + timedelta(minutes=1),
    )
    client = person(django_user_model, "view_jobexecution")

    page = client.get(FRONT).content.decode()

    assert "secret" not in page
    assert "Enabled jobs" not in page
    assert "Running now" in page
    assert "job failed" not in page


def test_user_with_permission_for_jobs_only_sees_no_executions(django_user_model: type[User]):
    make_run(make_job(name="visible"), RunStatus.RUNNING, job_name="hidden run")
    CronJob.objects.update(next_run_at=database_now() + timedelta(minutes=1))
    client = person(django_user_model, "view_cronjob")

    page = client.get(FRONT).content.decode()

    assert "visible" in page
    assert "hidden run" not in page
    assert "Failed in 24 h" not in page


def test_anonymous_user_is_sent_to_the_login():
    for address in (FRONT, "/admin/dashboard/now", "/admin/dashboard/charts"):
        response = Client().get(address)
        assert response.status_code == 302
        assert "/admin/login/" in response["Location"]


def test_page_loads_no_files_from_other_hosts_and_has_an_icon(admin: Client):
    page = admin.get(FRONT).content.decode()

    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    for asset in re.findall(r'/static/(scheduler/[a-z_.]+)"', page):
        assert finders.find(asset), asset
    icon = Client().get("/favicon.ico")
    assert icon.status_code == 302
    assert finders.find(icon["Location"].removeprefix("/static/"))


def test_recently_finished_runs_can_be_listed(admin: Client):
    job = make_job()
    now = Control().clock.now()
    for hours in (0.5, 5, 100, 300):
        make_run(job, now=now - timedelta(hours=hours))
    make_run(job, RunStatus.RUNNING)

    runs = "/admin/scheduler/jobexecution/"
    counts = {
        span: admin.get(runs, {"ended": span}).context["cl"].result_count
        for span in ("1h", "24h", "7d")
    }

    assert counts == {"1h": 1, "24h": 2, "7d": 3}
