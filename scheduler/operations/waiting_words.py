"""Why a run does not go on, or is not over, in the reader's words: for pages, the API and commands.

`show` formats an instant. What no code says, that no worker is there or that the queue is paused,
is not here: pages find it out (admin/explain.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from scheduler.models import JobExecution
from scheduler.operations import limit_words
from scheduler.operations.history import ShowInstant, instant_in
from scheduler.operations.skip_words import freeze_in, why_not_run
from scheduler.operations.upstream_words import facts_of, waits_in_words
from scheduler.states import ReasonCode, RunStatus
from scheduler.store import shards, waits


def in_words(execution: JobExecution, now: datetime, show: ShowInstant) -> str:
    """Returns why the execution waits, goes on as shards, or was not run. Empty: not known."""
    match execution.status:
        case RunStatus.PENDING:
            return why_pending(execution, now, show)
        case RunStatus.FANNED_OUT:
            return divided(execution)
        case RunStatus.SKIPPED:
            known = why_not_run(execution.reason_code or "", _facts(execution), show)
            return known or execution.error_message or ""
        case _:
            return ""


def in_a_line(execution: JobExecution, now: datetime, show: ShowInstant) -> str:
    """Returns the same for a row of a list: without further statements, so not as exactly."""
    code, facts = execution.reason_code or "", _facts(execution)
    if execution.status == RunStatus.SKIPPED:
        return why_not_run(code, facts, show)
    is_free = execution.in_line is None and execution.available_at <= now
    if execution.status != RunStatus.PENDING or is_free:
        return ""
    if code == ReasonCode.UPSTREAM_AWAITED:
        return _("It waits for its upstream jobs.")
    known = of_code(code, facts, show, starts_at=execution.available_at)
    return known or limit_words.why_it_waits(code, facts)


def why_pending(execution: JobExecution, now: datetime, show: ShowInstant) -> str:
    """Returns what holds a PENDING execution back. Empty: nothing but workers, or a retry."""
    if execution.reason_code == ReasonCode.UPSTREAM_AWAITED:
        awaited = waits.awaited(execution.pk)
        if awaited is None:
            return _("Its upstream jobs have succeeded; it may start within a second.")
        return waits_in_words(facts_of(awaited), show)
    if execution.reason_code == ReasonCode.FROZEN_HELD and execution.available_at <= now:
        return ""  # the freeze is over
    known = of_code(
        execution.reason_code, _facts(execution), show, starts_at=execution.available_at
    )
    return known or under_limit(execution, now)


def of_code(
    code: str | None, facts: Mapping[str, Any], show: ShowInstant, *, starts_at: datetime | None
) -> str:
    """Returns the same by the code and its facts alone, if these say it."""
    match code:
        case ReasonCode.AWAITS_APPROVAL:
            until = instant_in(facts.get("until"))
            text = _("It waits until a person approves it, at the latest %(when)s.")
            return text % {"when": show(until) if until else "?"}
        case ReasonCode.FROZEN_HELD:
            text = _("The freeze “%(freeze)s” holds it until %(when)s: %(note)s")
            return text % {**freeze_in(facts), "when": show(starts_at) if starts_at else "?"}
        case ReasonCode.WAITS_FOR_PARENT:
            return _("It waits until the execution of which it is a shard begins.")
        case _:
            return ""


def under_limit(execution: JobExecution, now: datetime) -> str:
    """Returns under which limit it waits. Empty: under none."""
    if execution.in_line is None and execution.available_at <= now:
        return ""  # it was let go on
    job = execution.job if execution.parent is None else execution.parent.job
    key_path = job.concurrency_key if job is not None else ""
    return limit_words.why_it_waits(
        execution.reason_code, execution.reason_facts, key_path=key_path
    )


def divided(execution: JobExecution) -> str:
    ended = shards.ended_of([execution.pk]).get(execution.pk, 0)
    text = _("It is divided: %(ended)s of its %(count)s shards have ended. The last one ends it.")
    return text % {"ended": ended, "count": execution.shard_count or 0}


def _facts(execution: JobExecution) -> Mapping[str, Any]:
    return execution.reason_facts if isinstance(execution.reason_facts, Mapping) else {}
