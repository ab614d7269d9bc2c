"""What people do with alerts and rules, through the API and the command."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client, override_settings

from scheduler.alert_states import AlertKind
from scheduler.conf import AlertSettings, current
from scheduler.models import Activity, Alert, AlertMessage, CronJob
from scheduler.operations.alerts import AlertOperations
from scheduler.operations.control import Control, InvalidJob, NotPossible
from scheduler.operations.history import changes_of
from scheduler.store.connection import database_now
from tests.api.conftest import Program, alice, api, error_of, ok
from tests.harness.scheduler_harness import SchedulerHarness

__all__ = ["alice", "api"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]
once = pytest.mark.database("sqlite")  # asks no question to which databases have different answers


def an_alert(system: SchedulerHarness, kind: AlertKind = AlertKind.FAILED, **values: Any) -> Alert:
    now = system.clock.now()
    given = {"job_id": 7, "job_name": "report", "opened_at": now, "last_seen_at": now, **values}
    alert = Alert(kind=kind.value, subject_key="job:7", open_key=f"{kind.value}:job:7", **given)
    Alert.objects.bulk_create([alert])
    return Alert.objects.get(kind=kind.value)


def test_a_person_acknowledges_snoozes_and_closes_through_the_api(
    system: SchedulerHarness, api: Program
):
    alert = an_alert(system)
    AlertMessage.objects.create(alert=alert, event="opened", channel="hook", recipient="ana")
    an_alert(system, AlertKind.TOO_LONG)

    assert ok(api.get("/alerts?kind=failed&is_open=true&cron_id=7"))["total"] == 1
    assert ok(api.get("/alerts?state=closed"))["items"] == []
    shown = ok(api.get(f"/alerts/{alert.pk}"))
    assert [each["recipient"] for each in shown["messages"]] == ["ana"]
    assert ok(api.post(f"/alerts/{alert.pk}/acknowledge"))["acknowledged_by"] == "alice"
    error_of(api.post(f"/alerts/{alert.pk}/acknowledge"), 409)
    until = {"until": "2099-01-01T00:00:00Z"}
    assert "until" in error_of(api.post(f"/alerts/{alert.pk}/snooze", until), 400)["fields"]
    assert ok(api.post(f"/alerts/{alert.pk}/close"))["close_reason"] == "by_person"
    error_of(api.post(f"/alerts/{alert.pk}/close"), 409)
    error_of(api.get("/alerts/99999"), 404)

    entries = Activity.objects.filter(target_kind="alert", target_id=alert.pk).order_by("id")
    assert list(entries.values_list("verb", "actor")) == [
        ("acknowledged", "alice"), ("closed", "alice"),
    ]  # fmt: skip


def test_a_snoozed_alert_wakes_up_when_its_time_is_over(system: SchedulerHarness):
    people = AlertOperations(clock=system.clock)
    alert = an_alert(system, AlertKind.RETENTION_BEHIND, job_id=None)
    until = system.clock.now() + timedelta(hours=1)
    assert people.snooze(alert.pk, until).snoozed_until == until
    system.tick()
    assert Alert.objects.get().state == "snoozed"

    system.clock.advance(3700)
    system.tick()

    assert Alert.objects.get().state == "open"
    with pytest.raises(NotPossible):
        people.unsnooze(alert.pk)


def test_the_command_lists_shows_and_closes(
    system: SchedulerHarness, capsys: pytest.CaptureFixture[str]
):
    alert = an_alert(system)

    call_command("alerts", "list", "--json")
    listed = json.loads(capsys.readouterr().out)
    call_command("alerts", "show", str(alert.pk))
    shown = capsys.readouterr().out
    call_command("alerts", "snooze", str(alert.pk), "--until", "in 2h", "--as", "bob")
    call_command("alerts", "ack", str(alert.pk), "--as", "bob")
    call_command("alerts", "close", str(alert.pk), "--as", "bob")

    assert [each["id"] for each in listed["items"]] == [alert.pk]
    assert "report" in shown
    closed = Alert.objects.get()
    assert (closed.state, closed.closed_by, closed.acknowledged_by) == ("closed", "bob", "bob")


def test_a_snooze_is_ended_by_command_and_api(system: SchedulerHarness, api: Program):
    alert = an_alert(system)
    people = AlertOperations()
    for end in (
        lambda: call_command("alerts", "unsnooze", str(alert.pk), "--as", "bob"),
        lambda: ok(api.post(f"/alerts/{alert.pk}/unsnooze")),
    ):
        people.snooze(alert.pk, database_now() + timedelta(hours=1))
        end()
        alert.refresh_from_db()
        assert (alert.state, alert.snoozed_until, alert.snoozed_by) == ("open", None, "")
    with pytest.raises(SystemExit):
        call_command("alerts", "unsnooze", str(alert.pk))

    assert error_of(api.post(f"/alerts/{alert.pk}/unsnooze"), 409)
    entries = Activity.objects.filter(verb="unsnoozed").order_by("id")
    assert list(entries.values_list("actor", flat=True)) == ["bob", "alice"]


URL, DSN = "https://hc-ping.com/0d2b8a14-6a2f", "https://1f2e3d@o1.ingest.sentry.io/2"
CHECK_INS = [
    {"kind": "healthchecks", "url": URL},
    {"kind": "sentry", "dsn": DSN, "slug": "report"},
]


@once
def test_addresses_of_check_ins_are_secrets_at_every_door(
    system: SchedulerHarness, api: Program, client: Client, capsys: pytest.CaptureFixture[str]
):
    body = {"name": "j", "cron_expression": "0 3 * * *", "handler_name": "ok"}
    made = ok(api.post("/crons", {**body, "alert_rules": {"check_ins": CHECK_INS}}), 201)
    job = CronJob.objects.get(pk=made["id"])
    ok(api.put(f"/crons/{job.pk}", {"alert_rules": made["alert_rules"], "description": "d"}))
    job.refresh_from_db()
    assert job.alert_rules == {"check_ins": CHECK_INS}  # what was masked stays what it was

    other = [{"kind": "healthchecks", "url": "https://hc-ping.com/9f8e7d6c"}, CHECK_INS[1]]
    ok(api.put(f"/crons/{job.pk}", {"alert_rules": {"check_ins": other}}))
    call_command("jobs", "show", "j", "--json")
    call_command("jobs", "export")
    call_command("history", "--job", "j", "--json")
    client.force_login(User.objects.create_superuser("root"))
    page = f"/admin/scheduler/cronjob/{job.pk}/"
    shown = [
        str(made),
        str(ok(api.get(f"/crons/{job.pk}"))),
        str(ok(api.get(f"/crons/{job.pk}/history"))),
        capsys.readouterr().out,
        client.get(f"{page}change/").content.decode(),
        client.get(f"{page}history/").content.decode(),
        str(list(Activity.objects.values_list("facts", flat=True))),
    ]
    for text in shown:
        assert "0d2b8a14" not in text
        assert "9f8e7d6c" not in text
        assert "1f2e3d" not in text
    # The history says that the rules have changed, although no masked value shows it.
    newest = Activity.objects.order_by("-id")[0]
    assert [change.field for change in changes_of(newest, sees_params=True)] == ["alert rules"]


CHANNELS = {"channels": {"team": {"kind": "mail", "to": ["team@example.com"]}}}


def set_alerts(**values: Any) -> Any:
    alerts = AlertSettings.model_validate({**CHANNELS, **values})
    return override_settings(JOBU=current().model_copy(update={"alerts": alerts}))


@once
@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"fialed": True}, "failed"),
        ({"failed": True}, "no channel"),
        ({"failed": True, "channels": ["taem"]}, "team"),
        ({"failed_in_a_row": 1, "channels": ["team"]}, "failed_in_a_row"),
        ({"skipped": ["tired"], "channels": ["team"]}, "overlap_running"),
        ({"longer_than_seconds": True, "channels": ["team"]}, "longer_than_seconds"),
        ([], "object"),
    ],
)
def test_rules_that_cannot_be_are_refused_with_what_would_be_right(
    system: SchedulerHarness, rules: Any, expected: str
):
    with set_alerts(), pytest.raises(InvalidJob) as refused:
        Control().create_job(
            name="j", cron_expression="0 3 * * *", handler_name="ok", alert_rules=rules
        )

    assert expected in str(refused.value.problems["alert_rules"])
    assert not CronJob.objects.exists()


def test_rules_are_set_and_shown_by_api_and_command(
    system: SchedulerHarness, api: Program, capsys: pytest.CaptureFixture[str]
):
    body = {"name": "j", "cron_expression": "0 3 * * *", "handler_name": "ok"}
    with set_alerts(owners={"ana": {"channels": ["team"]}}):
        made = ok(
            api.post("/crons", {**body, "owner": "ana", "alert_rules": {"failed": True}}), 201
        )
        call_command("jobs", "update", "j", "--alert", "failed_in_a_row=3", "--alert", "failed=")
        with pytest.raises(CommandError):
            call_command("jobs", "update", "j", "--alert", "failed")
        call_command("jobs", "update", "j", "--alert", "not_started_seconds=false")

    assert made["alert_rules"] == {"failed": True}
    rules = {"failed_in_a_row": 3, "not_started_seconds": False}
    assert ok(api.get(f"/crons/{made['id']}"))["alert_rules"] == rules


@once
@pytest.mark.parametrize(
    ("alerts", "expected"),
    [
        ({"rules": {"failed": True}}, "names no channel"),
        ({"tags": {"x": {"failed": True, "channels": ["taem"]}}}, "did you mean 'team'"),
        (
            {"rules": {"check_ins": [{"kind": "healthchecks", "url": "https://a.b/c"}]}},
            "only a job",
        ),
    ],
)
def test_general_rules_that_nobody_would_be_told_of_are_refused_at_the_start(
    alerts: dict[str, Any], expected: str
):
    with pytest.raises(ValueError, match=expected):
        AlertSettings.model_validate({**CHANNELS, **alerts})
