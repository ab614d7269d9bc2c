"""Pages that update themselves: the requests of live.js and the answers."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from scheduler.admin.executions.admin import JobExecutionAdmin
from scheduler.models import JobExecution, JobLog, SchedulerProcess
from scheduler.states import RunStatus
from scheduler.store.connection import database_now
from tests.admin.test_admin import RUNS, SCRIPT, make_job, make_run, page, user_with

pytestmark = pytest.mark.django_db

on_each_database = pytest.mark.database


@pytest.fixture
def admin(django_user_model: type[User]) -> Client:
    client = Client()
    client.force_login(django_user_model.objects.create_superuser("alice", "a@example.com"))
    return client


@pytest.fixture(autouse=True)
def _words_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes tests independent of the ten-second period in which relative times are renewed."""
    monkeypatch.setattr("scheduler.admin.executions.page.WORDS_LAST_SECONDS", 10**9)


def address(html: str) -> str:
    """Returns the address that live.js requests; empty if it requests none."""
    found = re.search(r'data-live="([^"]*)"', html)
    return found[1] if found else ""


def live_page(client: Client, run: JobExecution) -> tuple[str, str]:
    """Returns the address and the mark of the page for live.js; empty if it requests none."""
    html = page(client, f"{RUNS}_change", run.pk)
    found = re.search(r'data-live="([^"]*)" data-live-seconds="2" data-live-mark="(\w+)"', html)
    return (found[1], found[2]) if found else ("", "")


def ask(client: Client, url: str, mark: str = "") -> Any:
    return client.get(url.replace("&amp;", "&"), headers={"X-Live-Mark": mark})


# --- the page of an execution --------------------------------------------------------------------


@on_each_database
def test_nothing_is_sent_while_nothing_changes(admin):
    run = make_run(make_job(), RunStatus.RUNNING, progress=10)
    url, mark = live_page(admin, run)
    assert ask(admin, url, mark).status_code == 204
    with CaptureQueriesContext(connection) as captured:
        ask(admin, url, mark)
    about_runs = [query for query in captured if "job_" in query["sql"]]
    assert len(about_runs) == 1
    assert len(captured) <= 5  # session, user, their preferences, the database's time


@on_each_database
@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"progress": 55.0}, 'aria-valuenow="55"'),
        ({"progress_message": "almost <there>"}, "almost &lt;there&gt;"),
        ({"attempt": 7}, "Attempt 7 has been running"),
        ({"lease_owner": "other@host"}, "other@host"),
    ],
)
def test_changed_values_are_sent(admin, change, seen):
    run = make_run(make_job(), RunStatus.RUNNING, progress=10)
    url, mark = live_page(admin, run)
    JobExecution.objects.filter(pk=run.pk).update(**change)
    answer = ask(admin, url, mark)
    assert answer.status_code == 200
    assert seen in answer.content.decode()
    assert answer["X-Live-Mark"] != mark
    assert ask(admin, url, answer["X-Live-Mark"]).status_code == 204


@on_each_database
def test_a_new_line_of_the_log_is_sent(admin):
    run = make_run(make_job(), RunStatus.RUNNING)
    url, mark = live_page(admin, run)
    JobLog.objects.create(
        execution=run, attempt=1, seq=1, at=database_now(), level="INFO", message=f"a {SCRIPT}"
    )
    answer = ask(admin, url, mark)
    assert "a &lt;script&gt;" in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]


@on_each_database
def test_end_of_a_run_is_the_last_live_answer(admin):
    run = make_run(make_job(), RunStatus.RUNNING)
    url, mark = live_page(admin, run)
    assert "X-Live" not in ask(admin, url, mark)
    JobExecution.objects.filter(pk=run.pk).update(
        status=RunStatus.SUCCESS, finished_at=database_now(), lease_token=None,
        lease_expires_at=None, deadline_at=None,
    )  # fmt: skip
    answer = ask(admin, url, mark)
    assert answer["X-Live"] == "done"
    html = answer.content.decode()
    assert "SUCCESS" in html
    assert reverse(f"{RUNS}_cancel", args=[run.pk]) not in html
    assert ask(admin, url, answer["X-Live-Mark"])["X-Live"] == "done"
    assert live_page(admin, run) == ("", "")


def test_requests_of_open_pages_are_not_logged_at_info(admin, caplog):
    run = make_run(make_job(), RunStatus.RUNNING)
    url, mark = live_page(admin, run)
    caplog.clear()
    ask(admin, url, mark)
    assert [r.levelname for r in caplog.records if r.name == "jobu.request"] in ([], ["DEBUG"])
    Client().get(url)  # a request without login and without the header of an open page
    assert [r.levelname for r in caplog.records if r.name == "jobu.request"][-1] == "INFO"


def test_relative_times_are_renewed_without_other_changes(admin, monkeypatch):
    monkeypatch.setattr("scheduler.admin.executions.page.WORDS_LAST_SECONDS", 1e-6)
    run = make_run(make_job(), RunStatus.RUNNING)
    url, mark = live_page(admin, run)
    assert ask(admin, url, mark).status_code == 200


def test_live_answer_equals_the_same_part_of_the_page(admin):
    run = make_run(make_job(), RunStatus.RUNNING, progress=10)
    html = page(admin, f"{RUNS}_change", run.pk, level="ERROR")
    url = address(html)
    fragment = ask(admin, url).content.decode()
    moving = re.compile(r'data-elapsed="[^"]*"|[0-9.]+ s\b|\b(?:now|ago)\b')
    assert moving.sub("", fragment).strip() in moving.sub("", html)
    assert "level=ERROR" in url


def test_live_pages_require_their_permission(admin):
    run = make_run(make_job(), RunStatus.RUNNING)
    urls = {
        "view_jobexecution": [
            reverse(f"{RUNS}_live", args=[run.pk]), reverse(f"{RUNS}_rows") + f"?ids={run.pk}",
        ],
        "view_schedulerprocess": [reverse("admin:scheduler_schedulerprocess_live")],
    }  # fmt: skip
    for permission, paths in urls.items():
        for path in paths:
            assert user_with("view_cronjob", permission).get(path).status_code == 200
            assert user_with("view_cronjob", "add_cronjob").get(path).status_code == 403
            assert Client().get(path).status_code == 302
            User.objects.exclude(username="alice").delete()
    assert admin.get(reverse(f"{RUNS}_live", args=[run.pk + 1])).status_code == 404


# --- lists ---------------------------------------------------------------------------------------


def rows_url(client: Client, **query: Any) -> str:
    return address(page(client, f"{RUNS}_changelist", **query))


@on_each_database
def test_changed_cells_of_the_list_are_sent(admin):
    job = make_job()
    now = database_now()
    run = make_run(job, RunStatus.RUNNING, now=now, progress=10)
    ended = make_run(job, RunStatus.SUCCESS, now=now + timedelta(seconds=1))
    url = rows_url(admin, status__exact="RUNNING")
    assert f"ids={run.pk}" in url
    before = ask(admin, url)
    assert f'id="run-{run.pk}-status"' in before.content.decode()
    assert f"run-{ended.pk}-" not in before.content.decode()
    assert ask(admin, url, before["X-Live-Mark"]).status_code == 204
    JobExecution.objects.filter(pk=run.pk).update(progress=60)
    after = ask(admin, url, before["X-Live-Mark"])
    assert "60 %" in after.content.decode()
    JobExecution.objects.filter(pk=run.pk).update(
        status=RunStatus.FAILED, finished_at=now, lease_token=None, lease_expires_at=None,
        deadline_at=None,
    )  # fmt: skip
    last = ask(admin, url, after["X-Live-Mark"])
    assert "FAILED" in last.content.decode()
    assert last["X-Live"] == "done"
    assert rows_url(admin, status__exact="FAILED") == ""


def test_live_cells_equal_the_cells_of_the_list(admin):
    run = make_run(make_job(), RunStatus.PENDING, failures=1, attempt=1)
    html = page(admin, f"{RUNS}_changelist")
    cells = re.findall(r'<span id="run-.*', ask(admin, rows_url(admin)).content.decode())
    for cell in re.split(r'(?=<span id="run-)', "".join(cells)):
        assert cell.split('<p id="newer-runs">')[0] in html
    assert f'id="run-{run.pk}-tries"' in html


@on_each_database
def test_first_page_of_the_list_reports_newer_executions(admin):
    job = make_job()
    make_run(job)
    url = rows_url(admin)
    first = ask(admin, url)
    assert "newer execution" not in first.content.decode()
    assert "X-Live" not in first
    make_run(job, now=database_now() + timedelta(seconds=1))
    assert "1 newer execution;" in ask(admin, url, first["X-Live-Mark"]).content.decode()


@pytest.mark.parametrize("query", ["ids=x,1;2,-3", "ids=" + "9" * 40, "newest=all", ""])
def test_invalid_row_ids_are_ignored(admin, query):
    assert admin.get(f"{reverse(f'{RUNS}_rows')}?{query}").status_code == 200


def test_page_of_processes_shows_that_a_process_is_silent(admin):
    now = database_now()
    worker = SchedulerProcess.objects.create(
        name="w", kind="worker", host="h", pid=1, started_at=now, heartbeat_at=now, running=1
    )
    html = page(admin, "admin:scheduler_schedulerprocess_changelist")
    url = address(html)
    first = ask(admin, url)
    assert f'<span id="process-{worker.pk}-runs">1</span>' in first.content.decode()
    assert "No worker is running" not in first.content.decode()
    SchedulerProcess.objects.update(heartbeat_at=now - timedelta(minutes=5), running=0)
    after = ask(admin, url, first["X-Live-Mark"]).content.decode()
    assert "silent" in after
    assert f'<span id="process-{worker.pk}-runs">0</span>' in after
    assert "No worker is running" in after


def test_the_script_is_on_the_pages_and_is_served(admin):
    run = make_run(make_job(), RunStatus.RUNNING)
    for html in (page(admin, f"{RUNS}_change", run.pk), page(admin, f"{RUNS}_changelist")):
        assert 'src="/static/scheduler/live.js"' in html
    served = admin.get("/static/scheduler/live.js")
    assert served.status_code == 200
    assert b"data-live" in b"".join(served)


@pytest.mark.processes
def test_open_page_shows_the_progress_of_a_real_worker(system):
    jobu = system(
        config={
            "scheduler": {"poll_interval_seconds": 0.5, "min_cron_interval_seconds": 1},
            "worker": {"lease_seconds": 4, "heartbeat_seconds": 1, "cancel_poll_seconds": 0.2},
        }
    )
    jobu.migrate()
    jobu.start_beat()
    jobu.start_worker(concurrency=1)

    code = "from tests.live_watch import watch; watch(5)"
    try:
        watched = json.loads(jobu.manage("shell", "-c", code, timeout=130).splitlines()[-1])
    except AssertionError as error:
        raise AssertionError(f"{error}\n{jobu.logs()}") from error

    moving = [state for state in watched["seen"] if state["running"]]
    percents = [state["percent"] for state in moving if state["percent"] is not None]
    assert percents == sorted(percents)
    assert len(set(percents)) >= 2, watched  # a busy machine polls rarely
    assert moving[-1]["logged"], watched
    last = watched["seen"][-1]
    assert (last["percent"], last["succeeded"], last["running"]) == (100, True, False)
    assert watched["unchanged"] > 0


@pytest.mark.parametrize("moment", ["get_object", "_fragment"])
def test_page_updates_a_run_that_ended_while_the_page_was_rendered(admin, monkeypatch, moment):
    run = make_run(make_job(), status=RunStatus.RUNNING)
    real = getattr(JobExecutionAdmin, moment)

    def and_then_it_ends(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = real(self, *args, **kwargs)
        JobExecution.objects.filter(pk=run.pk).update(
            status=RunStatus.FAILED, finished_at=database_now(), lease_token=None,
            lease_expires_at=None, deadline_at=None,
        )  # fmt: skip
        return found

    with monkeypatch.context() as patch:
        patch.setattr(JobExecutionAdmin, moment, and_then_it_ends)
        shown = page(admin, f"{RUNS}_change", run.pk)
    url = re.search(r'data-live="([^"]+)"', shown)
    mark = re.search(r'data-live-mark="([^"]+)"', shown)
    assert url, "the page shows a run that goes on, and does not ask about it"
    assert mark
    answer = admin.get(url[1], headers={"X-Live-Mark": mark[1]})
    assert (answer.status_code, answer["X-Live"]) == (200, "done")
    assert "/cancel/" not in answer.content.decode()


@pytest.mark.parametrize("number", ["9" * 19, "9" * 5000, "\u0663", "\u00b2", "-1", "x"])
def test_unknown_execution_number_redirects_to_the_front_page(admin, number):
    answer = admin.get(f"{reverse('admin:index')}scheduler/jobexecution/{number}/change/")
    assert (answer.status_code, answer.headers.get("Location")) == (302, reverse("admin:index"))
