"""/crons: the jobs. What a person does with one: cron_actions."""

from __future__ import annotations

from typing import Annotated, Any
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from ninja import Query, Router, Status
from pydantic import Field

from scheduler.api.audit import control_of
from scheduler.api.auth import caller_of, needs
from scheduler.api.cron_answers import CronId, saved, shown, unless_name_is_taken
from scheduler.api.errors import invalid
from scheduler.api.paging import Paging, by_id, page_of, refuse_unknown
from scheduler.api.params import unmask_params
from scheduler.api.responses import answers
from scheduler.api.schemas.base import In, Text
from scheduler.api.schemas.jobs import (
    CronChange,
    CronNew,
    CronOut,
    CronPage,
    CronSavedAnswer,
    PreviewIn,
    PreviewOut,
    SlotOut,
)
from scheduler.models import LISTS, CronJob
from scheduler.operations.control import Control, InvalidJob, StaleEdit
from scheduler.operations.definition import WITH_SECRETS
from scheduler.operations.frozen import blocks_of
from scheduler.operations.permissions import Action
from scheduler.operations.search import search_of
from scheduler.schedule import schedule_of
from scheduler.schedule.warnings import warnings_about
from scheduler.schedule.words_of_kinds import words_of
from scheduler.store import jobs
from scheduler.transient import in_transaction

router = Router(tags=["crons"])


class CronFilters(Paging):
    is_enabled: bool | None = None
    handler: Text | None = Field(default=None, max_length=255)
    name: Text | None = Field(default=None, max_length=100, description="a part of the name")
    search: Text | None = Field(
        default=None, max_length=100, description="a part of any text that people search in jobs"
    )


# --- the list, and one ---------------------------------------------------------------------------


@router.get("", response=answers(CronPage), auth=needs(Action.VIEW_JOBS))
def list_crons(request: HttpRequest, filters: Query[CronFilters]) -> dict[str, Any]:
    """Jobs, by number."""
    refuse_unknown(request, CronFilters)
    rows = CronJob.objects.all()
    if filters.is_enabled is not None:
        rows = rows.filter(is_enabled=filters.is_enabled)
    if filters.handler is not None:
        rows = rows.filter(handler_name=filters.handler)
    if filters.name is not None:
        rows = rows.filter(name__icontains=filters.name)
    if filters.search is not None:
        rows = rows.filter(search_of(filters.search)).distinct()
    rows = rows.prefetch_related(*(kept.prefetch for kept in LISTS.values()))
    found, counts = page_of(rows, filters, by_id())
    caller = caller_of(request)
    return {**counts, "items": [shown(job, caller) for job in found]}


@router.post("", response=answers(CronSavedAnswer, 409, status=201), auth=needs(Action.ADD_JOB))
def create_cron(request: HttpRequest, given: CronNew) -> Status[Any]:
    """A new job."""
    caller = caller_of(request)
    values = _values(given, None)
    job = unless_name_is_taken(lambda: control_of(caller).create_job(**values), values, None)
    return Status(201, saved(job, caller))


@router.post("/preview", response=answers(PreviewOut), auth=needs(Action.VIEW_JOBS))
def preview_expression(request: HttpRequest, given: PreviewIn) -> dict[str, Any]:
    """What an expression says, what is odd about it, and its next slots. Changes nothing."""
    job = CronJob(
        name=given.name,
        cron_expression=given.cron_expression,
        timezone=given.timezone,
        calendar=given.calendar,
        start_at=given.start_at,
        end_at=given.end_at,
    )
    job.upstreams = given.upstreams
    control = control_of(caller_of(request))
    problems = {
        field: texts
        for field, texts in control.problems(job).items()
        if field in PreviewIn.model_fields and field != "name"
    }
    if problems:
        raise InvalidJob(problems)
    return _previewed(job, given.count, control)


@router.get("/{int:cron_id}", response=answers(CronOut, 404), auth=needs(Action.VIEW_JOBS))
def get_cron(request: HttpRequest, cron_id: CronId, response: HttpResponse) -> dict[str, Any]:
    """One job. Its ETag is what If-Match takes."""
    refuse_unknown(request)
    job = CronJob.objects.get(pk=cron_id)
    _tag(response, job)
    return shown(job, caller_of(request))


@router.api_operation(
    ["PUT", "PATCH"],
    "/{int:cron_id}",
    response=answers(CronSavedAnswer, 404, 409),
    auth=needs(Action.CHANGE_JOB),
)
def change_cron(
    request: HttpRequest, cron_id: CronId, given: CronChange, response: HttpResponse
) -> dict[str, Any]:
    """Change what is given; the rest stays. A masked secret stays what it was."""
    caller = caller_of(request)
    expected = _expected(request, given)

    def work() -> CronJob:
        # Locked: the secrets that go back are those that stand there when it is saved.
        job = jobs.lock_job(cron_id)
        values = _values(given, job)
        if expected is not None and expected != job.tick_seq:
            raise StaleEdit
        control = control_of(caller)
        return unless_name_is_taken(
            lambda: control.update_job(cron_id, tick_seq=expected, **values), values, cron_id
        )

    job = in_transaction(work)
    _tag(response, job)
    return saved(job, caller)


@router.delete(
    "/{int:cron_id}", response=answers(None, 404, 409, status=204), auth=needs(Action.DELETE_JOB)
)
def delete_cron(request: HttpRequest, cron_id: CronId) -> Status[None]:
    """Remove a job with its executions, attempts and logs."""
    control_of(caller_of(request)).delete_job(cron_id)
    return Status(204, None)


@router.get("/{int:cron_id}/next", response=answers(PreviewOut, 404), auth=needs(Action.VIEW_JOBS))
def next_slots(
    request: HttpRequest, cron_id: CronId, count: Annotated[int, Query(ge=1, le=100)] = 20
) -> dict[str, Any]:
    """The next slots of a job, whether it is enabled or not."""
    refuse_unknown(request, ["count"])
    job = CronJob.objects.get(pk=cron_id)
    return _previewed(job, count, control_of(caller_of(request)))


# --- helpers -------------------------------------------------------------------------------------


def _previewed(job: CronJob, count: int, control: Control) -> dict[str, Any]:
    zone = job.timezone or control.settings.default_timezone
    slots = control.preview(job, count)
    schedule = schedule_of(job, control.settings)
    blocks = blocks_of(job, schedule, slots, control.clock.now(), control.settings)
    return {
        "words": words_of(job),
        "warnings": warnings_about(job, schedule, slots, control.clock.now()),
        "timezone": zone,
        "slots": [
            SlotOut(
                utc=slot,
                local=slot.astimezone(ZoneInfo(zone)).isoformat(),
                moved_from=schedule.moved_from(slot),
                frozen_by=blocks[slot].freeze.name if slot in blocks else None,
            )
            for slot in slots
        ],
    }


def _values(given: In, before: CronJob | None) -> dict[str, Any]:
    """What Control takes, of what was sent."""
    values = given.model_dump(exclude_unset=True, exclude={"tick_seq"})
    if "description" in values:
        values["description"] = values["description"] or ""
    for name in ("overlap_policy", "misfire_policy"):
        if name in values:
            values[name] = values[name].value
    if "allow_overlap" in values and "overlap_policy" in values:
        if values["allow_overlap"] != (values["overlap_policy"] == "allow"):
            text = _("contradicts overlap_policy; send one of the two")
            raise invalid({"allow_overlap": [text]})
        del values["allow_overlap"]
    for name in WITH_SECRETS:
        if name in values:
            stored = getattr(before, name) if before is not None else {}
            values[name] = unmask_params(values[name], stored, field=name)
    return values


def _expected(request: HttpRequest, given: CronChange) -> int | None:
    """The tick_seq that the caller has read, from the body or If-Match."""
    header = request.headers.get("If-Match")
    if header is None or header.strip() == "*":
        return given.tick_seq
    text = header.strip().removeprefix("W/").strip('"')
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise invalid({"If-Match": [_("is not an ETag of this job")]})
    if given.tick_seq is not None and given.tick_seq != int(text):
        raise invalid({"tick_seq": [_("contradicts If-Match")]})
    return int(text)


def _tag(response: HttpResponse, job: CronJob) -> None:
    response.headers["ETag"] = f'"{job.tick_seq}"'
