"""Explains in sentences why an execution is in its state, and why a job does or does not run.

The sentences are escaped; the most important one comes first. They are based on the tables only,
not on the broker or the workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Count, Sum
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from handlers import HandlerNotFoundError, get_handler
from scheduler.admin import formatting
from scheduler.admin.liveness import missing_parts
from scheduler.admin.site import reverse
from scheduler.conf import current
from scheduler.labels import label_of
from scheduler.models import CronJob, JobExecution, QueuePause
from scheduler.models.job_state import state_of
from scheduler.operations.frozen import freezes_of
from scheduler.operations.history import instant_in
from scheduler.operations.liveness import alive_processes, is_overdue
from scheduler.operations.queues import QueueControl, queue_in_words
from scheduler.operations.skip_words import freeze_in, why_not_run
from scheduler.operations.validation import no_handler
from scheduler.operations.who import who_cancelled, who_switched_off
from scheduler.schedule.freezes import end_of, holding
from scheduler.states import BackfillState, JobState, ProcessKind, ReasonCode, RunStatus
from scheduler.store import overlap

# A worker with a free place claims a run of its queues within two seconds.
UNCLAIMED_AFTER: Final = timedelta(seconds=20)

Sentences = list[SafeString]


def explain_execution(execution: JobExecution, now: datetime) -> Sentences:
    """Returns sentences about the result of an execution, or about what it waits for."""
    if execution.status == RunStatus.PENDING:
        return _waiting(execution, now)
    if execution.status == RunStatus.RUNNING:
        return _running(execution, now)
    if execution.status == RunStatus.FANNED_OUT:
        return _divided(execution)
    if execution.status == RunStatus.SKIPPED:
        return [_say(_("It was not run: %(reason)s"), reason=_reason_of(execution))]
    return _ended(execution)


def explain_job(job: CronJob, now: datetime) -> Sentences:
    """Returns sentences about why a job runs or does not run."""
    sentences = _schedule(job, now) if job.is_enabled else _switched_off(job, now)
    try:
        get_handler(job.handler_name)
    except HandlerNotFoundError as error:
        sentences.append(_say("%(error)s", error=no_handler(error)))
    sentences += _frozen(job, now)
    sentences += _last_slot(job, now)
    if job.is_enabled:
        sentences += [conditional_escape(text) for text in missing_parts(now)]
    return sentences


def _frozen(job: CronJob, now: datetime) -> Sentences:
    known = freezes_of(job.pk, now, current())
    freeze = holding(known, now)
    if freeze is None:
        return []
    until = end_of(known, now)
    return [
        _say(
            _("The freeze “%(name)s” holds its slots back until %(when)s: %(reason)s"),
            name=freeze.name,
            when=_when(until, now) if until else "?",
            reason=freeze.reason,
        )
    ]


# --- an execution --------------------------------------------------------------------------------


def _waiting(execution: JobExecution, now: datetime) -> Sentences:
    awaited = _awaited(execution)
    if awaited:
        return [conditional_escape(awaited), *_surroundings(execution)]
    sentences = []
    holder = _holder(execution)
    if holder is not None:
        sentences.append(
            _say(
                _("It is held by the job's overlap policy: %(execution)s."),
                execution=_link_to(holder, _("execution #%s is running") % holder),
            )
        )
    if execution.reason_code == ReasonCode.AWAITS_APPROVAL:
        return [_awaits_approval(execution, now), *_surroundings(execution)]
    if execution.available_at > now:
        sentences.append(_not_yet(execution, now))
    elif execution.available_at <= now:
        sentences.append(
            _say(
                _("It has been waiting for a worker of %(queue)s since %(when)s."),
                queue=queue_in_words(execution.queue),
                when=_when(execution.available_at, now),
            )
        )
    pause = QueueControl().pause_of(execution.queue)
    if pause is not None:
        sentences.append(_paused(pause, now))
    elif execution.available_at <= now and holder is None:
        sentences += _workers(execution, now)
    sentences += _surroundings(execution)
    return sentences + [conditional_escape(text) for text in missing_parts(now)]


def _limit(execution: JobExecution, now: datetime) -> str:
    """Returns under which limit it waits, if it does."""
    if execution.in_line is None and execution.available_at <= now:
        return ""  # it was let go on
    key_path = execution.job.concurrency_key if execution.job is not None else ""
    return why_it_waits(execution.reason_code, execution.reason_facts, key_path=key_path)


def _to_limits() -> SafeString:
    return formatting.link(reverse("admin:groups"), _("All limits"))


def _not_yet(execution: JobExecution, now: datetime) -> SafeString:
    when = _when(execution.available_at, now)
    if execution.reason_code == ReasonCode.FROZEN_HELD:
        facts = execution.reason_facts if isinstance(execution.reason_facts, Mapping) else {}
        text = _("The freeze “%(freeze)s” holds it until %(when)s: %(note)s")
        return _say(text, when=when, **freeze_in(facts))
    if not execution.failures:
        return _say(_("It may start at %(when)s."), when=when)
    return _say(
        _("Attempt %(attempt)s failed; retry %(retry)s of %(retries)s starts at %(when)s."),
        attempt=execution.attempt,
        retry=execution.failures,
        retries=execution.max_retry,
        when=when,
    )


def _awaits_approval(execution: JobExecution, now: datetime) -> SafeString:
    facts = execution.reason_facts if isinstance(execution.reason_facts, Mapping) else {}
    until = instant_in(facts.get("until"))
    return _say(
        _("It waits until a person approves it, at the latest %(when)s."),
        when=_when(until, now) if until else "?",
    )


def _workers(execution: JobExecution, now: datetime) -> Sentences:
    """Returns a sentence about the workers, which do not say from which queues they take runs."""
    alive = alive_processes(now).filter(kind=ProcessKind.WORKER)
    workers = alive.aggregate(count=Count("id"), running=Sum("running"))
    if not workers["count"]:
        return []  # `missing_parts` reports the missing workers
    if workers["running"]:
        return [
            _say(
                ngettext(
                    "%(count)s worker process is alive and has %(running)s runs in progress.",
                    "%(count)s worker processes are alive and have %(running)s runs in progress.",
                    workers["count"],
                ),
                **workers,
            )
        ]
    if now - execution.available_at <= UNCLAIMED_AFTER:
        return []
    return [
        _say(
            _(
                "The workers that are alive do nothing at the moment: perhaps none of them"
                " takes runs from %(queue)s."
            ),
            queue=queue_in_words(execution.queue),
        )
    ]


def _paused(pause: QueuePause, now: datetime) -> SafeString:
    facts = {"queue": queue_in_words(pause.queue), "who": pause.who or "?", "reason": pause.reason}
    if pause.until is None:
        return _say(
            _(
                "Nothing of %(queue)s begins until somebody resumes it: "
                "%(who)s paused it. %(reason)s"
            ),
            **facts,
        )
    return _say(
        _("Nothing of %(queue)s begins until %(when)s: %(who)s paused it. %(reason)s"),
        when=_when(pause.until, now),
        **facts,
    )


def _surroundings(execution: JobExecution) -> Sentences:
    sentences = []
    backfill = execution.backfill
    if backfill is not None and backfill.state == BackfillState.PAUSED:
        sentences.append(
            _say(
                _("Its backfill #%(id)s is paused: this run goes on, no further ones follow."),
                id=backfill.pk,
            )
        )
    job = execution.job
    if job is not None and not job.is_enabled:
        sentences.append(
            _say(_("Its job is disabled; that stops further slots, not this execution."))
        )
    return sentences


def _running(execution: JobExecution, now: datetime) -> Sentences:
    sentences = []
    if execution.started_at:
        sentences.append(
            _say(
                _(
                    "Attempt %(attempt)s has been running on %(worker)s for %(span)s; "
                    "it times out after %(timeout)s."
                ),
                attempt=execution.attempt,
                worker=execution.lease_owner or "?",
                span=formatting.ticking((now - execution.started_at).total_seconds()),
                timeout=formatting.span(execution.timeout_seconds),
            )
        )
    if execution.cancel_requested_at:
        asked = formatting.exact(execution.cancel_requested_at)
        by = who_cancelled(execution)
        sentences.append(
            _say(
                _("Its worker was asked to stop it at %(when)s by %(person)s."),
                when=asked,
                person=by,
            )
            if by
            else _say(_("Its worker was asked to stop it at %(when)s."), when=asked)
        )
    if execution.lease_expires_at and execution.lease_expires_at < now:
        sentences.append(_say(_("Its worker has gone silent; beat gives the run to another one.")))
    return sentences


def _divided(execution: JobExecution) -> Sentences:
    counts = shards.counts_of(execution.pk)
    ended = sum(counts.get(status, 0) for status in FINAL)
    sentences = [
        _say(
            _("It is divided: %(ended)s of its %(count)s shards have ended. The last one ends it."),
            ended=ended,
            count=execution.shard_count or 0,
        )
    ]
    if execution.cancel_requested_at:
        asked = formatting.exact(execution.cancel_requested_at)
        sentences.append(_say(_("Its shards were asked to stop at %(when)s."), when=asked))
    return sentences


def _ended(execution: JobExecution) -> Sentences:
    sentences = []
    if execution.status == RunStatus.CANCELLED and (by := who_cancelled(execution)):
        sentences.append(_say(_("%(person)s cancelled it."), person=by))
    if execution.attempt and execution.started_at:
        span = formatting.duration_between(execution.started_at, execution.finished_at)
        if execution.attempt > 1:
            sentences.append(
                _say(
                    _("It ended after %(attempts)s attempts; the last one took %(span)s."),
                    attempts=execution.attempt,
                    span=span,
                )
            )
        else:
            sentences.append(_say(_("It took %(span)s."), span=span))
    elif not execution.attempt:
        sentences.append(_say(_("It ended before any attempt.")))
    if execution.overran:
        sentences.append(_say(_("It finished, but later than its timeout.")))
    return sentences


def _awaited(execution: JobExecution) -> str:
    """Returns for which upstream jobs the execution waits. Empty: for none."""
    if execution.reason_code != ReasonCode.UPSTREAM_AWAITED:
        return ""
    awaited = waits.awaited(execution.pk)
    if awaited is None:
        return _("Its upstream jobs have succeeded; it may start within a second.")
    return waits_in_words(facts_of(awaited), formatting.exact)


def _holder(execution: JobExecution) -> int | None:
    """Returns the id of the running execution that this one waits for, if there is one."""
    return None if execution.in_line is None else overlap.running_of(execution.in_line)


# --- a job ---------------------------------------------------------------------------------------


def _switched_off(job: CronJob, now: datetime) -> Sentences:
    state = state_of(job)
    if state == JobState.ERROR:
        reason = job.schedule_error
        return [_say(_("Disabled because its schedule cannot be used: %(reason)s"), reason=reason)]
    sentences = []
    if state == JobState.PAUSED:
        if job.paused_until:
            when = _when(job.paused_until, now)
            sentences.append(
                _say(_("Paused until %(when)s; then it comes back by itself."), when=when)
            )
        else:
            sentences.append(_say(_("Paused until somebody enables it.")))
        if job.pause_reason:
            sentences.append(_say(_("The reason given: %(reason)s"), reason=job.pause_reason))
    else:
        sentences.append(_say(_("Disabled: no slot is run until somebody enables it.")))
    if by := who_switched_off(job):
        sentences.append(_say(_("By %(person)s."), person=by))
    return sentences


def _schedule(job: CronJob, now: datetime) -> Sentences:
    if job.next_run_at is None:
        if job.end_at is not None and job.end_at < now:
            return [_say(_("Its end was at %(when)s."), when=_when(job.end_at, now))]
        return [_say(_("Beat has not looked at its schedule yet."))]
    when = _when(job.next_run_at, now)
    if is_overdue(job.next_run_at, now):
        return [_say(_("Its slot of %(when)s is overdue: no beat has recorded it."), when=when)]
    if job.next_run_at <= now:
        return [_say(_("Its slot of %(when)s is due just now."), when=when)]
    if job.start_at is not None and job.start_at > now:
        return [_say(_("It starts later; its first slot is %(when)s."), when=when)]
    return [_say(_("It is enabled; its next slot is %(when)s."), when=when)]


def _last_slot(job: CronJob, now: datetime) -> Sentences:
    last = JobExecution.objects.filter(job_id=job.pk).order_by("-scheduled_time").first()
    if last is None:
        return [_say(_("It has no execution yet."))]
    values = {
        "execution": _link_to(last.pk, f"#{last.pk}"),
        "slot": _when(last.slot, now),
    }
    if last.status == RunStatus.SKIPPED:
        return [
            _say(
                _("Its last slot, %(slot)s, was not run (%(execution)s): %(reason)s"),
                reason=_reason_of(last),
                **values,
            )
        ]
    if last.status == RunStatus.PENDING:
        first = _say(_("Its last execution, %(execution)s of %(slot)s, waits:"), **values)
        why = explain_execution(last, now)[:1]
        return [format_html("{} {}", first, sentence) for sentence in why]
    if last.status in GOING_ON:
        return [_say(_("Its last execution, %(execution)s of %(slot)s, is running."), **values)]
    return [
        _say(
            _("Its last execution, %(execution)s of %(slot)s, ended as %(status)s."),
            status=label_of(RunStatus, last.status),
            **values,
        )
    ]


def _reason_of(skipped: JobExecution) -> str:
    facts = skipped.reason_facts if isinstance(skipped.reason_facts, Mapping) else {}
    known = why_not_run(skipped.reason_code or "", facts, formatting.exact)
    return known or skipped.error_message or _("no reason is recorded")


# --- sentences -----------------------------------------------------------------------------------


def _say(text: str, **facts: Any) -> SafeString:
    """Returns a translated sentence with its facts, escaped."""
    escaped = {name: conditional_escape(fact) for name, fact in facts.items()}
    return SafeString(conditional_escape(text) % escaped)


def _when(instant: datetime, now: datetime) -> str:
    return f"{formatting.exact(instant)} ({formatting.distance(instant, now)})"


def _link_to(execution_id: int, text: str) -> SafeString:
    return formatting.link(
        reverse("admin:scheduler_jobexecution_change", args=[execution_id]), text
    )
