"""The admin through Django's test client, on each job database."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from itertools import count
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from scheduler.admin.listing import CappedPaginator
from scheduler.models import (
    Activity,
    CronJob,
    JobAttempt,
    JobExecution,
    JobGuard,
    JobLog,
    SchedulerProcess,
)
from scheduler.operations.control import Control, StaleEdit
from scheduler.operations.definition import values_of
from scheduler.operations.history import describe
from scheduler.states import FINAL, RunStatus
from scheduler.store.connection import database_now

pytestmark = pytest.mark.django_db

# Tests that depend on the database run on each job database. Tests of wording run on one only.
on_each_database = pytest.mark.database

SCRIPT = "<script>alert(1)</script>"
JOBS = "admin:scheduler_cronjob"
RUNS = "admin:scheduler_jobexecution"


@pytest.fixture
def admin(django_user_model: type[User]) -> Client:
    """A client signed in as Alice, a superuser."""
    client = Client()
    client.force_login(django_user_model.objects.create_superuser("alice", "a@example.com"))
    return client


@pytest.fixture
def job() -> CronJob:
    return make_job()


def make_job(**values: Any) -> CronJob:
    given = {"name": "report", "cron_expression": "0 3 * * *", "handler_name": "sample", **values}
    return Control().create_job(**given)


_DISTINCT = count()


def make_run(
    job: CronJob | None, status: RunStatus = RunStatus.SUCCESS, **values: Any
) -> JobExecution:
    """Creates an execution in a state that the store could have written."""
    # SQLite's clock has milliseconds: two runs of one job made within one would be one slot.
    now = values.pop("now", None) or database_now() - timedelta(microseconds=next(_DISTINCT))
    is_final = status in FINAL
    state: dict[str, Any] = {"finished_at": now if is_final else None}
    if status == RunStatus.PENDING:
        state = {"available_at": now}
    if status == RunStatus.RUNNING:
        leased = {
            "lease_token": f"t{now.timestamp()}",
            "lease_expires_at": now + timedelta(hours=1),
        }
        state |= leased | {"deadline_at": now + timedelta(hours=1), "lease_owner": "worker@host"}
    if status != RunStatus.PENDING:
        state["started_at"] = now - timedelta(seconds=5)
    given = {
        "job": job,
        "job_name": job.name if job else "",
        "handler_name": "sample",
        "scheduled_time": now,
        "status": status,
        **state,
        **values,
    }
    return JobExecution.objects.create(**given)


def page(client: Client, name: str, *args: Any, **query: Any) -> str:
    response = client.get(reverse(name, args=args), query)
    assert response.status_code == 200, (name, response.status_code)
    return response.content.decode()


def form_of(client: Client, job: CronJob | None = None) -> dict[str, Any]:
    """Returns the values that a browser sends for the unchanged form."""
    url = reverse(f"{JOBS}_change", args=[job.pk]) if job else reverse(f"{JOBS}_add")
    form = client.get(url).context["adminform"].form
    sent: dict[str, Any] = {}
    for bound in form:
        value = bound.value()
        if hasattr(bound.field, "fields"):
            sent[f"{bound.name}_0"], sent[f"{bound.name}_1"] = "", ""
        elif isinstance(value, bool):
            sent |= {bound.name: "on"} if value else {}
        else:
            sent[bound.name] = "" if value is None else value
    return sent


def save(client: Client, job: CronJob | None, sent: dict[str, Any]) -> Any:
    url = reverse(f"{JOBS}_change", args=[job.pk]) if job else reverse(f"{JOBS}_add")
    return client.post(url, sent)


def texts(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def user_with(*codenames: str) -> Client:
    user = User.objects.create_user(f"user-{len(codenames)}-{'-'.join(codenames)}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


# --- jobs: typing one ----------------------------------------------------------------------------


@on_each_database
def test_new_job_is_saved_through_control_and_is_in_the_history(admin):
    sent = form_of(admin) | {
        "name": "typed",
        "cron_expression": "*/5 * * * *",
        "handler_name": "sample",
        "handler_params": '{"message": "hi"}',
    }
    response = save(admin, None, sent)
    assert response.status_code == 302
    job = CronJob.objects.get(name="typed")
    assert job.handler_params == {"message": "hi"}
    assert job.is_enabled
    assert Activity.objects.get(verb="created").actor == "alice"


def test_form_lists_the_handlers_and_accepts_a_celery_task(admin, celery_task):
    assert '<option value="sample">' in page(admin, f"{JOBS}_add")
    sent = form_of(admin) | {"name": "t", "cron_expression": "@daily", "handler_name": celery_task}
    assert save(admin, None, sent).status_code == 302
    assert CronJob.objects.get(name="t").handler_name == celery_task


@pytest.fixture
def celery_task():
    from celery import current_app

    @current_app.task(name="tests.admin.noop")
    def noop() -> None:
        """Does nothing; no test runs it."""

    current_app.finalize()
    yield "celery:tests.admin.noop"
    current_app.tasks.pop("tests.admin.noop", None)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("name", "", "required"),
        ("name", "x" * 101, "101 characters"),
        ("name", "re\u200bport", "U+200B ZERO WIDTH SPACE"),
        ("name", "report ", "U+0020 SPACE"),
        ("cron_expression", "61 * * * *", "61"),
        ("cron_expression", "0 0 30 2 *", "never"),
        ("cron_expression", "* * * * * *", "seconds"),
        ("timezone", "Mars/Olympus", "Mars/Olympus"),
        ("handler_name", "smaple", "sample"),
        ("handler_params", "{", "line 1"),
        ("handler_params", '{"sleep_seconds": -1}', "sleep_seconds"),
        ("max_retry", "-1", "between 0 and 10"),
        ("max_retry", "many", "whole number"),
        ("timeout_seconds", "0", "between 1 and 86400"),
        ("retry_backoff_max_seconds", "1", "first back-off"),
        ("queue", "no spaces", "letters"),
        ("calendar", "nobody:knows", "nobody"),
    ],
)
def test_a_mistake_is_shown_at_its_field_and_nothing_is_saved(admin, field, value, reason):
    good = {"name": "typed", "cron_expression": "*/5 * * * *", "handler_name": "sample"}
    response = save(admin, None, form_of(admin) | good | {field: value})
    assert response.status_code == 200
    errors = response.context["adminform"].form.errors
    assert reason in " ".join(errors[field])
    assert list(errors) == [field]
    assert not CronJob.objects.exists()


def test_a_job_whose_database_is_not_configured_is_saved_with_a_warning(admin):
    sent = form_of(admin) | {
        "name": "crud",
        "cron_expression": "0 3 * * *",
        "handler_name": "postgres_crud",
        "handler_params": "{}",
    }

    response = admin.post(reverse(f"{JOBS}_add"), sent, follow=True)

    assert CronJob.objects.filter(name="crud").exists()
    assert any("postgres_1" in text for text in texts(response)), texts(response)


def test_a_misspelt_parameter_is_a_warning_in_the_form_and_in_the_check(admin):
    sent = form_of(admin) | {
        "name": "typo",
        "cron_expression": "0 3 * * *",
        "handler_name": "sample",
        "handler_params": '{"mesage": "hi"}',
    }

    checked = admin.post(reverse(f"{JOBS}_check"), sent).json()
    saved = admin.post(reverse(f"{JOBS}_add"), sent, follow=True)

    warning = "The handler has no parameter 'mesage' (did you mean 'message'?)"
    assert checked["problems"] == {"__all__": []}
    assert warning in unescape(checked["preview"])
    assert warning in texts(saved)


def test_a_name_that_is_taken_is_refused_at_the_name(admin, job):
    sent = form_of(admin) | {
        "name": job.name,
        "cron_expression": "@daily",
        "handler_name": "sample",
    }
    response = save(admin, None, sent)
    assert "taken" in response.context["adminform"].form.errors["name"][0]


@on_each_database
def test_an_edit_changes_what_was_typed_and_nothing_else(admin, job):
    before = values_of(CronJob.objects.get(pk=job.pk))
    assert save(admin, job, form_of(admin, job) | {"description": "new"}).status_code == 302
    assert values_of(CronJob.objects.get(pk=job.pk)) == before | {"description": "new"}
    entry = Activity.objects.get(verb="changed")
    assert describe(entry, str) == "Changed description"


@on_each_database
def test_a_save_without_a_change_changes_nothing(admin, job):
    assert save(admin, job, form_of(admin, job)).status_code == 302
    job_now = CronJob.objects.get(pk=job.pk)
    assert (job_now.tick_seq, job_now.updated_at) == (job.tick_seq, job.updated_at)
    assert not Activity.objects.filter(verb="changed").exists()


@on_each_database
def test_edit_that_would_overwrite_the_edit_of_another_user_is_refused(admin, job):
    sent = form_of(admin, job) | {"description": "mine"}
    Control().update_job(job.pk, description="hers")
    response = save(admin, job, sent)
    assert "somebody else" in response.content.decode()
    assert CronJob.objects.get(pk=job.pk).description == "hers"
    assert Activity.objects.get(verb="changed").actor == ""


def test_edit_without_the_version_fields_of_the_page_is_refused(admin, job):
    sent = form_of(admin, job) | {"description": "mine", "tick_seq": "", "seen": ""}
    assert "somebody else" in save(admin, job, sent).content.decode()


@on_each_database
def test_slot_that_ran_since_the_form_was_opened_is_not_a_conflict(admin, job):
    sent = form_of(admin, job) | {"description": "mine"}
    CronJob.objects.filter(pk=job.pk).update(tick_seq=job.tick_seq + 5, next_run_at=database_now())
    assert save(admin, job, sent).status_code == 302
    assert CronJob.objects.get(pk=job.pk).description == "mine"


@pytest.mark.parametrize("races", [1, 2, 9])
def test_save_succeeds_when_beat_updates_the_job_at_the_same_time(admin, job, monkeypatch, races):
    sent = form_of(admin, job) | {"description": "mine"}
    update, left = Control.update_job, [races]

    def racing(self: Control, *args: Any, **values: Any) -> CronJob:
        if left[0]:
            left[0] -= 1
            raise StaleEdit
        return update(self, *args, **values)

    monkeypatch.setattr(Control, "update_job", racing)
    response = save(admin, job, sent)
    saved = CronJob.objects.get(pk=job.pk).description == "mine"
    assert saved == (response.status_code == 302) == (races == 1)
    if not saved:
        assert "somebody else" in response.content.decode()
    assert Activity.objects.filter(verb="changed").count() == int(saved)


@on_each_database
def test_a_name_taken_between_check_and_save_is_shown_at_the_name(admin, job, monkeypatch):
    sent = form_of(admin) | {
        "name": job.name,
        "cron_expression": "@daily",
        "handler_name": "sample",
    }
    monkeypatch.setattr("scheduler.admin.jobs.form.is_taken", lambda job: False)
    response = save(admin, None, sent)
    assert response.status_code == 200
    assert "taken" in response.context["adminform"].form.errors["name"][0]


def test_switching_off_a_job_whose_handler_is_gone_is_possible(admin, job):
    CronJob.objects.filter(pk=job.pk).update(handler_name="gone")
    sent = form_of(admin, job)
    del sent["is_enabled"]
    assert save(admin, job, sent).status_code == 302
    assert not CronJob.objects.get(pk=job.pk).is_enabled


@on_each_database
def test_secrets_are_hidden_in_the_form_and_kept_by_saving(admin):
    job = make_job(handler_params={"api_token": "hunter2", "nested": [{"password": "hunter3"}]})
    html = page(admin, f"{JOBS}_change", job.pk)
    assert "hunter" not in html
    sent = form_of(admin, job) | {"description": "new"}
    assert save(admin, job, sent).status_code == 302
    saved = CronJob.objects.get(pk=job.pk)
    assert (saved.description, saved.handler_params) == ("new", job.handler_params)


def test_invalid_params_stay_in_the_form(admin):
    sent = form_of(admin) | {"name": "n", "handler_params": '{"password": "typed", '}
    assert "&quot;typed&quot;" in save(admin, None, sent).content.decode()


# --- jobs: looking -------------------------------------------------------------------------------


def test_the_page_shows_the_next_runs_in_the_jobs_zone_and_utc(admin):
    job = make_job(cron_expression="30 2 * * *", timezone="Asia/Kolkata")
    html = page(admin, f"{JOBS}_change", job.pk)
    assert html.count("02:30:00 IST") == 20
    assert html.count("21:00:00 UTC") == 20 + 1  # and as the job's next run


def test_the_page_marks_a_clock_change(admin):
    job = make_job(cron_expression="0 12 1 * *", timezone="Europe/Berlin")
    html = page(admin, f"{JOBS}_change", job.pk)
    assert 3 <= html.count("clock change") <= 4  # twenty months


def test_the_page_says_from_which_day_the_calendar_has_moved_a_run(admin):
    job = make_job(cron_expression="0 9 * * SAT", calendar="kr:previous")
    html = page(admin, f"{JOBS}_change", job.pk)
    assert html.count("moved from Sat 2") == 20 + 1
    assert re.search(r"moved from Sat \S+ by the calendar kr<", html)


def test_page_reports_a_schedule_that_cannot_be_used(admin, job):
    CronJob.objects.filter(pk=job.pk).update(
        cron_expression="nonsense", is_enabled=False, schedule_error=f"bad {SCRIPT}"
    )
    html = page(admin, f"{JOBS}_change", job.pk)
    assert "Disabled because its schedule cannot be used: bad &lt;script&gt;" in html
    assert "nonsense" in html


def test_start_time_outside_the_allowed_years_is_refused_at_its_field(admin, job):
    odd = {"start_at_0": "0001-01-01", "start_at_1": "00:00:00"}  # before any instant of UTC
    response = save(admin, job, form_of(admin, job) | odd)
    assert list(response.context["adminform"].form.errors) == ["start_at"]


def test_pages_open_for_a_job_whose_time_zone_is_unknown(admin, job):
    CronJob.objects.filter(pk=job.pk).update(timezone="../../etc/passwd")
    page(admin, f"{JOBS}_change", job.pk)
    page(admin, f"{JOBS}_changelist")


@on_each_database
def test_the_list_shows_states_next_run_and_last_result(admin):
    now = database_now()
    soon = make_job(name="soon")
    late = make_job(name="late")
    CronJob.objects.filter(pk=soon.pk).update(
        next_run_at=datetime(2100, 1, 1, tzinfo=UTC), last_run_at=now, last_status="FAILED"
    )
    CronJob.objects.filter(pk=late.pk).update(next_run_at=now - timedelta(hours=1))
    make_job(name="off", is_enabled=False)
    Control().pause(make_job(name="paused").pk, reason="moving house")
    html = page(admin, f"{JOBS}_changelist")
    for text in (
        "2100-01-01 09:00:00 KST",
        "FAILED",
        "overdue",
        "disabled",
        "paused",
        "moving house",
    ):
        assert text in html


@on_each_database
@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"state": "enabled"}, {"one", "two"}),
        ({"state": "disabled"}, {"off"}),
        ({"state": "nonsense"}, {"one", "two", "off"}),
        ({"handler": "sample"}, {"one", "two", "off"}),
        ({"handler": "other"}, set()),
        ({"last": "SUCCESS"}, {"one"}),
        ({"last": "failing"}, set()),
        ({"last": "-"}, {"two", "off"}),
        ({"queue": "fast"}, {"two"}),
        ({"queue": "-"}, {"one", "off"}),
        ({"q": "TW"}, {"two"}),
    ],
)
def test_filters_and_search_of_jobs(admin, query, names):
    one = make_job(name="one")
    CronJob.objects.filter(pk=one.pk).update(last_status="SUCCESS")
    make_job(name="two", queue="fast")
    make_job(name="off", is_enabled=False)
    response = admin.get(reverse(f"{JOBS}_changelist"), query)
    assert {row.name for row in response.context["cl"].result_list} == names


@on_each_database
@pytest.mark.parametrize("model", ["jobs", "runs"])
def test_list_needs_the_same_number_of_queries_for_many_rows(admin, model):
    url = reverse(f"{JOBS}_changelist" if model == "jobs" else f"{RUNS}_changelist")
    now = database_now()

    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert admin.get(url).status_code == 200
        return len(captured)

    make_run(make_job(name="first"), now=now)
    queries()  # fills caches
    before = queries()
    for index in range(20):
        make_run(make_job(name=f"job {index}"), now=now + timedelta(seconds=index))
    assert queries() == before


@on_each_database
def test_counting_stops_at_the_limit(monkeypatch, admin, job):
    monkeypatch.setattr("scheduler.admin.listing.COUNT_LIMIT", 3)
    now = database_now()
    for index in range(5):
        make_run(job, now=now + timedelta(seconds=index))
    paginator = CappedPaginator(JobExecution.objects.order_by("-id"), 2)
    assert (paginator.count, paginator.is_capped, paginator.num_pages) == (3, True, 2)
    assert "more than 3 executions" in page(admin, f"{RUNS}_changelist")


# --- jobs: doing ---------------------------------------------------------------------------------


def test_run_now_asks_first_and_runs_with_the_entered_params(admin, job):
    url = reverse(f"{JOBS}_run_now", args=[job.pk])
    assert admin.get(url).status_code == 200
    assert not JobExecution.objects.exists()
    response = admin.post(url, {"params": '{"message": "by hand"}'})
    execution = JobExecution.objects.get()
    assert response["Location"] == reverse(f"{RUNS}_change", args=[execution.pk])
    assert (execution.params, execution.param_source) == ({"message": "by hand"}, "manual")
    assert execution.status == RunStatus.PENDING
    entry = Activity.objects.get(verb="run")
    assert describe(entry, str) == f"Run now: execution #{execution.pk}"


def test_run_now_keeps_a_hidden_secret(admin):
    job = make_job(handler_params={"token": "hunter2", "message": "a"})
    url = reverse(f"{JOBS}_run_now", args=[job.pk])
    assert "hunter2" not in admin.get(url).content.decode()
    admin.post(url, {"params": '{"token": "********", "message": "b"}'})
    assert JobExecution.objects.get().params == {"token": "hunter2", "message": "b"}
    assert not any("hunter2" in str(entry.facts) for entry in Activity.objects.all())


@pytest.mark.parametrize("params", ["{", '{"sleep_seconds": "long"}', "[]"])
def test_run_now_with_wrong_params_shows_the_mistake(admin, job, params):
    response = admin.post(reverse(f"{JOBS}_run_now", args=[job.pk]), {"params": params})
    assert response.status_code == 200
    assert response.context["form"].errors["params"]
    assert not JobExecution.objects.exists()


@pytest.mark.parametrize("depth", [400, 700, 900])
def test_params_nested_too_deep_are_a_mistake_on_every_page(admin, job, depth):
    run = make_run(job)
    deep = '{"a": ' + "[" * depth + "]" * depth + "}"
    asks = reverse(f"{JOBS}_params") + f"?job={job.pk}"

    for url in (
        reverse(f"{JOBS}_run_now", args=[job.pk]),
        reverse(f"{RUNS}_replay", args=[run.pk]),
    ):
        response = admin.post(url, {"params": deep})
        assert response.context["form"].errors["params"], url
    edited = save(admin, job, form_of(admin, job) | {"handler_params": deep})
    assert edited.context["adminform"].form.errors["handler_params"]
    assert admin.post(asks, {"handler": "sample", "params": deep}).status_code == 200

    assert JobExecution.objects.count() == 1


def test_pause_with_reason_and_end_then_enable(admin, job):
    url = reverse(f"{JOBS}_pause", args=[job.pk])
    admin.post(url, {"reason": f"moving {SCRIPT}", "until_0": "2100-01-02", "until_1": "09:00:00"})
    paused = CronJob.objects.get(pk=job.pk)
    assert (paused.is_enabled, paused.pause_reason) == (False, f"moving {SCRIPT}")
    assert paused.paused_until == datetime(2100, 1, 2, 0, 0, tzinfo=UTC)
    html = page(admin, f"{JOBS}_change", job.pk)
    assert "moving &lt;script&gt;" in html
    assert "2100-01-02 09:00:00 KST" in html
    assert "moving &lt;script&gt;" in page(admin, f"{JOBS}_history", job.pk)
    admin.post(reverse(f"{JOBS}_enable", args=[job.pk]))
    assert CronJob.objects.get(pk=job.pk).is_enabled


def test_a_job_whose_handler_is_gone_is_paused_with_a_reason(admin, job):
    CronJob.objects.filter(pk=job.pk).update(handler_name="gone")

    response = admin.post(reverse(f"{JOBS}_pause", args=[job.pk]), {"reason": "incident 12"})

    assert response.status_code == 302
    paused = CronJob.objects.get(pk=job.pk)
    assert (paused.is_enabled, paused.pause_reason) == (False, "incident 12")


@pytest.mark.parametrize(
    ("answers", "field"),
    [
        ({"reason": ""}, "reason"),
        ({"reason": "r", "until_0": "2001-01-01", "until_1": "00:00"}, None),
        ({"reason": "r", "until_0": "nonsense", "until_1": ""}, "until"),
    ],
)
def test_pause_with_wrong_input_is_refused(admin, job, answers, field):
    response = admin.post(reverse(f"{JOBS}_pause", args=[job.pk]), answers)
    form = response.context["form"]
    assert form.errors[field] if field else form.non_field_errors() or form.errors
    assert CronJob.objects.get(pk=job.pk).is_enabled


def test_disable(admin, job):
    admin.post(reverse(f"{JOBS}_disable", args=[job.pk]))
    assert not CronJob.objects.get(pk=job.pk).is_enabled
    assert describe(Activity.objects.latest("id"), str) == "Disabled"
    assert not LogEntry.objects.exists(), "Django's log is no longer written"


def test_enabling_a_job_that_cannot_run_says_why(admin, job):
    CronJob.objects.filter(pk=job.pk).update(is_enabled=False, cron_expression="nonsense")
    response = admin.post(reverse(f"{JOBS}_enable", args=[job.pk]))
    assert "cron expression" in response.content.decode()
    assert not CronJob.objects.get(pk=job.pk).is_enabled


@pytest.mark.parametrize("verb", ["run_now", "pause", "enable", "disable"])
def test_get_request_shows_the_question_and_changes_nothing(admin, job, verb):
    before = CronJob.objects.values().get(pk=job.pk)
    assert admin.get(reverse(f"{JOBS}_{verb}", args=[job.pk])).status_code == 200
    assert CronJob.objects.values().get(pk=job.pk) == before
    assert not JobExecution.objects.exists()


@pytest.mark.parametrize("verb", ["run_now", "pause", "enable", "disable"])
def test_action_on_a_missing_job_redirects_to_the_front_page(admin, verb):
    assert admin.get(reverse(f"{JOBS}_{verb}", args=[4711])).status_code == 302
    assert admin.post(reverse(f"{JOBS}_{verb}", args=["nonsense"])).status_code == 302


def test_a_post_without_the_csrf_token_is_refused(job, django_user_model):
    client = Client(enforce_csrf_checks=True)
    client.force_login(django_user_model.objects.create_superuser("alice", "a@example.com"))
    assert client.post(reverse(f"{JOBS}_run_now", args=[job.pk]), {}).status_code == 403
    assert not JobExecution.objects.exists()


def bulk(client: Client, url: str, action: str, rows: list[Any], **more: Any) -> Any:
    sent = {"action": action, "_selected_action": [row.pk for row in rows], **more}
    return client.post(url, sent, follow=True)


def test_bulk_action_asks_first_and_continues_after_a_refusal(admin):
    good, bad = make_job(name="good"), make_job(name="bad")
    CronJob.objects.filter(pk=bad.pk).update(handler_name="gone")
    url = reverse(f"{JOBS}_changelist")
    asked = bulk(admin, url, "run_many", [good, bad])
    assert "good" in asked.content.decode()
    assert not JobExecution.objects.exists()
    done = bulk(admin, url, "run_many", [good, bad], confirmed="yes")
    assert JobExecution.objects.get().job_id == good.pk
    assert any("done for 1" in text for text in texts(done))
    assert any(text.startswith("bad: ") and "gone" in text for text in texts(done))


@pytest.mark.parametrize(
    ("action", "answers", "is_enabled"),
    [
        ("disable_many", {}, False),
        ("enable_many", {}, True),
        ("pause_many", {"reason": "r"}, False),
        ("pause_many", {}, True),
    ],
)
def test_bulk_enable_disable_pause(admin, job, action, answers, is_enabled):
    bulk(admin, reverse(f"{JOBS}_changelist"), action, [job], confirmed="yes", **answers)
    assert CronJob.objects.get(pk=job.pk).is_enabled == is_enabled


def test_delete_page_of_a_job_names_what_is_deleted_with_it(admin, job):
    run = make_run(job)
    url = reverse(f"{JOBS}_delete", args=[job.pk])
    assert "Executions with their logs: 1" in admin.get(url).content.decode()
    assert admin.post(url, {"post": "yes"}).status_code == 302
    assert not CronJob.objects.exists()
    assert not JobExecution.objects.filter(pk=run.pk).exists()
    assert Activity.objects.get(verb="deleted").target_name == job.name


@on_each_database
def test_deleting_several_jobs(admin):
    jobs = [make_job(name=f"job {index}") for index in range(3)]
    run = make_run(jobs[0])
    asked = bulk(admin, reverse(f"{JOBS}_changelist"), "delete_many", jobs[:2])
    assert "all its executions and their logs" in asked.content.decode()
    assert CronJob.objects.count() == 3

    bulk(admin, reverse(f"{JOBS}_changelist"), "delete_many", jobs[:2], confirmed="yes")
    # Django's own action would delete all rows in one request.
    bulk(admin, reverse(f"{JOBS}_changelist"), "delete_selected", jobs[2:], post="yes")

    assert [job.name for job in CronJob.objects.all()] == ["job 2"]
    assert not JobExecution.objects.filter(pk=run.pk).exists()
    assert Activity.objects.filter(verb="deleted").count() == 2


# --- executions ----------------------------------------------------------------------------------


def test_page_of_an_execution_shows_attempts_log_and_link_to_flower(admin, job, settings):
    settings.FLOWER_URL = "http://flower.test/"
    run = make_run(
        job,
        RunStatus.FAILED,
        attempt=2,
        failures=2,
        params={"message": "hi", "password": "hunter2"},
        result={"count": 5, "secret": "hunter3"},
        error_message="it broke",
    )
    now = database_now()
    JobAttempt.objects.create(
        execution=run, attempt=1, lease_token="a", worker="w@h", started_at=now, ended_at=now,
        outcome="FAILED", error="lost", traceback="Traceback: here",
        exception_class="shop.errors.NoStock",
    )  # fmt: skip
    for seq in range(205):
        JobLog.objects.create(
            execution=run, attempt=2, seq=seq, at=now, level="INFO", message=f"line={seq};"
        )
    html = page(admin, f"{RUNS}_change", run.pk)
    for text in (
        "it broke",
        "FAILED",
        "w@h",
        "shop.errors.NoStock</code>",
        "Traceback: here",
        "line=5;",
        "line=204;",
        "&quot;count&quot;: 5",
    ):
        assert text in html
    assert "line=4;" not in html
    assert "The newest 200 lines" in html
    assert "hunter" not in html
    assert f"http://flower.test/task/jobu-{run.pk}-{run.attempt}" in html
    assert reverse(f"{JOBS}_overview", args=[job.pk]) in html


def test_all_user_input_is_escaped(admin):
    job = make_job(name=SCRIPT, description=SCRIPT, handler_params={"message": SCRIPT, SCRIPT: 1})
    Control().pause(job.pk, reason=SCRIPT)
    CronJob.objects.filter(pk=job.pk).update(
        cron_expression=SCRIPT, timezone=SCRIPT, handler_name=SCRIPT, queue=SCRIPT, calendar=SCRIPT,
        schedule_error=SCRIPT, last_status=SCRIPT[:20], last_run_at=database_now(),
    )  # fmt: skip
    job.refresh_from_db()
    now = database_now()
    typed = {
        "job_name": SCRIPT, "handler_name": SCRIPT, "params": {SCRIPT: SCRIPT}, "queue": SCRIPT,
        "progress": 5, "progress_message": SCRIPT, "error_message": SCRIPT, "dedupe_key": SCRIPT,
        "result": {SCRIPT: [SCRIPT]}, "lease_owner": SCRIPT,
    }  # fmt: skip
    run = make_run(job, RunStatus.RUNNING, **typed)
    skipped = make_run(job, RunStatus.SKIPPED, error_message=SCRIPT, now=now + timedelta(seconds=1))
    JobAttempt.objects.create(
        execution=run, attempt=1, lease_token="a", worker=SCRIPT, started_at=now, ended_at=now,
        outcome="FAILED", error=SCRIPT, traceback=SCRIPT,
    )  # fmt: skip
    JobLog.objects.create(execution=run, attempt=1, seq=1, at=now, level="INFO", message=SCRIPT)
    SchedulerProcess.objects.create(
        name=SCRIPT, kind="beat", host=SCRIPT, pid=1, started_at=now, heartbeat_at=now
    )
    paths = [
        reverse(f"{JOBS}_changelist"),
        reverse(f"{JOBS}_changelist") + "?q=" + SCRIPT + "&handler=" + SCRIPT + "&state=" + SCRIPT,
        reverse(f"{RUNS}_changelist"),
        reverse(f"{RUNS}_changelist") + "?q=" + SCRIPT + "&scheduled_time_from=" + SCRIPT,
        reverse("admin:scheduler_schedulerprocess_changelist"),
        reverse("admin:index"),
    ]
    of_job = ("change", "delete", "history", "run_now", "pause", "enable", "disable")
    of_run = ("change", "delete", "history", "cancel", "retry")
    paths += [reverse(f"{JOBS}_{name}", args=[job.pk]) for name in of_job]
    paths += [reverse(f"{RUNS}_{n}", args=[target.pk]) for target in (run, skipped) for n in of_run]
    for path in paths:
        response = admin.get(path)
        assert response.status_code == 200, path
        assert SCRIPT not in response.content.decode(), path


@on_each_database
def test_pages_open_for_params_that_are_not_an_object(admin, job):
    CronJob.objects.filter(pk=job.pk).update(handler_params=["a", {"token": "hunter2"}])
    run = make_run(job, params="text", result=[1, None])
    assert "hunter2" not in page(admin, f"{JOBS}_change", job.pk)
    page(admin, f"{JOBS}_run_now", job.pk)
    page(admin, f"{RUNS}_change", run.pk)


def test_nobody_adds_or_edits_an_execution(admin, job):
    run = make_run(job)
    assert admin.get(reverse(f"{RUNS}_add")).status_code == 403
    sent = {"status": "FAILED", "error_message": "forged"}
    assert admin.post(reverse(f"{RUNS}_change", args=[run.pk]), sent).status_code == 403
    assert JobExecution.objects.get(pk=run.pk).status == RunStatus.SUCCESS


@on_each_database
def test_cancel_ends_waiting_runs_and_requests_a_stop_of_running_runs(admin, job):
    waiting = make_run(job, RunStatus.PENDING)
    running = make_run(job, RunStatus.RUNNING, now=database_now() + timedelta(seconds=1))
    admin.post(reverse(f"{RUNS}_cancel", args=[waiting.pk]), {"reason": "not today"})
    admin.post(reverse(f"{RUNS}_cancel", args=[running.pk]), {"reason": ""})
    waiting.refresh_from_db()
    running.refresh_from_db()
    reason = "cancelled by alice: not today"
    assert (waiting.status, waiting.error_message) == (RunStatus.CANCELLED, reason)
    assert running.cancel_requested_at is not None
    assert running.error_message == "cancelled by alice"
    assert Activity.objects.filter(verb="cancelled", actor="alice").count() == 2


@on_each_database
def test_retry_and_delete(admin, job):
    run = make_run(job, RunStatus.FAILED, failures=3)
    admin.post(reverse(f"{RUNS}_retry", args=[run.pk]))
    run.refresh_from_db()
    assert (run.status, run.failures) == (RunStatus.PENDING, 0)
    other = make_run(job, RunStatus.FAILED, now=database_now() + timedelta(seconds=1))
    assert admin.post(reverse(f"{RUNS}_delete", args=[other.pk])).status_code == 302
    assert not JobExecution.objects.filter(pk=other.pk).exists()
    assert Activity.objects.get(verb="deleted").target_id == other.pk


@pytest.mark.parametrize(
    ("verb", "status"),
    [
        ("cancel", RunStatus.SUCCESS),
        ("retry", RunStatus.SUCCESS),
        ("delete", RunStatus.PENDING),
    ],
)
def test_message_explains_why_an_action_is_not_possible(admin, job, verb, status):
    run = make_run(job, status)
    response = admin.post(reverse(f"{RUNS}_{verb}", args=[run.pk]), follow=True)
    assert any(f"#{run.pk} is {status}" in text for text in texts(response))
    assert JobExecution.objects.get(pk=run.pk).status == status
    assert not Activity.objects.filter(target_kind="execution").exists()


@on_each_database
def test_bulk_retry_cancel_delete(admin, job):
    now = database_now()
    runs = [
        make_run(job, status, now=now + timedelta(seconds=index))
        for index, status in enumerate([RunStatus.FAILED, RunStatus.SUCCESS, RunStatus.PENDING])
    ]
    url = reverse(f"{RUNS}_changelist")
    done = bulk(admin, url, "retry_many", runs, confirmed="yes")
    assert any("done for 1" in text for text in texts(done))
    bulk(admin, url, "cancel_many", [runs[0]], confirmed="yes", reason="r")
    bulk(admin, url, "delete_many", runs, confirmed="yes")
    assert [run.pk for run in JobExecution.objects.all()] == [runs[2].pk]


def test_buttons_match_the_state_of_the_execution(admin, job):
    now = database_now()
    offered = {}
    for index, status in enumerate(RunStatus):
        run = make_run(job, status, now=now + timedelta(seconds=index))
        html = page(admin, f"{RUNS}_change", run.pk)
        offered[status] = {
            verb for verb in ("retry", "cancel") if reverse(f"{RUNS}_{verb}", args=[run.pk]) in html
        }
    assert offered[RunStatus.SUCCESS] == set()
    assert offered[RunStatus.PENDING] == offered[RunStatus.RUNNING] == {"cancel"}
    assert offered[RunStatus.FAILED] == offered[RunStatus.SKIPPED] == {"retry"}


def test_page_explains_why_an_execution_is_not_running(admin):
    job = make_job(overlap_policy="queue_one")
    now = database_now()
    running = make_run(job, RunStatus.RUNNING)
    JobGuard.objects.create(id=job.pk, running_id=running.pk)
    waiting = make_run(job, RunStatus.PENDING, now=now + timedelta(seconds=1), in_line=job.pk)
    retried = make_run(
        job, RunStatus.PENDING, now=now + timedelta(seconds=2), attempt=2, failures=2,
        available_at=now + timedelta(hours=1),
    )  # fmt: skip
    skipped = make_run(
        job, RunStatus.SKIPPED, now=now + timedelta(seconds=3), error_message="too late"
    )
    html = page(admin, f"{RUNS}_change", waiting.pk)
    assert f"execution #{running.pk} is running" in html
    assert "No worker is running" in html
    assert "Attempt 2 failed" in page(admin, f"{RUNS}_change", retried.pk)
    assert "worker@host" in page(admin, f"{RUNS}_change", running.pk)
    assert "It was not run: too late" in page(admin, f"{RUNS}_change", skipped.pk)


@on_each_database
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"q": "{first}"}, {"first"}),
        ({"q": "#{first}"}, {"first"}),
        ({"q": "9" * 30}, set()),
        ({"q": "alph"}, {"first"}),
        ({"q": "other.h"}, {"event"}),
        ({"q": "nothing"}, set()),
        ({"status__exact": "FAILED"}, {"second"}),
        ({"param_source__exact": "event"}, {"event"}),
        ({"job__id__exact": "{job}"}, {"first"}),
        ({"handler": "other.handler"}, {"event"}),
        ({"scheduled_time_from": "2026-03-02", "scheduled_time_to": "2026-03-02"}, {"second"}),
        ({"scheduled_time_to": "2026-03-01"}, {"first"}),
        ({"scheduled_time_from": "2026-03-03"}, {"event"}),
        ({"scheduled_time_from": "nonsense"}, {"first", "second", "event"}),
        ({"scheduled_time_from": "0001-01-01"}, {"first", "second", "event"}),
        ({"scheduled_time_to": "9999-12-31"}, {"first", "second", "event"}),
    ],
)
def test_filters_and_search_of_executions(admin, query, expected):
    alpha, beta = make_job(name="alpha"), make_job(name="beta")
    make_job(name="gamma", is_enabled=False)
    CronJob.objects.filter(name="gamma").update(handler_name="other.handler")
    # Seoul's 2 March begins at 15:00 UTC on the first.
    runs = {
        "first": make_run(alpha, now=datetime(2026, 3, 1, 14, 59, 59, tzinfo=UTC)),
        "second": make_run(beta, RunStatus.FAILED, now=datetime(2026, 3, 1, 15, 0, tzinfo=UTC)),
        "event": make_run(
            None, now=datetime(2026, 3, 2, 15, 0, tzinfo=UTC), handler_name="other.handler",
            param_source="event",
        ),
    }  # fmt: skip
    known = {"first": runs["first"].pk, "job": alpha.pk}
    asked = {key: value.format(**known) for key, value in query.items()}
    response = admin.get(reverse(f"{RUNS}_changelist"), asked)
    assert response.status_code == 200
    found = {row.pk for row in response.context["cl"].result_list}
    assert found == {runs[name].pk for name in expected}


@pytest.mark.parametrize(
    "key",
    [
        "params__password__startswith",
        "handler_params__token",
        "job__name__regex",
        "lease_token",
        "_connector",
        "id__in",
    ],
)
def test_filter_by_a_column_that_is_not_allowed_is_refused(admin, job, key):
    make_run(job)
    for name in (f"{RUNS}_changelist", f"{JOBS}_changelist"):
        assert admin.get(reverse(name), {key: "x"}).status_code == 400


def test_the_job_filter_finds_jobs_by_name(admin, job):
    query = {
        "app_label": "scheduler",
        "model_name": "jobexecution",
        "field_name": "job",
        "term": "rep",
    }
    found = json.loads(admin.get(reverse("admin:autocomplete"), query).content)
    assert [entry["text"] for entry in found["results"]] == ["report"]


def test_filters_show_no_counts(admin, job):
    make_run(job)
    response = admin.get(reverse(f"{RUNS}_changelist"), {"_facets": "True"})
    assert not response.context["cl"].add_facets


@on_each_database
def test_newest_executions_first(admin, job):
    now = database_now()
    runs = [make_run(job, now=now - timedelta(days=index)) for index in range(3)]
    response = admin.get(reverse(f"{RUNS}_changelist"))
    assert [row.pk for row in response.context["cl"].result_list] == [run.pk for run in runs][::-1]


# --- processes, people, permissions --------------------------------------------------------------


def test_processes_are_alive_or_silent(admin):
    now = database_now()
    for name, kind, seen in (("b", "beat", now), ("w", "worker", now - timedelta(hours=1))):
        SchedulerProcess.objects.create(
            name=name, kind=kind, host="h", pid=1, started_at=now, heartbeat_at=seen
        )
    html = page(admin, "admin:scheduler_schedulerprocess_changelist")
    assert "alive" in html
    assert "silent" in html
    assert "No worker is running" in html
    assert "No beat is running" not in html
    assert admin.get(reverse("admin:scheduler_schedulerprocess_add")).status_code == 403


# What a member of staff with one permission may do: the pages that answer 200 to GET.
PAGES = {
    "view_cronjob": {"jobs", "job"},
    "change_cronjob": {"jobs", "job", "run", "pause", "enable", "disable"},
    "delete_cronjob": {"delete job"},
    "view_jobexecution": {"runs", "run page"},
    "change_jobexecution": {"runs", "run page", "cancel", "retry"},
    "delete_jobexecution": {"delete run"},
    "view_schedulerprocess": {"processes"},
}


@pytest.mark.parametrize("permission", [None, *PAGES])
def test_each_page_requires_its_permission(job, permission):
    run = make_run(job, RunStatus.FAILED)
    client = user_with(*([permission] if permission else []))
    urls = {
        "jobs": reverse(f"{JOBS}_changelist"),
        "job": reverse(f"{JOBS}_change", args=[job.pk]),
        "delete job": reverse(f"{JOBS}_delete", args=[job.pk]),
        "run": reverse(f"{JOBS}_run_now", args=[job.pk]),
        **{v: reverse(f"{JOBS}_{v}", args=[job.pk]) for v in ("pause", "enable", "disable")},
        "runs": reverse(f"{RUNS}_changelist"),
        "run page": reverse(f"{RUNS}_change", args=[run.pk]),
        "delete run": reverse(f"{RUNS}_delete", args=[run.pk]),
        **{verb: reverse(f"{RUNS}_{verb}", args=[run.pk]) for verb in ("cancel", "retry")},
        "processes": reverse("admin:scheduler_schedulerprocess_changelist"),
    }
    allowed = {name for name, url in urls.items() if client.get(url).status_code == 200}
    assert allowed == (PAGES[permission] if permission else set())
    done = {"run", "pause", "enable", "disable", "cancel", "retry", "delete run", "delete job"}
    for name in done - allowed:
        assert client.post(urls[name], {"post": "yes", "reason": "r"}).status_code == 403, name
    run.refresh_from_db()
    assert run.status == RunStatus.FAILED
    assert JobExecution.objects.count() == 1


def test_user_with_view_permission_sees_no_secrets_and_no_buttons(job):
    Control().update_job(job.pk, handler_params={"token": "hunter2", "id": 7})
    client = user_with("view_cronjob", "view_jobexecution", "view_params")
    html = page(client, f"{JOBS}_change", job.pk)
    assert "hunter2" not in html
    assert "&quot;id&quot;: 7" in html
    assert reverse(f"{JOBS}_run_now", args=[job.pk]) not in html
    assert save(client, job, {"name": "forged"}).status_code == 403
    listed = client.get(reverse(f"{JOBS}_changelist"))
    assert not listed.context["action_form"]


def test_bulk_actions_require_their_permission(job):
    run = make_run(job, RunStatus.FAILED)
    client = user_with("view_cronjob", "view_jobexecution")
    for action, model, row in (
        ("run_many", JOBS, job),
        ("disable_many", JOBS, job),
        ("delete_selected", JOBS, job),
        ("delete_many", JOBS, job),
        ("retry_many", RUNS, run),
        ("delete_many", RUNS, run),
    ):
        bulk(client, reverse(f"{model}_changelist"), action, [row], confirmed="yes", post="yes")
    run.refresh_from_db()
    job.refresh_from_db()
    assert (run.status, job.is_enabled, JobExecution.objects.count()) == (
        RunStatus.FAILED,
        True,
        1,
    )


@pytest.mark.parametrize(
    "name",
    [
        "admin:index",
        "admin:auth_user_changelist",
        "admin:auth_user_add",
        "admin:auth_group_changelist",
        "admin:django_celery_results_taskresult_changelist",
        f"{JOBS}_add",
    ],
)
@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_other_pages_open_in_both_languages(admin, name, language):
    assert admin.get(reverse(name), headers={"accept-language": language}).status_code == 200


def test_anonymous_user_is_redirected_to_the_login():
    response = Client().get(reverse(f"{JOBS}_changelist"))
    assert response.status_code == 302
    assert reverse("admin:login") in response["Location"]


def test_short_addresses_redirect_to_the_lists(admin):
    assert admin.get("/")["Location"] == reverse("admin:index")
    assert admin.get("/crons")["Location"] == reverse(f"{JOBS}_changelist")
    assert admin.get("/jobs")["Location"] == reverse(f"{RUNS}_changelist")
