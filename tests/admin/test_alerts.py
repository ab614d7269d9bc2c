"""The pages of alerts: what is open, who was told, and the buttons."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client, override_settings
from django.urls import reverse

from scheduler.conf import AlertSettings, current
from scheduler.models import Alert, AlertMessage
from scheduler.operations.alerts import AlertOperations
from scheduler.operations.control import Control
from scheduler.store.connection import database_now
from tests.admin.test_admin import make_run
from tests.api.conftest import make_job, person

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]
once = pytest.mark.database("sqlite")  # asks no question to which databases have different answers


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


@once
def test_who_may_only_look_has_no_buttons(alert: Alert, client: Client):
    client.force_login(person("viewer", "view_alert"))

    shown = client.get(reverse("admin:scheduler_alert_change", args=[alert.pk]))

    assert shown.status_code == 200
    assert "/snooze" not in shown.content.decode()
    assert client.post(f"{_page(alert)}close/").status_code == 403
    alert.refresh_from_db()
    assert alert.state == "open"


@once
@pytest.mark.parametrize(
    ("state", "useful"),
    [
        ("open", {"acknowledge", "snooze", "close"}),
        ("acknowledged", {"snooze", "close"}),
        ("snoozed", {"acknowledge", "unsnooze", "close"}),
        ("closed", set()),
    ],
)
def test_an_alert_offers_what_changes_it(
    alert: Alert, client: Client, state: str, useful: set[str]
):
    client.force_login(User.objects.create_superuser("root"))
    Alert.objects.update(state=state)

    shown = client.get(f"{_page(alert)}change/").content.decode()

    verbs = {"acknowledge", "snooze", "unsnooze", "close"}
    assert {verb for verb in verbs if f'href="{_page(alert)}{verb}/' in shown} == useful


@once
def test_a_korean_heading_has_the_words_of_the_kind_and_the_way_back_is_no_closing(
    alert: Alert, client: Client
):
    client.force_login(User.objects.create_superuser("root"))

    shown = client.get(f"{_page(alert)}change/", headers={"Accept-Language": "ko"})

    text = " ".join(shown.content.decode().split())
    assert f"#{alert.pk} 실행 실패 &lt;b&gt;report" in text
    assert text.count(">닫기<") + text.count("> 닫기 <") == 1
    assert "목록으로" in text


def test_a_snooze_ends_by_its_button(alert: Alert, client: Client):
    client.force_login(User.objects.create_superuser("root"))
    AlertOperations().snooze(alert.pk, database_now() + timedelta(hours=1))

    assert client.get(f"{_page(alert)}unsnooze/").status_code == 200
    assert client.post(f"{_page(alert)}unsnooze/").status_code == 302

    alert.refresh_from_db()
    assert alert.state == "open"


@once
def test_a_job_and_a_run_lead_to_their_alerts(alert: Alert, client: Client):
    job = make_job()
    run = make_run(job)
    Alert.objects.update(job_id=job.pk, execution_id=run.pk)
    of_job = reverse("admin:scheduler_cronjob_change", args=[job.pk])
    of_run = reverse("admin:scheduler_jobexecution_change", args=[run.pk])
    listed = reverse("admin:scheduler_alert_changelist", query={"job_id__exact": job.pk})
    client.force_login(User.objects.create_superuser("root"))

    assert listed.replace("&", "&amp;") in client.get(of_job).content.decode()
    assert f'href="{_page(alert)}change/"' in client.get(of_run).content.decode()
    assert f"#{alert.pk}" in client.get(listed).content.decode()

    client.force_login(person("viewer", "view_cronjob", "view_jobexecution"))
    for page in (of_job, of_run):
        assert "scheduler/alert/" not in client.get(page).content.decode()


CHANNELS = {
    "team": {"kind": "mail", "to": ["team@example.com"]},
    "hook": {
        "kind": "webhook", "url": "https://hooks.example.com/T0/secret-token",
        "secret": "a" * 32, "max_per_hour": 7, "min_interval_seconds": 90,
    },
}  # fmt: skip


@pytest.fixture
def channels() -> Iterator[None]:
    alerts = AlertSettings.model_validate({"channels": CHANNELS, "default_channels": ["team"]})
    with override_settings(JOBU=current().model_copy(update={"alerts": alerts})):
        yield


@pytest.mark.usefixtures("channels")
def test_the_page_of_channels_sends_a_test_and_says_what_became_of_it(client: Client):
    page = reverse("admin:channels")
    client.force_login(User.objects.create_superuser("root"))
    shown = client.get(page).content.decode()
    for text in ("t********@example.com", "https://hooks.example.com/********", "7 an hour"):
        assert text in shown
    assert "secret-token" not in shown

    answer = client.post(reverse("admin:channel-test"), {"channel": "hook"}, follow=True)

    assert "A worker sends a test over hook" in answer.content.decode()
    message = AlertMessage.objects.get()
    assert (message.event, message.channel, message.recipient) == ("test", "hook", "root")
    live = reverse("admin:channels-live")
    first = client.get(live)
    assert "no worker has taken it yet" in first.content.decode()
    mark = {"X-Live-Mark": first.headers["X-Live-Mark"]}
    assert client.get(live, headers=mark).status_code in (200, 204)  # each minute it is another one
    AlertMessage.objects.update(state="failed", tries=1, error="the receiver answers <b>500")
    assert "the receiver answers &lt;b&gt;500" in client.get(live).content.decode()
    wrong = client.post(reverse("admin:channel-test"), {"channel": "hoook"}, follow=True)
    assert "hook?" in wrong.content.decode()
    assert AlertMessage.objects.count() == 1


@once
@pytest.mark.usefixtures("channels")
def test_who_may_only_look_at_channels_sends_nothing(client: Client):
    page, test = reverse("admin:channels"), reverse("admin:channel-test")
    client.force_login(person("viewer", "view_alert"))
    assert "Send a test" not in client.get(page).content.decode()
    assert client.post(test, {"channel": "hook"}).status_code == 403
    client.force_login(person("other", "view_cronjob"))
    assert client.get(page).status_code == 403
    assert client.get(reverse("admin:channels-live")).status_code == 403
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.create_superuser("root"))
    assert strict.post(test, {"channel": "hook"}).status_code == 403
    assert strict.get(test).status_code == 405

    assert not AlertMessage.objects.exists()


def _page(alert: Alert) -> str:
    return reverse("admin:scheduler_alert_change", args=[alert.pk]).removesuffix("change/")
