"""Queues through the API, the command and the page."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client

from scheduler.models import QueuePause
from scheduler.store.connection import database_now
from tests.admin.test_admin import make_job, make_run
from tests.api.conftest import Program, error_of, ok

pytestmark = [pytest.mark.django_db, pytest.mark.database]
once = pytest.mark.database("sqlite")  # asks no question to which databases have different answers


def command(*arguments: str) -> Any:
    out = StringIO()
    call_command("queues", *arguments, "--json", stdout=out)
    return json.loads(out.getvalue())


def test_a_queue_is_paused_and_resumed_through_the_api(api: Program) -> None:
    job = make_job(queue="nightly.big")
    make_run(job, queue="nightly.big")
    until = database_now() + timedelta(hours=1)

    answer = ok(
        api.post(
            "/queues/pause",
            {"queue": "nightly.big", "reason": "moving", "until": until.isoformat()},
        )
    )
    assert (answer["queue"], answer["reason"]) == ("nightly.big", "moving")
    items = {item["name"]: item for item in ok(api.get("/queues"))["items"]}
    assert items["nightly.big"]["pause"]["reason"] == "moving"
    assert items[""]["pause"] is None

    assert api.post("/queues/resume", {"queue": "nightly.big"}).status_code == 204
    assert error_of(api.post("/queues/resume", {"queue": "nightly.big"}), 409)
    bad = {"queue": "x", "reason": "", "until": "2020-01-01T00:00:00Z"}
    assert set(error_of(api.post("/queues/pause", bad), 400)["fields"]) == {"reason", "until"}
    assert not QueuePause.objects.exists()


def test_a_queue_is_paused_and_resumed_by_the_command() -> None:
    command("pause", "slow", "--reason", "moving", "--until", "in 2h")
    [slow] = [item for item in command("list")["items"] if item["name"] == "slow"]
    assert slow["pause"]["reason"] == "moving"
    command("resume", "slow")
    for wrong in (("resume", "slow"), ("pause", "slow", "--reason", "x", "--until", "2020-01-01")):
        with pytest.raises(CommandError):
            command(*wrong)
    assert not QueuePause.objects.exists()


@once
def test_only_who_may_pauses_on_the_page_and_by_a_post(django_user_model: type[User]) -> None:
    make_job(queue="slow")
    user = django_user_model.objects.create_user("bob", "b@example.com", is_staff=True)
    client = Client()
    client.force_login(user)

    def may(*codenames: str) -> None:
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))

    assert client.get("/admin/queues/").status_code == 403
    may("view_schedulerprocess")
    page = client.get("/admin/queues/").content.decode()
    assert ">slow<" in page
    assert "pause/" not in page
    asked = {"queue": "slow", "reason": "moving", "until_0": "", "until_1": ""}
    assert client.post("/admin/queues/pause/", asked).status_code == 403

    may("view_schedulerprocess", "pause_queue")
    assert client.get("/admin/queues/pause/", asked).status_code == 200
    assert not QueuePause.objects.exists()
    for wrong in ({"reason": ""}, {"until_0": "2020-01-01", "until_1": "10:00"}, {"queue": "\0"}):
        refused = client.post("/admin/queues/pause/", {**asked, **wrong})
        assert refused.context["form"].errors
    assert client.post("/admin/queues/pause/", asked).status_code == 302
    assert QueuePause.objects.get().who == "bob"
    assert "moving" in client.get("/admin/queues/").content.decode()
    assert client.get("/admin/queues/resume/").status_code == 405
    client.post("/admin/queues/resume/", {"queue": "slow"})
    assert not QueuePause.objects.exists()
