"""The page "who did what": all targets, deleted jobs too, by filters, by key, and as a file."""

from __future__ import annotations

import csv
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from scheduler.models import Activity
from scheduler.operations.actor import Actor
from scheduler.operations.control import Control
from scheduler.operations.queues import QueueControl
from scheduler.store import activity
from tests.admin.test_admin import JOBS, make_job, page, texts, user_with

pytestmark = [pytest.mark.django_db, pytest.mark.database]

PAGE = "admin:activity"


@pytest.fixture
def admin(django_user_model: type[User]) -> Client:
    client = Client()
    client.force_login(django_user_model.objects.create_superuser("alice", "a@example.com"))
    return client


def by(name: str) -> Control:
    return Control(actor=Actor(name=name))


def shown(client: Client, **query: Any) -> list[str]:
    rows = client.get(reverse(PAGE), query).context["rows"]
    return [f"{row['line'].actor} {row['line'].text}" for row in rows]


def rows_of(response: Any) -> list[list[str]]:
    text = b"".join(response.streaming_content).decode()
    assert text[0] == "\ufeff"
    return list(csv.reader(StringIO(text[1:])))


def test_all_targets_are_on_one_page_and_each_filter_finds_its_entries(admin):
    job = make_job(name="report")
    by("bob").disable(job.pk)
    QueueControl(actor=Actor(name="carol")).pause("slow", reason="repair")

    assert shown(admin) == ["carol Paused: repair", "bob Disabled", " Created"]
    assert shown(admin, kind="queue") == ["carol Paused: repair"]
    assert shown(admin, who="BO") == ["bob Disabled"]
    assert shown(admin, verb="created", q="repo") == [" Created"]
    assert shown(admin, q=f"#{job.pk}", door="system", who="bob") == ["bob Disabled"]
    assert shown(admin, since="2001-01-01", until="2001-01-02") == []
    wrong = admin.get(reverse(PAGE), {"since": "31.1.", "q": "x" * 5000, "before": "1" * 40})
    assert "is not a date such as" in wrong.content.decode()
    assert shown(user_with("view_jobexecution")) == []
    assert user_with().get(reverse(PAGE)).status_code == 403


def test_a_deleted_job_is_known_by_its_name_what_it_was_and_who_deleted_it(admin):
    job = make_job(name="report", handler_params={"password": "hunter2", "to": "kim@shop"})
    by("bob").delete_job(job.pk)

    followed = admin.get(reverse(f"{JOBS}_change", args=[job.pk]), follow=True)

    assert "report was deleted by bob" in texts(followed)[0]
    html = followed.content.decode()
    assert "(deleted)" in html
    assert "What it was" in html
    assert "0 3 * * *" in html
    assert "kim@shop" in html
    assert "hunter2" not in html
    blind = page(user_with("view_cronjob"), PAGE)
    assert "report" in blind
    assert "kim@shop" not in blind
    stranger = user_with("view_jobexecution")
    assert "report" not in stranger.get(reverse(f"{JOBS}_change", args=[job.pk])).content.decode()
    assert admin.get(reverse(f"{JOBS}_change", args=[10**15]), follow=True).status_code == 200


def test_pages_follow_each_other_by_key_and_a_search_is_bounded(admin, monkeypatch):
    job = make_job(name="report")
    for _ in range(60):
        by("bob").disable(job.pk)
        by("bob").enable(job.pk)
    first = admin.get(reverse(PAGE))

    second = admin.get(reverse(PAGE) + first.context["older"])

    ids = [row["line"] for row in first.context["rows"] + second.context["rows"]]
    assert len(ids) == 100
    assert Activity.objects.count() == 121
    monkeypatch.setattr(activity, "LOOKED_AT", 10)
    nothing = admin.get(reverse(PAGE), {"verb": "created"})
    assert nothing.context["rows"] == []
    assert nothing.context["older"]
    assert "entries before this place were searched" in nothing.content.decode()


def test_the_file_has_the_same_entries_and_no_formula(admin):
    by("=HYPERLINK()").disable(make_job(name="report").pk)

    head, *rows = rows_of(admin.get(reverse("admin:activity-csv"), {"verb": "disabled"}))

    assert head == ["at", "who", "what", "through", "about", "number", "name"]
    assert [row[1:4] + row[6:] for row in rows] == [
        ["'=HYPERLINK()", "Disabled", "system", "report"]
    ]
