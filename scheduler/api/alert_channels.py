"""/alerts/channels: over which channels people are told, and a test of one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.http import HttpRequest
from ninja import Router, Status

from scheduler.api.audit import channels_of
from scheduler.api.auth import caller_of, needs
from scheduler.api.errors import ApiError
from scheduler.api.paging import refuse_unknown
from scheduler.api.responses import answers
from scheduler.api.schemas.alert_channels import ChannelList, SentTest
from scheduler.operations.errors import InvalidJob
from scheduler.operations.permissions import Action

router = Router(tags=["alerts"])


@router.get("/alerts/channels", response=answers(ChannelList), auth=needs(Action.VIEW_ALERTS))
def list_channels(request: HttpRequest) -> dict[str, Any]:
    """Returns the channels by name, without addresses and secrets."""
    refuse_unknown(request)
    found = channels_of(caller_of(request)).channels()
    return {"items": [asdict(each) for each in found]}


@router.post(
    "/alerts/channels/{name}/test",
    response=answers(SentTest, 404, status=201),
    auth=needs(Action.CHANGE_ALERT),
)
def test_channel(request: HttpRequest, name: str) -> Status[dict[str, Any]]:
    """Send a test over a channel, as alerts are sent: by a run, with retries."""
    try:
        message = channels_of(caller_of(request)).send_test(name)
    except InvalidJob as error:
        raise ApiError(404, "NOT_FOUND", str(error)) from error
    facts = {"id": message.pk, "channel": message.channel, "state": message.state}
    return Status(201, {**facts, "execution_id": message.execution_id})
