"""What a person may do with a backfill: preview, start, pause, resume, cancel and delete it.

Beat makes the runs of a backfill, a few at a time: scheduler/beat/backfill_steps.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _

from scheduler.conf import current
from scheduler.labels import label, label_of
from scheduler.models import Backfill, CronJob
from scheduler.operations import validation
from scheduler.operations.base import Operations
from scheduler.operations.errors import InvalidJob, NotPossible
from scheduler.schedule import ScheduleError, schedule_of
from scheduler.schedule.backfill_plan import BACKFILL_LIMIT, next_slots, params_for
from scheduler.states import (
    FINAL,
    ActivityVerb,
    BackfillOrder,
    BackfillState,
    OverlapPolicy,
    RunStatus,
)
from scheduler.store import backfills
from scheduler.transient import in_transaction

__all__ = ["BACKFILL_LIMIT", "BackfillControl", "InvalidJob", "NotPossible", "Preview", "Progress"]

SLOTS_SHOWN: Final = 100
LARGEST_PARALLELISM: Final = 100


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a backfill would run.

    `slots`: the first 100 slots, in the order of the backfill. `params_of_first`: the params of the
    first run, with the slot filled in.
    """

    total: int
    slots: list[datetime]
    params_of_first: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a backfill is. `percent`: the part of its slots whose runs have ended."""

    counts: Mapping[RunStatus, int]
    ended: int
    percent: int
    ends_at: datetime | None  # an estimate; None: no estimate is possible, or none is needed


@dataclass(frozen=True, kw_only=True)
class BackfillControl(Operations):
    """The operations on backfills."""

    def preview(
        self,
        job_id: int,
        *,
        since: datetime,
        until: datetime,
        order: str = "oldest_first",
        params: Mapping[str, Any] | None = None,
    ) -> Preview:
        """Returns what `start` would run, and raises the same errors. Writes nothing.

        A range without a slot is not an error here: `total` is 0.
        """
        job = CronJob.objects.get(pk=job_id)
        slots, given = self._planned(job, since=since, until=until, order=order, params=params)
        return Preview(
            total=len(slots),
            slots=list(slots[:SLOTS_SHOWN]),
            params_of_first=params_for(given, slots[0], _zone(job)) if slots else {},
        )

    def start(
        self,
        job_id: int,
        *,
        since: datetime,
        until: datetime,
        order: str = "oldest_first",
        parallelism: int = 1,
        params: Mapping[str, Any] | None = None,
    ) -> Backfill:
        """Starts a backfill of the job's slots in [since, until]. Beat makes its runs.

        `params` replace the job's params. `{slot}` in their texts is replaced by the slot. Raises
        InvalidJob, which names every wrong field, and CronJob.DoesNotExist.
        """
        job = CronJob.objects.get(pk=job_id)
        _check_parallelism(parallelism)
        slots, given = self._planned(job, since=since, until=until, order=order, params=params)
        if not slots:
            raise InvalidJob({"until": [_("there is no slot between since and until")]})

        def work() -> Backfill:
            now = self.clock.now()
            backfill = backfills.create(
                job=job,
                since=since,
                until=until,
                order=order,
                parallelism=parallelism,
                params=dict(given),
                total=len(slots),
                requested_by=self.actor.name[:150],
                created_at=now,
            )
            self._remember_backfill(
                ActivityVerb.STARTED,
                backfill,
                now,
                job_id=job.pk,
                since=since.isoformat(),
                until=until.isoformat(),
                slots=len(slots),
            )
            return backfill

        return in_transaction(work)

    def pause(self, backfill_id: int) -> Backfill:
        """Pauses a backfill: beat makes no further runs. Runs that wait or run now continue."""
        return self._move(
            backfill_id, BackfillState.ACTIVE, BackfillState.PAUSED, ActivityVerb.PAUSED
        )

    def resume(self, backfill_id: int) -> Backfill:
        """Resumes a paused backfill."""
        return self._move(
            backfill_id, BackfillState.PAUSED, BackfillState.ACTIVE, ActivityVerb.RESUMED
        )

    def cancel(self, backfill_id: int, *, running: bool = False) -> Backfill:
        """Cancels a backfill and its waiting runs. `running`: asks its running runs to stop, too.

        A backfill that has made all its runs can be cancelled until the last of them has ended.
        """

        def work() -> Backfill:
            backfill = backfills.lock(backfill_id)
            now = self.clock.now()
            is_open = backfill.state in (BackfillState.ACTIVE, BackfillState.PAUSED)
            if is_open:
                backfills.set_state(backfill_id, BackfillState.CANCELLED, ended_at=now)
            reason = f"backfill #{backfill_id} was cancelled"
            stopped = backfills.cancel_pending(backfill_id, now=now, reason=reason)
            if running:
                stopped += backfills.request_cancel(backfill_id, now=now, reason=reason)
            if not is_open and not stopped:
                facts = _facts_of(backfill)
                raise NotPossible(
                    _("backfill #%(id)s is %(state)s already") % facts,
                    general=_("it is %(status)s already") % facts,
                )
            self._remember_backfill(ActivityVerb.CANCELLED, backfill, now, running=running)
            return Backfill.objects.get(pk=backfill_id)

        return in_transaction(work)

    def delete(self, backfill_id: int) -> None:
        """Deletes a backfill that has ended. Its executions stay."""

        def work() -> None:
            backfill = backfills.lock(backfill_id)
            if not backfills.delete(backfill_id):
                facts = _facts_of(backfill)
                raise NotPossible(
                    _("backfill #%(id)s is %(state)s; cancel it first") % facts,
                    general=_("it is %(status)s; cancel it first") % facts,
                )
            self._remember_backfill(ActivityVerb.DELETED, backfill, self.clock.now())

        in_transaction(work)

    def counts(self, backfill: Backfill) -> dict[RunStatus, int]:
        """Returns status -> number of the backfill's executions, without statuses that none has."""
        return backfills.counts(backfill.pk)

    def progress(self, backfill: Backfill) -> Progress:
        """Returns the counts, the percentage and the estimated end."""
        counts = self.counts(backfill)
        # Retention removes only ended executions. So `made` minus the unfinished ones have ended.
        unfinished = sum(number for status, number in counts.items() if status not in FINAL)
        ended = max(0, backfill.made - unfinished)
        return Progress(
            counts=counts,
            ended=ended,
            percent=_percent(backfill, ended),
            ends_at=self._estimate(backfill, ended) if ended else None,
        )

    def percents(self, of: Sequence[Backfill]) -> dict[int, int]:
        """Returns id of a backfill -> percentage of its slots whose runs have ended. One query."""
        unfinished = backfills.unfinished_of([backfill.pk for backfill in of])
        return {
            backfill.pk: _percent(backfill, backfill.made - unfinished.get(backfill.pk, 0))
            for backfill in of
        }

    def warnings(self, job: CronJob, *, parallelism: int, until: datetime) -> list[str]:
        """Returns texts for a person: why a slot may run twice, or not at all."""
        found = []
        if job.overlap_policy != OverlapPolicy.ALLOW:
            facts = {"policy": label_of(OverlapPolicy, job.overlap_policy)}
            found.append(
                _("The job's overlap policy %(policy)s holds here, too: of runs that meet, one "
                  "does not run. Set the job to allow, or run one at a time.") % facts
                if job.overlap_policy == OverlapPolicy.REPLACE
                else _("The job's overlap policy %(policy)s holds here, too: its runs go one by "
                       "one, and those of the backfill wait for their turn.") % facts
            )  # fmt: skip
        if until > self.clock.now():
            found.append(_("Slots in the future are run now, and by the schedule once more."))
        return found

    def _estimate(self, backfill: Backfill, ended: int) -> datetime | None:
        left = backfill.total - ended
        if left <= 0 or backfill.state in (BackfillState.PAUSED, BackfillState.CANCELLED):
            return None
        mean = backfills.mean_duration(backfill.pk)
        if mean is None:
            return None
        # A run that has ended is noticed half an interval later, on average.
        each = mean + timedelta(seconds=current().poll_interval_seconds / 2)
        return self.clock.now() + each * left / backfill.parallelism

    def _move(
        self, backfill_id: int, before: BackfillState, after: BackfillState, verb: ActivityVerb
    ) -> Backfill:
        def work() -> Backfill:
            backfill = backfills.lock(backfill_id)
            if backfill.state != before:
                facts = _facts_of(backfill) | {"wanted": label(before)}
                raise NotPossible(
                    _("backfill #%(id)s is %(state)s, not %(wanted)s") % facts,
                    general=_("it is %(status)s, not %(wanted)s") % facts,
                )
            backfills.set_state(backfill_id, after)
            self._remember_backfill(verb, backfill, self.clock.now())
            return Backfill.objects.get(pk=backfill_id)

        return in_transaction(work)

    def _planned(
        self,
        job: CronJob,
        *,
        since: datetime,
        until: datetime,
        order: str,
        params: Mapping[str, Any] | None,
    ) -> tuple[Sequence[datetime], Mapping[str, Any]]:
        """Returns all slots in the order asked for, and the params without the slot filled in."""
        problems: dict[str, list[str]] = {}
        for name, value in (("since", since), ("until", until)):
            problem = _("is required") if value is None else validation.instant_problem(value)
            if problem:
                problems[name] = [problem]
        if not problems and since > until:
            problems["since"] = [_("must not be after until")]
        if order not in list(BackfillOrder):
            problems["order"] = [validation.unknown_word(order, BackfillOrder)]
        given = job.handler_params if params is None else params
        if not isinstance(given, Mapping):
            problems["params"] = [_("must be a JSON object")]
        if problems:
            raise InvalidJob(problems)
        slots = _slots(job, since, until, BackfillOrder(order))
        _check_params(job, given, slots[0] if slots else since)
        return slots, given


def _facts_of(backfill: Backfill) -> dict[str, object]:
    state = label_of(BackfillState, backfill.state)
    return {"id": backfill.pk, "state": state, "status": state}


def _percent(backfill: Backfill, ended: int) -> int:
    return max(0, min(100, ended * 100 // backfill.total)) if backfill.total else 100


def _slots(job: CronJob, since: datetime, until: datetime, order: BackfillOrder) -> list[datetime]:
    try:
        schedule = schedule_of(job, current())
    except ScheduleError as error:
        raise InvalidJob({error.field: [error.reason]}) from error
    slots = next_slots(
        schedule, since=since, until=until, order=order, cursor=None, count=BACKFILL_LIMIT + 1
    )
    if len(slots) > BACKFILL_LIMIT:
        text = _("more than %(limit)s slots; take a shorter range") % {"limit": BACKFILL_LIMIT}
        raise InvalidJob({"until": [text]})
    return slots


def _check_params(job: CronJob, params: Mapping[str, Any], slot: datetime) -> None:
    try:
        filled_in = params_for(params, slot, _zone(job))
    except (ValueError, UnicodeError, RecursionError) as error:  # of strftime
        text = _("{slot} cannot be filled in: %(error)s") % {"error": error}
        raise InvalidJob({"params": [text]}) from error
    validation.check_params(job.handler_name, filled_in)


def _check_parallelism(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidJob({"parallelism": [_("must be a whole number")]})
    if not 1 <= value <= LARGEST_PARALLELISM:
        values = {"value": value, "low": 1, "high": LARGEST_PARALLELISM}
        text = _("%(value)s is not between %(low)s and %(high)s") % values
        raise InvalidJob({"parallelism": [text]})


def _zone(job: CronJob) -> ZoneInfo:
    return ZoneInfo(job.timezone or current().default_timezone)
