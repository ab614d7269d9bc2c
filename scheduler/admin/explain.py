"""Explains in sentences why an execution is in its state.

The sentences are escaped; the most important one comes first. They are based on the tables only,
not on the broker or the workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from django.db.models import Count, Sum
from django.utils.html import conditional_escape
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from scheduler.admin import formatting
from scheduler.admin.explain_words import Sentences, link_to, reason_of, say, when
from scheduler.admin.liveness import missing_parts
from scheduler.admin.site import reverse
from scheduler.models import JobExecution, QueuePause
from scheduler.operations.liveness import alive_processes
from scheduler.operations.queues import QueueControl, queue_in_words
from scheduler.operations.waiting_words import divided, under_limit, why_pending
from scheduler.operations.who import who_cancelled
from scheduler.states import (
    BackfillState,
    ProcessKind,
    ReasonCode,
    RunStatus,
)
from scheduler.store import overlap

# Others have to do something first.
_NOT_BY_ITSELF: Final = frozenset({ReasonCode.UPSTREAM_AWAITED, ReasonCode.AWAITS_APPROVAL})
# A worker with a free place claims a run of its queues within two seconds.
UNCLAIMED_AFTER: Final = timedelta(seconds=20)


def explain_execution(execution: JobExecution, now: datetime) -> Sentences:
    """Returns sentences about the result of an execution, or about what it waits for."""
    if execution.status == RunStatus.PENDING:
        return _waiting(execution, now)
    if execution.status == RunStatus.RUNNING:
        return _running(execution, now)
    if execution.status == RunStatus.FANNED_OUT:
        return _divided(execution)
    if execution.status == RunStatus.SKIPPED:
        return [say(_("It was not run: %(reason)s"), reason=reason_of(execution))]
    return _ended(execution)


# --- an execution --------------------------------------------------------------------------------


def _waiting(execution: JobExecution, now: datetime) -> Sentences:
    if execution.reason_code in _NOT_BY_ITSELF:
        return [_held(execution, now), *_surroundings(execution)]
    sentences = []
    holder = _holder(execution)
    if holder is not None:
        sentences.append(
            say(
                _("It is held by the job's overlap policy: %(execution)s."),
                execution=link_to(holder, _("execution #%s is running") % holder),
            )
        )
    if limit := under_limit(execution, now):
        link = formatting.link(reverse("admin:groups"), _("All limits"))
        sentences.append(say("%(limit)s %(link)s", limit=limit, link=link))
    if execution.reason_code == ReasonCode.WAITS_FOR_PARENT:
        sentences.append(_held(execution, now))
    # In line under a limit `available_at` is only when it looks by itself.
    elif execution.available_at > now and not (limit and execution.in_line is not None):
        sentences.append(_not_yet(execution, now))
    elif execution.available_at <= now:
        sentences.append(
            say(
                _("It has been waiting for a worker of %(queue)s since %(when)s."),
                queue=queue_in_words(execution.queue),
                when=when(execution.available_at, now),
            )
        )
    pause = QueueControl().pause_of(execution.queue)
    if pause is not None:
        sentences.append(_paused(pause, now))
    elif execution.available_at <= now and holder is None:
        sentences += _workers(execution, now)
    sentences += _surroundings(execution)
    return sentences + [conditional_escape(text) for text in missing_parts(now)]


def _held(execution: JobExecution, now: datetime) -> SafeString:
    # With the distance of each, a sentence about several upstream jobs is too long to be read.
    is_long = execution.reason_code == ReasonCode.UPSTREAM_AWAITED
    show = formatting.exact if is_long else partial(when, now=now)
    return conditional_escape(why_pending(execution, now, show))


def _not_yet(execution: JobExecution, now: datetime) -> SafeString:
    at = when(execution.available_at, now)
    if execution.reason_code == ReasonCode.FROZEN_HELD:
        link = formatting.link(reverse("admin:freezes"), _("All freezes"))
        return say("%(held)s %(link)s", held=_held(execution, now), link=link)
    if not execution.failures:
        return say(_("It may start at %(when)s."), when=at)
    return say(
        _("Attempt %(attempt)s failed; retry %(retry)s of %(retries)s starts at %(when)s."),
        attempt=execution.attempt,
        retry=execution.failures,
        retries=execution.max_retry,
        when=at,
    )


def _workers(execution: JobExecution, now: datetime) -> Sentences:
    """Returns a sentence about the workers, which do not say from which queues they take runs."""
    alive = alive_processes(now).filter(kind=ProcessKind.WORKER)
    workers = alive.aggregate(count=Count("id"), running=Sum("running"))
    if not workers["count"]:
        return []  # `missing_parts` reports the missing workers
    if workers["running"]:
        return [
            say(
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
        say(
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
        return say(
            _(
                "Nothing of %(queue)s begins until somebody resumes it: "
                "%(who)s paused it. %(reason)s"
            ),
            **facts,
        )
    return say(
        _("Nothing of %(queue)s begins until %(when)s: %(who)s paused it. %(reason)s"),
        when=when(pause.until, now),
        **facts,
    )


def _surroundings(execution: JobExecution) -> Sentences:
    sentences = []
    backfill = execution.backfill
    if backfill is not None and backfill.state == BackfillState.PAUSED:
        sentences.append(
            say(
                _("Its backfill #%(id)s is paused: this run goes on, no further ones follow."),
                id=backfill.pk,
            )
        )
    job = execution.job
    if job is not None and not job.is_enabled:
        sentences.append(
            say(_("Its job is disabled; that stops further slots, not this execution."))
        )
    return sentences


def _running(execution: JobExecution, now: datetime) -> Sentences:
    sentences = []
    if execution.started_at:
        sentences.append(
            say(
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
            say(
                _("Its worker was asked to stop it at %(when)s by %(person)s."),
                when=asked,
                person=by,
            )
            if by
            else say(_("Its worker was asked to stop it at %(when)s."), when=asked)
        )
    if execution.lease_expires_at and execution.lease_expires_at < now:
        sentences.append(say(_("Its worker has gone silent; beat gives the run to another one.")))
    return sentences


def _divided(execution: JobExecution) -> Sentences:
    sentences = [conditional_escape(divided(execution))]
    if execution.cancel_requested_at:
        asked = formatting.exact(execution.cancel_requested_at)
        sentences.append(say(_("Its shards were asked to stop at %(when)s."), when=asked))
    return sentences


def _failed_shards(execution: JobExecution) -> Sentences:
    facts = execution.reason_facts
    if execution.reason_code != ReasonCode.SHARDS_FAILED or not isinstance(facts, Mapping):
        return []
    counts = {name: facts.get(name, "?") for name in ("failed", "count")}
    sentences = [say(_("%(failed)s of its %(count)s shards failed."), **counts)]
    if missing := facts.get("missing"):
        sentences.append(say(_("%(missing)s of its shards are missing."), missing=missing))
    if isinstance(first := facts.get("first"), int):
        link = link_to(first, f"#{first}")
        sentences.append(say(_("The first that failed is %(execution)s."), execution=link))
    return sentences


def _ended(execution: JobExecution) -> Sentences:
    sentences = []
    if execution.status == RunStatus.CANCELLED and (by := who_cancelled(execution)):
        sentences.append(say(_("%(person)s cancelled it."), person=by))
    sentences += _failed_shards(execution)
    if execution.attempt and execution.started_at:
        span = formatting.duration_between(execution.started_at, execution.finished_at)
        if execution.attempt > 1:
            sentences.append(
                say(
                    _("It ended after %(attempts)s attempts; the last one took %(span)s."),
                    attempts=execution.attempt,
                    span=span,
                )
            )
        else:
            sentences.append(say(_("It took %(span)s."), span=span))
    elif not execution.attempt:
        sentences.append(say(_("It ended before any attempt.")))
    if execution.overran:
        sentences.append(say(_("It finished, but later than its timeout.")))
    return sentences


def _holder(execution: JobExecution) -> int | None:
    """Returns the id of the running execution that this one waits for, if there is one."""
    return None if execution.in_line is None else overlap.running_of(execution.in_line)
