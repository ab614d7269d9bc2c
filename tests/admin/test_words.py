"""What buttons, headings and messages say to a person, in English and Korean."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.urls import reverse

from scheduler.admin.formatting import exact
from scheduler.operations.control import Control, InvalidJob
from scheduler.operations.errors import refusal
from scheduler.states import RunStatus
from scheduler.store.connection import database_now
from tests.admin.test_admin import JOBS, RUNS, admin, form_of, job, make_job, make_run, page

__all__ = ["admin", "job"]  # fixtures
pytestmark = pytest.mark.django_db

KOREAN = {"Accept-Language": "ko"}


def test_button_of_the_actions_on_selected_rows_does_not_say_run(admin, job):
    shown = page(admin, f"{JOBS}_changelist")

    button = shown.partition('name="index"')[2].partition("</button>")[0]
    assert "Apply" in button
    assert "Run" not in button


def test_korean_delete_buttons_name_the_thing_first(admin, job):
    run = make_run(job)
    for name, row, words in ((JOBS, job, "작업 삭제"), (RUNS, run, "실행 삭제")):
        url = reverse(f"{name}_change", args=[row.pk])

        shown = admin.get(url, headers=KOREAN).content.decode()

        assert words in shown
        assert "삭제 작업" not in " ".join(shown.split())
        assert "삭제 실행" not in " ".join(shown.split())


def test_a_korean_count_follows_what_it_counts(admin, job):
    shown = admin.get(reverse(f"{JOBS}_changelist"), headers=KOREAN).content.decode()

    assert "작업 1개" in " ".join(shown.split())
    assert "1 작업" not in " ".join(shown.split())


def test_one_thing_has_one_korean_name(admin, job):
    make_run(job, RunStatus.FAILED)
    pages = [
        reverse("admin:index"),
        reverse(f"{JOBS}_changelist"),
        reverse(f"{JOBS}_change", args=[job.pk]),
        reverse(f"{JOBS}_history", args=[job.pk]),
    ]
    for url in pages:
        shown = admin.get(url, headers=KOREAN).content.decode()

        assert "히스토리" not in shown, url
        assert "크론 작업" not in shown, url
    assert "연속 실패 시작 시각" in admin.get(pages[0], headers=KOREAN).content.decode()


# --- mistakes in forms ----------------------------------------------------------------------------


def test_wrong_expression_does_not_hide_a_wrong_zone_and_a_wrong_calendar(admin):
    wrong = {"cron_expression": "61 * * * *", "timezone": "Mars/Base", "calendar": "nowhere"}

    shown = admin.post(reverse(f"{JOBS}_add"), {**form_of(admin), "name": "a", **wrong})
    checked = admin.post(reverse(f"{JOBS}_check"), {**form_of(admin), "name": "a", **wrong})

    assert wrong.keys() <= shown.context["adminform"].form.errors.keys()
    assert wrong.keys() <= checked.json()["problems"].keys()


def test_pause_in_the_past_is_refused_at_its_field_for_one_job_and_for_many(admin, job):
    past = {"reason": "move", "until_0": "2001-01-01", "until_1": "00:00"}
    one = admin.post(reverse(f"{JOBS}_pause", args=[job.pk]), past)
    chosen = {"action": "pause_many", "_selected_action": [job.pk], "confirmed": "yes"}
    many = admin.post(reverse(f"{JOBS}_changelist"), {**chosen, **past})

    for shown in (one, many):
        assert shown.context["form"].errors == {"until": ["must be in the future"]}
        assert "paused_until" not in shown.content.decode()
    job.refresh_from_db()
    assert job.is_enabled


def test_refusals_for_people_name_labels_and_not_columns():
    error = InvalidJob({"paused_until": ["must be in the future"], "__all__": ["no"]})

    assert refusal(error) == "paused until: must be in the future; no"
    assert str(error).startswith("paused_until: ")  # for programs


# --- what lies ahead ------------------------------------------------------------------------------


def test_timeline_does_not_tell_what_lies_ahead_as_done(admin, job):
    later = database_now() + timedelta(hours=1)
    run = make_run(job, RunStatus.PENDING, scheduled_time=later, available_at=later)

    shown = page(admin, f"{RUNS}_change", run.pk)

    assert "Ahead: Slot" in shown or "Ahead: May be claimed" in shown
    assert ">May be claimed<" not in shown
    ended = page(admin, f"{RUNS}_change", make_run(job).pk)
    assert "Ahead:" not in ended


def test_paused_job_shows_when_it_comes_back_instead_of_its_next_run(admin, job):
    until = database_now().replace(microsecond=0) + timedelta(hours=2)
    Control().pause(job.pk, reason="move", until=until)

    for shown in (page(admin, f"{JOBS}_changelist"), page(admin, f"{JOBS}_change", job.pk)):
        assert f"paused until {exact(until)}" in shown


def test_rows_of_the_list_offer_only_what_changes_the_job(admin, job):
    off = make_job(name="off", is_enabled=False)

    shown = page(admin, f"{JOBS}_changelist")

    def offers(row, verb):
        return reverse(f"{JOBS}_{verb}", args=[row.pk]) in shown

    assert [offers(job, verb) for verb in ("run_now", "pause", "enable", "disable")] == [
        True, True, False, True,
    ]  # fmt: skip
    assert [offers(off, verb) for verb in ("run_now", "pause", "enable", "disable")] == [
        True, False, True, False,
    ]  # fmt: skip


def test_message_after_run_now_does_not_say_what_may_be_over_when_it_is_read(admin, job):
    shown = admin.post(reverse(f"{JOBS}_run_now", args=[job.pk]), {"params": "{}"}, follow=True)

    said = " ".join(str(each) for each in shown.context["messages"])
    assert "is asked for" in said
    assert "waits for a worker" not in said


# --- for screen readers ---------------------------------------------------------------------------


def test_pages_have_one_main_landmark_and_date_filters_have_names(admin, job):
    for name, *row in ((f"{JOBS}_changelist",), (f"{JOBS}_change", job.pk), ("admin:index",)):
        assert page(admin, name, *row).count("<main ") == 1

    dates = re.findall(r"<input[^>]*vCustomDateField[^>]*>", page(admin, f"{RUNS}_changelist"))
    assert len(dates) >= 2
    assert [each for each in dates if "aria-label=" not in each] == []
