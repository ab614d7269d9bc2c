"""The pages of alerts: what is open, who was told, and the buttons."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from scheduler.models import Alert, AlertMessage
from scheduler.operations.control import Control
from tests.api.conftest import person

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


@pytest.fixture
def alert(db: None) -> Alert:
    now = Control().clock.now()
    Alert.objects.bulk_create(
        [
            Alert(
                kind="failed", subject_key="job:7", open_key="failed:job:7", job_id=7,
                job_name="<b>report</b>", owner="ana", opened_at=now, last_seen_at=now,
                facts={"error": "no stock"},
            )
        ]
    )  # fmt: skip
    made = Alert.objects.get()
    AlertMessage.objects.create(
        alert=made, event="opened", channel="hook", recipient="ana", state="failed",
        error="the receiver answered 500",
    )  # fmt: skip
    return made


def test_a_person_sees_who_was_told_and_acknowledges_snoozes_and_closes(
    alert: Alert, client: Client
):
    client.force_login(User.objects.create_superuser("root"))
    listed = client.get(reverse("admin:scheduler_alert_changelist"), {"owner": "ana"})
    shown = client.get(reverse("admin:scheduler_alert_change", args=[alert.pk])).content.decode()

    assert "&lt;b&gt;report&lt;/b&gt;" in listed.content.decode()
    assert "<b>report</b>" not in shown
    for text in ("no stock", "ana", "hook", "the receiver answered 500", "/snooze"):
        assert text in shown

    until = {"until_0": "2099-01-01", "until_1": "10:00"}
    refused = client.post(f"{_page(alert)}snooze/", until)
    assert "366" in refused.content.decode()
    for verb in ("acknowledge", "close"):
        assert client.post(f"{_page(alert)}{verb}/").status_code == 302
    alert.refresh_from_db()
    assert (alert.state, alert.acknowledged_by, alert.closed_by) == ("closed", "root", "root")
    history = client.get(reverse("admin:scheduler_alert_history", args=[alert.pk]))
    assert "Acknowledged" in history.content.decode()


def test_who_may_only_look_has_no_buttons(alert: Alert, client: Client):
    client.force_login(person("viewer", "view_alert"))

    shown = client.get(reverse("admin:scheduler_alert_change", args=[alert.pk]))

    assert shown.status_code == 200
    assert "/snooze" not in shown.content.decode()
    assert client.post(f"{_page(alert)}close/").status_code == 403
    alert.refresh_from_db()
    assert alert.state == "open"


def _page(alert: Alert) -> str:
    return reverse("admin:scheduler_alert_change", args=[alert.pk]).removesuffix("change/")
