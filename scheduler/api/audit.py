"""Connects a caller with the operations, which write the caller's name into the history."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from scheduler.api.auth import Caller
from scheduler.api.errors import respond_body, translate
from scheduler.api.schemas.base import ErrorBody, Outcome, Outcomes
from scheduler.operations.actor import Actor
from scheduler.operations.alert_channels import ChannelOperations
from scheduler.operations.alerts import AlertOperations
from scheduler.operations.backfills import BackfillControl
from scheduler.operations.control import Control
from scheduler.operations.failures import FailureControl
from scheduler.operations.freezes import FreezeControl
from scheduler.operations.groups import GroupControl
from scheduler.operations.permissions import Action
from scheduler.operations.queues import QueueControl
from scheduler.operations.workers import WorkerControl
from scheduler.states import Door


def control_of(caller: Caller, *, despite_freeze: bool = False) -> Control:
    """Returns the operations on jobs and executions for this caller. Raises ApiError (403) if runs
    shall start in spite of a freeze and the caller may not do that.
    """
    return Control(
        actor=_actor_of(caller),
        despite_freeze=_excepted(caller, despite_freeze),
        may_approve=caller.may(Action.APPROVE_EXECUTION),
    )


def alerts_of(caller: Caller) -> AlertOperations:
    """Returns the operations on alerts for this caller."""
    return AlertOperations(actor=_actor_of(caller))


def backfills_of(caller: Caller, *, despite_freeze: bool = False) -> BackfillControl:
    """Returns the operations on backfills for this caller. Raises as `control_of`."""
    excepted = _excepted(caller, despite_freeze)
    may_approve = caller.may(Action.APPROVE_EXECUTION)
    actor = _actor_of(caller)
    return BackfillControl(actor=actor, despite_freeze=excepted, may_approve=may_approve)


def freezes_of(caller: Caller) -> FreezeControl:
    """Returns the operations on freezes for this caller."""
    return FreezeControl(actor=_actor_of(caller))


def queues_of(caller: Caller) -> QueueControl:
    """Returns the operations on queues for this caller."""
    return QueueControl(actor=_actor_of(caller))


def groups_of(caller: Caller) -> GroupControl:
    """Returns the operations on groups of jobs with limits for this caller."""
    return GroupControl(actor=_actor_of(caller))


def workers_of(caller: Caller) -> WorkerControl:
    """Returns the operations on workers for this caller."""
    return WorkerControl(actor=_actor_of(caller))


def failures_of(caller: Caller) -> FailureControl:
    """Returns the operations on kinds of failures for this caller."""
    may_approve = caller.may(Action.APPROVE_EXECUTION)
    return FailureControl(actor=_actor_of(caller), may_approve=may_approve)


def channels_of(caller: Caller) -> ChannelOperations:
    """Returns the operations on the channels of alerts for this caller."""
    return ChannelOperations(actor=_actor_of(caller))


def _excepted(caller: Caller, despite_freeze: bool) -> bool:
    if despite_freeze:
        caller.require(Action.RUN_IN_FREEZE)
    return despite_freeze


def _actor_of(caller: Caller) -> Actor:
    return Actor(
        name=caller.name,
        user_id=str(caller.user.pk),
        door=Door.API,
        token=caller.token.name if caller.token else "",
    )


def act_on_many(ids: Iterable[int], one: Callable[[int], Outcome]) -> Outcomes:
    """Calls `one` once for each id, in the given order. A refusal does not stop the others."""
    items = []
    for each in dict.fromkeys(ids):
        try:
            items.append(one(each))
        # Only an error below 500 becomes an item of the answer. Anything else is a bug.
        except Exception as error:
            known = translate(error)
            if known is None or known.status >= 500:
                raise
            body = ErrorBody.model_validate(respond_body(known))
            items.append(Outcome(id=each, ok=False, error=body))
    done = sum(item.ok for item in items)
    return Outcomes(done=done, refused=len(items) - done, items=items)
