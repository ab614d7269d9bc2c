"""What becomes of each entry of a source: the job it would be, and how true that job is to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from scheduler.models import CronJob
from scheduler.moving.comparing import (
    JobSchedule,
    Side,
    compare_clock_changes,
    first_slots_differ,
)
from scheduler.moving.entries import (
    Entry,
    Finding,
    Level,
    Reason,
    Verdict,
    differs,
    impossible,
    note,
)
from scheduler.moving.names import job_name, name_problem, source_key
from scheduler.moving.other_kinds import rule_of_recurrence
from scheduler.moving.rules import Rule
from scheduler.operations.control import Control
from scheduler.operations.definition import count_from
from scheduler.operations.errors import describe
from scheduler.schedule import ScheduleError, schedule_of
from scheduler.schedule.expression import read_expression


@dataclass(frozen=True, kw_only=True)
class Mapped:
    """An entry, the columns of its job, and all that is to be said. `source`: its key here."""

    entry: Entry
    source: str
    name: str
    values: dict[str, Any]
    findings: Sequence[Finding]

    @property
    def verdict(self) -> Verdict:
        levels = {finding.level for finding in self.findings}
        if Level.IMPOSSIBLE in levels:
            return Verdict.IMPOSSIBLE
        return Verdict.DIFFERS if Level.DIFFERS in levels else Verdict.SAME


def map_entries(
    kind: str, entries: Iterable[Entry], *, control: Control, now: datetime
) -> list[Mapped]:
    """Maps all entries. Checks each job as it would be saved, and writes nothing."""
    mapped: list[Mapped] = []
    first_of: dict[str, str] = {}
    for entry in entries:
        found = _map(kind, entry, control, now)
        if found.name in first_of:
            twice = impossible(Reason.DUPLICATE, first=first_of[found.name])
            found = replace(found, findings=[*found.findings, twice])
        first_of.setdefault(found.name, entry.where or entry.name)
        mapped.append(found)
    return _with_free_names(mapped)


def _map(kind: str, entry: Entry, control: Control, now: datetime) -> Mapped:
    name = job_name(entry.name)
    values = {**entry.values, "name": name, "is_enabled": False}
    findings = list(entry.findings)
    if name != entry.name:
        findings.append(differs(Reason.NAME, name=name, problem=name_problem(entry.name)))
    if not entry.is_enabled:
        findings.append(note(Reason.OFF))
    mapped = Mapped(
        entry=entry,
        source=source_key(kind, entry.key),
        name=name,
        values=values,
        findings=findings,
    )
    if mapped.verdict is Verdict.IMPOSSIBLE:
        return mapped
    problems = control.problems(CronJob(**values), is_named=True)
    if problems:
        refused = impossible(Reason.REFUSED, problem=describe(problems))
        return replace(mapped, findings=[*findings, refused])
    return replace(mapped, findings=[*findings, *_differing_slots(mapped, control, now)])


def _differing_slots(mapped: Mapped, control: Control, now: datetime) -> list[Finding]:
    """Says what differs at the clock changes of the next year, by the slots of both sides; and
    whether the next slots differ, where no rule of times says that they are the same.
    """
    entry, old = mapped.entry, old_side(mapped.entry)
    if old is None:
        return []
    new = new_side(CronJob(**mapped.values), control)
    if entry.rule is None and mapped.verdict is Verdict.SAME and first_slots_differ(old, new, now):
        return [differs(Reason.SHIFTED, expression=mapped.values["cron_expression"])]
    if entry.interval_seconds is not None:
        return []  # elapsed time: clocks do not matter
    found = compare_clock_changes(old, new, now=now)
    if not found:
        return []
    there, here = ([each.at for each in found if each.in_old is side] for side in (True, False))
    facts = {"zone": old.schedule.zone, "old": _shown(there), "new": _shown(here)}
    return [differs(Reason.CLOCK_CHANGE, **facts)]


def _shown(slots: Sequence[datetime]) -> str:
    texts = [f"{slot:%Y-%m-%d %H:%M}" for slot in slots[:2]]
    return ", ".join(texts) + (f" (+{len(slots) - 2})" if len(slots) > 2 else "") or "-"


def new_side(job: CronJob, control: Control) -> Side:
    """Returns the side of a job for a comparison. Raises ScheduleError."""
    count_from(job, control.clock.now())
    schedule = schedule_of(job, control.settings)
    zone = job.timezone or control.settings.default_timezone
    return Side(
        schedule=JobSchedule(
            schedule=schedule, zone=zone, start_at=job.start_at, end_at=job.end_at
        ),
        rule=_rule_of(job, zone),
        calendar=job.calendar,
        start_at=job.start_at,
        end_at=job.end_at,
    )


def old_side(entry: Entry) -> Side | None:
    """Returns the side of an entry for a comparison. None: nobody knows when it runs."""
    if entry.old is None:
        return None
    return Side(
        schedule=entry.old,
        rule=entry.rule,
        interval_seconds=entry.interval_seconds,
        start_at=entry.values.get("start_at"),
        end_at=entry.values.get("end_at"),
    )


def _rule_of(job: CronJob, zone: str) -> Rule | None:
    """Returns the times of a job as sets; None for a schedule of another kind."""
    bounds: dict[str, Any] = {"start_at": job.start_at, "end_at": job.end_at}
    try:
        pattern = read_expression(job.cron_expression)
    except ScheduleError:
        found = rule_of_recurrence(job.cron_expression, zone)
        return None if found is None else replace(found, **bounds)
    days: Any = pattern.days
    if days.month_days:
        return None  # no other system here has them
    return Rule(
        zone=zone,
        seconds=frozenset(pattern.seconds),
        minutes=frozenset(pattern.minutes),
        hours=frozenset(pattern.hours),
        doms=frozenset(days.doms),
        months=frozenset(days.months),
        dows=frozenset(days.dows),
        nths=frozenset(days.nths),
        last_dom=days.last_dom,
        both=days.both,
        **bounds,
    )


def _with_free_names(mapped: list[Mapped]) -> list[Mapped]:
    """Marks the entries whose name is that of a job that another source or a person has made."""
    names = [each.name for each in mapped]
    owners = dict(CronJob.objects.filter(name__in=names).values_list("name", "source"))
    return [
        replace(each, findings=[*each.findings, impossible(Reason.NAME_TAKEN, name=each.name)])
        if owners.get(each.name, each.source) != each.source
        else each
        for each in mapped
    ]
