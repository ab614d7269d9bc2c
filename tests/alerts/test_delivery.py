"""Messages about alerts: who gets them, when, and what becomes of them, over real channels."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection

from scheduler.alert_states import AlertEvent, AlertKind, AlertState
from scheduler.alerts.announcing import announce
from scheduler.conf import AlertSettings
from scheduler.models import Activity, Alert, AlertMessage, JobExecution, Preference
from scheduler.operations.alert_channels import ChannelOperations
from scheduler.operations.alerts import AlertOperations
from scheduler.operations.celery_app import own_app
from scheduler.operations.control import Control
from scheduler.states import RunStatus
from scheduler.store import hours, statistics
from scheduler.store.connection import database_now
from scheduler.transient import in_transaction
from scheduler.wakeup_messages import CelerySender
from scheduler.worker import lifecycle
from scheduler.worker.board import Board
from tests.harness.memory_broker import memory_app
from tests.harness.receivers import Receiver, answer, http_server
from tests.harness.scheduler_harness import SchedulerHarness
from tests.harness.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

SECRET = "a secret of 26 characters!"


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with http_server() as receiver:
        yield receiver


def configure(system: SchedulerHarness, hook: Receiver, **alerts: Any) -> None:
    channel: dict[str, Any] = {"kind": "webhook", "url": hook.url, "secret": SECRET}
    channel |= {"allow_http": True, "allow_private": True, **alerts.pop("limits", {})}
    given = {"channels": {"hook": channel}, "default_channels": ["hook"], **alerts}
    system.configure(alerts=AlertSettings.model_validate(given))


def alert(system: SchedulerHarness, name: str = "report", **values: Any) -> Alert:
    now = system.clock.now()
    key = f"job:{name}"
    defaults: dict[str, Any] = {
        "kind": AlertKind.FAILED,
        "subject_key": key,
        "open_key": f"failed:{key}",
    }
    defaults |= {"job_id": 7, "job_name": name, "opened_at": now, "last_seen_at": now}
    defaults |= {"last_execution_id": 11, "facts": {"error": "no stock\nat line 3"}}
    return Alert.objects.create(**defaults | values)


def tell(
    system: SchedulerHarness, *alerts: Alert, event: AlertEvent = AlertEvent.OPENED, **channels: Any
) -> None:
    named = {each.pk: channels.get("over", ()) for each in alerts}
    in_transaction(lambda: announce(alerts, event, channels=named, now=system.clock.now()))


def end(system: SchedulerHarness, each: Alert, reason: str = "recovered") -> Alert:
    values = {"state": AlertState.CLOSED, "closed_at": system.clock.now(), "open_key": None}
    Alert.objects.filter(pk=each.pk).update(**values, close_reason=reason)
    return Alert.objects.get(pk=each.pk)


def states() -> list[tuple[str, str]]:
    return list(AlertMessage.objects.order_by("id").values_list("event", "state"))


def test_a_message_is_a_run_that_delivers_it_once(system: SchedulerHarness, hook: Receiver):
    configure(system, hook, link_base="https://jobs.example.com/admin")
    opened = alert(system, owner="nobody")

    tell(system, opened)
    tell(system, opened)
    assert system.deliver() == [RunStatus.SUCCESS]

    (request,) = hook.requests
    assert request.json["kind"] == "failed"
    assert request.json["event"] == "opened"
    assert request.json["error"] == "no stock"
    assert request.json["execution"] == 11
    assert (
        request.json["link"] == "https://jobs.example.com/admin/scheduler/jobexecution/11/change/"
    )
    assert "report has failed" in request.json["text"]
    (message,) = AlertMessage.objects.all()
    assert (message.state, message.recipient, message.tries) == ("sent", "hook", 1)
    assert request.json["id"] == request.headers["Idempotency-Key"]
    run = JobExecution.objects.get(pk=message.execution_id or 0)
    assert (run.handler_name, run.job_id, run.queue) == ("jobu.alert", None, "jobu_alerts")


def test_a_channel_that_is_away_for_ten_minutes_loses_nothing(
    system: SchedulerHarness, hook: Receiver
):
    configure(system, hook)
    hook.behave = lambda request: answer(request, 503)
    tell(system, alert(system))
    for _ in range(10):
        system.deliver()
        system.clock.advance(60)
    assert states() == [("opened", "waiting")]
    assert "503" in AlertMessage.objects.get().error
    keys = {request.headers["Idempotency-Key"] for request in hook.requests}
    assert len(hook.requests) > 3
    assert len(keys) == 1

    hook.behave = lambda request: answer(request, 200)
    for _ in range(11):
        system.clock.advance(60)
        system.deliver()

    assert states() == [("opened", "sent")]
    assert hook.requests[-1].json["event"] == "opened"


def test_after_the_last_try_the_message_says_why_it_failed(
    system: SchedulerHarness, hook: Receiver
):
    configure(system, hook)
    hook.behave = lambda request: answer(request, 500)
    tell(system, alert(system))

    for _ in range(12):
        system.deliver()
        system.clock.advance(3600)

    (message,) = AlertMessage.objects.all()
    assert (message.state, message.tries) == ("failed", 11)
    assert "500" in message.error
    assert JobExecution.objects.get().status == RunStatus.FAILED
    assert len(hook.requests) == 11


def test_a_redirect_is_the_last_try(system: SchedulerHarness, hook: Receiver):
    configure(system, hook)
    hook.behave = lambda request: answer(request, 302, Location="http://169.254.169.254/")
    tell(system, alert(system))

    assert system.deliver() == [RunStatus.FAILED]

    assert states() == [("opened", "failed")]


def test_a_flood_is_one_message(system: SchedulerHarness, hook: Receiver):
    configure(system, hook)
    tell(system, *[alert(system, f"job{number}") for number in range(37)])

    system.deliver()

    (request,) = hook.requests
    assert request.json["event"] == "digest"
    assert request.json["count"] == 37
    assert len(request.json["alerts"]) == 37
    assert request.json["subject"] == "[jobu] 37 alerts"
    assert {state for _, state in states()} == {"sent"}
    assert JobExecution.objects.count() == 1


def test_what_exceeds_the_throttle_goes_into_one_digest(system: SchedulerHarness, hook: Receiver):
    configure(system, hook, limits={"max_per_hour": 2})
    for number in range(5):
        tell(system, alert(system, f"job{number}"))
        system.deliver()
        system.clock.advance(1)
    assert len(hook.requests) == 2

    system.clock.advance(300)
    system.deliver()

    assert [request.json["event"] for request in hook.requests] == ["opened", "opened", "digest"]
    assert hook.requests[-1].json["count"] == 3


def test_quiet_hours_of_the_owner_hold_a_message_back_and_watchers_are_not_held(
    system: SchedulerHarness, hook: Receiver
):
    # It is 10:00:30 UTC, 19:00:30 in Seoul.
    owner = {"timezone": "Asia/Seoul", "quiet_hours": "18:00-07:00", "language": "ko"}
    configure(system, hook, owners={"ana": owner})
    tell(system, alert(system, owner="ana"))
    tell(system, alert(system, "beat", kind=AlertKind.NO_BEAT, owner="ana", job_name=""))
    system.deliver()
    assert [request.json["kind"] for request in hook.requests] == ["no_beat"]

    system.clock.advance(12 * 3600)
    system.deliver()

    (_, late) = hook.requests
    assert late.json["kind"] == "failed"  # a digest of one is told as itself
    assert "2026-01-12 19:00:30 KST" in late.json["text"]
    assert re.search("[가-힣]", late.json["subject"])


def test_who_is_told_is_the_owner_by_mail(system: SchedulerHarness, hook: Receiver, settings: Any):
    from tests.harness.receivers import smtp_server

    bob = User.objects.create_user("bob", "bob@example.com")
    Preference.objects.create(user=bob, timezone="America/New_York", language="ko")
    with smtp_server() as (post, port):
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", port
        mail = {"kind": "mail", "to": ["team@example.com"], "from": "jobu <jobu@example.com>"}
        owners = {"ana": {"address": "ana@example.com", "language": "en"}}
        configure(system, hook, channels={"mail": mail}, default_channels=["mail"], owners=owners)
        for owner in ("ana", "bob", "unknown"):
            tell(system, alert(system, f"of {owner}\r\nBcc: evil@example.com", owner=owner))
        system.deliver()

        letters = sorted(post.letters, key=lambda letter: letter["To"])
    assert [letter["To"] for letter in letters] == [
        "ana@example.com", "bob@example.com", "team@example.com",
    ]  # fmt: skip
    assert all(letter["Bcc"] is None for letter in letters)
    assert letters[0]["From"] == "jobu <jobu@example.com>"
    assert letters[0]["Message-ID"].startswith("<jobu-message-")
    text = letters[1].get_payload(decode=True)
    assert isinstance(text, bytes)
    assert "2026-01-12 05:00:30 EST" in text.decode()
    assert list(AlertMessage.objects.order_by("id").values_list("recipient", flat=True)) == [
        "ana", "bob", "mail",
    ]  # fmt: skip


def test_the_end_is_told_to_whom_the_beginning_was_told(system: SchedulerHarness, hook: Receiver):
    configure(system, hook)
    told, untold = alert(system), alert(system, "other")
    tell(system, told)
    system.deliver()
    system.clock.advance(3 * 3600)

    tell(system, end(system, told), end(system, untold), event=AlertEvent.CLOSED)
    system.deliver()

    (_, request) = hook.requests
    assert request.json["event"] == "closed"
    assert "report has recovered" in request.json["subject"]
    assert "3 h 0 min" in request.json["text"]


def test_of_an_alert_that_has_ended_meanwhile_only_the_end_is_told(
    system: SchedulerHarness, hook: Receiver
):
    configure(system, hook)
    hook.behave = lambda request: answer(request, 503)
    each = alert(system)
    tell(system, each)
    system.deliver()
    hook.requests.clear()
    hook.behave = lambda request: answer(request, 200)
    system.clock.advance(60)

    tell(system, end(system, each), event=AlertEvent.CLOSED)
    system.deliver()

    assert [request.json["event"] for request in hook.requests] == ["closed"]
    assert states() == [("opened", "dropped"), ("closed", "sent")]


def test_of_a_snoozed_alert_nobody_hears(system: SchedulerHarness, hook: Receiver):
    configure(system, hook)
    each = alert(system)
    tell(system, each)
    Alert.objects.filter(pk=each.pk).update(state=AlertState.SNOOZED)

    system.deliver()

    assert hook.requests == []
    assert states() == [("opened", "dropped")]


def test_after_each_snooze_people_are_reminded_and_hear_of_the_end(
    system: SchedulerHarness, hook: Receiver
):
    configure(system, hook)
    each = alert(system, kind=AlertKind.RETENTION_BEHIND, job_id=None, job_name="")
    people = AlertOperations(clock=system.clock)
    for _ in range(2):
        people.snooze(each.pk, system.clock.now() + timedelta(hours=1))
        system.clock.advance(3700)
        system.tick()
        system.deliver()

    assert [request.json["event"] for request in hook.requests] == ["reminded", "reminded"]
    assert hook.requests[0].json["id"] != hook.requests[1].json["id"]
    assert hook.requests[0].json["subject"].startswith("[jobu] still: ")
    tell(system, end(system, each, "condition_gone"), event=AlertEvent.CLOSED)
    system.deliver()
    assert [request.json["event"] for request in hook.requests[2:]] == ["closed"]


@pytest.mark.parametrize("loss", ["pruned", "lost"])
def test_a_message_whose_run_is_gone_is_sent_by_another_one(
    system: SchedulerHarness, hook: Receiver, loss: str
):
    configure(system, hook)
    tell(system, alert(system))
    run = JobExecution.objects.get()
    if loss == "pruned":
        run.delete()
    else:  # its workers were killed until the run was given up
        system.clock.advance(1)
        now = system.clock.now()
        JobExecution.objects.filter(pk=run.pk).update(status="FAILED", finished_at=now)
    others = [system.new_dispatcher() for _ in range(2)]
    for _ in range(2):
        system.clock.advance(31)
        for beat in (system.dispatcher, *others):
            beat.tick()
    system.deliver()

    assert [request.json["event"] for request in hook.requests] == ["opened"]
    assert states() == [("opened", "sent")]
    assert JobExecution.objects.exclude(pk=run.pk).count() == 1


def test_a_message_whose_run_a_person_has_cancelled_is_not_sent(
    system: SchedulerHarness, hook: Receiver
):
    configure(system, hook)
    tell(system, alert(system))
    Control(clock=system.clock).cancel(JobExecution.objects.get().pk)
    for _ in range(2):
        system.clock.advance(31)
        system.tick()
    system.deliver()

    assert hook.requests == []
    assert states() == [("opened", "failed")]


@pytest.mark.filterwarnings("ignore:.imghdr. is deprecated:DeprecationWarning")
def test_apprise_sends_to_the_service_of_its_url(system: SchedulerHarness, hook: Receiver):
    channel = {"kind": "apprise", "url": f"json://127.0.0.1:{hook.port}/notify"}
    configure(system, hook, channels={"app": channel}, default_channels=["app"])
    tell(system, alert(system))
    hook.behave = lambda request: answer(request, 500)
    system.deliver()
    assert states() == [("opened", "waiting")]

    hook.behave = lambda request: answer(request, 200)
    system.clock.advance(60)
    system.deliver()

    assert states() == [("opened", "sent")]
    assert (hook.requests[-1].method, hook.requests[-1].path) == ("POST", "/notify")
    assert hook.requests[-1].json["title"] == "[jobu] report has failed"
    assert "no stock" in hook.requests[-1].json["message"]


def test_the_signature_is_of_the_time_and_the_body(system: SchedulerHarness, hook: Receiver):
    configure(system, hook)
    tell(system, alert(system))
    system.deliver()

    (request,) = hook.requests
    assert is_from_jobu(request.headers, request.body, SECRET)
    assert not is_from_jobu(request.headers, request.body + b" ", SECRET)
    assert not is_from_jobu(request.headers, request.body, SECRET + "!")
    old = {**request.headers, "Jobu-Timestamp": "1000000000"}
    assert not is_from_jobu(old, request.body, SECRET)


def is_from_jobu(headers: Any, body: bytes, secret: str) -> bool:
    """The function that docs/alert-channels.md shows to receivers."""
    from tests.alerts.documented import example

    return bool(example("is_from_jobu")(headers, body, secret))


def test_deliveries_count_in_no_list_and_no_statistic(
    system: SchedulerHarness, hook: Receiver, client: Any
):
    configure(system, hook)
    system.execution(system.job())
    tell(system, alert(system))
    now = system.clock.now()
    assert statistics.waiting(now).all.value == 1
    system.deliver()

    assert statistics.ended_since(now - timedelta(hours=1)).counts == {RunStatus.SUCCESS: 1}
    hour = hours.hour(now.replace(minute=0, second=0))
    assert (hour.counts, len(hour.durations)) == ({RunStatus.SUCCESS: 1}, 1)
    client.force_login(User.objects.create_superuser("root"))
    shown = client.get("/api/jobs").json()["items"]
    assert [each["handler_name"] for each in shown] == ["ok"]
    shown = client.get("/api/jobs?handler=jobu.alert").json()["items"]
    assert [each["handler_name"] for each in shown] == ["jobu.alert"]


def test_workers_of_the_default_queue_deliver_and_the_broker_gets_no_queue_for_it(
    system: SchedulerHarness, hook: Receiver, monkeypatch: pytest.MonkeyPatch
):
    configure(system, hook)
    default = str(own_app().conf.task_default_queue)
    board = Board()
    monkeypatch.setattr(lifecycle, "board", board)
    board.queues = ("other",)
    assert "jobu_alerts" not in lifecycle._queues_of_rows()
    board.queues = (default,)
    assert set(lifecycle._queues_of_rows()) == {default, "", "jobu_alerts"}

    with memory_app() as app:
        CelerySender(app, system.clock).send({"jobu_alerts": 2})

        assert waiting_in(app) == {app.conf.task_default_queue: 2}


def waiting_in(app: Any) -> dict[str, int]:
    """How many messages wait in each queue of the broker in memory."""
    with app.connection() as connection:
        queues = connection.channel().queues
        return {name: waiting.qsize() for name, waiting in queues.items() if waiting.qsize()}


def test_a_test_is_delivered_as_alerts_are_and_says_what_went_wrong(
    system: SchedulerHarness, hook: Receiver, client: Any
):
    configure(system, hook)
    client.force_login(User.objects.create_superuser("root"))
    known = {
        "name": "hook", "kind": "webhook", "is_default": True, "min_interval_seconds": 0.0,
        "max_per_hour": 60, "address": f"{hook.url}/********",
    }  # fmt: skip
    assert client.get("/api/alerts/channels").json() == {"items": [{**known, "last": None}]}

    made = client.post("/api/alerts/channels/hook/test", content_type="application/json")
    system.clock.advance_to(database_now())
    system.deliver()

    assert made.status_code == 201
    (request,) = hook.requests
    assert (request.json["event"], request.json["channel"]) == ("test", "hook")
    message = ChannelOperations().message(made.json()["id"])
    assert (message.state, message.recipient) == ("sent", "root")
    (shown,) = client.get("/api/alerts/channels").json()["items"]
    assert (shown["last"]["state"], shown["last"]["event"]) == ("sent", "test")
    assert Activity.objects.get().verb == "tested"
    missing = client.post("/api/alerts/channels/hoook/test", content_type="application/json")
    assert missing.status_code == 404
    assert "'hook'" in missing.json()["error"]["message"] or "hook?" in missing.content.decode()


def test_the_command_waits_for_its_test_and_says_why_it_was_not_sent(
    system: SchedulerHarness, hook: Receiver, capsys: pytest.CaptureFixture[str]
):
    configure(system, hook)
    hook.behave = lambda request: answer(request, 410)

    with pytest.raises(SystemExit) as nobody:
        call_command("alerts", "test", "hook", "--timeout", "0s")
    assert nobody.value.code == 1
    assert "no worker" in capsys.readouterr().err
    system.clock.advance_to(database_now())
    worker = threading.Thread(target=deliver_soon, args=(system,))
    worker.start()
    with pytest.raises(SystemExit):
        call_command("alerts", "test", "hook", "--timeout", "10s")
    worker.join()

    assert "answers 410" in capsys.readouterr().err


def deliver_soon(system: SchedulerHarness) -> None:
    """What a worker does, in a thread of its own."""
    try:
        wait_until(lambda: JobExecution.objects.count() == 2, 10, "the run of the test")
        system.clock.advance_to(database_now())
        system.deliver()
    finally:
        connection.close()
