"""The context of an execution's page. The full page and its live fragment both use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.db.models import OuterRef, Subquery
from django.urls import NoReverseMatch
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from scheduler.admin import formatting, workers
from scheduler.admin.executions import log, shards
from scheduler.admin.explain import explain_execution
from scheduler.admin.live import mark_of
from scheduler.admin.site import job_url, reverse
from scheduler.alert_states import AlertKind, AlertState
from scheduler.labels import label_of, task_id
from scheduler.models import JobAttempt, JobExecution, JobLog
from scheduler.operations.permissions import Action, may
from scheduler.states import (
    FINAL,
    GOING_ON,
    RETRYABLE,
    UNFINISHED,
    ApprovalState,
    ParamSource,
    ReasonCode,
    RunStatus,
)
from scheduler.store import alerts, approvals
from scheduler.store.shards import counts_of
from scheduler.store.waits import NEVER

_MOST_ALERTS: Final = 5
# Texts such as "3 s ago" are renewed after this time although no row has changed.
WORDS_LAST_SECONDS: Final = 10

# The columns that change during an execution, without params and results, which may be large.
_MOVING: Final = (
    "status", "attempt", "failures", "available_at", "lease_owner", "started_at",
    "finished_at", "cancel_requested_at", "progress", "progress_message", "overran", "reason_code",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class State:
    """A fingerprint of everything that the page shows, read in one query."""

    mark: str
    is_final: bool


def state_of(execution_id: int, now: datetime) -> State | None:
    """Returns the state of an execution, or None if it does not exist."""
    newest = JobLog.objects.filter(execution_id=OuterRef("pk")).order_by("-attempt", "-seq")
    row = (
        JobExecution.objects.filter(pk=execution_id)
        .annotate(
            log_attempt=Subquery(newest.values("attempt")[:1]),
            log_seq=Subquery(newest.values("seq")[:1]),
        )
        .values_list(*_MOVING, "log_attempt", "log_seq")
        .first()
    )
    if row is None:
        return None
    is_final = row[0] in FINAL
    words = None if is_final else int(now.timestamp() // WORDS_LAST_SECONDS)
    of_shards = counts_of(execution_id) if row[0] == RunStatus.FANNED_OUT else {}
    return State(mark=mark_of(row, words, of_shards), is_final=is_final)


def fragment(
    execution: JobExecution, now: datetime, *, person: Any, level: str = ""
) -> dict[str, Any]:
    """Returns the template's context. `level` is the lowest level of the log lines shown."""
    sees_params = may(person, Action.VIEW_PARAMS)
    attempts = list(JobAttempt.objects.filter(execution_id=execution.pk).order_by("attempt"))
    # A line of the log may contain parameters.
    lines = log.last_lines(execution, level) if sees_params else []
    return {
        "execution": execution,
        "status": formatting.status(execution.status),
        "explanation": explain_execution(execution, now),
        "error": _error(execution),
        "progress": _percent(execution),
        "buttons": _buttons(execution, person),
        "facts": [*_facts(execution, now, person), *_alerts(execution, person)],
        "inner_facts": _inner_facts(execution),
        "timeline": _timeline(execution, attempts, now, person),
        "attempts": _attempts(execution, attempts, person, sees_params=sees_params),
        "shards": shards.table(execution, now),
        "sees_params": sees_params,
        "params": formatting.as_json(execution.params) if sees_params else "",
        "has_result": execution.result is not None,
        "result": formatting.as_json(execution.result) if sees_params else "",
        "log_lines": lines[-log.LOG_LINES :],
        "log_is_cut": len(lines) > log.LOG_LINES,
        "log_limit": log.LOG_LINES,
        "log_levels": log.level_links(execution, level),
        "log_search_url": _log_search_url(execution),
        "log_url": _url("log", execution.pk) + (f"?level={level}" if level else ""),
    }


def duration_cell(execution: JobExecution, now: datetime) -> SafeString | str:
    """Returns the duration of the run; for a running one, the time since its start."""
    if execution.status == RunStatus.PENDING or execution.started_at is None:
        return formatting.NOTHING  # started_at belongs to an earlier attempt
    if execution.status in GOING_ON:
        return formatting.ticking((now - execution.started_at).total_seconds())
    return formatting.no_wrap(
        formatting.duration_between(execution.started_at, execution.finished_at)
    )


def job_link(execution: JobExecution) -> SafeString | str:
    if execution.job_id is None:
        return execution.job_name or formatting.NOTHING
    url = job_url(execution.job_id)
    return formatting.link(url, execution.job_name or f"#{execution.job_id}")


# --- parts ---------------------------------------------------------------------------------------


def _url(name: str, execution_id: int) -> str:
    return reverse(f"admin:scheduler_jobexecution_{name}", args=[execution_id])


def _log_search_url(execution: JobExecution) -> str:
    if execution.job_id is None:
        return ""
    name = {"job": execution.job_name}
    return reverse("admin:scheduler_jobexecution_search_logs", query=name)


def useful_verbs(execution: JobExecution) -> frozenset[str]:
    """Returns the verbs that the state of the execution allows."""
    found = {"replay"} if execution.parent_id is None else set()
    if execution.status in RETRYABLE:
        found.add("retry")
    if execution.status in UNFINISHED:
        found.add("cancel")
    return frozenset(found)


def _buttons(execution: JobExecution, person: Any) -> list[dict[str, Any]]:
    """Returns the buttons of the verbs that the state allows and the person may use."""
    useful = useful_verbs(execution)
    if execution.reason_code == ReasonCode.AWAITS_APPROVAL:
        useful |= {"approve", "reject"}
    offered = (
        ("approve", _("Approve"), "primary", Action.APPROVE_EXECUTION),
        ("reject", _("Reject"), "danger", Action.APPROVE_EXECUTION),
        ("retry", _("Retry"), "primary", Action.RETRY_EXECUTION),
        ("cancel", _("Cancel"), "danger", Action.CANCEL_EXECUTION),
        ("replay", _("Replay"), "default", Action.RUN_JOB),
    )
    return [
        {"url": _url(name, execution.pk), "title": title, "variant": variant}
        for name, title, variant, action in offered
        if name in useful and may(person, action)
    ]


def _facts(execution: JobExecution, now: datetime, person: Any) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = [
        (_("Job"), job_link(execution)),
        (_("Handler"), execution.handler_name),
        (
            _("Asked for at") if execution.slot_at is None else _("Slot"),
            formatting.instant(execution.slot, now),
        ),
        (_("Source"), label_of(ParamSource, execution.param_source)),
    ]
    if where := shards.place(execution):
        found.append((_("Shard"), where))
    if execution.logical_time and execution.parent_id is None:
        found.append((_("Asked for at"), formatting.instant(execution.scheduled_time)))
    if execution.requested_by:
        found.append((_("Requested by"), execution.requested_by))
    if execution.backfill_id is not None:
        found.append((_("Backfill"), _backfill_link(execution.backfill_id)))
    found += _approval(execution)
    found += [
        (_("Took"), duration_cell(execution, now)),
        (_("Attempts"), _tries(execution)),
        (_("Worker"), workers.link(person, execution.lease_owner)),
        (_("Queue"), execution.queue or _("default queue")),
        (_("Celery task"), _task(execution)),
    ]
    return found


def _approval(execution: JobExecution) -> list[tuple[str, object]]:
    """Returns who has approved or rejected the run, and when."""
    found = approvals.of_run(execution.pk)
    if found is None or (found.decided_at is None and execution.status != RunStatus.PENDING):
        return []  # it was cancelled, or nobody decided: its reason says so
    state = label_of(ApprovalState, found.state)
    if found.decided_at is None:
        return [(_("Approval"), state)]
    facts = {"state": state, "by": found.decided_by or "?"}
    facts["when"] = formatting.exact(found.decided_at)
    text = _("%(state)s by %(by)s at %(when)s") % facts
    return [(_("Approval"), f"{text}: {found.note}" if found.note else text)]


def _alerts(execution: JobExecution, person: Any) -> list[tuple[str, object]]:
    """Returns links to the alerts that the run has opened, or that tell of it last."""
    if execution.job_id is None or not may(person, Action.VIEW_ALERTS):
        return []
    found = alerts.of_run(execution.job_id, execution.pk, _MOST_ALERTS)
    links = (
        (
            formatting.link(
                reverse("admin:scheduler_alert_change", args=[alert.pk]),
                f"#{alert.pk} {label_of(AlertKind, alert.kind)}",
            ),
            label_of(AlertState, alert.state),
        )
        for alert in found
    )
    return [(_("Alerts"), format_html_join(", ", "{} ({})", links))] if found else []


def _inner_facts(execution: JobExecution) -> list[tuple[str, object]]:
    return [
        (
            _("May start from"),
            _("when its upstream jobs have succeeded")
            if execution.reason_code == ReasonCode.UPSTREAM_AWAITED
            else _("when a place becomes free")
            if _is_in_line(execution)
            else _("when it is approved")
            if execution.available_at >= NEVER
            else formatting.instant(execution.available_at),
        ),
        (_("Lease ends"), formatting.instant(execution.lease_expires_at)),
        (_("Deadline"), formatting.instant(execution.deadline_at)),
        (_("Timeout"), formatting.span(execution.timeout_seconds)),
        (_("Retries"), execution.max_retry),
        (_("Priority"), execution.priority),
        (_("Overran"), _("yes") if execution.overran else _("no")),
        (_("Idempotency key"), execution.dedupe_key or formatting.NOTHING),
    ]


def _is_in_line(execution: JobExecution) -> bool:
    """Returns True if it waits for a place: `available_at` is only when it looks by itself."""
    return execution.in_line is not None and execution.reason_code == ReasonCode.LIMIT_REACHED


def _tries(execution: JobExecution) -> str:
    counts = {
        "attempts": execution.attempt,
        "failures": execution.failures,
        "retries": execution.max_retry,
    }
    return _("%(attempts)s; %(failures)s of %(retries)s retries used") % (
        counts | {"failures": min(execution.failures, execution.max_retry)}
    )


def _backfill_link(backfill_id: int) -> SafeString | str:
    try:
        url = reverse("admin:scheduler_backfill_change", args=[backfill_id])
    except NoReverseMatch:
        return f"#{backfill_id}"
    return formatting.link(url, f"#{backfill_id}")


def _task(execution: JobExecution) -> SafeString | str:
    """Returns the newest attempt as Celery's events name it, linked to Flower if configured."""
    if not execution.attempt:
        return formatting.NOTHING
    task = task_id(execution.pk, execution.attempt)
    base = str(getattr(settings, "FLOWER_URL", "")).rstrip("/")
    return formatting.link(f"{base}/task/{task}", _("%s in Flower") % task) if base else task


def _error(execution: JobExecution) -> str:
    """Returns the text of an execution that ended. The explanation has the reason of a skip."""
    if execution.finished_at is None or execution.status == RunStatus.SKIPPED:
        return ""
    return execution.error_message or ""


def _percent(execution: JobExecution) -> int | None:
    if execution.progress is None or execution.status not in {
        RunStatus.RUNNING,
        RunStatus.SUCCESS,
    }:
        return None
    return round(min(100.0, max(0.0, execution.progress)))


def _timeline(
    execution: JobExecution, attempts: Sequence[JobAttempt], now: datetime, person: Any
) -> list[dict[str, object]]:
    """Returns the events of the execution, oldest first, and the expected ones at the end."""
    happened: list[tuple[datetime, str, object]] = []
    if execution.param_source == ParamSource.CRON:
        happened.append((execution.scheduled_time, _("Slot"), _("planned by the job's schedule")))
    created = (
        _("asked for by %s") % execution.requested_by
        if execution.requested_by
        else _("by %s") % label_of(ParamSource, execution.param_source)
    )
    happened.append((execution.created_at, _("Created"), created))
    for attempt in attempts:
        which = {"attempt": attempt.attempt}
        worker = workers.link(person, attempt.worker)
        happened.append((attempt.started_at, _("Attempt %(attempt)s claimed") % which, worker))
        happened.append(
            (
                attempt.ended_at,
                _("Attempt %(attempt)s ended") % which,
                formatting.status(attempt.outcome),
            )
        )
    if execution.status == RunStatus.RUNNING and execution.started_at:
        which = {"attempt": execution.attempt}
        happened.append(
            (
                execution.started_at,
                _("Attempt %(attempt)s claimed") % which,
                workers.link(person, execution.lease_owner),
            )
        )
    if execution.cancel_requested_at:
        happened.append((execution.cancel_requested_at, _("Cancelling asked for"), ""))
    if execution.finished_at:
        happened.append((execution.finished_at, _("Ended"), formatting.status(execution.status)))
    is_ahead = execution.status == RunStatus.PENDING and not _is_in_line(execution)
    if is_ahead and now < execution.available_at < NEVER:
        happened.append((execution.available_at, _("May be claimed"), ""))
    happened.sort(key=lambda event: event[0])
    events: list[dict[str, object]] = []
    before: datetime | None = None
    for at, what, detail in happened:
        if at > now:
            events.append({"at": formatting.instant(at, now), "what": _("Ahead: %s") % what})
            continue
        later = "+" + formatting.duration_between(before, at) if before else ""
        events.append(
            {"at": formatting.instant(at), "what": what, "detail": detail, "later": later}
        )
        before = at
    if execution.status == RunStatus.PENDING and execution.available_at <= now:
        events.append({"at": formatting.NOTHING, "what": _("Ahead: %s") % _("A worker claims it")})
    return events


def _attempts(
    execution: JobExecution, ended: Sequence[JobAttempt], person: Any, *, sees_params: bool
) -> list[dict[str, Any]]:
    found = []
    waited_since = execution.created_at
    for attempt in ended:
        found.append(
            {
                "number": attempt.attempt,
                "outcome": formatting.status(attempt.outcome),
                "worker": workers.link(person, attempt.worker),
                "started": formatting.instant(attempt.started_at),
                "waited": formatting.duration_between(waited_since, attempt.started_at),
                "took": formatting.duration_between(attempt.started_at, attempt.ended_at),
                "error": attempt.error,
                "exception_class": attempt.exception_class,
                # A traceback may contain parameters.
                "traceback": attempt.traceback if sees_params else "",
            }
        )
        waited_since = attempt.ended_at
    return found
