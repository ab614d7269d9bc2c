"""Explains in sentences why a job does or does not run. The most important one comes first."""

from __future__ import annotations

from datetime import datetime

from django.utils.html import conditional_escape, format_html
from django.utils.translation import gettext as _

from handlers import HandlerNotFoundError, get_handler
from scheduler.admin.explain import explain_execution
from scheduler.admin.explain_words import Sentences, link_to, reason_of, say, when
from scheduler.admin.liveness import missing_parts
from scheduler.conf import current
from scheduler.labels import label_of
from scheduler.models import CronJob, JobExecution
from scheduler.models.job_state import state_of
from scheduler.operations.frozen import known_freezes
from scheduler.operations.liveness import is_overdue
from scheduler.operations.param_words import no_handler
from scheduler.operations.who import who_switched_off
from scheduler.schedule.freezes import end_of, holding
from scheduler.states import GOING_ON, JobState, RunStatus


def explain_job(job: CronJob, now: datetime) -> Sentences:
    """Returns sentences about why a job runs or does not run."""
    sentences = _schedule(job, now) if job.is_enabled else _switched_off(job, now)
    blocks_next, frozen = _frozen(job, now)
    sentences = [*frozen, *sentences] if blocks_next else [*sentences, *frozen]
    try:
        get_handler(job.handler_name)
    except HandlerNotFoundError as error:
        sentences.append(say("%(error)s", error=no_handler(error)))
    sentences += _last_slot(job, now)
    if job.is_enabled:
        sentences += [conditional_escape(text) for text in missing_parts(now)]
    return sentences


def _frozen(job: CronJob, now: datetime) -> tuple[bool, Sentences]:
    """Returns whether freezes block the job's next slot, and a sentence about them."""
    known = known_freezes(job, now, current())
    slot = job.next_run_at if job.is_enabled else None
    freeze = holding(known, now)
    if freeze is None:
        coming = holding(known, slot) if slot is not None else None
        if coming is None:
            return False, []
        text = _("The freeze “%(name)s” will block its next slot: %(reason)s")
        return True, [say(text, name=coming.name, reason=coming.reason)]
    until = end_of(known, now)
    sentence = say(
        _("The freeze “%(name)s” holds its slots back until %(when)s: %(reason)s"),
        name=freeze.name,
        when=when(until, now) if until else "?",
        reason=freeze.reason,
    )
    return slot is not None and (until is None or slot < until), [sentence]


def _switched_off(job: CronJob, now: datetime) -> Sentences:
    state = state_of(job)
    if state == JobState.ERROR:
        reason = job.schedule_error
        return [say(_("Disabled because its schedule cannot be used: %(reason)s"), reason=reason)]
    sentences = []
    if state == JobState.PAUSED:
        if job.paused_until:
            at = when(job.paused_until, now)
            sentences.append(
                say(_("Paused until %(when)s; then it comes back by itself."), when=at)
            )
        else:
            sentences.append(say(_("Paused until somebody enables it.")))
        if job.pause_reason:
            sentences.append(say(_("The reason given: %(reason)s"), reason=job.pause_reason))
    else:
        sentences.append(say(_("Disabled: no slot is run until somebody enables it.")))
    if by := who_switched_off(job):
        sentences.append(say(_("By %(person)s."), person=by))
    return sentences


def _schedule(job: CronJob, now: datetime) -> Sentences:
    if job.next_run_at is None:
        if job.end_at is not None and job.end_at < now:
            return [say(_("Its end was at %(when)s."), when=when(job.end_at, now))]
        return [say(_("Beat has not looked at its schedule yet."))]
    at = when(job.next_run_at, now)
    if is_overdue(job.next_run_at, now):
        return [say(_("Its slot of %(when)s is overdue: no beat has recorded it."), when=at)]
    if job.next_run_at <= now:
        return [say(_("Its slot of %(when)s is due just now."), when=at)]
    if job.start_at is not None and job.start_at > now:
        return [say(_("It starts later; its first slot is %(when)s."), when=at)]
    return [say(_("It is enabled; its next slot is %(when)s."), when=at)]


def _last_slot(job: CronJob, now: datetime) -> Sentences:
    last = JobExecution.objects.filter(job_id=job.pk).order_by("-scheduled_time").first()
    if last is None:
        return [say(_("It has no execution yet."))]
    values = {
        "execution": link_to(last.pk, f"#{last.pk}"),
        "slot": when(last.slot, now),
    }
    if last.status == RunStatus.SKIPPED:
        return [
            say(
                _("Its last slot, %(slot)s, was not run (%(execution)s): %(reason)s"),
                reason=reason_of(last),
                **values,
            )
        ]
    if last.status == RunStatus.PENDING:
        first = say(_("Its last execution, %(execution)s of %(slot)s, waits:"), **values)
        why = explain_execution(last, now)[:1]
        return [format_html("{} {}", first, sentence) for sentence in why]
    if last.status == RunStatus.FANNED_OUT:
        first = say(_("Its last execution, %(execution)s of %(slot)s, goes on:"), **values)
        return [format_html("{} {}", first, *explain_execution(last, now)[:1])]
    if last.status in GOING_ON:
        return [say(_("Its last execution, %(execution)s of %(slot)s, is running."), **values)]
    return [
        say(
            _("Its last execution, %(execution)s of %(slot)s, ended as %(status)s."),
            status=label_of(RunStatus, last.status),
            **values,
        )
    ]
