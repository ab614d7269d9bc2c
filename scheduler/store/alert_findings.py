"""What the rules of alerts look for in the rows of jobs and executions. Reads only, locks nothing.

Each statement costs what has changed, waits or runs, not what there is: jobs without rules are left
out by the database. Deliveries of messages have no job and are found by none of them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import connection
from django.db.models import Q

from scheduler.alert_states import CLOSED_BY_SUCCESS, AlertState
from scheduler.models import CronJob, JobExecution, JobTag
from scheduler.states import GOING_ON, ApprovalState, ParamSource, ReasonCode, RunStatus
from scheduler.store.connection import fetch_all, instant, marks, numbers
from scheduler.store.heads import BY_LEVEL, IS_PENDING


@dataclass(frozen=True, kw_only=True)
class WithRules:
    """Which jobs may have rules: all of them, or those with rules of their own or such a tag."""

    all_jobs: bool
    tags: Collection[str] = ()

    def condition(self, job: str) -> tuple[str, list[Any]]:
        """As SQL, with its parameters. `job`: the alias of cron_jobs."""
        if self.all_jobs:
            return "1 = 1", []
        own = _OWN_RULES[connection.vendor].format(column=f"{job}.alert_rules")
        if not self.tags:
            return own, []
        tagged = _TAGGED.format(job=job, tags=marks(self.tags))
        return f"({own} OR {tagged})", sorted(self.tags)


_OWN_RULES: Final = {
    "postgresql": "{column} <> '{{}}'::jsonb",
    "mysql": "JSON_LENGTH({column}) > 0",
    "sqlite": "{column} <> '{{}}'",
}
_TAGGED: Final = "EXISTS (SELECT 1 FROM job_tags t WHERE t.job_id = {job}.id AND t.tag IN ({tags}))"
# Each database would choose another index, or none, where it knows little of the rows.
_BY_END: Final = {
    "mysql": "FORCE INDEX (executions_ended)",
    "postgresql": "",
    "sqlite": "INDEXED BY executions_ended",
}
_OPEN_STATES: Final = ", ".join(f"'{state}'" for state in AlertState if state != AlertState.CLOSED)


# --- runs that have ended -------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A run that ended well, or badly, or a slot that did not run."""

    execution_id: int
    job_id: int
    attempt: int
    status: RunStatus
    finished_at: datetime
    reason_code: ReasonCode | None = None

    @property
    def key(self) -> str:
        """Which end it is: a person may have retried the run, and it may end again."""
        return f"{self.execution_id}:{self.attempt}"


_ENDED: Final = """
SELECT e.id, e.job_id, e.attempt, e.status, e.finished_at, e.reason_code
  FROM job_executions e {index} JOIN cron_jobs j ON j.id = e.job_id
 WHERE e.finished_at > %s AND e.finished_at <= %s AND e.status IN ({statuses}) AND {condition}
 ORDER BY e.finished_at, e.id
 LIMIT {limit}
"""
_TROUBLE: Final = ", ".join(
    f"'{status}'" for status in (RunStatus.FAILED, RunStatus.TIMEOUT, RunStatus.SKIPPED)
)
_SUCCESS: Final = f"'{RunStatus.SUCCESS}'"
_NTH_END: Final = """
SELECT finished_at FROM job_executions {index}
 WHERE finished_at > %s AND finished_at <= %s
 ORDER BY finished_at
 LIMIT 1 OFFSET {number}
"""


def nth_end(since: datetime, until: datetime, number: int) -> datetime | None:
    """When the run ended before which `number` others did in (since, until]. None: fewer did."""
    statement = _NTH_END.format(index=_BY_END[connection.vendor], number=number)
    rows = fetch_all(statement, [since, until])
    return instant(rows[0][0]) if rows else None


def troubles(since: datetime, until: datetime, jobs: WithRules, limit: int) -> list[Ended]:
    """Runs of such jobs that failed, and slots that were skipped, in (since, until], in order."""
    condition, values = jobs.condition("j")
    statement = _ENDED.format(
        index=_BY_END[connection.vendor], statuses=_TROUBLE, condition=condition, limit=limit
    )
    return _ended(statement, [since, until, *values])


_SUCCESSES: Final = """
SELECT id, job_id, attempt, status, finished_at, reason_code
  FROM (SELECT e.id, e.job_id, e.attempt, e.status, e.finished_at, e.reason_code,
               LAG(e.status) OVER of_job AS before_it, LEAD(e.status) OVER of_job AS after_it
          FROM job_executions e {index}
         WHERE e.finished_at > %s AND e.finished_at <= %s AND e.job_id IS NOT NULL
           AND e.status IN ({success}, {trouble})
           AND (EXISTS (SELECT 1 FROM jobu_alerts a
                         WHERE a.job_id = e.job_id AND a.state IN ({open_states})
                           AND a.kind IN ({kinds}))
                {others})
        WINDOW of_job AS (PARTITION BY e.job_id ORDER BY e.finished_at, e.id)) ends
 WHERE status = {success}
   AND NOT (COALESCE(before_it, '') = {success} AND COALESCE(after_it, '') = {success})
 ORDER BY finished_at, id
 LIMIT {limit}
"""
_CLOSED_BY_SUCCESS: Final = ", ".join(f"'{kind}'" for kind in CLOSED_BY_SUCCESS)


def successes(
    since: datetime, until: datetime, job_ids: Collection[int], limit: int
) -> list[Ended]:
    """Runs that succeeded in (since, until], of these jobs and of those with such an open alert.

    Of successes without a trouble between them only the first and the last: a job may run
    a hundred times a second.
    """
    statement = _SUCCESSES.format(
        index=_BY_END[connection.vendor],
        success=_SUCCESS,
        trouble=_TROUBLE,
        open_states=_OPEN_STATES,
        kinds=_CLOSED_BY_SUCCESS,
        others=f"OR e.job_id IN ({numbers(job_ids)})" if job_ids else "",
        limit=limit,
    )
    return _ended(statement, [since, until])


def _ended(statement: str, values: Sequence[Any]) -> list[Ended]:
    return [
        Ended(
            execution_id=id_,
            job_id=job_id,
            attempt=attempt,
            status=RunStatus(status),
            finished_at=finished_at,
            reason_code=None if reason is None else ReasonCode(reason),
        )
        for id_, job_id, attempt, status, at, reason in fetch_all(statement, values)
        if (finished_at := instant(at)) is not None
    ]


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a message tells of a run. `error` may hold secrets of `params`."""

    status: str
    scheduled_time: datetime
    error: str
    reason_code: str | None
    reason_facts: Any
    params: Any
    attempts: int
    queue: str


def told(execution_ids: Collection[int]) -> dict[int, Told]:
    """What messages tell of these runs, by id."""
    rows = JobExecution.objects.filter(id__in=list(execution_ids)).values_list(
        "id", "status", "scheduled_time", "error_message", "reason_code", "reason_facts", "params",
        "attempt", "queue",
    )  # fmt: skip
    return {
        id_: Told(
            status=status,
            scheduled_time=scheduled_time,
            error=error or "",
            reason_code=reason_code,
            reason_facts=reason_facts,
            params=params,
            attempts=attempts,
            queue=queue,
        )
        for id_, status, scheduled_time, error, reason_code, reason_facts, params, attempts, queue
        in rows
    }  # fmt: skip


# --- runs that wait, and runs that go on ----------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A run that waits since its slot, or that goes on since its start."""

    execution_id: int
    job_id: int
    since: datetime


_WAITING: Final = """
SELECT w.id, w.job_id, w.since, j.jitter_seconds
  FROM (SELECT e.job_id, MIN(e.id) AS id,
               MIN(CASE WHEN e.reason_code IN ('{frozen}', '{unapproved}')
                        THEN e.available_at
                        WHEN e.reason_code = '{awaited}' AND e.reason_facts IS NOT NULL
                        THEN COALESCE((SELECT MAX(k.not_before) FROM job_waits k
                                        WHERE k.execution_id = e.id), e.scheduled_time)
                        ELSE e.scheduled_time END) AS since
          FROM job_executions e {index}
         WHERE {is_pending} AND e.attempt = 0 AND e.scheduled_time < %s
           AND e.job_id IS NOT NULL AND e.param_source = '{cron}'
         GROUP BY e.job_id) w
  JOIN cron_jobs j ON j.id = w.job_id
 WHERE {condition}
 ORDER BY w.since, w.id
 LIMIT {limit}
"""


def waiting(now: datetime, jobs: WithRules, limit: int) -> list[tuple[Standing, int]]:
    """The oldest slot of each job that no worker has begun, oldest first, and the job's jitter."""
    condition, values = jobs.condition("j")
    statement = _WAITING.format(
        index=BY_LEVEL[connection.vendor],
        is_pending=IS_PENDING,
        cron=ParamSource.CRON,
        # What a freeze or a person holds back is not late before its time.
        frozen=ReasonCode.FROZEN_HELD,
        unapproved=ReasonCode.AWAITS_APPROVAL,
        awaited=ReasonCode.UPSTREAM_AWAITED,  # with facts: those of a freeze that holds it, too
        condition=condition,
        limit=limit,
    )
    return [
        (Standing(execution_id=id_, job_id=job_id, since=since), jitter)
        for id_, job_id, at, jitter in fetch_all(statement, [now, *values])
        if (since := instant(at)) is not None
    ]


_RUNNING: Final = """
SELECT e.id, e.job_id, e.started_at
  FROM job_executions e JOIN cron_jobs j ON j.id = e.job_id
 WHERE e.status IN ({going_on}) AND e.started_at < %s AND {condition}
 ORDER BY e.started_at, e.id
 LIMIT {limit}
"""


def running(now: datetime, jobs: WithRules, limit: int) -> list[Standing]:
    """The runs of such jobs that go on, longest first."""
    condition, values = jobs.condition("j")
    going_on = ", ".join(f"'{status}'" for status in sorted(GOING_ON))
    statement = _RUNNING.format(going_on=going_on, condition=condition, limit=limit)
    return [
        Standing(execution_id=id_, job_id=job_id, since=since)
        for id_, job_id, at in fetch_all(statement, [now, *values])
        if (since := instant(at)) is not None
    ]


_ASKING: Final = """
SELECT e.id, e.job_id, e.created_at
  FROM jobu_run_approvals a
  JOIN job_executions e ON e.id = a.execution_id
  JOIN cron_jobs j ON j.id = e.job_id
 WHERE a.state = '{waiting}' AND e.status = '{pending}' AND {condition}
 ORDER BY a.expires_at, e.id
 LIMIT {limit}
"""


def awaiting_approval(jobs: WithRules, limit: int) -> list[Standing]:
    """The runs of such jobs that wait until a person approves them, the most urgent first."""
    condition, values = jobs.condition("j")
    statement = _ASKING.format(
        waiting=ApprovalState.WAITING, pending=RunStatus.PENDING, condition=condition, limit=limit
    )
    return [
        Standing(execution_id=id_, job_id=job_id, since=since)
        for id_, job_id, at in fetch_all(statement, values)
        if (since := instant(at)) is not None
    ]


def still_asking(execution_ids: Collection[int]) -> set[int]:
    """Which of these runs still wait for an approval."""
    rows = JobExecution.objects.filter(
        id__in=list(execution_ids),
        status=RunStatus.PENDING,
        reason_code=ReasonCode.AWAITS_APPROVAL,
    )
    return set(rows.values_list("id", flat=True))


def still_waiting(execution_ids: Collection[int]) -> set[int]:
    """Which of these runs no worker has begun yet."""
    rows = JobExecution.objects.filter(
        id__in=list(execution_ids), status=RunStatus.PENDING.value, attempt=0
    )
    return set(rows.values_list("id", flat=True))


def still_running(execution_ids: Collection[int]) -> set[int]:
    """Which of these runs go on."""
    rows = JobExecution.objects.filter(id__in=list(execution_ids), status__in=sorted(GOING_ON))
    return set(rows.values_list("id", flat=True))


# --- jobs -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """What rules and messages need of a job."""

    id: int
    name: str
    owner: str
    queue: str
    own_rules: Any
    tags: Sequence[str]


def job_rows(job_ids: Collection[int], *, with_tags: bool) -> dict[int, JobRow]:
    """The jobs with these ids that are still there, by id. `with_tags`: their tags, too."""
    tags: dict[int, list[str]] = {}
    if with_tags and job_ids:
        found = JobTag.objects.filter(job_id__in=list(job_ids)).order_by("tag")
        for job_id, tag in found.values_list("job_id", "tag"):
            tags.setdefault(job_id, []).append(tag)
    rows = CronJob.objects.filter(id__in=list(job_ids)).order_by()
    return {
        id_: JobRow(
            id=id_, name=name, owner=owner, queue=queue, own_rules=rules, tags=tags.get(id_, ())
        )
        for id_, name, owner, queue, rules in rows.values_list(
            "id", "name", "owner", "queue", "alert_rules"
        )
    }


_SWITCHED_OFF: Final = """
SELECT j.id, j.schedule_error
  FROM cron_jobs j
 WHERE j.is_enabled IN ({false}) AND j.schedule_error <> '' AND {condition}
   AND NOT EXISTS (SELECT 1 FROM jobu_alerts a
                    WHERE a.job_id = j.id AND a.kind = 'switched_off'
                      AND (a.state IN ({open_states}) OR a.opened_at >= j.updated_at))
 ORDER BY j.id
 LIMIT {limit}
"""


def switched_off(jobs: WithRules, limit: int) -> dict[int, str]:
    """The errors for which such jobs were switched off, by id, if no alert has told of them yet."""
    condition, values = jobs.condition("j")
    statement = _SWITCHED_OFF.format(
        false="%s", condition=condition, open_states=_OPEN_STATES, limit=limit
    )
    return dict(fetch_all(statement, [False, *values]))


def still_switched_off(job_ids: Collection[int]) -> set[int]:
    """Which of these jobs are still off because of an error."""
    rows = CronJob.objects.filter(~Q(schedule_error=""), id__in=list(job_ids), is_enabled=False)
    return set(rows.values_list("id", flat=True))
