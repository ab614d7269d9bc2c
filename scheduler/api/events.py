"""/events: runs that an event outside of jobu starts."""

from __future__ import annotations

from typing import Annotated, Any

from django.http import HttpRequest
from django.utils.translation import gettext as _
from ninja import Header, Router, Status

from scheduler.api.audit import control_of
from scheduler.api.auth import caller_of, needs
from scheduler.api.errors import invalid
from scheduler.api.execution_answers import answered
from scheduler.api.params import event_params
from scheduler.api.responses import answers
from scheduler.api.schemas.executions import EventIn, ExecutionAnswer
from scheduler.models import CronJob
from scheduler.operations.control import InvalidJob
from scheduler.operations.permissions import Action

router = Router(tags=["events"])


@router.post(
    "",
    response={**answers(ExecutionAnswer, 404, 409), 201: ExecutionAnswer},
    auth=needs(Action.SEND_EVENT),
)
def send_event(
    request: HttpRequest,
    given: EventIn,
    idempotency_key: Annotated[
        str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)
    ] = None,
) -> Status[dict[str, Any]]:
    """Start a run because an event happened. Returns 201 and the new run.

    If the same event was sent before with this idempotency key, no run is made: returns 200 and the
    run of that event. If another event was sent with it: 409.
    With `at` or `after_seconds` the run waits until then. The status is PENDING meanwhile.
    If the parameters of the job hold secrets, only a caller who may see parameters may send
    `params` or a handler other than the job's.
    """
    caller = caller_of(request)
    handler = _one_of_two(given, "handler_name", "handler")
    key = given.idempotency_key
    if idempotency_key is not None and key is not None and idempotency_key != key:
        raise invalid({"idempotency_key": [_("contradicts the header Idempotency-Key")]})
    stored: Any = {}
    is_other_handler = False
    if given.job_id is not None:
        job = CronJob.objects.get(pk=given.job_id)
        is_other_handler = bool(handler) and handler != job.handler_name
        stored = job.handler_params
    params = event_params(caller, given.params, stored, is_other_handler=is_other_handler)
    execution, is_new = control_of(caller, despite_freeze=given.despite_freeze).event(
        handler_name=handler,
        params=params,
        job_id=given.job_id,
        idempotency_key=key or idempotency_key,
        at=given.at,
        after_seconds=given.after_seconds,
    )
    return Status(201 if is_new else 200, answered(execution, caller))


def _one_of_two(given: EventIn, name: str, short: str) -> str:
    first, second = getattr(given, name), getattr(given, short)
    if first and second and first != second:
        raise InvalidJob({short: [_("contradicts %(name)s; send one of the two") % {"name": name}]})
    return str(first or second)
