"""What a person may do with a backfill: preview, start, pause, resume, cancel and delete it.

Beat makes the runs of a backfill, a few at a time: scheduler/beat/backfill_steps.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.utils.translation import gettext as _

from scheduler.conf import current
from scheduler.labels import label, label_of
from scheduler.models import Backfill, CronJob
from scheduler.operations import validation
from scheduler.operations.backfill_plans import (
    PlannedJob,
    PlannedRun,
    downstream_of,
    plan_of,
)
from scheduler.operations.base import Operations
from scheduler.operations.errors import InvalidJob, NotPossible, Problems
from scheduler.operations.reserved import give_on
from scheduler.schedule.backfill_plan import BACKFILL_LIMIT
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
LARGEST_RATE: Final = 6_000


@dataclass(frozen=True, kw_only=True)
class Ask:
    """How a backfill is to run, besides its range."""

    order: str = "oldest_first"
    parallelism: int = 1
    only_missing: bool = False
    ignores_overlap: bool = False
    per_minute: int | None = None
    with_downstream: bool = False


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a backfill would run.

    `slots`: the first 100 slots, in the order of the backfill. `params_of_first`: the params of the
    first run, with the slot filled in.
    """

    total: int
    slots: list[datetime]
    params_of_first: dict[str, Any]
    runs: list[PlannedRun]
    """The same slots with the params of each."""
    downstream: list[PlannedJob]
    """What it would run of the jobs that wait for this one, in the order of the chain."""


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
        params: Mapping[str, Any] | None = None,
        **how: Any,
    ) -> Preview:
        """Returns what `start` would run, and raises the same errors. Writes nothing.

        A range without a slot is not an error here: `total` is 0.
        """
        job = CronJob.objects.get(pk=job_id)
        first, *others = self._planned(job, Ask(**how), since=since, until=until, params=params)
        return Preview(
            total=first.total,
            slots=first.slots[:SLOTS_SHOWN],
            params_of_first=first.params_for(0) if first.slots else {},
            runs=first.runs(SLOTS_SHOWN),
            downstream=others,
        )

    def start(
        self,
        job_id: int,
        *,
        since: datetime,
        until: datetime,
        params: Mapping[str, Any] | None = None,
        **how: Any,
    ) -> Backfill:
        """Starts a backfill of the job's slots in [since, until]. Beat makes its runs. `how`: Ask.

        `params` replace the job's params. `{slot}` in their texts is replaced by the slot. With
        `with_downstream` each job that waits for this one, also through others, gets one as well.
        Raises InvalidJob, which names every wrong field, and CronJob.DoesNotExist.
        """
        job = CronJob.objects.get(pk=job_id)
        ask = Ask(**how)
        plans = self._planned(job, ask, since=since, until=until, params=params)
        if not plans[0].slots:
            text = _("there is no slot between since and until")
            if ask.only_missing:
                text = _("no slot between since and until is missing")
            raise InvalidJob({"until": [text]})
        plans = [each for each in plans if each.slots]

        def work() -> Backfill:
            now = self.clock.now()
            exception = self._check_freezes([each.job.pk for each in plans], now)
            if any(each.job.approval_seconds for each in plans) and not self.may_approve:
                raise NotPossible(
                    _("runs of this job are approved by a person, and who starts a backfill "
                      "approves all its runs: somebody who may do that must start it")
                )  # fmt: skip
            made = [
                backfills.create(
                    job=each.job,
                    since=since,
                    until=until,
                    order=ask.order,
                    parallelism=ask.parallelism,
                    only_missing=ask.only_missing,
                    ignores_overlap=ask.ignores_overlap,
                    per_minute=ask.per_minute,
                    params=dict(each.params),
                    total=each.total,
                    requested_by=self.actor.name[:150],
                    despite_freeze=self.despite_freeze,
                    created_at=now,
                )
                for each in plans
            ]
            if len(made) > 1:
                backfills.make_group([each.pk for each in made])
            for backfill in made:
                self._remember_backfill(
                    ActivityVerb.STARTED,
                    backfill,
                    now,
                    job_id=backfill.job_id,
                    since=since.isoformat(),
                    until=until.isoformat(),
                    slots=backfill.total,
                    **exception,
                )
            return Backfill.objects.get(pk=made[0].pk)

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

        A backfill that has made all its runs can be cancelled until the last of them has ended. The
        first one of a chain cancels those of the other jobs, too.
        """

        def work() -> Backfill:
            for other in backfills.others_of(backfill_id):
                with suppress(NotPossible):
                    self._cancel(other, running=running)
            return self._cancel(backfill_id, running=running)

        return in_transaction(work)

    def _cancel(self, backfill_id: int, *, running: bool) -> Backfill:
        def work() -> Backfill:
            backfill = backfills.lock(backfill_id)
            now = self.clock.now()
            is_open = backfill.state in (BackfillState.ACTIVE, BackfillState.PAUSED)
            if is_open:
                backfills.set_state(backfill_id, BackfillState.CANCELLED, ended_at=now)
            reason = f"backfill #{backfill_id} was cancelled"
            steps = [backfills.cancel_pending, *([backfills.request_cancel] if running else [])]
            stopped = 0
            for step in steps:
                cancelled = step(backfill_id, now=now, reason=reason)
                stopped += cancelled.changed
                give_on(cancelled, self.clock)
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

    def warnings(
        self, job: CronJob, *, parallelism: int, until: datetime, ignores_overlap: bool = False
    ) -> list[str]:
        """Returns texts for a person: why a slot may run twice, or not at all."""
        found = []
        if ignores_overlap:
            found.append(
                _("The job's overlap policy does not hold for these runs: they may run beside "
                  "those of its schedule.")
            )  # fmt: skip
        elif job.overlap_policy != OverlapPolicy.ALLOW:
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
        ask: Ask,
        *,
        since: datetime,
        until: datetime,
        params: Mapping[str, Any] | None,
    ) -> list[PlannedJob]:
        """Returns what would run of the job, and then of those that wait for it if asked for."""
        problems = _problems(ask, since, until)
        given = job.handler_params if params is None else params
        if not isinstance(given, Mapping):
            problems["params"] = [_("must be a JSON object")]
        if problems:
            raise InvalidJob(problems)
        order = BackfillOrder(ask.order)
        plans = [plan_of(job, given, since, until, order, only_missing=ask.only_missing)]
        for other in downstream_of(job) if ask.with_downstream else ():
            try:
                plans.append(
                    plan_of(
                        other,
                        other.handler_params,
                        since,
                        until,
                        order,
                        only_missing=ask.only_missing,
                    )
                )
            except InvalidJob as error:
                raise InvalidJob({"with_downstream": [f"{other.name}: {error}"]}) from error
        return plans


def _facts_of(backfill: Backfill) -> dict[str, object]:
    state = label_of(BackfillState, backfill.state)
    return {"id": backfill.pk, "state": state, "status": state}


def _percent(backfill: Backfill, ended: int) -> int:
    return max(0, min(100, ended * 100 // backfill.total)) if backfill.total else 100


def _problems(ask: Ask, since: datetime, until: datetime) -> Problems:
    problems: Problems = {}
    for name, value in (("since", since), ("until", until)):
        problem = _("is required") if value is None else validation.instant_problem(value)
        if problem:
            problems[name] = [problem]
    if not problems and since > until:
        problems["since"] = [_("must not be after until")]
    if ask.order not in list(BackfillOrder):
        problems["order"] = [validation.unknown_word(ask.order, BackfillOrder)]
    if text := validation.between(ask.parallelism, 1, LARGEST_PARALLELISM):
        problems["parallelism"] = [text]
    if ask.per_minute is not None and (text := validation.between(ask.per_minute, 1, LARGEST_RATE)):
        problems["per_minute"] = [text]
    for name in ("only_missing", "ignores_overlap", "with_downstream"):
        if getattr(ask, name) not in (True, False):
            problems[name] = [_("must be true or false")]
    return problems
