"""The operations, on behalf of the signed-in user."""

from __future__ import annotations

from django.http import HttpRequest

from scheduler.operations.actor import Actor
from scheduler.operations.alert_channels import ChannelOperations
from scheduler.operations.backfills import BackfillControl
from scheduler.operations.bulk import BulkOperations
from scheduler.operations.control import Control
from scheduler.operations.failures import FailureControl
from scheduler.operations.freezes import FreezeControl
from scheduler.operations.groups import GroupControl
from scheduler.operations.keys import TokenControl
from scheduler.operations.permissions import Action, may
from scheduler.operations.queues import QueueControl
from scheduler.operations.workers import WorkerControl
from scheduler.states import Door


def control_of(request: HttpRequest, *, despite_freeze: bool = False) -> Control:
    """Returns the operations on jobs and executions for the user of this request."""
    return Control(
        actor=_actor_of(request),
        despite_freeze=_excepted(request, despite_freeze),
        may_approve=may(request.user, Action.APPROVE_EXECUTION),
    )


def backfills_of(request: HttpRequest, *, despite_freeze: bool = False) -> BackfillControl:
    """Returns the operations on backfills for the user of this request."""
    excepted = _excepted(request, despite_freeze)
    may_approve = may(request.user, Action.APPROVE_EXECUTION)
    actor = _actor_of(request)
    return BackfillControl(actor=actor, despite_freeze=excepted, may_approve=may_approve)


def bulk_of(request: HttpRequest) -> BulkOperations:
    """Returns the operations on actions on many rows for the user of this request."""
    return BulkOperations(actor=_actor_of(request))


def tokens_of(request: HttpRequest) -> TokenControl:
    """Returns the operations on API tokens for the user of this request."""
    return TokenControl(actor=_actor_of(request))


def freezes_of(request: HttpRequest) -> FreezeControl:
    """Returns the operations on freezes for the user of this request."""
    return FreezeControl(actor=_actor_of(request))


def queues_of(request: HttpRequest) -> QueueControl:
    """Returns the operations on queues for the user of this request."""
    return QueueControl(actor=_actor_of(request))


def groups_of(request: HttpRequest) -> GroupControl:
    """Returns the operations on groups of jobs with limits for the user of this request."""
    return GroupControl(actor=_actor_of(request))


def workers_of(request: HttpRequest) -> WorkerControl:
    """Returns the operations on workers for the user of this request."""
    return WorkerControl(actor=_actor_of(request))


def channels_of(request: HttpRequest) -> ChannelOperations:
    """Returns the operations on the channels of alerts for the user of this request."""
    return ChannelOperations(actor=_actor_of(request))


def failures_of(request: HttpRequest) -> FailureControl:
    """Returns the operations on kinds of failures for the user of this request."""
    may_approve = may(request.user, Action.APPROVE_EXECUTION)
    return FailureControl(actor=_actor_of(request), may_approve=may_approve)


def _excepted(request: HttpRequest, despite_freeze: bool) -> bool:
    return despite_freeze and may(request.user, Action.RUN_IN_FREEZE)


def _actor_of(request: HttpRequest) -> Actor:
    user = request.user
    user_id = None if user.pk is None else str(user.pk)
    return Actor(name=user.get_username(), user_id=user_id, door=Door.ADMIN)
