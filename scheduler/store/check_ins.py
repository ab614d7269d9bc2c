"""Reports of attempts: which jobs send them, which attempts began or ended, what is to be sent."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db.models import Exists, F, Max, OuterRef

from scheduler.alert_states import CheckInPhase, MessageState
from scheduler.models import CheckInJob, CheckInPing, CronJob, JobAttempt, JobExecution, JobLog
from scheduler.states import AttemptOutcome, RunStatus

_MOST_LINES: Final = 200
_WAITING: Final = MessageState.WAITING.value
#: When a report is sent whose end nobody knows yet. So `take` never sees it.
END_UNKNOWN: Final = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class ReportingJob:
    """What the services are told of a job."""

    id: int
    name: str
    rules: Mapping[str, Any]
    """Its `alert_rules`, as they are stored."""
    cron_expression: str
    timezone: str
    timeout_seconds: int


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """An attempt that runs, or has ended. `id`: of the row of one that has ended, else 0."""

    id: int = 0
    job_id: int
    execution_id: int
    number: int
    key: str
    started_at: datetime
    ended_at: datetime | None = None
    outcome: AttemptOutcome | None = None
    is_divided: bool = False
    """It has ended by dividing its run into shards. Its run ends with the last one."""


# --- which jobs -----------------------------------------------------------------------------------


def mark(job_id: int, alert_rules: object) -> None:
    """Remember whether a job reports its attempts. In the transaction that writes its rules."""
    reports = isinstance(alert_rules, Mapping) and bool(alert_rules.get("check_ins"))
    if reports:
        CheckInJob.objects.bulk_create([CheckInJob(job_id=job_id)], ignore_conflicts=True)
    else:
        CheckInJob.objects.filter(job_id=job_id).delete()


def any_jobs() -> bool:
    """Does any job report its attempts?"""
    return CheckInJob.objects.exists()


def reporting_jobs(job_ids: Collection[int]) -> dict[int, ReportingJob]:
    """Those of these jobs that report their attempts, by id."""
    if not job_ids:
        return {}
    columns = ("id", "name", "alert_rules", "cron_expression", "timezone", "timeout_seconds")
    rows = CronJob.objects.filter(_reports("id"), id__in=sorted(job_ids)).values_list(*columns)
    return {
        job_id: ReportingJob(
            id=job_id,
            name=name,
            rules=rules if isinstance(rules, Mapping) else {},
            cron_expression=expression,
            timezone=timezone,
            timeout_seconds=timeout_seconds,
        )
        for job_id, name, rules, expression, timezone, timeout_seconds in rows
    }


def _reports(job: str) -> Exists:
    """Not `IN (SELECT ...)`: SQLite would begin with the jobs, and read all of their runs."""
    return Exists(CheckInJob.objects.filter(job_id=OuterRef(job)))


# --- which attempts -------------------------------------------------------------------------------


def running() -> list[Attempt]:
    """The attempts of reporting jobs that go on."""
    rows = JobExecution.objects.filter(_reports("job_id"), status=RunStatus.RUNNING.value)
    columns = ("job_id", "id", "attempt", "lease_token", "started_at")
    return [
        Attempt(job_id=job_id, execution_id=id_, number=number, key=key, started_at=started_at)
        for job_id, id_, number, key, started_at in rows.values_list(*columns)
        if job_id is not None and key is not None and started_at is not None
    ]


def newest_attempt() -> int:
    """The largest id of an ended attempt; 0: there is none."""
    return JobAttempt.objects.aggregate(newest=Max("id"))["newest"] or 0


def ended(after: int, limit: int) -> list[Attempt]:
    """Ended attempts of reporting jobs with a larger id than `after`, oldest first."""
    rows = JobAttempt.objects.filter(_reports("execution__job_id"), id__gt=after)
    columns = (
        "id", "execution__job_id", "execution_id", "attempt", "lease_token", "started_at",
        "ended_at", "outcome", "execution__shard_count",
    )  # fmt: skip
    return [
        Attempt(
            id=id_,
            job_id=job_id,
            execution_id=execution_id,
            number=number,
            key=key,
            started_at=started_at,
            ended_at=ended_at,
            outcome=AttemptOutcome(outcome),
            # A shard has no job that reports, so this is no shard.
            is_divided=shard_count is not None and outcome == AttemptOutcome.SUCCESS,
        )
        for id_, job_id, execution_id, number, key, started_at, ended_at, outcome, shard_count
        in rows.order_by("id").values_list(*columns)[:limit]
    ]  # fmt: skip


def log_tail(execution_id: int, attempt: int) -> list[str]:
    """The last lines of an attempt's log and its error. Their secrets were replaced before."""
    rows = JobLog.objects.filter(execution_id=execution_id, attempt=attempt).order_by("-seq")
    newest = rows.values_list("level", "message")[:_MOST_LINES]
    lines = [f"{level} {text}" for level, text in newest]
    errors = JobAttempt.objects.filter(execution_id=execution_id, attempt=attempt)
    # What has become of the shards stands in the run alone.
    divided = JobExecution.objects.filter(
        id=execution_id, attempt=attempt, shard_count__isnull=False
    )
    told = [
        *errors.values_list("error", flat=True),
        *divided.values_list("error_message", flat=True),
    ]
    return [*reversed(lines), *(text for text in dict.fromkeys(told) if text)]


# --- what is sent ---------------------------------------------------------------------------------


def insert(pings: Sequence[CheckInPing]) -> None:
    """Insert those that are not there yet."""
    keys = sorted({ping.attempt_key for ping in pings})
    known = CheckInPing.objects.filter(attempt_key__in=keys)
    # The end of a divided run may have become another one since it was inserted.
    there = {
        (key, service, phase == CheckInPhase.START)
        for key, service, phase in known.values_list("attempt_key", "service_key", "phase")
    }
    new = [
        each
        for each in pings
        if (each.attempt_key, each.service_key, each.phase == CheckInPhase.START) not in there
    ]
    if new:
        CheckInPing.objects.bulk_create(new, ignore_conflicts=True, batch_size=200)


def end_divided(now: datetime, limit: int) -> None:
    """Let the ends of divided runs be sent that have become known. One probe if there are none."""
    waiting = CheckInPing.objects.filter(state=_WAITING, next_at=END_UNKNOWN)
    going_on = JobExecution.objects.filter(
        id=OuterRef("execution_id"),
        attempt=OuterRef("attempt"),
        status=RunStatus.FANNED_OUT.value,
    )
    found = list(waiting.filter(~Exists(going_on)).order_by("id")[:limit])
    ids = {ping.execution_id for ping in found}
    runs = JobExecution.objects.filter(id__in=sorted(ids)).values_list(
        "id", "attempt", "status", "finished_at"
    )
    by_id = {id_: (attempt, status, at) for id_, attempt, status, at in runs} if ids else {}
    for ping in found:
        values: dict[str, Any] = {"next_at": now}
        if ping.execution_id not in by_id:
            values |= {"state": MessageState.DROPPED.value, "error": "its run was deleted"}
        else:
            attempt, status, finished_at = by_id[ping.execution_id]
            # Only a run that has not succeeded gets another attempt.
            if attempt != ping.attempt or status != RunStatus.SUCCESS:
                values["phase"] = CheckInPhase.FAIL.value
            is_its_end = attempt == ping.attempt and finished_at is not None
            values["ended_at"] = finished_at if is_its_end else now
        mine = waiting.filter(pk=ping.pk)
        if "phase" in values and CheckInPing.objects.filter(**_same_end(ping)).exists():
            mine.delete()  # another beat has inserted it once more, while this one ended it
        else:
            mine.update(**values)


def _same_end(ping: CheckInPing) -> dict[str, str]:
    return {
        "attempt_key": ping.attempt_key,
        "service_key": ping.service_key,
        "phase": CheckInPhase.FAIL.value,
    }


def take(now: datetime, *, limit: int, lease: timedelta) -> list[CheckInPing]:
    """Up to `limit` reports that are to be sent now, oldest first. No other beat takes them.

    They come back after `lease`, should this process die.
    """
    due = CheckInPing.objects.filter(state=_WAITING, next_at__lte=now).order_by("next_at", "id")
    taken = []
    for ping in due[:limit]:
        mine = CheckInPing.objects.filter(pk=ping.pk, state=_WAITING, next_at=ping.next_at)
        if mine.update(next_at=now + lease, tries=ping.tries + 1):
            ping.tries += 1
            taken.append(ping)
    return sorted(taken, key=lambda ping: ping.pk)


def is_over(ping: CheckInPing) -> bool:
    """Whether the end of the same attempt was reported already: its start would reopen it."""
    others = CheckInPing.objects.filter(
        attempt_key=ping.attempt_key, service_key=ping.service_key, state=MessageState.SENT
    )
    return ping.phase == CheckInPhase.START and others.exists()


def settle(
    ping: CheckInPing, state: MessageState, *, error: str = "", next_at: datetime | None = None
) -> None:
    """What became of a report. `next_at`: when it is tried again."""
    values: dict[str, Any] = {"state": state.value, "error": error[:500]}
    if next_at is not None:
        values["next_at"] = next_at
    CheckInPing.objects.filter(pk=ping.pk, state=_WAITING).update(**values)


def give_back(pings: Collection[CheckInPing], next_at: datetime) -> None:
    """These were taken and not tried: another time."""
    CheckInPing.objects.filter(pk__in=[ping.pk for ping in pings], state=_WAITING).update(
        next_at=next_at, tries=F("tries") - 1
    )


def prune(before: datetime, limit: int) -> None:
    """Delete old reports, but none that is still to be sent: a divided run may go on for days."""
    ids = list(
        CheckInPing.objects.filter(created_at__lt=before)
        .exclude(state=_WAITING, next_at__gte=before)
        .order_by("created_at")
        .values_list("id", flat=True)[:limit]
    )
    if ids:
        CheckInPing.objects.filter(id__in=ids).delete()
