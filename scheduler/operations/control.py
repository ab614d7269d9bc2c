"""What a person may do, shared by the admin, the API and commands. Every door goes through here.

Bad input raises before anything is written; what cannot be done now raises NotPossible with the
reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal

from django.db import IntegrityError
from django.forms.models import model_to_dict
from django.utils.translation import gettext

from handlers import HandlerNotFoundError, InvalidParamsError, get_handler
from handlers.databases import database_warning
from handlers.validation import validate_params
from scheduler.clock import Clock, DatabaseClock
from scheduler.conf import SchedulerSettings, current
from scheduler.labels import label, label_of
from scheduler.models import EDITABLE, CronJob, JobExecution
from scheduler.operations import validation
from scheduler.operations.json_equal import json_equal
from scheduler.operations.validation import InvalidJob
from scheduler.schedule import Schedule, ScheduleError, schedule_of, slots_between
from scheduler.schedule.plan import COUNTED_SKIPS, DueSchedule, first_slot, plan
from scheduler.states import RETRYABLE, MisfirePolicy, OverlapPolicy, ParamSource, RunStatus
from scheduler.store import executions, jobs, slots
from scheduler.store.connection import database_now
from scheduler.store.executions import FailedRange
from scheduler.store.jobs import StaleEdit
from scheduler.transient import in_transaction

__all__ = [
    "Control",
    "FailedRange",
    "InvalidJob",
    "Missed",
    "NotPossible",
    "RunMissed",
    "StaleEdit",
]

RETRY_LIMIT = 10_000
RETRY_BATCH = 500

# A change of these moves the next run; of the others it does not.
_SCHEDULE_FIELDS = frozenset(
    {"cron_expression", "timezone", "calendar", "start_at", "end_at", "is_enabled"}
)
_OF_A_PAUSE = frozenset({"is_enabled", "pause_reason", "paused_until"})
_INSTANT = timedelta(microseconds=1)


# What a person wants of the slots that a job missed while it was off, and how that is planned.
RunMissed = Literal["none", "latest", "all"]
_WANTED: Mapping[str, MisfirePolicy] = {
    "none": MisfirePolicy.SKIP,
    "latest": MisfirePolicy.LATEST,
    "all": MisfirePolicy.ALL,
}


class NotPossible(Exception):
    """The state of things forbids it; the message says why, for a person."""


@dataclass(frozen=True, kw_only=True)
class Missed:
    """The slots that a job has missed since it was switched off; `first` and `last` are slots.

    `count` is exact unless there are `more`.
    """

    count: int = 0
    first: datetime | None = None
    last: datetime | None = None
    more: bool = False


@dataclass(frozen=True)
class Control:
    """The verbs. Each commits by itself. `actor` is the name of the person who asks."""

    actor: str = ""
    clock: Clock = field(default_factory=lambda: DatabaseClock(database_now, max_age_seconds=0))

    @property
    def settings(self) -> SchedulerSettings:
        return current()

    # --- jobs ---------------------------------------------------------------------------------

    def create_job(self, **values: Any) -> CronJob:
        """A new job. InvalidJob names every field that is wrong."""
        job = CronJob(**_known(values))
        self._check(job, exclude_id=None)
        now = self.clock.now()
        try:
            next_run_at = self._first_slot(job, now) if job.is_enabled else None
            return jobs.create_job(self._editable(job), now=now, next_run_at=next_run_at)
        except IntegrityError as error:
            raise InvalidJob({"name": [gettext("is taken by another job")]}) from error

    def update_job(self, job_id: int, *, tick_seq: int | None = None, **values: Any) -> CronJob:
        """Change a job. With `tick_seq` (as it was read) a change made meanwhile raises StaleEdit.

        The next run is computed anew from now when the schedule changes: an edit never fires at
        once. Slots that the old schedule still owed are recorded as skipped; likewise those that a
        job missed while it was off: see `enable`.
        """
        return self._update(job_id, values, tick_seq=tick_seq, missed="none")

    def _update(
        self, job_id: int, values: Mapping[str, Any], *, tick_seq: int | None, missed: RunMissed
    ) -> CronJob:
        wanted = _known(values)

        def work() -> CronJob:
            job = jobs.lock_job(job_id)
            was_enabled, watermark = job.is_enabled, job.next_run_at
            old = copy(job)
            given = wanted
            # Switched off, no pause of earlier enables it. One that is off keeps its pause.
            if was_enabled and given.get("is_enabled") is False:
                given = {"paused_until": None, **given}
            before = {name: getattr(job, name) for name in EDITABLE}
            for name, value in given.items():
                setattr(job, name, value)
            changed = {
                n: getattr(job, n) for n in EDITABLE if _differ(n, before[n], getattr(job, n))
            }
            if job.is_enabled and changed.get("is_enabled"):
                changed |= {"pause_reason": "", "paused_until": None}
                job.pause_reason, job.paused_until = "", None
            # What is switched off, or paused, may stay as it is; switching it on, or changing it,
            # checks it whole.
            if set(changed) - _OF_A_PAUSE or job.is_enabled is not False:
                self._check(job, exclude_id=job.pk)
            else:
                _check_pause(changed)
            now = self.clock.now()
            moved = set(changed) & _SCHEDULE_FIELDS
            is_only_switched = moved == {"is_enabled"}
            due = None
            if is_only_switched and not was_enabled:
                due = self._missed_slots(job, policy=_WANTED[missed])
            elif moved and not is_only_switched:
                self._record_owed(old, now)
            if moved:
                after, since = now, old.missed_from or old.next_run_at
                if is_only_switched and due is None and since is not None:
                    after = min(now, since - _INSTANT)  # the slot that is due just now
                next_run_at = self._first_slot(job, after) if job.is_enabled else None
                changed |= {"next_run_at": next_run_at, "schedule_error": ""}
                # Slots before its watermark have their rows; those of an edited schedule have been
                # missed from the edit on.
                went_off = was_enabled and is_only_switched
                changed["missed_from"] = None if job.is_enabled else (went_off and watermark) or now
            if changed:
                expected = job.tick_seq if tick_seq is None else tick_seq
                jobs.update_job(job.pk, changed, tick_seq=expected, now=now)
            if due is not None:
                self._record_missed(job_id, job.jitter_seconds, due)
            return self._job(job_id)

        try:
            return in_transaction(work)
        except IntegrityError as error:
            raise InvalidJob({"name": [gettext("is taken by another job")]}) from error

    def clone_job(self, job_id: int, *, name: str) -> CronJob:
        """A copy under a new name, off: whatever is wrong with it is said when it is switched on.

        InvalidJob when the name is.
        """
        clone = {**self._editable(self._job(job_id)), "name": name, "is_enabled": False}
        clone |= {"pause_reason": "", "paused_until": None}
        problem = validation.text_problem(name, validation.NAME_LENGTH, required=True)
        if problem is None and CronJob.objects.filter(name=name).exists():
            problem = gettext("is taken by another job")
        if problem:
            raise InvalidJob({"name": [problem]})
        try:
            return jobs.create_job(clone, now=self.clock.now())
        except IntegrityError as error:
            raise InvalidJob({"name": [gettext("is taken by another job")]}) from error

    def missed(self, job_id: int) -> Missed:
        """What `enable` could run of the slots that passed while the job was off."""
        job = self._job(job_id)
        until = self._just_before_now()
        try:
            due = None if job.is_enabled else self._missed_slots(job)
        except ScheduleError:
            return Missed()  # such a job cannot be enabled either
        if due is None:
            return Missed()
        until = min(until, due.end_at) if due.end_at else until
        before = due.next_run_at - _INSTANT
        counted = slots_between(due.schedule, before, until, COUNTED_SKIPS + 1)
        if not counted:
            return Missed()
        more = len(counted) > COUNTED_SKIPS
        last = due.schedule.last_until(until) if more else counted[-1]
        return Missed(
            count=min(len(counted), COUNTED_SKIPS), first=counted[0], last=last, more=more
        )

    def enable(self, job_id: int, *, missed: RunMissed = "none") -> CronJob:
        """Switch a job on. Of the slots it missed while it was off none, the latest or all run, at
        most `max_catchup`; what does not run is recorded as skipped.
        """
        if missed not in _WANTED:
            raise InvalidJob({"missed": [validation.unknown_word(missed, _WANTED)]})

        return self._update(job_id, {"is_enabled": True}, tick_seq=None, missed=missed)

    def disable(self, job_id: int) -> CronJob:
        return self.update_job(job_id, is_enabled=False, paused_until=None)

    def pause(self, job_id: int, *, reason: str, until: datetime | None = None) -> CronJob:
        """Disable with a reason, and come back by itself at `until`."""
        _check_instants(paused_until=until)
        if until is not None and until <= self.clock.now():
            raise InvalidJob({"paused_until": [gettext("must be in the future")]})
        return self.update_job(job_id, is_enabled=False, pause_reason=reason, paused_until=until)

    def _missed_slots(
        self, job: CronJob, policy: MisfirePolicy = MisfirePolicy.SKIP
    ) -> DueSchedule | None:
        """What there is to plan for a job that is off. Raises ScheduleError."""
        # Switched off by SQL, it still has its watermark.
        since = job.missed_from or job.next_run_at
        if since is None or since > self._just_before_now():
            return None
        return DueSchedule(
            schedule=self._schedule(job),
            next_run_at=max(since, job.start_at) if job.start_at else since,
            misfire_policy=policy,
            misfire_grace_seconds=0,
            max_catchup=job.max_catchup,
            end_at=job.end_at,
            decided_by=f"{self.actor or 'a person'} on enabling",
        )

    def _record_missed(self, job_id: int, jitter_seconds: int, due: DueSchedule) -> None:
        """Write what became of the missed slots of a job that this transaction holds."""
        until = self._just_before_now()
        while due.next_run_at <= until:
            planned = plan(due, until)
            records = slots.records_of(job_id, planned, spread_seconds=jitter_seconds)
            slots.record_slots(records, self.clock.now())
            if planned.next_run_at is None:
                break
            slots.advance_jobs({job_id: planned.next_run_at})
            due = replace(due, next_run_at=planned.next_run_at)

    def _record_owed(self, old: CronJob, now: datetime) -> None:
        """Before a schedule is edited: what the old one leaves behind without a row."""
        since = old.next_run_at if old.is_enabled else old.missed_from or old.next_run_at
        # Slots are whole seconds. One that is due just now is owed, too: an edit fires nothing.
        until = now.replace(microsecond=500_000)
        if since is None or since > until:
            return
        try:
            schedule = self._schedule(old)
        except ScheduleError:
            return  # such a one has no slots
        planned = plan(
            DueSchedule(
                schedule=schedule,
                next_run_at=max(since, old.start_at) if old.start_at else since,
                misfire_policy=MisfirePolicy.SKIP,
                misfire_grace_seconds=0,
                end_at=old.end_at,
                decided_by=f"an edit by {self.actor}" if self.actor else "an edit",
            ),
            until,
        )
        records = slots.records_of(old.pk, planned, spread_seconds=old.jitter_seconds)
        slots.record_slots(records, now)

    def _schedule(self, job: CronJob) -> Schedule:
        """Raises ScheduleError."""
        return schedule_of(job, self.settings)

    def _first_slot(self, job: CronJob, after: datetime) -> datetime | None:
        """The watermark of a job that has been checked. None: beat says why there is none."""
        return first_slot(self._schedule(job), after, start_at=job.start_at, end_at=job.end_at)

    def _just_before_now(self) -> datetime:
        """No slot lies on it: slots are whole seconds. One that is due now is not missed yet."""
        return (self.clock.now() - timedelta(seconds=0.5)).replace(microsecond=500_000)

    def delete_job(self, job_id: int) -> None:
        if not jobs.delete_job(job_id):
            raise CronJob.DoesNotExist

    def preview(self, job: CronJob, count: int = 20) -> list[datetime]:
        """The next `count` slots as aware UTC. Raises ScheduleError."""
        schedule = self._schedule(job)
        now = self.clock.now()
        after = now
        if job.start_at and job.start_at > now:  # nobody has checked it: it may be in the year 1
            after = job.start_at - _INSTANT
        found: list[datetime] = []
        while len(found) < count:
            slot = schedule.next_after(found[-1] if found else after)
            if slot is None or (job.end_at and slot > job.end_at):
                break
            found.append(slot)
        return found

    # --- runs ---------------------------------------------------------------------------------

    def run_now(self, job_id: int, params: Mapping[str, Any] | None = None) -> JobExecution:
        """A manual run. `params` replace the job's. The schedule does not notice."""
        job = self._job(job_id)
        given = job.handler_params if params is None else params
        self._check_params(job.handler_name, given)
        execution, _ = executions.create_execution(
            job,
            handler_name=job.handler_name,
            params=given,
            source=ParamSource.MANUAL,
            now=self.clock.now(),
            requested_by=self.actor,
        )
        return execution

    def replay(self, execution_id: int, params: object | None = None) -> JobExecution:
        """A new manual run of an execution's job and handler, with its params or with `params`.

        The original stays as it is. The new run stands for the same slot.
        """
        original = self._execution(execution_id)
        given = original.params if params is None else params
        self._check_params(original.handler_name, given)
        slot = original.scheduled_time if original.param_source == ParamSource.CRON else None
        execution, _ = executions.create_execution(
            original.job,
            handler_name=original.handler_name,
            params=given,
            source=ParamSource.MANUAL,
            now=self.clock.now(),
            logical_time=original.logical_time or slot,
            requested_by=self.actor,
            max_retry=original.max_retry,
            timeout_seconds=original.timeout_seconds,
            queue=original.queue,
            priority=original.priority,
        )
        return execution

    def event(
        self,
        *,
        handler_name: str,
        params: Mapping[str, Any],
        job_id: int | None = None,
        idempotency_key: str | None = None,
    ) -> tuple[JobExecution, bool]:
        """A run because something happened; with a job, its params lie below the event's.

        False: the idempotency_key has had its run, which is given.
        """
        job = self._job(job_id) if job_id is not None else None
        merged: Any = params
        if job is not None and isinstance(params, Mapping):
            if not isinstance(job.handler_params, Mapping):  # SQL may have written anything
                raise InvalidJob({"params": [gettext("must be a JSON object")]})
            merged = {**job.handler_params, **params}
        self._check_params(handler_name, merged)
        if idempotency_key is not None:
            problem = validation.text_problem(idempotency_key, 255, required=True)
            if problem:
                raise InvalidJob({"idempotency_key": [problem]})
        return executions.create_execution(
            job,
            handler_name=handler_name,
            params=merged,
            source=ParamSource.EVENT,
            now=self.clock.now(),
            dedupe_key=idempotency_key,
            requested_by=self.actor,
        )

    def cancel(self, execution_id: int, *, reason: str = "") -> RunStatus:
        """CANCELLED when it was waiting; RUNNING when its worker has been asked to stop it. Who
        asked, and the reason, stand in the row's error_message once it is cancelled.
        """
        by = f"cancelled by {self.actor or 'a person'}"
        reason = f"{by}: {reason.strip()}" if reason.strip() else by
        now = self.clock.now()
        # Twice: it may be claimed, or put back, between the two tries.
        for _ in range(2):
            if executions.cancel_pending(execution_id, now=now, reason=reason):
                return RunStatus.CANCELLED
            if executions.request_cancel(execution_id, now=now, reason=reason):
                return RunStatus.RUNNING
        execution = self._execution(execution_id)
        if execution.status == RunStatus.RUNNING:
            return RunStatus.RUNNING  # somebody has asked already
        raise NotPossible(
            gettext("execution #%(id)s is %(status)s already")
            % {"id": execution_id, "status": label_of(RunStatus, execution.status)}
        )

    def retry(self, execution_id: int) -> JobExecution:
        """An unsuccessful execution once more, with a fresh budget of retries."""
        if executions.retry(execution_id, now=self.clock.now()):
            return self._execution(execution_id)
        execution = self._execution(execution_id)
        raise NotPossible(
            gettext("execution #%(id)s is %(status)s; only %(allowed)s can be retried")
            % {
                "id": execution_id,
                "status": label_of(RunStatus, execution.status),
                "allowed": ", ".join(map(label, sorted(RETRYABLE))),
            }
        )

    def count_failed(self, failed: FailedRange) -> int:
        """How many executions `retry_range` would send back; counting stops behind its limit."""
        return failed.rows().order_by()[: RETRY_LIMIT + 1].count()

    def retry_range(self, failed: FailedRange) -> tuple[int, bool]:
        """Retry a range, oldest first: how many, and whether more than RETRY_LIMIT were there.

        In batches that commit one by one, so that workers and other people wait for none for long.
        """
        retried = 0
        rows = failed.rows()
        for _ in range(RETRY_LIMIT // RETRY_BATCH):
            batch = list(rows.values_list("scheduled_time", "id")[:RETRY_BATCH])
            if not batch:
                return retried, False
            ids = [id_ for _, id_ in batch]
            now = self.clock.now()
            retried += in_transaction(partial(executions.retry_all, ids, now=now))
            rows = failed.after(*batch[-1])
        return retried, rows.exists()

    def delete_execution(self, execution_id: int) -> None:
        if not executions.delete_execution(execution_id):
            execution = self._execution(execution_id)
            raise NotPossible(
                gettext("execution #%(id)s is %(status)s; cancel it first")
                % {"id": execution_id, "status": label_of(RunStatus, execution.status)}
            )

    # --- checks -------------------------------------------------------------------------------

    def problems(self, job: CronJob) -> validation.Problems:
        """What is wrong with `job`, by field. Empty: it can be saved."""
        return validation.job_problems(job, now=self.clock.now(), settings=self.settings)

    def warnings(self, job: CronJob) -> list[str]:
        """What may keep `job` from running although it can be saved, in words for a person.

        So far: databases that its handler needs and that this process's configuration lacks.
        """
        try:
            needed = get_handler(job.handler_name).databases
        except HandlerNotFoundError:
            return []  # a problem, not a warning
        warning = database_warning(needed, self.settings.databases, gettext)
        return [] if warning is None else [warning]

    def _check(self, job: CronJob, *, exclude_id: int | None) -> None:
        problems = self.problems(job)
        namesakes = CronJob.objects.filter(name=job.name if "name" not in problems else "")
        if exclude_id is not None:
            namesakes = namesakes.exclude(pk=exclude_id)
        if namesakes.exists():
            problems.setdefault("name", []).append(gettext("is taken by another job"))
        if problems:
            raise InvalidJob(problems)

    def _check_params(self, handler_name: str, params: object) -> None:
        if not isinstance(handler_name, str) or not handler_name:
            raise InvalidJob({"handler_name": [gettext("must not be empty")]})
        try:
            get_handler(handler_name)
            if not isinstance(params, Mapping):
                raise InvalidJob({"params": [gettext("must be a JSON object")]})
            validate_params(handler_name, params)
        except HandlerNotFoundError as error:
            raise InvalidJob({"handler_name": [validation.no_handler(error)]}) from error
        except InvalidParamsError as error:
            raise InvalidJob({"params": [validation.bad_params(error)]}) from error

    def _job(self, job_id: int) -> CronJob:
        return CronJob.objects.get(pk=job_id)

    def _execution(self, execution_id: int) -> JobExecution:
        return JobExecution.objects.get(pk=execution_id)

    def _editable(self, job: CronJob) -> dict[str, Any]:
        return model_to_dict(job, fields=EDITABLE)


def _differ(name: str, old: object, new: object) -> bool:
    # A handler may tell 1 from true.
    return not json_equal(old, new) if name == "handler_params" else old != new


def _check_instants(**given: object) -> None:
    problems = {name: validation.instant_problem(value) for name, value in given.items()}
    found = {name: [problem] for name, problem in problems.items() if problem}
    if found:
        raise InvalidJob(found)


def _check_pause(given: Mapping[str, Any]) -> None:
    _check_instants(paused_until=given.get("paused_until"))
    problem = validation.text_problem(given.get("pause_reason", ""), 500)
    if problem:
        raise InvalidJob({"pause_reason": [problem]})


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values`, with `allow_overlap` as a policy; unknown names are refused."""
    found = dict(values)
    if "allow_overlap" in found:
        allowed = found.pop("allow_overlap")
        found.setdefault(
            "overlap_policy", (OverlapPolicy.ALLOW if allowed else OverlapPolicy.SKIP).value
        )
    unknown = sorted(set(found) - set(EDITABLE))
    if unknown:
        raise InvalidJob({name: [gettext("is not a field that can be set")] for name in unknown})
    return found
