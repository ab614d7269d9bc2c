"""What buttons, headings and messages say to a person, in English and Korean."""

from __future__ import annotations

import pytest
from django.urls import reverse

from scheduler.states import RunStatus
from tests.admin.test_admin import JOBS, RUNS, admin, job, make_run, page

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
