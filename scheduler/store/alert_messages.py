"""Messages about alerts: who is told what over which channel, and what became of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.contrib.auth import get_user_model
from django.db.models import Exists, F, Max, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce

from scheduler.alert_states import AlertEvent, MessageState
from scheduler.models import LIMITS, AlertMessage, JobExecution, Preference
from scheduler.states import RunStatus
from scheduler.store import task_runs
from scheduler.store.deliveries import DELIVERY_HANDLER

#: So often a message is tried again; the waits between the tries are alerts/delivery.py's.
MAX_RETRY: Final = 10
#: A send has ten seconds.
TIMEOUT_SECONDS: Final = 60


@dataclass(frozen=True, kw_only=True)
class Route:
    """To whom one alert is told over one channel."""

    alert_id: int
    channel: str
    recipient: str


@dataclass(frozen=True, kw_only=True)
class Person:
    """A user of the site, as far as messages need it. Empty: as configured."""

    address: str
    timezone: str
    language: str


# --- who ------------------------------------------------------------------------------------------


def persons(names: Collection[str]) -> dict[str, Person]:
    """Returns the active users of these names."""
    model = get_user_model()
    users = {
        user.get_username(): user
        for user in model._default_manager.filter(
            **{f"{model.USERNAME_FIELD}__in": sorted(names)}, is_active=True
        )
        if user.get_username() in names  # a server may compare names without regard to case
    }
    wishes = {
        each.user_id: each
        for each in Preference.objects.filter(user_id__in=[user.pk for user in users.values()])
    }
    found = {}
    for name, user in users.items():
        wish = wishes.get(user.pk)
        found[name] = Person(
            address=str(getattr(user, model.get_email_field_name(), "") or ""),
            timezone=wish.timezone if wish else "",
            language=wish.language if wish else "",
        )
    return found


def told_before(alert_ids: Collection[int]) -> list[Route]:
    """Returns who was told, or is being told, that these alerts are open."""
    rows = AlertMessage.objects.filter(
        alert_id__in=sorted(alert_ids),
        event__in=[AlertEvent.OPENED, AlertEvent.REMINDED],
        state__in=[MessageState.WAITING, MessageState.SENT],
    )
    found = [
        Route(alert_id=alert_id, channel=channel, recipient=recipient)
        for alert_id, channel, recipient in rows.order_by("id").values_list(
            "alert_id", "channel", "recipient"
        )
        if alert_id is not None
    ]
    return list(dict.fromkeys(found))


# --- new messages ---------------------------------------------------------------------------------


def insert(routes: Iterable[Route], event: AlertEvent, now: datetime) -> list[AlertMessage]:
    """Insert the messages that are not there yet. Returns them, without those of other processes.

    In the transaction that is open. The rows of another process have their run or their digest when
    they are seen, because it commits both together.
    """
    wanted = list(routes)
    alert_ids = sorted({route.alert_id for route in wanted})
    # The caller has just ended the snooze, with the alert locked: nobody else tells of this turn.
    turns = _turns_before(alert_ids) if event == AlertEvent.REMINDED else {}
    AlertMessage.objects.bulk_create(
        [
            AlertMessage(
                alert_id=route.alert_id,
                event=event,
                turn=turns.get(route.alert_id, -1) + 1,
                channel=route.channel,
                recipient=route.recipient,
                created_at=now,
            )
            for route in wanted
        ],
        ignore_conflicts=True,
        batch_size=200,
    )
    rows = AlertMessage.objects.filter(
        alert_id__in=alert_ids,
        event=event,
        state=MessageState.WAITING,
        execution_id=None,
        digest_of=None,
    )
    return list(rows.order_by("id"))


def _turns_before(alert_ids: Collection[int]) -> dict[int | None, int]:
    """Returns the last turn of reminders of these alerts. Without those of which none was sent."""
    rows = AlertMessage.objects.filter(alert_id__in=alert_ids, event=AlertEvent.REMINDED)
    return dict(rows.order_by().values_list("alert_id").annotate(last=Max("turn")))


def insert_test(channel: str, recipient: str, now: datetime) -> AlertMessage:
    return AlertMessage.objects.create(
        event=AlertEvent.TEST, channel=channel, recipient=recipient, created_at=now
    )


def insert_digest(
    channel: str, recipient: str, not_before: datetime, now: datetime
) -> AlertMessage:
    return AlertMessage.objects.create(
        event=AlertEvent.DIGEST,
        channel=channel,
        recipient=recipient,
        not_before=not_before,
        created_at=now,
    )


def open_digest(
    channel: str, recipient: str, *, not_before: datetime, latest: datetime
) -> AlertMessage | None:
    """Returns a digest that goes out between these two, locked so that it does not begin."""
    rows = AlertMessage.objects.filter(
        channel=channel,
        recipient=recipient,
        event=AlertEvent.DIGEST,
        state=MessageState.WAITING,
        not_before__range=(not_before, latest),
        tries=0,
    )
    return rows.select_for_update().order_by("not_before", "id").first()


def join(message_ids: Collection[int], digest: AlertMessage) -> None:
    """The digest tells these messages."""
    AlertMessage.objects.filter(id__in=sorted(message_ids)).update(
        digest_of=digest.pk, not_before=digest.not_before
    )


def deliver_by_run(
    message: AlertMessage, *, queue: str, available_at: datetime, now: datetime
) -> None:
    """Insert the run that delivers it."""
    execution_id = task_runs.create(
        task_runs.NewRun(
            handler_name=DELIVERY_HANDLER,
            params={"message": message.pk},
            now=now,
            available_at=available_at,
            max_retry=MAX_RETRY,
            timeout_seconds=TIMEOUT_SECONDS,
            queue=queue,
            priority=LIMITS["priority"][1],
        )
    )
    message.execution_id = execution_id
    AlertMessage.objects.filter(id=message.pk).update(execution_id=execution_id)


def recent(
    channel: str, recipient: str, *, since: datetime, now: datetime
) -> tuple[int, datetime | None]:
    """How many messages went, or go, to a recipient since then, and when the last of them went."""
    rows = AlertMessage.objects.filter(
        channel=channel,
        recipient=recipient,
        state__in=[MessageState.WAITING, MessageState.SENT],
        created_at__gt=since,
        digest_of=None,
        execution_id__isnull=False,
    ).exclude(event=AlertEvent.TEST)
    went = rows.filter(Q(not_before=None) | Q(not_before__lte=now))
    found = went.aggregate(last_at=Max(Coalesce("not_before", "created_at")))
    return rows.count(), found["last_at"]


# --- delivery -------------------------------------------------------------------------------------


def begin(message_id: int, *, only_first: bool = False) -> AlertMessage | None:
    """Count a try. Returns the message with its alert, or None where nothing is to be sent.

    From here on no message joins a digest. `only_first`: only if it was never tried.
    """
    waiting = AlertMessage.objects.filter(id=message_id, state=MessageState.WAITING)
    if only_first:
        waiting = waiting.filter(tries=0)
    if not waiting.update(tries=F("tries") + 1):
        return None
    return AlertMessage.objects.select_related("alert").get(id=message_id)


def members(digest: AlertMessage) -> list[AlertMessage]:
    """Returns what a digest has to tell."""
    rows = AlertMessage.objects.filter(digest_of=digest.pk, state=MessageState.WAITING)
    return list(rows.select_related("alert").order_by("id"))


def ends_told(messages: Sequence[AlertMessage]) -> set[tuple[int | None, str, str]]:
    """The (alert, channel, recipient) of these for which there is a message of the alert's end."""
    rows = AlertMessage.objects.filter(
        alert_id__in=sorted({each.alert_id for each in messages if each.alert_id is not None}),
        event=AlertEvent.CLOSED,
        state__in=[MessageState.WAITING, MessageState.SENT],
    )
    return set(rows.values_list("alert_id", "channel", "recipient"))


def end(
    message_ids: Collection[int], state: MessageState, *, now: datetime, error: str = ""
) -> None:
    """What became of messages that still wait."""
    AlertMessage.objects.filter(id__in=sorted(message_ids), state=MessageState.WAITING).update(
        state=state, error=error[:2000], sent_at=now if state == MessageState.SENT else None
    )


def end_with_parts(message_id: int, state: MessageState, *, now: datetime, error: str) -> None:
    """The same for a message and, if it is a digest, for what it tells."""
    parts = AlertMessage.objects.filter(digest_of=message_id).values_list("id", flat=True)
    end([message_id, *parts], state, now=now, error=error)


def note_error(message_id: int, error: str) -> None:
    """Why the last try failed. It is tried again."""
    AlertMessage.objects.filter(id=message_id).update(error=error[:2000])


@dataclass(frozen=True, kw_only=True)
class Stranded:
    """A message that waits although its run has ended, or is gone."""

    message_id: int
    execution_id: int
    tries: int
    is_cancelled: bool
    error: str
    """What the run's row says."""


def stranded(channels: Collection[str], limit: int) -> list[Stranded]:
    """Returns messages that nothing delivers any more, oldest first.

    A worker that was killed too often, a person who has cancelled the run, or somebody who has
    deleted its row leaves them behind.
    """
    run = JobExecution.objects.filter(id=OuterRef("execution_id"))
    waiting = AlertMessage.objects.filter(
        ~Exists(run.filter(status__in=[RunStatus.PENDING.value, RunStatus.RUNNING.value])),
        channel__in=sorted(channels),
        state=MessageState.WAITING,
        execution_id__isnull=False,
    )
    rows = waiting.annotate(
        status=Subquery(run.values("status")), said=Subquery(run.values("error_message"))
    )
    return [
        Stranded(
            message_id=id_,
            execution_id=execution_id,
            tries=tries,
            is_cancelled=status == RunStatus.CANCELLED,
            error=said or "",
        )
        for id_, execution_id, tries, status, said in rows.order_by("id").values_list(
            "id", "execution_id", "tries", "status", "said"
        )[:limit]
        if execution_id is not None
    ]


def lock_stranded(message: Stranded) -> AlertMessage | None:
    """Returns the message, locked. None: another beat has given it another run meanwhile."""
    rows = AlertMessage.objects.filter(
        id=message.message_id, state=MessageState.WAITING, execution_id=message.execution_id
    )
    return rows.select_for_update().first()
