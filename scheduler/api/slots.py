"""/crons/{id}/slots: what became of an instant of a job, or will."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from django.http import HttpRequest
from django.utils.timezone import get_current_timezone_name
from django.utils.translation import gettext as _
from ninja import Path, Query, Router

from scheduler.api.audit import control_of
from scheduler.api.auth import caller_of, needs
from scheduler.api.cron_answers import CronId
from scheduler.api.errors import invalid
from scheduler.api.paging import refuse_unknown
from scheduler.api.responses import answers
from scheduler.api.schemas.base import Text, utc_text
from scheduler.api.schemas.slots import SlotAnswerOut
from scheduler.models import CronJob
from scheduler.operations.asked_time import AskedTime, of_instant, read_time
from scheduler.operations.permissions import Action
from scheduler.operations.slot_answer import SlotAnswer, answer_asked
from scheduler.operations.slot_words import sentences
from scheduler.operations.validation import instant_problem
from scheduler.schedule import ScheduleError, load_zone

router = Router(tags=["crons"])


@router.get(
    "/{int:cron_id}/slots", response=answers(SlotAnswerOut, 404), auth=needs(Action.VIEW_JOBS)
)
def answer_free_text(
    request: HttpRequest,
    cron_id: CronId,
    at: Annotated[
        Text | None,
        Query(description="2026-11-27 03:00, 03:00, or yesterday 03:00; now, if not given"),
    ] = None,
    zone: Annotated[
        Text | None, Query(max_length=64, description="of a time without one; or that of the site")
    ] = None,
) -> dict[str, Any]:
    """What became of a time of a job, or will: `code` and facts. The caller must also be allowed to
    see executions.
    """
    refuse_unknown(request, ["at", "zone"])
    now = control_of(caller_of(request)).clock.now()
    of_clock = _zone(zone or get_current_timezone_name())
    asked = read_time("now" if at is None else at, now=now, zone=of_clock)
    return _answer(request, cron_id, asked, now)


@router.get(
    "/{int:cron_id}/slots/{instant}",
    response=answers(SlotAnswerOut, 404),
    auth=needs(Action.VIEW_JOBS),
)
def answer_instant(
    request: HttpRequest,
    cron_id: CronId,
    instant: Annotated[Text, Path(description="with its zone, as 2026-11-27T03:00:00+09:00")],
) -> dict[str, Any]:
    """The same for an instant."""
    refuse_unknown(request)
    try:
        found = datetime.fromisoformat(instant)
    except ValueError:
        text = _("is no instant; right is 2026-11-27T03:00:00+09:00, or with Z")
        raise invalid({"instant": [text]}) from None
    if problem := instant_problem(found):
        raise invalid({"instant": [problem]})
    now = control_of(caller_of(request)).clock.now()
    return _answer(request, cron_id, of_instant(found, ZoneInfo("UTC")), now)


def _zone(name: str) -> ZoneInfo:
    try:
        return load_zone(name)
    except ScheduleError as error:
        raise invalid({"zone": [error.reason]}) from error


def _answer(request: HttpRequest, cron_id: int, asked: AskedTime, now: datetime) -> dict[str, Any]:
    caller = caller_of(request)
    caller.require(Action.VIEW_EXECUTIONS)
    job = CronJob.objects.get(pk=cron_id)
    settings = control_of(caller).settings
    return _shown(answer_asked(job, asked, now=now, settings=settings))


def _shown(answer: SlotAnswer) -> dict[str, Any]:
    instead = None if answer.instead is None else _shown(answer.instead)
    return {**vars(answer), "instead": instead, "text": " ".join(sentences(answer, utc_text)),
            "is_calm": answer.is_calm}  # fmt: skip
