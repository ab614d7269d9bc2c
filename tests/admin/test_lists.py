"""Lists of jobs and runs: files, filters by anything, kept filters, verbs of rows, the palette."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from scheduler.admin import csv_export
from scheduler.models import CronJob, JobExecution, JobLog, SavedFilter
from scheduler.operations.control import Control
from scheduler.states import RunStatus
from scheduler.store import counters, log_search
from scheduler.store.connection import database_now
from tests.admin.test_activity import rows_of
from tests.admin.test_admin import JOBS, RUNS, make_job, make_run, page, texts, user_with

pytestmark = [pytest.mark.django_db, pytest.mark.database]
once = pytest.mark.database("sqlite")  # asks no question to which databases have different answers


@pytest.fixture
def admin(django_user_model: type[User]) -> Client:
    client = Client()
    client.force_login(django_user_model.objects.create_superuser("alice", "a@example.com"))
    return client


def found(client: Client, **query: Any) -> list[int]:
    response = client.get(reverse(f"{RUNS}_changelist"), query)
    assert response.status_code == 200
    return [row.pk for row in response.context["cl"].result_list]


def log(run: JobExecution, level: str, message: str, seq: int = 1) -> None:
    JobLog.objects.create(
        execution=run, attempt=1, seq=seq, at=database_now(), level=level, message=message
    )


# --- files ---------------------------------------------------------------------------------------


def test_file_of_runs_has_the_filtered_runs_masked_params_and_no_formula(admin):
    job = make_job(name="=cmd()")
    params = {"password": "hunter2", "to": "kim"}
    run = make_run(job, RunStatus.FAILED, params=params, error_message="-1+1\nmore", attempt=2)
    make_run(job, RunStatus.SUCCESS)
    url, query = reverse(f"{RUNS}_csv"), {"status__exact": "FAILED"}

    head, *rows = rows_of(admin.get(url, query))
    (blind,) = rows_of(user_with("view_jobexecution").get(url, query))[1:]

    assert [row[0] for row in rows] == [str(run.pk)]
    values = dict(zip(head, rows[0], strict=True))
    assert (values["job"], values["error"], values["attempts"]) == ("'=cmd()", "'-1+1", "2")
    assert values["parameters"] == '{"to": "kim", "password": "********"}' or (
        "hunter2" not in values["parameters"] and "kim" in values["parameters"]
    )
    assert len(blind) == len(head) - 1
    assert user_with("view_cronjob").get(url).status_code == 403
    assert admin.get(url, {"params__password__startswith": "h"}).status_code == 400
    assert admin.get(url, {"job__id__exact": "9" * 30}).status_code == 302


@once
def test_runs_that_did_not_start_say_why_in_the_language_of_the_reader(admin):
    job, korean = make_job(), {"Accept-Language": "ko"}
    frozen = {"freeze": "Stocktaking", "note": "shelves are counted"}
    make_run(
        job, RunStatus.SKIPPED, error_message="frozen by 'Stocktaking'", reason_code="frozen",
        reason_facts=frozen,
    )  # fmt: skip
    make_run(
        job, RunStatus.PENDING, error_message="held until the end", reason_code="frozen_held",
        reason_facts=frozen, available_at=database_now() + timedelta(hours=1),
    )  # fmt: skip
    make_run(job, RunStatus.SKIPPED, error_message="as a person typed it", reason_code=None)
    words = [
        "동결 “Stocktaking”에 막혔습니다: shelves are counted",
        "동결 “Stocktaking” 때문에",
        "as a person typed it",
    ]

    shown = admin.get(reverse(f"{RUNS}_changelist"), headers=korean).content.decode()
    _head, *rows = rows_of(admin.get(reverse(f"{RUNS}_csv"), headers=korean))

    assert [text for text in words if text not in shown] == []
    assert "held until" not in shown
    assert all(any(row[-2].startswith(text) for text in words) for row in rows)


def test_file_of_jobs_has_the_columns_and_tags(admin):
    make_job(name="report", tags=["a", "b"], owner="kim", handler_params={"token": "s3cret"})
    make_job(name="other")

    head, *rows = rows_of(admin.get(reverse(f"{JOBS}_csv"), {"q": "kim"}))

    values = dict(zip(head, rows[0], strict=True))
    assert len(rows) == 1
    assert (values["name"], values["tags"], values["owner"]) == ("report", "a, b", "kim")
    assert "s3cret" not in values["parameters"]


def test_a_file_says_where_it_was_cut(admin, monkeypatch):
    monkeypatch.setattr(csv_export, "LIMIT", 3)
    monkeypatch.setattr(csv_export, "BATCH", 2)
    job = make_job()
    runs = [make_run(job) for _ in range(5)]

    rows = rows_of(admin.get(reverse(f"{RUNS}_csv")))

    assert [row[0] for row in rows[1:4]] == [str(run.pk) for run in reversed(runs[2:])]
    assert rows[4:] == [["Cut after 3 rows: there are more."]]


# --- filters of runs -----------------------------------------------------------------------------


def test_runs_are_found_by_worker_queue_tag_owner_source_error_and_level(admin):
    job = make_job(name="report", queue="slow", tags=["nightly"], owner="kim")
    run = make_run(
        job, RunStatus.FAILED, queue="slow", lease_owner="w1@host", error_message="no order 17",
        param_source="manual", now=database_now() - timedelta(seconds=30),
    )  # fmt: skip
    make_run(make_job(name="other"), lease_owner="w2@host")
    log(run, "ERROR", "boom")
    while counters.count(database_now(), lease_seconds=60):
        pass

    for query in (
        {"worker": "W1"}, {"queue": "slow"}, {"tag": "nightly"}, {"owner": "kim"},
        {"param_source__exact": "manual"}, {"error": "ORDER"}, {"level": "WARNING"},
        {"worker": "w1", "error": "order", "level": "ERROR", "job__id__exact": str(job.pk)},
    ):  # fmt: skip
        assert found(admin, **query) == [run.pk], query
    assert found(admin, error="order 18") == found(admin, tag="none") == []
    CronJob.objects.update(owner="")
    assert found(admin, owner="nobody") == []
    assert found(admin, worker="\0", error="\0", level="LOUD") != []


def test_logs_of_shards_are_found_with_those_of_their_run(admin, monkeypatch):
    job = make_job(name="report")
    older = make_run(job, now=database_now() - timedelta(hours=1))
    parent = make_run(job, shard_count=30)
    log(older, "ERROR", "order 0 is lost")
    shards = [make_run(None, parent=parent, shard=number, shard_count=30) for number in range(30)]
    log(parent, "INFO", "divided the orders")
    for number in (29, 3):
        log(shards[number], "ERROR", f"order {number} is lost")
    url = reverse(f"{RUNS}_search_logs")

    shown = admin.get(url, {"job": "report", "q": "order"}).context
    monkeypatch.setattr(log_search, "LINES", 2)
    first = admin.get(url, {"job": "report", "q": "order"}).context
    second = admin.get(url + first["older"]).context

    lines = [(row["run"], row["shard"], row["message"]) for row in shown["rows"]]
    expected = [
        (f"#{parent.pk}", "", "divided the orders"),
        (f"#{shards[3].pk}", "shard 3", "order 3 is lost"),
        (f"#{shards[29].pk}", "shard 29", "order 29 is lost"),
        (f"#{older.pk}", "", "order 0 is lost"),
    ]
    assert lines == expected
    assert shown["runs"] == 2
    assert [row["message"] for row in first["rows"]] == [line[2] for line in expected[:2]]
    assert first["runs"] == 1
    assert [row["message"] for row in second["rows"]] == ["order 0 is lost"]
    assert found(admin, level="ERROR") == [parent.pk, older.pk]
    JobLog.objects.filter(execution=shards[3]).delete()
    JobLog.objects.filter(execution=shards[29]).update(level="INFO")
    assert found(admin, level="ERROR") == [older.pk]


def test_a_search_in_logs_shows_every_line_once(admin, monkeypatch):
    monkeypatch.setattr(log_search, "LINES", 3)
    job = make_job(name="report")
    for _ in range(7):
        log(make_run(job), "INFO", "line")
    url, seen, query = reverse(f"{RUNS}_search_logs"), [], "?job=report"

    while query:
        context = admin.get(url + query).context
        seen += [row["run"] for row in context["rows"]]
        query = context["older"]

    newest = JobExecution.objects.order_by("-scheduled_time")
    assert seen == [f"#{run.pk}" for run in newest]


def test_logs_of_a_job_are_searched_by_time_level_and_text(admin, monkeypatch):
    monkeypatch.setattr(log_search, "RUNS", 2)
    monkeypatch.setattr(log_search, "_AT_ONCE", 1)
    job = make_job(name="report")
    runs = [make_run(job) for _ in range(3)][::-1]
    for run in sorted(runs, key=lambda run: run.scheduled_time):
        log(run, "INFO", "begin <b>")
        log(run, "ERROR", f"order {run.pk} is lost", seq=2)
    url = reverse(f"{RUNS}_search_logs")

    response = admin.get(url, {"job": "report", "level": "WARNING", "q": "ORDER"})
    older = admin.get(url + response.context["older"])

    newest = sorted(runs, key=lambda run: run.scheduled_time, reverse=True)
    messages = [row["message"] for row in response.context["rows"]]
    assert messages == [f"order {run.pk} is lost" for run in newest[:2]]
    assert [row["message"] for row in older.context["rows"]] == [f"order {newest[2].pk} is lost"]
    assert older.context["older"] == ""
    assert "begin &lt;b&gt;" in page(admin, f"{RUNS}_search_logs", job="report")
    for wrong in (
        {"job": "nobody"}, {"job": "report", "since": "x"}, {"job": "report", "q": "a\0"},
        {"job": "report", "level": "LOUD"}, {"job": "report", "q": "x" * 10_000},
        {"job": "report", "since": "2026-02-01T00:00", "until": "2026-01-01T00:00"},
    ):  # fmt: skip
        refused = admin.get(url, wrong)
        assert refused.context["form"].errors, wrong
    assert user_with("view_jobexecution").get(url).status_code == 403


# --- kept filters --------------------------------------------------------------------------------


@once
def test_a_filter_is_kept_under_a_name_and_opens_the_list(admin, django_user_model):
    save, delete = reverse("admin:saved-filter-save"), reverse("admin:saved-filter-delete")
    sent = {"page": "executions", "name": "mine", "query": "status__exact=FAILED&error=a%26b"}

    saved = admin.post(save, sent, follow=True)
    kept = SavedFilter.objects.get()
    opened = admin.get(reverse("admin:saved-filter", args=[kept.pk]))

    assert texts(saved) == ["The filter mine is saved."]
    assert "mine" in saved.content.decode()
    assert opened.url.endswith("?status__exact=FAILED&error=a%26b")
    other = user_with("view_jobexecution")
    assert other.get(reverse("admin:saved-filter", args=[kept.pk])).status_code == 404
    assert other.post(delete, {"id": kept.pk}).status_code == 404
    for wrong in ({"name": " "}, {"name": "n" * 101}, {"query": "q=" + "x" * 3000}):
        assert texts(admin.post(save, {**sent, **wrong}, follow=True)) != [
            "The filter mine is saved."
        ]
    assert admin.post(save, {**sent, "page": "elsewhere"}).status_code == 404
    assert admin.get(save).status_code == 405
    assert SavedFilter.objects.count() == 1
    admin.post(delete, {"id": kept.pk})
    assert SavedFilter.objects.count() == 0


@once
def test_a_kept_filter_of_a_column_that_is_gone_says_so_and_shows_the_rest(admin):
    for name, query in (("executions", "colour=red&status__exact=FAILED"), ("failures", "x=1&q=a")):
        user = User.objects.get()
        kept = SavedFilter.objects.create(user=user, page=name, name="old", query=query)

        shown = admin.get(reverse("admin:saved-filter", args=[kept.pk]), follow=True)

        assert "has no filter" in texts(shown)[0]
        assert shown.status_code == 200
        assert shown.redirect_chain[-1][0].endswith(query.partition("&")[2])


# --- verbs of rows -------------------------------------------------------------------------------


@once
def test_rows_offer_what_their_state_allows_and_a_paused_job_is_resumed(admin):
    job = make_job(name="report")
    Control().pause(job.pk, reason="repair")
    done, failed = make_run(job), make_run(job, RunStatus.FAILED)

    jobs = page(admin, f"{JOBS}_changelist")
    runs = page(admin, f"{RUNS}_changelist")

    resume = reverse(f"{JOBS}_resume", args=[job.pk])
    assert resume in jobs
    assert reverse(f"{JOBS}_enable", args=[job.pk]) not in jobs
    assert reverse(f"{RUNS}_retry", args=[failed.pk]) in runs
    assert reverse(f"{RUNS}_retry", args=[done.pk]) not in runs
    assert "Resume" in admin.get(resume).content.decode()
    assert admin.post(resume).status_code == 302
    assert CronJob.objects.get(pk=job.pk).is_enabled
    assert reverse(f"{RUNS}_retry", args=[failed.pk]) not in page(
        user_with("view_jobexecution"), f"{RUNS}_changelist"
    )


# --- the palette ---------------------------------------------------------------------------------


def items(client: Client, text: str, **headers: str) -> list[tuple[str, str]]:
    answer = client.get(reverse("admin:palette"), {"q": text}, headers=headers)
    assert answer.status_code == 200
    return [(item["kind"], item["text"]) for item in answer.json()["items"]]


@once
def test_palette_finds_jobs_runs_pages_and_actions_within_permissions(admin):
    job = make_job(name="report")
    run = make_run(job)

    assert items(admin, "repo") == [
        ("job", "report"), ("action", "Run now: report"), ("action", "Pause: report"),
    ]  # fmt: skip
    assert items(admin, "pause repo") == [("action", "Pause: report")]
    assert ("execution", f"#{run.pk} report") in items(admin, f"#{run.pk}")
    assert ("page", "Failures") in items(admin, "fail")
    assert ("page", "Timeline") in items(admin, "")
    assert ("화면", "실패") in items(admin, "실패", accept_language="ko")
    assert ("동작", "일시 중지: report") in items(admin, "일시 중지 repo", accept_language="ko")
    for strange in ("x" * 10_000, "\0", "9" * 400, "%", "'"):
        items(admin, strange)
    reader = user_with("view_cronjob")
    assert items(reader, "repo") == [("job", "report")]
    assert items(reader, f"{run.pk}") == []
    assert Client().get(reverse("admin:palette")).status_code == 302
    assert 'id="palette"' in page(reader, "admin:index")
