"""Freezes for people: what they are, what they will block, and creating, changing, ending them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import IntegrityError
from django.utils.translation import gettext as _

from dbpools.nearest import nearest
from scheduler.models import CronJob, JobFreeze, JobTag
from scheduler.operations import validation
from scheduler.operations.base import Operations
from scheduler.operations.errors import InvalidJob, NotPossible, Problems, StaleEdit
from scheduler.operations.held_runs import decide_anew
from scheduler.schedule import Schedule, ScheduleError, load_zone
from scheduler.schedule.freezes import Freeze, blocked, held_spans
from scheduler.states import ActivityVerb, BlockedSlots, TargetKind
from scheduler.store import forecast, freezes, upstreams
from scheduler.store.schedule_groups import planned_jobs, schedule_for
from scheduler.transient import in_transaction

#: What a person may set.
FIELDS: Final = (
    "name", "reason", "since", "until", "hours", "timezone", "tags", "blocked_slots", "is_enabled",
)  # fmt: skip
PREVIEW_DAYS: Final = 7
PREVIEW_JOBS: Final = 500
# Among so many tags the nearest is looked for.
_TAGS: Final = 5_000
_PREVIEW_SECONDS: Final = 1.0
_INSTANT: Final = timedelta(microseconds=1)


@dataclass(frozen=True, kw_only=True)
class WillBlock:
    """The slots of one job that a freeze will block."""

    job: CronJob
    count: int
    first: datetime
    last: datetime
    runs_at: datetime | None
    """When the last of them will run after all; None: it will not."""


@dataclass(frozen=True, kw_only=True)
class Preview:
    jobs: tuple[WillBlock, ...]
    is_partial: bool
    """There are too many jobs to look at all of them: the first ones by name were."""


@dataclass(frozen=True, kw_only=True)
class FreezeControl(Operations):
    """The operations on freezes."""

    def all(self) -> list[JobFreeze]:
        return list(JobFreeze.objects.order_by("name"))

    def get(self, freeze_id: int) -> JobFreeze:
        return JobFreeze.objects.get(pk=freeze_id)

    def holds_until(self, row: JobFreeze, now: datetime) -> datetime | None:
        """Returns when the span of the freeze that holds now ends. None: it does not hold."""
        held = self._held(row, now)
        return held[2] if held else None

    def problem(self, row: JobFreeze) -> str:
        """Returns why the row is no freeze, as SQL may have written it. Empty: it is one."""
        try:
            self._value(row)
        except (ScheduleError, ValueError, TypeError) as error:
            return str(error)
        return ""

    def warnings(self, row: JobFreeze) -> list[str]:
        """Returns why the freeze may hold nothing although it can be saved, for a person."""
        wanted = tags_of(row)
        used = set(JobTag.objects.filter(tag__in=wanted).values_list("tag", flat=True))
        missing = [tag for tag in wanted if tag not in used]
        if not missing:
            return []
        known = list(
            JobTag.objects.order_by("tag").values_list("tag", flat=True).distinct()[:_TAGS]
        )
        return [_no_job_has(tag, known) for tag in missing]

    def holding_now(self) -> list[tuple[Freeze, datetime]]:
        """Returns the freezes that hold now, with the end of each, the nearest end first."""
        now = self.clock.now()
        found = freezes.enabled(now, self.settings.default_timezone)
        spans = ((freeze, freeze.span_at(now)) for freeze in found)
        return sorted(
            ((freeze, span[1]) for freeze, span in spans if span), key=lambda pair: pair[1]
        )

    def preview(self, **values: Any) -> Preview:
        """Returns which slots of the next days a freeze with these values would block.

        Raises InvalidJob as `create` does, but asks for neither a free name nor a reason.
        """
        now = self.clock.now()
        row = JobFreeze(**{"name": "?", "reason": "?", **_known(values)})
        problems = _problems(row, now, self.settings.default_timezone, is_new=False)
        if problems:
            raise InvalidJob(problems)
        freeze, until = self._value(row), now + timedelta(days=PREVIEW_DAYS)
        jobs = planned_jobs().filter(next_run_at__isnull=False)
        if freeze.tags:
            jobs = jobs.filter(tag_rows__tag__in=sorted(freeze.tags)).distinct()
        chosen = list(jobs.order_by("name")[: PREVIEW_JOBS + 1])
        upstreams.read_followed(chosen)
        is_partial = len(chosen) > PREVIEW_JOBS
        spans = tuple(held_spans((freeze,), now, until))
        count = forecast.counter_of(now, until)
        late_at = self.clock.monotonic() + _PREVIEW_SECONDS
        found = []
        for job in chosen[:PREVIEW_JOBS]:
            if self.clock.monotonic() > late_at:
                is_partial = True
                break
            if (blocks := self._will_block(job, freeze, spans, count)) is not None:
                found.append(blocks)
        return Preview(jobs=tuple(found), is_partial=is_partial)

    def _will_block(
        self,
        job: CronJob,
        freeze: Freeze,
        spans: Sequence[tuple[datetime, datetime]],
        count: Callable[[Schedule, datetime, datetime], int],
    ) -> WillBlock | None:
        try:
            schedule = schedule_for(job, self.settings)
        except (ScheduleError, ValueError, OSError):  # written by SQL; beat says what is wrong
            return None
        owed = [at - _INSTANT for at in (job.next_run_at, job.start_at) if at is not None]
        slots, first, last = 0, None, None
        for begins, ends in spans:
            after, until = max([begins, *owed]), min(ends, job.end_at or ends)
            if after < until and (of_span := count(schedule, after, until)):
                slots += of_span
                first = first or schedule.next_after(after)
                last = schedule.last_until(until)
        if first is None or last is None:
            return None
        block = blocked(last, (freeze,), schedule, end_at=job.end_at)
        return WillBlock(
            job=job,
            count=slots,
            first=first,
            last=last,
            runs_at=block.held_until if block else None,
        )

    def create(self, **values: Any) -> JobFreeze:
        """Creates a freeze. Raises InvalidJob with every wrong field."""
        row = JobFreeze(**_known(values))

        def work() -> JobFreeze:
            now = self.clock.now()
            self._check(row, now, is_new=True)
            who = self.actor.name[:150]
            made = freezes.create(**_values(row), created_by=who, created_at=now, updated_at=now)
            decide_anew(now, self.settings, ended=())
            self._remember_freeze(ActivityVerb.CREATED, made, now, values=_facts(made))
            return made

        return _with_free_name(work)

    def update(
        self, freeze_id: int, *, seen_at: datetime | None = None, **values: Any
    ) -> JobFreeze:
        """Changes a freeze, also while it holds.

        With `seen_at`, its `updated_at` as it was read, a change made since then raises StaleEdit.
        """
        known = _known(values)
        return self._change(freeze_id, ActivityVerb.CHANGED, lambda row, now: known, seen_at)

    def end(self, freeze_id: int) -> JobFreeze:
        """Ends a freeze before its time. Of a weekly pattern, only the span that holds now ends
        with it: no further one begins. Raises NotPossible if it does not hold.
        """

        def ended(row: JobFreeze, now: datetime) -> dict[str, Any]:
            if self.holds_until(row, now) is None:
                raise NotPossible(_("the freeze “%(name)s” does not hold now") % {"name": row.name})
            if row.hours or row.since is None:
                return {"is_enabled": False}
            return {"until": max(now, row.since + _INSTANT)}

        return self._change(freeze_id, ActivityVerb.ENDED, ended)

    def delete(self, freeze_id: int) -> None:
        """Deletes a freeze. What it held or would have run at its end is decided anew."""

        def work() -> None:
            row = freezes.lock(freeze_id)
            now = self.clock.now()
            before = self._held(row, now)
            freezes.delete(freeze_id)
            decide_anew(now, self.settings, ended=[before[:2]] if before else ())
            self._remember_freeze(ActivityVerb.DELETED, row, now, values=_facts(row))

        in_transaction(work)

    def _change(
        self,
        freeze_id: int,
        verb: ActivityVerb,
        values_at: Callable[[JobFreeze, datetime], Mapping[str, Any]],
        seen_at: datetime | None = None,
    ) -> JobFreeze:
        def work() -> JobFreeze:
            row = freezes.lock(freeze_id)
            if seen_at is not None and row.updated_at != seen_at:
                raise StaleEdit
            now = self.clock.now()
            facts, held, until = _facts(row), self._held(row, now), row.until
            for name, value in values_at(row, now).items():
                setattr(row, name, value)
            if verb == ActivityVerb.CHANGED:
                if _facts(row) == facts:
                    return row
                self._check(row, now, is_new=row.until != until)
            freezes.update(freeze_id, **_values(row), updated_at=now)
            row.updated_at = now
            decide_anew(now, self.settings, ended=[held[:2]] if held else ())
            self._remember_freeze(verb, row, now, old=facts, values=_facts(row))
            return row

        return _with_free_name(work)

    def _held(self, row: JobFreeze, now: datetime) -> tuple[Freeze, datetime, datetime] | None:
        """Returns the freeze, and the span that holds now. None: it does not hold now."""
        if not row.is_enabled or self.problem(row):
            return None
        value = self._value(row)
        span = value.span_at(now)
        return (value, *span) if span else None

    def _check(self, row: JobFreeze, now: datetime, *, is_new: bool) -> None:
        problems = _problems(row, now, self.settings.default_timezone, is_new=is_new)
        same = JobFreeze.objects.filter(name=row.name).exclude(pk=row.pk)
        if "name" not in problems and same.exists():
            raise _name_is_taken(problems)
        if problems:
            raise InvalidJob(problems)

    def _value(self, row: JobFreeze) -> Freeze:
        columns = {name: getattr(row, name) for name in FIELDS}
        return freezes.read({**columns, "id": row.pk or 0}, self.settings.default_timezone)

    def _remember_freeze(
        self, verb: ActivityVerb, row: JobFreeze, now: datetime, **facts: Any
    ) -> None:
        self._remember(verb, TargetKind.FREEZE, row.pk, row.name, now, facts)


def tags_of(row: JobFreeze) -> list[str]:
    """Returns the tags, without what SQL has written that is none."""
    tags = row.tags if isinstance(row.tags, list) else []
    return [tag for tag in tags if isinstance(tag, str)]


def _no_job_has(tag: str, known: Sequence[str]) -> str:
    facts = {"tag": tag, "near": nearest(tag, known)}
    if facts["near"]:
        return _("no job has the tag %(tag)s; did you mean %(near)s?") % facts
    return _("no job has the tag %(tag)s: it blocks nothing until one has it") % facts


def _with_free_name(work: Callable[[], JobFreeze]) -> JobFreeze:
    """Does it in one transaction. InvalidJob if another freeze has taken the name meanwhile."""
    try:
        return in_transaction(work)
    except IntegrityError as error:
        raise _name_is_taken({}) from error


def _name_is_taken(problems: Problems) -> InvalidJob:
    return InvalidJob({**problems, "name": [_("a freeze with this name exists already")]})


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(values) - set(FIELDS))
    if unknown:
        raise InvalidJob({name: [validation.unknown_word(name, FIELDS)] for name in unknown})
    return dict(values)


def _values(row: JobFreeze) -> dict[str, Any]:
    return {name: getattr(row, name) for name in FIELDS}


def _facts(row: JobFreeze) -> dict[str, Any]:
    values = _values(row)
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in values.items()
    }


def _problems(row: JobFreeze, now: datetime, default_zone: str, *, is_new: bool) -> Problems:
    tags = row.tags
    found: dict[str, str | None] = {
        "name": validation.text_problem(row.name, 100, required=True)
        or validation.new_name_problem(row.name),
        "reason": validation.text_problem(row.reason, 500, required=True),
        "since": validation.instant_problem(row.since),
        "until": validation.instant_problem(row.until),
        "hours": validation.text_problem(row.hours, 500),
        "timezone": validation.text_problem(row.timezone, 64),
        "tags": validation.text_list_problem(tags),
        "is_enabled": None if isinstance(row.is_enabled, bool) else _("must be true or false"),
    }
    if row.blocked_slots not in list(BlockedSlots):
        found["blocked_slots"] = validation.unknown_word(row.blocked_slots, BlockedSlots)
    if not any(found.values()):
        found |= _problems_of_time(row, now, default_zone, is_new=is_new)
    return {name: [problem] for name, problem in found.items() if problem}


def _problems_of_time(
    row: JobFreeze, now: datetime, default_zone: str, *, is_new: bool
) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    hours = None
    if row.hours:
        try:
            hours = freezes.hours_of(row.hours, row.timezone, default_zone)
        except ScheduleError as error:
            return {error.field: error.reason}
        if hours.covers_the_week() and row.until is None:
            found["hours"] = _(
                "these are all hours of the week, and a freeze that never ends is not possible: "
                "leave some out, or say until when"
            )
    elif row.timezone:
        try:
            load_zone(row.timezone)
        except ScheduleError as error:
            found["timezone"] = error.reason
    if hours is None:
        if row.since is None:
            found["since"] = _("is required, or hours of the week")
        if row.until is None:
            found["until"] = _("is required: a freeze that never ends is not possible")
    if row.since is not None and row.until is not None and row.until <= row.since:
        found["until"] = _("must be after since")
    elif is_new and row.until is not None and row.until <= now:
        found["until"] = _("must be in the future")
    elif hours is not None and row.until is not None:
        since = row.since or now
        if since < row.until and next(hours.between(since, row.until), None) is None:
            found["hours"] = _("none of these hours lies before its end: it would never hold")
    return found
