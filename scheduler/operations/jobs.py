"""What a person may do with a job: create, change, clone, enable, disable, pause and delete it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from django.utils.translation import gettext

from handlers import HandlerNotFoundError, get_handler
from handlers.databases import database_warning
from scheduler import wakeups
from scheduler.models import EDITABLE, CronJob
from scheduler.operations import missed as missed_slots
from scheduler.operations import validation
from scheduler.operations.base import Operations
from scheduler.operations.definition import (
    changed_secrets,
    count_from,
    definition_of,
    is_changed,
    values_of,
)
from scheduler.operations.errors import InvalidJob, Problems
from scheduler.operations.frozen import freezes_of
from scheduler.operations.job_values import known_values, lock_named, name_is_taken, with_free_name
from scheduler.operations.missed import Missed, Settlement
from scheduler.operations.upstream_rules import refuse_awaited
from scheduler.schedule import Schedule, ScheduleError, schedule_of
from scheduler.schedule.fingerprint import fingerprint_of, has_same_columns
from scheduler.schedule.full_text import spread_text
from scheduler.schedule.plan import Decision, first_slot
from scheduler.schedule.watermark import Watermark, next_owed, watermark_of
from scheduler.states import ActivityVerb, MisfirePolicy, SkipCause
from scheduler.store import jobs, limited_jobs, slots
from scheduler.store.upstreams import lock_following
from scheduler.transient import in_transaction

# A change of these moves the next run; a change of the others does not.
_SCHEDULE_FIELDS: Final = frozenset(
    {"cron_expression", "timezone", "calendar", "start_at", "end_at", "is_enabled"}
)
_PAUSE_FIELDS: Final = frozenset({"is_enabled", "pause_reason", "paused_until"})
_NO_FACTS: Final[Mapping[str, Any]] = {}
_NO_PAUSE: Final[Mapping[str, Any]] = {"pause_reason": "", "paused_until": None}
_INSTANT: Final = timedelta(microseconds=1)

# Which of the slots that a job missed while it was off are run, and how that is planned.
RunMissed = Literal["none", "latest", "all"]
_POLICIES: Final[Mapping[str, MisfirePolicy]] = {
    "none": MisfirePolicy.SKIP,
    "latest": MisfirePolicy.LATEST,
    "all": MisfirePolicy.ALL,
}


@dataclass(frozen=True, kw_only=True)
class JobOperations(Operations):
    """The operations on jobs."""

    # --- create and change ------------------------------------------------------------------------

    def create_job(self, **values: Any) -> CronJob:
        """A new job. InvalidJob names every field that is wrong."""
        return self._create(values)

    def _create(self, values: Mapping[str, Any], *, source: str = "") -> CronJob:
        """`source`: the import or the file of jobs that has made it."""
        job = CronJob(**known_values(values))

        def work() -> CronJob:
            lock_named(CronJob(), values)
            self._check(job, exclude_id=None, is_named=True)
            now = self.clock.now()
            job.created_at = now
            watermark = self._watermark_after(job, now) if job.is_enabled else None
            saved = jobs.create_job(
                {**values_of(job), "source": source}, now=now, watermark=watermark
            )
            after = definition_of(values_of(saved))
            self._remember_job(ActivityVerb.CREATED, saved, now, after=after)
            return saved

        return with_free_name(work)

    def update_job(self, job_id: int, *, tick_seq: int | None = None, **values: Any) -> CronJob:
        """Change a job. With `tick_seq` (as it was read) a change made meanwhile raises StaleEdit.

        When the schedule changes, the next run is computed from now: an edit never fires at once.
        Slots that the old schedule still owed are recorded as skipped; so are those that a job
        missed while it was off: see `enable`.
        """
        return self._update(job_id, values, ActivityVerb.CHANGED, tick_seq=tick_seq)

    def clone_job(self, job_id: int, *, name: str) -> CronJob:
        """A copy under a new name, switched off. Only the name is checked here: whatever else is
        wrong is refused when the copy is switched on.
        """
        source = self._job(job_id)
        values = {**values_of(source), **_NO_PAUSE, "name": name, "is_enabled": False}
        problem = validation.new_name_problem(name)
        problem = problem or validation.text_problem(name, validation.NAME_LENGTH, required=True)
        if problem:
            raise InvalidJob({"name": [problem]})
        if CronJob.objects.filter(name=name).exists():
            raise name_is_taken()

        def work() -> CronJob:
            now = self.clock.now()
            saved = jobs.create_job(values, now=now)
            self._remember_job(
                ActivityVerb.CLONED,
                saved,
                now,
                source_id=source.pk,
                source_name=source.name,
                after=definition_of(values_of(saved)),
            )
            return saved

        return with_free_name(work)

    def delete_job(self, job_id: int) -> None:
        """Remove a job with its executions, attempts and logs. CronJob.DoesNotExist.

        NotPossible while other jobs wait for it.
        """

        def work() -> None:
            job = jobs.lock_job(job_id)
            refuse_awaited(job)
            if not jobs.delete_job(job_id):
                raise CronJob.DoesNotExist
            before = definition_of(values_of(job))
            self._remember_job(ActivityVerb.DELETED, job, self.clock.now(), before=before)

        in_transaction(work)

    # --- on and off -------------------------------------------------------------------------------

    def missed(self, job_id: int) -> Missed:
        """Counts what `enable` could run of the slots that passed while the job was off."""
        job = self._job(job_id)
        if job.is_enabled:
            return Missed()
        until = missed_slots.before_now(self.clock.now())
        try:
            return missed_slots.count_missed(job, until=until, settings=self.settings)
        except ScheduleError:
            return Missed()  # such a job cannot be enabled either

    def enable(self, job_id: int, *, missed: RunMissed = "none") -> CronJob:
        """Switch a job on. Of the slots it missed while it was off none, the latest or all run, at
        most `max_catchup`; what does not run is recorded as skipped.
        """
        if missed not in _POLICIES:
            raise InvalidJob({"missed": [validation.unknown_word(missed, _POLICIES)]})
        return self._update(job_id, {"is_enabled": True}, ActivityVerb.ENABLED, missed=missed)

    def disable(self, job_id: int) -> CronJob:
        """Switch a job off until somebody switches it on."""
        values = {"is_enabled": False, "paused_until": None}
        return self._update(job_id, values, ActivityVerb.DISABLED)

    def pause(self, job_id: int, *, reason: str, until: datetime | None = None) -> CronJob:
        """Switch a job off with a reason. It comes back by itself at `until`."""
        if problem := validation.pause_end_problem(until, self.clock.now()):
            raise InvalidJob({"paused_until": [problem]})
        values = {"is_enabled": False, "pause_reason": reason, "paused_until": until}
        return self._update(job_id, values, ActivityVerb.PAUSED)

    def _update(
        self,
        job_id: int,
        values: Mapping[str, Any],
        verb: ActivityVerb,
        *,
        tick_seq: int | None = None,
        missed: RunMissed = "none",
        facts: Mapping[str, Any] = _NO_FACTS,
    ) -> CronJob:
        """Do one edit. `facts`: what its entry in the history says besides."""
        wanted = known_values(values)

        def work() -> CronJob:
            job = jobs.lock_job(job_id)
            old = copy(job)
            lock_named(job, wanted)
            changed = self._apply(job, wanted)
            now = self.clock.now()
            moved = set(changed) & _SCHEDULE_FIELDS
            if spread_text(job) != spread_text(old):
                moved.add("cron_expression")  # by another name, which an H becomes a number of
            settlement = Settlement()
            if moved == {"is_enabled"} and job.is_enabled:
                settlement = self._settle_missed(old, now, _POLICIES[missed])
                watermark = settlement.watermark or self._watermark_after(old, now)
                changed |= {**watermark.columns(), "missed_from": None}
            elif moved == {"is_enabled"}:
                changed |= {"next_run_at": None, "missed_from": old.next_run_at or now}
            elif moved:
                settlement = self._settle_owed(old, now)
                changed |= self._edited_schedule(job, now)
            # Jobs @after this one get other slots, too. What they owe is of the old schedule.
            following = lock_following(job.pk) if moved - {"is_enabled"} else []
            records = [r for each in following for r in self._settle_owed(each, now).records]
            if moved:
                changed["schedule_error"] = ""
            if changed:
                expected = job.tick_seq if tick_seq is None else tick_seq
                jobs.update_job(job.pk, changed, tick_seq=expected, now=now)
            if limited_jobs.COLUMNS & changed.keys():
                for queue in limited_jobs.apply(job, now):
                    wakeups.became_runnable(queue)
            slots.record_slots([*settlement.records, *records], now)
            for each in following:
                jobs.replan(each.pk, self._replanned(self._job(each.pk), now))
            saved = self._job(job_id)
            if changed or verb != ActivityVerb.CHANGED:
                known = {**facts, "missed": missed} if settlement.records else facts
                self._remember_update(verb, old, saved, now, known)
            return saved

        return with_free_name(work)

    def _apply(self, job: CronJob, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Sets the wanted values on a locked job and checks them. Returns those that differ."""
        was_enabled = job.is_enabled
        # A job that is switched off is not enabled by an earlier pause. One that is off keeps its
        # pause.
        if was_enabled and wanted.get("is_enabled") is False:
            wanted = {"paused_until": None, **wanted}
        before = values_of(job)
        for name, value in wanted.items():
            setattr(job, name, value)
        after = values_of(job)
        changed = {n: after[n] for n in EDITABLE if is_changed(n, before[n], after[n])}
        if job.is_enabled and changed.get("is_enabled"):
            changed |= _NO_PAUSE
            job.pause_reason, job.paused_until = "", None
        # A job that is switched off, or paused, may stay as broken as it is. Switching it on, or
        # changing it, checks it whole.
        if set(changed) - _PAUSE_FIELDS or job.is_enabled is not False:
            self._check(
                job,
                exclude_id=job.pk,
                is_named="name" in changed,
                is_rescheduled="cron_expression" in changed,
            )
        else:
            validation.check_pause(changed)
        return changed

    def _remember_update(
        self,
        verb: ActivityVerb,
        old: CronJob,
        saved: CronJob,
        now: datetime,
        known: Mapping[str, Any],
    ) -> None:
        """`since`: when the job had been changed before. Readers follow it from edit to edit."""
        facts = {**known, "since": old.updated_at.isoformat()}
        if verb == ActivityVerb.CHANGED:
            before, after = values_of(old), values_of(saved)
            facts |= {"before": definition_of(before), "after": definition_of(after)}
            facts["secrets"] = changed_secrets(before, after)
        elif verb == ActivityVerb.PAUSED:
            until = saved.paused_until.isoformat() if saved.paused_until else None
            facts |= {"reason": saved.pause_reason, "until": until}
        self._remember_job(verb, saved, now, **facts)

    def _settle_missed(self, old: CronJob, now: datetime, policy: MisfirePolicy) -> Settlement:
        """What becomes of the slots of a job that is switched on. Raises ScheduleError."""
        if (since := missed_slots.missed_since(old)) is None:
            return Settlement()
        return missed_slots.settle(
            old,
            until=missed_slots.before_now(now),
            settings=self.settings,
            policy=policy,
            decided_by=Decision(cause=SkipCause.ENABLING, by=self.actor.name),
            freezes=freezes_of(old.pk, since, self.settings),
        )

    def _settle_owed(self, old: CronJob, now: datetime) -> Settlement:
        """What becomes of slots that an edit leaves without a row, one that is just due, too."""
        try:
            return missed_slots.settle(
                old,
                until=missed_slots.with_now(now),
                settings=self.settings,
                decided_by=Decision(cause=SkipCause.EDIT, by=self.actor.name),
            )
        except ScheduleError:
            return Settlement()  # such a schedule has no slots

    # --- checks -----------------------------------------------------------------------------------

    def preview(self, job: CronJob, count: int = 20) -> list[datetime]:
        """The next `count` slots as aware UTC. Raises ScheduleError."""
        now = self.clock.now()
        count_from(job, now)
        schedule = schedule_of(job, self.settings)
        after = now
        if job.start_at and job.start_at > now:  # nobody has checked it: it may be in the year 1
            after = job.start_at - _INSTANT
        found: list[datetime] = []
        slot = self._next_slot(job, schedule, after)
        while slot is not None and len(found) < count and not (job.end_at and slot > job.end_at):
            found.append(slot)
            slot = schedule.next_after(slot)
        return found

    def _next_slot(self, job: CronJob, schedule: Schedule, after: datetime) -> datetime | None:
        """The next run as beat computes it, also if a calendar has changed since the last one."""
        if not job.last_slot_at or not job.schedule_fingerprint:
            return schedule.next_after(after)
        if not has_same_columns(job.schedule_fingerprint, fingerprint_of(job, self.settings)):
            return schedule.next_after(after)  # this form would be an edit
        return next_owed(schedule, after, job.last_slot_at, job.last_nominal_at)

    def problems(
        self, job: CronJob, *, is_named: bool = False, is_rescheduled: bool = False
    ) -> Problems:
        """What is wrong with `job`, by field. Empty: it can be saved.

        `is_named`: the name is new. An older name may hold what a new one must not.
        `is_rescheduled`: the expression of a saved job is new: instants in it must not have passed.
        """
        now = self.clock.now()
        count_from(job, now)
        problems = validation.job_problems(job, now=now, settings=self.settings)
        if job.pk is None or is_rescheduled:
            passed = validation.passed_problem(job, now=now, settings=self.settings)
            if passed:
                problems.setdefault("cron_expression", []).append(passed)
        if is_named and (problem := validation.new_name_problem(job.name)):
            problems["name"] = [problem]
        return problems

    def warnings(self, job: CronJob) -> list[str]:
        """What may keep `job` from running although it can be saved, in words for a person.

        Params whose names its handler does not know, and databases that its handler needs and that
        this process's configuration lacks.
        """
        try:
            needed = get_handler(job.handler_name).databases
        except HandlerNotFoundError:
            return []  # a problem, not a warning
        warning = database_warning(needed, self.settings.databases, gettext)
        found = validation.param_warnings(job.handler_name, job.handler_params)
        return found if warning is None else [*found, warning]

    def _check(
        self,
        job: CronJob,
        *,
        exclude_id: int | None,
        is_named: bool,
        is_rescheduled: bool = False,
    ) -> None:
        problems = self.problems(job, is_named=is_named, is_rescheduled=is_rescheduled)
        namesakes = CronJob.objects.filter(name=job.name if "name" not in problems else "")
        if exclude_id is not None:
            namesakes = namesakes.exclude(pk=exclude_id)
        if namesakes.exists():
            problems.setdefault("name", []).append(gettext("is taken by another job"))
        if problems:
            raise InvalidJob(problems)

    def _watermark_after(self, job: CronJob, after: datetime) -> Watermark:
        """The watermark of a job that has been checked. Without a next run beat says why."""
        schedule = schedule_of(job, self.settings)
        first = first_slot(schedule, after, start_at=job.start_at, end_at=job.end_at)
        return watermark_of(job, self.settings, first, until=after)

    def _edited_schedule(self, job: CronJob, now: datetime) -> dict[str, Any]:
        """The columns of a job whose schedule is edited: nothing before the edit may run."""
        if job.is_enabled:
            return {**self._watermark_after(job, now).columns(), "missed_from": None}
        # The edited schedule has missed its slots from the edit on. It may be broken.
        unknown = dict.fromkeys(("schedule_fingerprint", "last_slot_at", "last_nominal_at"))
        return {**unknown, "next_run_at": None, "missed_from": now}

    def _replanned(self, job: CronJob, now: datetime) -> dict[str, Any]:
        """The columns of a job whose upstream job has another schedule now."""
        try:
            return self._edited_schedule(job, now)
        except ScheduleError:
            return {"next_run_at": None}  # beat says what is wrong, and switches it off

    def _job(self, job_id: int) -> CronJob:
        return CronJob.objects.get(pk=job_id)
