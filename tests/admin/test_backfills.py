"""Backfills in the admin: dry run, start, page, verbs, and who may do what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from scheduler.models import Activity, Backfill, CronJob, JobExecution, Preference
from scheduler.operations.actor import Actor
from scheduler.operations.backfills import BackfillControl
from scheduler.operations.history import describe
from scheduler.states import BackfillState, RunStatus
from tests.admin.test_admin import SCRIPT, make_job, make_run, page, texts, user_with

pytestmark = pytest.mark.django_db

on_each_database = pytest.mark.database

BACKFILLS = "admin:scheduler_backfill"
# Three in the morning in Seoul, on three days.
RANGE = {
    "since_0": "2026-01-10",
    "since_1": "00:00:00",
    "until_0": "2026-01-12",
    "until_1": "12:00:00",
}
FIRST_SLOT = datetime(2026, 1, 9, 18, tzinfo=UTC)


@pytest.fixture
def admin() -> Client:
    """A client signed in as Alice, a superuser."""
    client = Client()
    client.force_login(User.objects.create_superuser("alice", "a@example.com"))
    return client


@pytest.fixture
def job() -> CronJob:
    return make_job(handler_params={"message": "{slot:%Y-%m-%d}", "api_key": "s3cret"})


def fill_in(client: Client, job: CronJob, button: str, **values: str) -> Any:
    """Loads the form, changes some values and presses a button."""
    url = f"{reverse(f'{BACKFILLS}_add')}?job={job.pk}"
    form = client.get(url).context["form"]
    sent = {"order": "oldest_first", "parallelism": "1", **RANGE}
    if "params" in form.fields:
        sent["params"] = form["params"].value()
    return client.post(url, sent | values | {button: "1"})


def started(job: CronJob, **values: Any) -> Backfill:
    given = {"since": FIRST_SLOT, "until": FIRST_SLOT + timedelta(days=9), **values}
    return BackfillControl(actor=Actor(name="alice")).start(job.pk, **given)


# --- starting one ---------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [400, 700, 900])
def test_params_nested_too_deep_are_a_mistake(admin, job, depth):
    deep = '{"a": ' + "[" * depth + "]" * depth + "}"

    response = fill_in(admin, job, "preview", params=deep)

    assert response.context["form"].errors["params"]


@on_each_database
def test_a_dry_run_lists_the_slots_and_starts_nothing(admin, job):
    response = fill_in(admin, job, "preview")
    text = response.content.decode()
    assert "Sat 2026-01-10 03:00:00 KST" in text
    assert "2026-01-09 18:00:00 UTC" in text
    assert "3 slots" in text
    assert "&quot;message&quot;: &quot;2026-01-10&quot;" in text
    assert "s3cret" not in text
    assert not Backfill.objects.exists()


@on_each_database
def test_confirmed_backfill_uses_the_stored_secret_and_is_in_the_history(admin, job):
    shown = fill_in(admin, job, "preview", parallelism="2", order="newest_first")
    form = shown.context["form"]
    response = fill_in(
        admin, job, "start", parallelism="2", order="newest_first", params=form["params"].value()
    )
    made = Backfill.objects.get()
    assert response["Location"] == reverse(f"{BACKFILLS}_change", args=[made.pk])
    assert made.params == {"message": "{slot:%Y-%m-%d}", "api_key": "s3cret"}
    assert (made.total, made.parallelism, made.order) == (3, 2, "newest_first")
    assert (made.requested_by, made.since) == ("alice", datetime(2026, 1, 9, 15, tzinfo=UTC))
    entry = Activity.objects.get(target_kind="backfill")
    assert (entry.target_id, describe(entry, str)) == (made.pk, "Started: 3 slots")


def test_range_is_read_in_the_time_zone_of_the_user(admin, job):
    user = User.objects.get(username="alice")
    Preference.objects.create(user=user, timezone="UTC")
    fill_in(admin, job, "start")
    assert Backfill.objects.get().since == datetime(2026, 1, 10, tzinfo=UTC)


def test_back_button_keeps_the_entered_values(admin, job):
    form = fill_in(admin, job, "edit", parallelism="7").context["form"]
    assert form["parallelism"].value() == "7"
    assert not Backfill.objects.exists()


@pytest.mark.parametrize("button", ["preview", "start"])
@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"since_0": "someday"}, "since", "date"),
        ({"until_0": "2026-01-01"}, "since", "must not be after"),
        ({"until_0": "2066-01-01"}, "until", "more than 10000"),
        ({"since_1": "04:00:00", "until_0": "2026-01-10"}, "until", "no slot"),
        ({"order": "sideways"}, "order", "sideways"),
        ({"parallelism": "0"}, "parallelism", "1"),
        ({"parallelism": "many"}, "parallelism", "whole number"),
        ({"params": "{"}, "params", "line 1"),
        ({"params": '{"sleep_seconds": "{slot}"}'}, "params", "sleep_seconds"),
    ],
)
def test_a_mistake_is_shown_at_its_field(button, changes, field, reason, admin, job):
    response = fill_in(admin, job, button, **changes)
    assert response.status_code == 200
    assert reason in " ".join(response.context["form"].errors[field])
    assert not Backfill.objects.exists()


def test_start_page_without_a_job_asks_for_one(admin, job):
    for address in ("", "?job=", "?job=999999", "?job=x", "?job[]=1", f"?job={10**30}"):
        text = admin.get(reverse(f"{BACKFILLS}_add") + address).content.decode()
        assert '<input type="text" name="name"' in text, address


@on_each_database
def test_the_job_is_chosen_by_its_name_without_any_script(admin, job):
    address = reverse(f"{BACKFILLS}_add")
    form = admin.get(address, {"name": job.name}, follow=True)
    assert form.redirect_chain[-1][0] == f"{address}?job={job.pk}"
    assert form.context["job"] == job
    problems = {
        "": "required",
        "nobody": "no job has the name nobody",
        f"{job.name} ": "must not begin or end with a blank (U+0020 SPACE)",
    }
    for name, problem in problems.items():
        response = admin.get(address, {"name": name})
        assert problem in " ".join(response.context["form"].errors["name"])
        assert problem in response.content.decode()


def test_a_korean_dry_run_names_korean_weekdays(admin, job):
    Preference.objects.create(user=User.objects.get(), language="ko")
    text = fill_in(admin, job, "preview").content.decode()
    assert "토요일 2026-01-10 03:00:00 KST" in text
    assert "Sat 2026" not in text


def test_dry_run_warns_of_reasons_why_slots_may_not_run(admin):
    job = make_job(overlap_policy="skip")
    text = fill_in(admin, job, "preview", parallelism="2", until_0="2099-01-01").content.decode()
    assert "more than 10000" in text
    text = fill_in(admin, job, "preview", parallelism="2").content.decode()
    assert "overlap policy skip" in text


def test_user_input_is_escaped(admin):
    job = make_job(name=SCRIPT, handler_params={"message": SCRIPT})
    assert SCRIPT not in fill_in(admin, job, "preview").content.decode()
    made = started(job)
    Backfill.objects.update(error=SCRIPT)
    assert SCRIPT not in page(admin, f"{BACKFILLS}_change", made.pk)
    assert SCRIPT not in page(admin, f"{BACKFILLS}_changelist")


# --- the list and the page ------------------------------------------------------------------------


@on_each_database
def test_list_shows_progress_with_a_fixed_number_of_queries(admin, job):
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            text = page(admin, f"{BACKFILLS}_changelist")
        assert "30 %, 3 of 10 started" in text
        return len(captured)

    Backfill.objects.filter(pk=started(job).pk).update(made=3)
    one = queries()
    for _ in range(4):
        started(make_job(name=f"job {_}"))
    assert queries() == one


@on_each_database
def test_page_shows_counts_and_links_to_its_executions(admin, job):
    made = started(job)
    other = make_run(job)
    mine = [
        make_run(job, status, backfill=made, now=FIRST_SLOT + timedelta(seconds=index + 0.5))
        for index, status in enumerate([RunStatus.SUCCESS, RunStatus.SUCCESS, RunStatus.FAILED])
    ]
    Backfill.objects.filter(pk=made.pk).update(made=3)
    text = page(admin, f"{BACKFILLS}_change", made.pk)
    assert "30 %: of 10 slots, 3 were started and 3 have ended." in text
    assert "s3cret" not in text
    runs = admin.get(
        reverse("admin:scheduler_jobexecution_changelist"),
        {"backfill": made.pk, "status__exact": "SUCCESS"},
    )
    assert {row.pk for row in runs.context["cl"].result_list} == {row.pk for row in mine[:2]}
    assert other.pk not in {row.pk for row in runs.context["cl"].result_list}
    for nonsense in ("x", "-1", "9" * 40, "\u0661"):
        address = reverse("admin:scheduler_jobexecution_changelist")
        assert admin.get(address, {"backfill": nonsense}).status_code == 200


def test_page_updates_itself_until_the_backfill_ends(admin, job):
    made = started(job)
    first = admin.get(reverse(f"{BACKFILLS}_change", args=[made.pk]))
    url, mark = first.context["live_url"], first.context["live_mark"]
    assert f'data-live="{url}"' in first.content.decode()
    assert admin.get(url, headers={"X-Live-Mark": mark}).status_code == 204
    run = make_run(job, RunStatus.PENDING, backfill=made)
    changed = admin.get(url, headers={"X-Live-Mark": mark})
    assert changed.status_code == 200
    assert "PENDING" in changed.content.decode()
    assert "X-Live" not in changed
    Backfill.objects.update(state=BackfillState.DONE, made=10)
    assert "X-Live" not in admin.get(url)
    JobExecution.objects.filter(pk=run.pk).delete()
    assert admin.get(url)["X-Live"] == "done"
    assert "live_url" not in admin.get(reverse(f"{BACKFILLS}_change", args=[made.pk])).context
    assert admin.get(reverse(f"{BACKFILLS}_live", args=[10**9])).status_code == 404


# --- verbs ----------------------------------------------------------------------------------------


def do(client: Client, verb: str, backfill: Backfill, **answers: str) -> Any:
    url = reverse(f"{BACKFILLS}_{verb}", args=[backfill.pk])
    assert client.get(url).status_code == 200
    return client.post(url, answers, follow=True)


@on_each_database
def test_pause_resume_cancel_and_delete(admin, job):
    made = started(job)
    run = make_run(job, RunStatus.RUNNING, backfill=made)

    def state() -> str:
        return Backfill.objects.get(pk=made.pk).state

    do(admin, "pause", made)
    assert state() == BackfillState.PAUSED
    assert any("is paused" in text for text in texts(do(admin, "pause", made)))
    do(admin, "resume", made)
    assert state() == BackfillState.ACTIVE
    assert any("cancel it first" in text for text in texts(do(admin, "delete", made)))
    do(admin, "cancel", made)
    assert state() == BackfillState.CANCELLED
    run.refresh_from_db()
    assert run.cancel_requested_at is None
    do(admin, "cancel", made, running="on")
    run.refresh_from_db()
    assert run.cancel_requested_at is not None
    do(admin, "delete", made)
    assert not Backfill.objects.exists()
    assert JobExecution.objects.filter(pk=run.pk, backfill_id=None).exists()
    entries = Activity.objects.filter(target_kind="backfill").order_by("id")
    verbs = ["started", "paused", "resumed", "cancelled", "cancelled", "deleted"]
    assert [entry.verb for entry in entries] == verbs


def test_actions_on_several_backfills_at_once(admin, job):
    made = [started(job) for _ in range(3)]
    sent = {
        "action": "cancel_many",
        "_selected_action": [one.pk for one in made],
        "confirmed": "yes",
    }
    admin.post(reverse(f"{BACKFILLS}_changelist"), sent)
    assert set(Backfill.objects.values_list("state", flat=True)) == {BackfillState.CANCELLED}


# --- who may do what ------------------------------------------------------------------------------


def test_user_with_view_permission_sees_no_params_and_changes_nothing(job):
    made = started(job)
    viewer = user_with("view_cronjob")
    text = page(viewer, f"{BACKFILLS}_change", made.pk)
    assert "{slot:" not in text
    for verb in ("pause", "resume", "cancel", "delete"):
        url = reverse(f"{BACKFILLS}_{verb}", args=[made.pk])
        assert url not in text
        assert viewer.post(url).status_code in (302, 403)
    assert viewer.get(f"{reverse(f'{BACKFILLS}_add')}?job={job.pk}").status_code == 403
    assert Backfill.objects.get().state == BackfillState.ACTIVE


def test_user_without_permission_for_params_starts_a_backfill_with_the_params_of_the_job(job):
    runner = user_with("run_cronjob", "view_cronjob")
    response = fill_in(runner, job, "preview")
    assert "2026-01-10 03:00:00 KST" in response.content.decode()
    assert "message" not in response.content.decode().split("<main")[-1]
    assert fill_in(runner, job, "start", params='{"message": "mine"}').status_code == 302
    assert Backfill.objects.get().params == job.handler_params


def test_a_person_without_permissions_sees_no_backfill_page(job):
    made = started(job)
    nobody = user_with("view_jobexecution")
    for name, args in (("changelist", []), ("change", [made.pk]), ("live", [made.pk])):
        assert nobody.get(reverse(f"{BACKFILLS}_{name}", args=args)).status_code == 403
