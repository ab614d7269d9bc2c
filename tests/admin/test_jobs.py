"""The admin's job pages: checks while typing, strips, missed slots, clones, history."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any, Literal

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import translation
from pydantic import BaseModel, ConfigDict, Field

from handlers import BaseHandler, HandlerParams, handler, registry
from scheduler.admin.jobs.params_form import described, errors_of
from scheduler.admin.jobs.preview import preview
from scheduler.admin.jobs.sparkline import durations
from scheduler.models import Activity, CronJob, JobExecution
from scheduler.operations.control import Control
from scheduler.operations.history import describe
from scheduler.operations.masking import MASK
from scheduler.states import RunStatus
from scheduler.store.connection import database_now
from scheduler.store.recent_runs import RecentRun, recent_runs
from tests.admin.test_admin import (
    JOBS,
    RUNS,
    SCRIPT,
    bulk,
    form_of,
    make_job,
    make_run,
    on_each_database,
    page,
    save,
    user_with,
)

pytestmark = pytest.mark.django_db
# MariaDB accepts 32 levels of JSON.
SQLITE_AND_POSTGRES = pytest.mark.database("sqlite", "postgres")


@pytest.fixture
def admin(django_user_model: type[User]) -> Client:
    """A client signed in as Alice, a superuser."""
    client = Client()
    client.force_login(django_user_model.objects.create_superuser("alice", "a@example.com"))
    return client


@pytest.fixture
def job() -> CronJob:
    return make_job()


# --- while one types -----------------------------------------------------------------------------


def check(client: Client, job: CronJob | None = None, **typed: Any) -> Any:
    url = reverse(f"{JOBS}_check") + (f"?job={job.pk}" if job else "")
    good = {"name": "typed", "cron_expression": "0 3 * * *", "handler_name": "sample"}
    sent = (form_of(client, job) if job else form_of(client) | good) | typed
    return client.post(url, sent)


def test_input_is_explained_while_typing_and_not_saved(admin):
    answer = check(admin, cron_expression="30 2 31 * *", timezone="Europe/Berlin").json()

    assert answer["problems"] == {"__all__": []}
    assert "At 02:30, on day 31 of the month" in answer["preview"]
    assert "No such day in February, April" in answer["preview"]
    assert answer["preview"].count("02:30:00 CE") == 20
    assert not CronJob.objects.exists()


def test_the_next_runs_are_counted_once_for_a_page(admin, job, monkeypatch):
    counted: list[CronJob] = []

    def count(job: CronJob, now: datetime) -> dict[str, Any]:
        counted.append(job)
        return preview(job, now)

    monkeypatch.setattr("scheduler.admin.jobs.preview.preview", count)

    assert "job-preview" in page(admin, f"{JOBS}_change", job.pk)
    assert counted == [job]


@pytest.mark.parametrize(
    ("text", "words", "local"),
    [
        ("0 9 * * *\r\n0 11 * * *", "Every day at 09:00; Every day at 11:00", "11:00:00 KST"),
        ("every 36h from 2026-01-01T09:00", "Every 36 hours, counted from 2026-01-01 09:00", ":00"),
        ("at 2099-12-24T18:00", "Once, at 2099-12-24 18:00", "2099-12-24 18:00:00 KST"),
        ("RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=FR", "Every 2 weeks on Friday", "Fri "),
    ],
)
def test_each_kind_of_schedule_is_explained_while_typing_and_saved(admin, text, words, local):
    typed = {"cron_expression": text, "timezone": "Asia/Seoul"}
    answer = check(admin, **typed).json()

    assert answer["problems"] == {"__all__": []}
    assert words in answer["preview"]
    assert local in answer["preview"]
    good = {"name": "typed", "handler_name": "sample"}
    admin.post(reverse(f"{JOBS}_add"), form_of(admin) | good | typed)
    job = CronJob.objects.get(name="typed")
    assert job.cron_expression == text.replace("\r\n", "\n")
    assert job.next_run_at
    assert words in unescape(admin.get(reverse(f"{JOBS}_changelist")).content.decode())


@pytest.mark.parametrize(
    ("typed", "field", "reason"),
    [
        ({"cron_expression": "61 * * * *"}, "cron_expression", "61"),
        ({"cron_expression": ""}, "cron_expression", "required"),
        ({"cron_expression": "at 2020-12-24T18:00"}, "cron_expression", "has passed"),
        ({"cron_expression": "0 9 * * *\nevery month"}, "cron_expression", "line 2"),
        ({"handler_name": "smaple"}, "handler_name", "did you mean"),
        ({"handler_params": '{"sleep_seconds": -1}'}, "handler_params", "sleep_seconds"),
        ({"timezone": "Mars"}, "timezone", "Mars"),
        ({"timeout_seconds": "0"}, "timeout_seconds", "between"),
        ({"name": "report"}, "name", "taken"),
        ({"start_at_0": "nonsense"}, "start_at", "valid"),
    ],
)
def test_mistake_is_shown_at_its_field_while_typing(admin, job, typed, field, reason):
    answer = check(admin, **typed).json()

    assert reason in " ".join(answer["problems"][field])
    assert set(answer["problems"]) == {field, "__all__"}


def test_check_of_an_edit_accepts_the_name_of_the_job_itself(admin, job):
    before = CronJob.objects.values().get()

    answer = check(admin, job, cron_expression=f"nonsense {SCRIPT}").json()

    assert list(answer["problems"]) == ["cron_expression", "__all__"]  # its own name is not taken
    assert "<script>" not in answer["preview"]
    assert CronJob.objects.values().get() == before


def test_preview_of_an_empty_expression_asks_for_one(admin, job):
    answer = check(admin, job, cron_expression="").json()

    assert "Type a cron expression" in answer["preview"]


def test_the_preview_marks_clock_changes_and_names_them(admin):
    answer = check(admin, cron_expression="30 2 * * *", timezone="Europe/Berlin").json()

    assert "the clock of Europe/Berlin leaps from 02:00 to 03:00" in answer["preview"]
    assert "runs at 03:00, once" in answer["preview"]


def test_check_requires_permission_to_save(job):
    looker = user_with("view_cronjob")
    adder = user_with("view_cronjob", "add_cronjob")

    assert looker.post(reverse(f"{JOBS}_check"), {}).status_code == 403
    assert adder.post(reverse(f"{JOBS}_check"), {}).status_code == 200
    assert adder.post(f"{reverse(f'{JOBS}_check')}?job={job.pk}", {}).status_code == 403
    assert Client().post(reverse(f"{JOBS}_check"), {}).status_code == 302


def test_check_requires_a_post_with_csrf_token(admin, django_user_model):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(django_user_model.objects.get(username="alice"))

    assert strict.post(reverse(f"{JOBS}_check"), {}).status_code == 403
    assert strict.post(reverse(f"{JOBS}_params"), {}).status_code == 403
    assert admin.get(reverse(f"{JOBS}_check")).status_code == 405
    assert admin.post(f"{reverse(f'{JOBS}_check')}?job=4711", {}).status_code == 404


# --- the form of the parameters ------------------------------------------------------------------


class Address(BaseModel):
    city: str = ""


class AllKinds(HandlerParams):
    model_config = ConfigDict(extra="forbid")

    to: str
    count: int = Field(default=5, ge=1, lt=100, description="how often")
    ratio: float | None = None
    loud: bool = False
    mode: Literal["fast", "slow"] = "fast"
    day: str = Field(default="", json_schema_extra={"format": "date"})
    api_token: str = "hunter2"
    address: Address = Address()
    tags: list[str] = []
    either: int | str = 1


@pytest.fixture
def kinds():
    with registry.restored():

        @handler("kinds", params=AllKinds)
        class Kinds(BaseHandler):
            """Takes all kinds."""

            async def execute(self, params: AllKinds) -> None: ...

        yield "kinds"


def test_params_model_is_converted_to_a_list_of_inputs(admin, kinds):
    found = admin.get(reverse(f"{JOBS}_params"), {"handler": kinds}).json()

    inputs = {field["name"]: field for field in found["fields"]}
    assert {name: field["kind"] for name, field in inputs.items() if not field["common"]} == {
        "to": "text", "count": "integer", "ratio": "number", "loud": "boolean", "mode": "choice",
        "day": "date", "api_token": "secret", "address": "json", "tags": "json", "either": "scalar",
    }  # fmt: skip
    assert [name for name, field in inputs.items() if field["common"]] == [
        "action", "id", "name", "value",
    ]  # fmt: skip
    assert inputs["to"]["required"]
    assert "default" not in inputs["to"]
    count = inputs["count"]
    assert (count["min"], count["below"], count["default"], count["help"]) == (
        1, 100, "5", "how often",
    )  # fmt: skip
    assert inputs["mode"]["choices"] == ["fast", "slow"]
    assert inputs["api_token"]["default"] == MASK
    assert (found["known"], found["extra"], found["description"]) == (
        True, False, "Takes all kinds.",
    )  # fmt: skip


def test_a_handler_without_a_model_and_an_unknown_one_have_no_inputs():
    with registry.restored():

        @handler("anything", params=dict)
        class Anything(BaseHandler):
            async def execute(self, params: dict[str, Any]) -> None: ...

        assert (described("anything")["fields"], described("anything")["known"]) == ([], True)
    assert (described("nobody")["fields"], described("nobody")["known"]) == ([], False)


def test_errors_of_the_params_model_name_their_field(admin, kinds):
    url = reverse(f"{JOBS}_params")

    typed = {"count": "many", "address": {"city": 5}, "more": 1}
    answer = admin.post(url, {"handler": kinds, "params": json.dumps(typed)}).json()

    assert {error["loc"] for error in answer["errors"]} == {"to", "count", "address.city", "more"}
    assert admin.post(url, {"handler": kinds, "params": "{"}).json() == {"errors": []}
    assert errors_of("nobody", {}) == []


def test_masked_secret_is_validated_as_the_stored_value(admin):
    with registry.restored():

        class Longish(HandlerParams):
            token: str = Field(min_length=20)

        @handler("longish", params=Longish)
        class Long(BaseHandler):
            async def execute(self, params: Longish) -> None: ...

        job = make_job(name="l", handler_name="longish", handler_params={"token": "x" * 30})
        sent = {"handler": "longish", "params": json.dumps({"token": MASK})}

        with_job = admin.post(f"{reverse(f'{JOBS}_params')}?job={job.pk}", sent).json()
        without = admin.post(reverse(f"{JOBS}_params"), sent).json()

    assert with_job["errors"] == []
    assert without["errors"][0]["loc"] == "token"


def test_pages_contain_the_address_for_the_params_script(admin, job):
    form = page(admin, f"{JOBS}_change", job.pk)
    run = page(admin, f"{JOBS}_run_now", job.pk)

    assert 'data-params-handler-input="handler_name"' in form
    assert 'data-params-handler="sample"' in run
    for html in (form, run):
        assert "scheduler/job_params.js" in html
        assert f'data-params-url="{reverse(f"{JOBS}_params")}?job={job.pk}"' in html


# --- the list ------------------------------------------------------------------------------------


@on_each_database
def test_last_outcomes_of_many_jobs_are_read_in_one_query():
    now = database_now()
    first, second, third = (make_job(name=name) for name in ("first", "second", "third"))
    for index in range(5):
        make_run(first, now=now + timedelta(seconds=index))
    last = make_run(second, RunStatus.RUNNING, now=now)

    with CaptureQueriesContext(connection) as queries:
        found = recent_runs([first.pk, second.pk, third.pk], 3)

    assert len(queries) == 1
    assert set(found) == {first.pk, second.pk}
    assert [outcome.scheduled_time for outcome in found[first.pk]] == [
        now + timedelta(seconds=index) for index in (2, 3, 4)
    ]
    assert found[first.pk][0].took_seconds == 5
    assert [(o.execution_id, o.took_seconds) for o in found[second.pk]] == [(last.pk, None)]
    assert recent_runs([], 3) == {}


@on_each_database
def test_list_shows_last_outcomes_and_durations(admin, job):
    now = database_now()
    failed = make_run(job, RunStatus.FAILED, now=now)
    make_run(job, now=now + timedelta(seconds=1), started_at=now - timedelta(seconds=99))

    html = page(admin, f"{JOBS}_changelist")

    assert reverse(f"{RUNS}_change", args=[failed.pk]) in html
    assert "FAILED, slot" in html  # for those who do not see the box
    assert "job-box-failed" in html
    assert "p95 1 min 40 s" in html


def test_user_without_permission_for_executions_gets_no_links_to_them(job):
    run = make_run(job)

    html = page(user_with("view_cronjob"), f"{JOBS}_changelist")

    assert "job-box-success" in html
    assert reverse(f"{RUNS}_change", args=[run.pk]) not in html


def test_mean_and_p95_exclude_cancelled_runs():
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def ran(seconds: float, status: RunStatus = RunStatus.SUCCESS) -> RecentRun:
        return RecentRun(
            execution_id=1, status=status, scheduled_time=start, started_at=start,
            finished_at=start + timedelta(seconds=seconds),
        )  # fmt: skip

    summary = durations(
        [*(ran(seconds) for seconds in range(1, 21)), ran(9999, RunStatus.CANCELLED)]
    )

    assert "10.5" in summary or "10 s" in summary  # the mean, as show.span says it
    assert "p95 19 s" in summary
    assert durations([ran(5, RunStatus.SKIPPED)]) == "-"


# --- enabling a job that missed slots ------------------------------------------------------------


@pytest.fixture
def missed_three() -> CronJob:
    """An hourly job that has been disabled for a little more than three hours."""
    found = make_job(cron_expression="0 * * * *", timezone="UTC", max_catchup=2)
    Control().disable(found.pk)
    hour = database_now().replace(minute=0, second=0, microsecond=0)
    CronJob.objects.filter(pk=found.pk).update(missed_from=hour - timedelta(hours=2))
    return found


def test_enabling_asks_for_the_missed_slots_in_words(admin, missed_three):
    html = page(admin, f"{JOBS}_enable", missed_three.pk)

    assert "It missed 3 slots, from" in html
    for words in ("run none of them", "run the latest one, of", "run the newest 2 of them"):
        assert words in html


@on_each_database
@pytest.mark.parametrize(
    ("choice", "made"), [("none", [0, 1]), ("latest", [1, 1]), ("all", [2, 1])]
)
def test_chosen_missed_slots_are_run_and_the_choice_is_in_the_history(
    admin, missed_three, choice, made
):
    url = reverse(f"{JOBS}_enable", args=[missed_three.pk])

    assert admin.post(url, {}).status_code == 200  # an answer is wanted
    assert not CronJob.objects.get().is_enabled
    assert admin.post(url, {"missed": choice}).status_code == 302

    assert CronJob.objects.get().is_enabled
    rows = JobExecution.objects.all()
    assert [rows.filter(status=status).count() for status in ("PENDING", "SKIPPED")] == made
    entry = Activity.objects.get(verb="enabled")
    assert (entry.actor, entry.facts["missed"]) == ("alice", choice)
    if made[1]:
        assert "by alice on enabling" in str(rows.get(status=RunStatus.SKIPPED).error_message)


def test_enabling_a_job_that_missed_nothing_asks_nothing(admin, job):
    Control().disable(job.pk)

    assert "missed" not in page(admin, f"{JOBS}_enable", job.pk).lower().split("<form", 2)[-1]
    assert admin.post(reverse(f"{JOBS}_enable", args=[job.pk]), {}).status_code == 302
    assert CronJob.objects.get().is_enabled


def test_enabling_in_the_form_redirects_to_the_question_about_missed_slots(admin, missed_three):
    sent = form_of(admin, missed_three) | {"is_enabled": "on", "description": "new"}

    response = save(admin, missed_three, sent)

    assert response["Location"] == reverse(f"{JOBS}_enable", args=[missed_three.pk])
    saved = CronJob.objects.get()
    assert (saved.is_enabled, saved.description) == (False, "new")


def test_many_are_enabled_with_one_answer(admin, missed_three):
    url = reverse(f"{JOBS}_changelist")

    asked = bulk(admin, url, "enable_many", [missed_three])
    bulk(admin, url, "enable_many", [missed_three], confirmed="yes", missed="latest")

    assert "run the latest one of each job" in asked.content.decode()
    assert JobExecution.objects.filter(status=RunStatus.PENDING).count() == 1


# --- clone, history ------------------------------------------------------------------------------


def test_clone_is_created_and_opened(admin):
    job = make_job(handler_params={"token": "hunter2"})
    url = reverse(f"{JOBS}_clone", args=[job.pk])

    assert "report (copy)" in admin.get(url).content.decode()
    assert "taken" in admin.post(url, {"name": "report"}).content.decode()
    response = admin.post(url, {"name": "second"})

    clone = CronJob.objects.get(name="second")
    assert response["Location"] == reverse(f"{JOBS}_change", args=[clone.pk])
    assert (clone.is_enabled, clone.handler_params) == (False, {"token": "hunter2"})


@on_each_database
def test_history_shows_who_changed_which_value(admin):
    job = make_job(handler_params={"token": "hunter2", "message": "old", "gone": 1})
    params = {"token": "hunter3", "message": f"new {SCRIPT}", "id": 7}
    sent = form_of(admin, job) | {"timeout_seconds": "60", "handler_params": json.dumps(params)}

    assert save(admin, job, sent).status_code == 302
    html = page(admin, f"{JOBS}_history", job.pk)

    entry = Activity.objects.get(verb="changed")
    assert describe(entry, str) == "Changed parameters, timeout"
    assert "hunter" not in str(entry.facts)
    assert "hunter" not in html
    for shown in ("parameters: token", "parameters: gone", "parameters: id", "3600", "alice"):
        assert shown in html
    assert "new &lt;script&gt;" in html


def test_change_of_only_the_type_of_a_param_is_saved_and_in_the_history(admin):
    job = make_job(handler_params={"dry": 1})

    sent = form_of(admin, job) | {"handler_params": '{"dry": true}'}
    assert save(admin, job, sent).status_code == 302

    assert CronJob.objects.get(pk=job.pk).handler_params["dry"] is True
    assert "parameters: dry" in page(admin, f"{JOBS}_history", job.pk)


def test_history_is_shown_in_the_language_of_the_reader(admin):
    job = make_job()
    sent = form_of(admin, job) | {"timeout_seconds": "60", "description": "new"}
    url = reverse(f"{JOBS}_change", args=[job.pk])

    assert admin.post(url, sent, headers={"accept-language": "ko"}).status_code == 302

    entry = Activity.objects.get(verb="changed")
    with translation.override("en"):
        assert describe(entry, str) == "Changed description, timeout"
    with translation.override("ko"):
        text = describe(entry, str)
    assert "설명" in text
    assert "제한 시간" in text


def test_older_entries_of_the_django_log_are_shown_below_the_history(admin):
    job = make_job()
    Activity.objects.all().delete()
    diff = [{"field": "timeout_seconds", "old": "3600", "new": "61"},
            {"field": "handler_params", "path": "a", "old": "1", "new": "classified"}]  # fmt: skip
    changed = [{"changed": {"fields": ["timeout"]}, "diff": diff, "since": "2026-01-01T00:00Z"}]
    for number in range(150):
        LogEntry.objects.create(
            user=User.objects.get(username="alice"),
            content_type=ContentType.objects.get_for_model(CronJob),
            object_id=str(job.pk),
            object_repr="report",
            action_flag=CHANGE,
            change_message=json.dumps(changed) if number == 149 else f"Paused: number {number}.",
        )
    Control().disable(job.pk)

    first = page(admin, f"{JOBS}_history", job.pk)
    url = reverse(f"{JOBS}_history", args=[job.pk])
    second = admin.get(url, {"p": 2}).content.decode()
    unseeing = page(user_with("view_cronjob"), f"{JOBS}_history", job.pk)

    assert first.index("Disabled") < first.index("Changed timeout.") < first.index("number 148.")
    assert "61" in first
    assert "classified" in first
    assert "classified" not in unseeing
    assert "number 51." in first
    assert "number 50." not in first
    assert "number 50." in second
    assert "number 0." in second


def test_history_hides_params_without_permission(admin):
    job = make_job(handler_params={"message": "classified"})
    save(admin, job, form_of(admin, job) | {"handler_params": '{"message": "open"}'})

    html = page(user_with("view_cronjob"), f"{JOBS}_history", job.pk)

    assert "classified" not in html
    assert "hidden" in html


# --- who may do what -----------------------------------------------------------------------------


def test_params_are_shown_only_with_permission():
    job = make_job(handler_params={"message": "classified"})

    html = page(user_with("view_cronjob"), f"{JOBS}_change", job.pk)
    seen = page(user_with("view_cronjob", "view_params"), f"{JOBS}_change", job.pk)

    assert "classified" not in html
    assert "you may not see parameters" in html
    assert "classified" in seen


def test_user_without_permission_for_params_runs_with_the_params_of_the_job():
    job = make_job(handler_params={"message": "classified"})
    runner = user_with("view_cronjob", "run_cronjob")
    url = reverse(f"{JOBS}_run_now", args=[job.pk])

    html = runner.get(url).content.decode()
    runner.post(url, {"params": '{"message": "forged"}'})

    assert "classified" not in html
    assert JobExecution.objects.get().params == {"message": "classified"}


@pytest.mark.parametrize(
    ("permission", "verbs"),
    [
        ("run_cronjob", {"run_now"}),
        ("pause_cronjob", {"pause", "enable", "disable"}),
        ("add_cronjob", {"clone"}),
        ("view_params", set()),
        ("change_cronjob", {"run_now", "pause", "enable", "disable"}),
    ],
)
def test_each_action_requires_its_own_permission(job, permission, verbs):
    client = user_with("view_cronjob", permission)

    allowed = {
        verb
        for verb in ("run_now", "pause", "enable", "disable", "clone")
        if client.get(reverse(f"{JOBS}_{verb}", args=[job.pk])).status_code == 200
    }

    assert allowed == verbs


def test_actions_are_recorded_under_the_signed_in_user(admin, job):
    admin.post(reverse(f"{JOBS}_run_now", args=[job.pk]), {"params": "{}"})

    assert JobExecution.objects.get().requested_by == "alice"


# --- the page of a job ---------------------------------------------------------------------------


def test_page_updates_itself(admin, job):
    url = reverse(f"{JOBS}_live", args=[job.pk])
    assert f'data-live="{url}"' in page(admin, f"{JOBS}_change", job.pk)

    first = admin.get(url)
    again = admin.get(url, headers={"X-Live-Mark": first["X-Live-Mark"]})
    run = make_run(job, RunStatus.RUNNING)
    changed = admin.get(url, headers={"X-Live-Mark": first["X-Live-Mark"]})

    assert first.status_code == 200
    assert again.status_code in (204, 200)  # 200 when a minute ended just now
    assert f"#{run.pk}" in changed.content.decode()
    assert admin.get(reverse(f"{JOBS}_live", args=[4711])).status_code == 404
    assert user_with("view_jobexecution").get(url).status_code == 403


def test_the_page_explains_and_links(admin, job):
    html = page(admin, f"{JOBS}_change", job.pk)

    assert "Every day at 03:00" in html
    assert "Why does it run, or not?" in html
    assert f"job__id__exact={job.pk}" in html
    assert reverse(f"{JOBS}_history", args=[job.pk]) in html


# --- rows typed by SQL ---------------------------------------------------------------------------

NESTED = {levels: '{"a": ' * levels + "1" + "}" * levels for levels in (700, 980)}
# SQLite keeps 1000 levels of JSON. Python 3.11 cannot read as many, later ones can.
NEARLY_1000 = "not readable" if sys.version_info < (3, 12) else "nested too deep"


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        pytest.param(NESTED[700], "nested too deep", id="700 levels", marks=SQLITE_AND_POSTGRES),
        pytest.param(NESTED[980], NEARLY_1000, id="980 levels", marks=SQLITE_AND_POSTGRES),
        pytest.param(
            '{"a": ' + "9" * 5000 + "}",
            "not readable",
            id="a number of 5000 digits",
            marks=on_each_database,
        ),
    ],
)
def test_pages_and_api_work_for_params_that_python_cannot_read(admin, job, typed, shown):
    run = make_run(job)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE cron_jobs SET handler_params = %s WHERE id = %s", [typed, job.pk])
        cursor.execute(
            "UPDATE job_executions SET params = %s, result = %s WHERE id = %s",
            [typed, typed, run.pk],
        )
    page(admin, f"{JOBS}_changelist")
    page(admin, f"{RUNS}_changelist")
    page(admin, "admin:index")
    assert shown in page(admin, f"{JOBS}_change", job.pk)
    assert shown in page(admin, f"{RUNS}_change", run.pk)
    for path in ("crons", f"crons/{job.pk}", "jobs", f"jobs/{run.pk}"):
        answer = admin.get(f"/api/{path}")
        assert answer.status_code == 200, (path, answer.content)
    assert shown in answer.content.decode()


def test_owner_and_tags_are_saved_searched_and_in_the_history(admin):
    typed = {"name": "a", "cron_expression": "0 * * * *", "handler_name": "sample"}
    save(admin, None, {**form_of(admin), **typed, "owner": "alice", "tags": "x, pay,, x"})
    job = CronJob.objects.get()
    assert (job.owner, job.tags) == ("alice", ["pay", "x"])
    assert form_of(admin, job)["tags"] == "pay, x"

    save(admin, job, {**form_of(admin, job), "tags": "pay"})

    assert CronJob.objects.get().tags == ["pay"]
    found = admin.get(reverse(f"{JOBS}_changelist"), {"q": "pay"}).content.decode()
    assert f"{job.pk}/change" in found
