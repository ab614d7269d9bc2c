"""/alerts: what is wrong, who was told of it, and what a person may do about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Path, Query, Router
from pydantic import Field

from scheduler.alert_states import AlertKind, AlertState
from scheduler.api.audit import alerts_of
from scheduler.api.auth import caller_of, needs
from scheduler.api.paging import Paging, by_id, page_of, refuse_unknown
from scheduler.api.responses import answers
from scheduler.api.schemas.alerts import (
    AlertAnswer,
    AlertDetail,
    AlertMessageOut,
    AlertOut,
    AlertPage,
    SnoozeIn,
)
from scheduler.api.verbs import answer_to_verb
from scheduler.models import LARGEST_ID, Alert
from scheduler.operations.alerts import AlertOperations
from scheduler.operations.permissions import Action
from scheduler.store import alerts

router = Router(tags=["alerts"])

AlertId = Annotated[int, Path(..., ge=1, le=LARGEST_ID)]
_MESSAGES_SHOWN = 500


class AlertFilters(Paging):
    state: AlertState | None = None
    is_open: bool | None = Field(default=None, description="true: every state but closed")
    kind: AlertKind | None = None
    cron_id: int | None = Field(default=None, ge=1, le=LARGEST_ID)


@router.get("/alerts", response=answers(AlertPage), auth=needs(Action.VIEW_ALERTS))
def list_alerts(request: HttpRequest, filters: Query[AlertFilters]) -> dict[str, Any]:
    """Returns the alerts, newest first."""
    refuse_unknown(request, AlertFilters)
    rows = alerts.listed()
    if filters.state is not None:
        rows = rows.filter(state=filters.state.value)
    if filters.is_open is not None:
        rows = rows.filter(alerts.IS_OPEN) if filters.is_open else rows.exclude(alerts.IS_OPEN)
    if filters.kind is not None:
        rows = rows.filter(kind=filters.kind.value)
    if filters.cron_id is not None:
        rows = rows.filter(job_id=filters.cron_id)
    found, counts = page_of(rows, filters, by_id(newest_first=True))
    return {**counts, "items": [_shown(alert) for alert in found]}


@router.get(
    "/alerts/{int:alert_id}", response=answers(AlertDetail, 404), auth=needs(Action.VIEW_ALERTS)
)
def get_alert(request: HttpRequest, alert_id: AlertId) -> dict[str, Any]:
    """Returns one alert, and who was told of it over which channel."""
    refuse_unknown(request)
    return _detail(Alert.objects.get(pk=alert_id))


@router.post(
    "/alerts/{int:alert_id}/acknowledge",
    response=answers(AlertAnswer, 404, 409),
    auth=needs(Action.CHANGE_ALERT),
)
def acknowledge_alert(request: HttpRequest, alert_id: AlertId) -> dict[str, Any]:
    """Say that somebody works on it."""
    return _change(request, lambda operations: operations.acknowledge(alert_id))


@router.post(
    "/alerts/{int:alert_id}/snooze",
    response=answers(AlertAnswer, 404, 409),
    auth=needs(Action.CHANGE_ALERT),
)
def snooze_alert(request: HttpRequest, alert_id: AlertId, given: SnoozeIn) -> dict[str, Any]:
    """Tell nobody of it until then, and once more then, if it is still open."""
    return _change(request, lambda operations: operations.snooze(alert_id, given.until))


@router.post(
    "/alerts/{int:alert_id}/unsnooze",
    response=answers(AlertAnswer, 404, 409),
    auth=needs(Action.CHANGE_ALERT),
)
def unsnooze_alert(request: HttpRequest, alert_id: AlertId) -> dict[str, Any]:
    """Open it again before its snooze is over."""
    return _change(request, lambda operations: operations.unsnooze(alert_id))


@router.post(
    "/alerts/{int:alert_id}/close",
    response=answers(AlertAnswer, 404, 409),
    auth=needs(Action.CHANGE_ALERT),
)
def close_alert(request: HttpRequest, alert_id: AlertId) -> dict[str, Any]:
    """Close it by hand. It opens again if its cause goes on (docs/alerts.md)."""
    return _change(request, lambda operations: operations.close(alert_id))


def _change(request: HttpRequest, work: Callable[[AlertOperations], Alert]) -> dict[str, Any]:
    caller = caller_of(request)
    alert = work(alerts_of(caller))
    return answer_to_verb(caller, alert, sees=Action.VIEW_ALERTS, detail=lambda: _detail(alert))


def _shown(alert: Alert) -> dict[str, Any]:
    return {name: getattr(alert, name) for name in AlertOut.model_fields}


def _detail(alert: Alert) -> dict[str, Any]:
    messages = alerts.messages_of(alert.pk)[:_MESSAGES_SHOWN]
    return {
        **_shown(alert),
        "messages": [
            {name: getattr(each, name) for name in AlertMessageOut.model_fields}
            for each in messages
        ],
    }
