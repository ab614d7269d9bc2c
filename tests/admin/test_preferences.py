"""Each user chooses the time zone and the language of the pages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from scheduler.models import CronJob, Preference
from scheduler.operations.control import Control

pytestmark = pytest.mark.django_db

PAGE = "/admin/scheduler/preference/"
JOBS = "/admin/scheduler/cronjob/"


@pytest.fixture
def alice() -> Client:
    return client_of("alice")


def client_of(name: str, **options: Any) -> Client:
    client = Client(**options)
    client.force_login(User.objects.create_superuser(name))
    return client


@pytest.fixture
def job() -> CronJob:
    job = Control().create_job(
        name="report", cron_expression="0 3 * * *", timezone="UTC", handler_name="sample"
    )
    CronJob.objects.filter(pk=job.pk).update(
        last_run_at=datetime(2026, 1, 10, 15, tzinfo=UTC), last_status="SUCCESS"
    )
    return job


def choose(client: Client, zone: str = "", language: str = "") -> Any:
    return client.post(PAGE, {"timezone": zone, "language": language})


def text_of(client: Client, url: str = JOBS) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return response.content.decode()


def test_times_are_in_the_configured_zone_until_a_user_chooses_another(alice, job):
    assert "2026-01-11 00:00:00 KST" in text_of(alice)
    assert choose(alice, "America/New_York").status_code == 302
    assert "2026-01-10 10:00:00 EST" in text_of(alice)
    assert "2026-01-11 00:00:00 KST" in text_of(client_of("bob"))
    assert timezone.get_current_timezone_name() == "Asia/Seoul"  # nothing sticks to the thread
    assert choose(alice, "").status_code == 302
    assert "KST" in text_of(alice)


@pytest.mark.database
def test_times_in_forms_use_the_chosen_zone(alice, job):
    choose(alice, "America/New_York")
    pause = reverse("admin:scheduler_cronjob_pause", args=[job.pk])
    assert "In America/New_York" in text_of(alice, pause)
    for page in (
        reverse("admin:scheduler_cronjob_change", args=[job.pk]),
        f"/admin/scheduler/backfill/add/?job={job.pk}",
    ):
        page_text = text_of(alice, page)
        assert "in America/New_York" in page_text
        assert "Asia/Seoul" not in page_text.replace('<option value="Asia/Seoul">', "")
    sent = {"reason": "holiday", "until_0": "2099-01-10", "until_1": "12:00:00"}
    assert alice.post(pause, sent).status_code == 302
    job.refresh_from_db()
    assert job.paused_until == datetime(2099, 1, 10, 17, tzinfo=UTC)


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "asia/soul", "../../etc/passwd", "x" * 65, "Asia"]
)
def test_unknown_zone_is_refused_at_its_field(zone, alice):
    response = choose(alice, zone)
    assert response.status_code == 200
    assert list(response.context["form"].errors) == ["timezone"]
    assert not Preference.objects.exists()


def test_a_language_that_is_not_offered_is_refused(alice):
    response = choose(alice, language="tlh")
    assert list(response.context["form"].errors) == ["language"]


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../x", "Asia", "a\\b", " "])
def test_pages_open_with_an_unknown_stored_zone_or_language(zone, alice, job):
    user = User.objects.get(username="alice")
    Preference.objects.create(user=user, timezone=zone, language="tlh")
    assert "KST" in text_of(alice)
    text_of(alice, PAGE)


def test_chosen_language_overrides_the_language_of_the_browser(job):
    client = client_of("carol", headers={"accept-language": "en"})
    choose(client, language="ko")
    response = client.get(JOBS)
    assert response["Content-Language"] == "ko"
    assert '<html lang="ko"' in response.content.decode()
    choose(client, language="")
    assert client.get(JOBS)["Content-Language"] == "en"


@pytest.mark.database
def test_language_switch_changes_the_stored_language(alice):
    choose(alice, "Europe/Berlin", language="ko")
    alice.post("/i18n/setlang/", {"language": "en", "next": JOBS})
    assert alice.get(JOBS)["Content-Language"] == "en"
    assert Preference.objects.get().timezone == "Europe/Berlin"


def test_language_switch_sets_only_a_cookie_without_a_stored_language(alice):
    alice.post("/i18n/setlang/", {"language": "ko", "next": JOBS})
    assert alice.get(JOBS)["Content-Language"] == "ko"
    assert not Preference.objects.exists()


def test_user_menu_of_every_staff_user_links_to_the_preferences():
    staff = Client()
    staff.force_login(User.objects.create_user("dave", is_staff=True))
    assert f'href="{PAGE}"' in text_of(staff, "/admin/")
    assert choose(staff, "Europe/Berlin").status_code == 302
    assert Preference.objects.get().user.username == "dave"
    assert Client().get(PAGE).status_code == 302  # to the login


def test_addresses_outside_the_admin_do_not_read_preferences(alice, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert alice.get("/health").status_code == 200
