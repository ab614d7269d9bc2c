"""Schedules and options of Celery: their columns here, and when Celery itself runs them.

Shared by the sources whose entries are Celery's: django-celery-beat, the beat_schedule, RedBeat.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from celery.schedules import BaseSchedule, crontab, schedule, solar

from scheduler.moving.entries import (
    Entry,
    Finding,
    OldSchedule,
    Options,
    Reason,
    differs,
    impossible,
    note,
)
from scheduler.moving.mapping_rules import (
    Columns,
    columns_of_instant,
    columns_of_interval,
    columns_of_rule,
)
from scheduler.moving.other_kinds import every_days_text
from scheduler.moving.redbeat_rules import KeptRule
from scheduler.moving.rules import Rule, in_bounds
from scheduler.moving.task_arguments import columns_of_call, retries_of
from scheduler.moving.walking_kinds import Instants
from scheduler.operations.celery_app import own_app

# Celery keeps no limit of a task that has none.
LONGEST_TIMEOUT_SECONDS: Final = 86_400
_SECOND: Final = timedelta(seconds=1)


_DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, kw_only=True)
class Once:
    """A schedule of one run."""

    at: datetime


@dataclass(frozen=True, kw_only=True)
class CeleryEntry:
    """An entry in Celery's own terms. `last_run_at`: where a distance counts from.

    `fires_at_start`: its scheduler runs it at `start_at` itself, too, as if that were overdue.
    """

    task: str
    schedule: BaseSchedule | Once | KeptRule
    zone: str
    args: list[Any] = field(default_factory=list)
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    start_at: datetime | None = None
    end_at: datetime | None = None
    last_run_at: datetime | None = None
    fires_at_start: bool = False
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What an entry becomes: columns of a job, findings, and the old side for the comparison."""

    values: Mapping[str, Any]
    findings: list[Finding]
    nearest: str = ""
    old: OldSchedule | None = None
    rule: Rule | None = None
    interval_seconds: float | None = None

    def entry(self, *more: Finding, **facts: Any) -> Entry:
        """Returns the entry. `facts`: its key, name and place; `more`: what else is to be said."""
        return Entry(
            **facts,
            values=self.values,
            findings=[*self.findings, *more],
            nearest=self.nearest,
            old=self.old,
            rule=self.rule,
            interval_seconds=self.interval_seconds,
        )


@dataclass(frozen=True, kw_only=True)
class CeleryWalker:
    """Asks Celery's code when the next run is due, after each run. Implements OldSchedule."""

    schedule: BaseSchedule
    zone: str
    rule: Rule
    last_run_at: datetime | None = None
    fires_at: datetime | None = None

    def slots(self, after: datetime, until: datetime, limit: int) -> list[datetime]:
        last = after.astimezone(ZoneInfo(self.zone))
        if self.last_run_at is not None and isinstance(self.schedule, schedule):
            last = self._run_before(after, self.schedule.seconds)
        found: list[datetime] = []
        if self.fires_at is not None and after < self.fires_at <= until:
            found.append(self.fires_at)
        while len(found) < limit:
            self.schedule.nowfun = lambda last=last: last
            rest = self.schedule.remaining_estimate(last)
            # In a repeated hour the next time may be over already: then it is due at once.
            due = (last.astimezone(UTC) + max(rest, _SECOND)).replace(microsecond=0)
            if due > until:
                break
            if due > after and due != self.fires_at:
                found += in_bounds(self.rule, [due])
            last = due.astimezone(ZoneInfo(self.zone))
            if self.rule.end_at is not None and due > self.rule.end_at:
                break
        return found

    def _run_before(self, after: datetime, seconds: float) -> datetime:
        """The last run until `after`, if each one came in time since the last known one."""
        assert self.last_run_at is not None
        passed = (after - self.last_run_at).total_seconds()
        last = self.last_run_at + timedelta(seconds=passed // seconds * seconds)
        return last.astimezone(ZoneInfo(self.zone))


def found_in(entry: CeleryEntry, options: Options, *, has_priorities: bool) -> Found:
    """Maps an entry. Raises nothing: what is wrong is a finding."""
    values, findings = columns_of_call(entry.task, entry.args, entry.kwargs)
    values |= {
        "description": entry.description.replace("\r\n", "\n")[:500],
        "start_at": entry.start_at,
        "end_at": entry.end_at,
        "timeout_seconds": LONGEST_TIMEOUT_SECONDS,
    }
    values |= retries_of(entry.task, findings)
    _take_options(entry.options, values, findings, options, has_priorities=has_priorities)
    if entry.end_at is not None and entry.end_at <= options.now:
        findings.append(impossible(Reason.OVER, end=entry.end_at.isoformat()))
    match entry.schedule:
        case crontab():
            return _of_crontab(entry, entry.schedule, values, findings, options)
        case schedule():
            return _of_interval(entry, entry.schedule, values, findings, options)
        case Once():
            return _of_once(entry.schedule.at, values, findings, options)
        case KeptRule():
            return _of_kept_rule(entry.schedule, values, findings, options)
        case solar():
            findings.append(impossible(Reason.SOLAR, event=entry.schedule.event))
        case other:
            findings.append(impossible(Reason.RULE, rule=repr(other)[:200]))
    return Found(values=values, findings=findings)


def _of_crontab(
    entry: CeleryEntry,
    found: crontab,
    values: dict[str, Any],
    findings: list[Finding],
    options: Options,
) -> Found:
    rule = _rule_of_crontab(entry, found)
    columns, more, nearest = columns_of_rule(rule)
    fires_at = _extra_run(entry, options)
    if fires_at is not None and not rule.matches(fires_at):
        more = [*more, differs(Reason.START, start=fires_at.isoformat())]
    return Found(
        values=values | columns,
        findings=findings + more,
        nearest=nearest,
        old=CeleryWalker(schedule=found, zone=entry.zone, rule=rule, fires_at=fires_at),
        rule=rule,
    )


def _extra_run(entry: CeleryEntry, options: Options) -> datetime | None:
    start = entry.start_at
    return start if entry.fires_at_start and start is not None and start > options.now else None


def _rule_of_crontab(entry: CeleryEntry, found: crontab) -> Rule:
    """Celery requires every field to match, both day fields among them."""
    return Rule(
        zone=entry.zone,
        minutes=frozenset(found.minute),
        hours=frozenset(found.hour),
        doms=frozenset(found.day_of_month),
        months=frozenset(found.month_of_year),
        dows=frozenset(found.day_of_week),
        both=True,
        start_at=entry.start_at,
        end_at=entry.end_at,
    )


def _of_once(
    at: datetime, values: dict[str, Any], findings: list[Finding], options: Options
) -> Found:
    columns, more, _nearest = columns_of_instant(at, options.now)
    old = Instants(instants=[at])
    return Found(values={**values, "start_at": None, **columns}, findings=findings + more, old=old)


def _of_kept_rule(
    found: KeptRule, values: dict[str, Any], findings: list[Finding], options: Options
) -> Found:
    rule = found.old.rule
    more = []
    if rule.after(options.now) is None:
        last = rule.before(options.now) or rule[0]
        more.append(impossible(Reason.PASSED, at=last.astimezone(UTC).isoformat()))
    columns = {"cron_expression": found.expression, "timezone": found.old.zone}
    return Found(values=values | columns, findings=findings + more, old=found.old)


def _of_interval(
    entry: CeleryEntry,
    found: schedule,
    values: dict[str, Any],
    findings: list[Finding],
    options: Options,
) -> Found:
    seconds = float(found.seconds)
    if found.relative and seconds in _RELATIVE:
        return _of_round_interval(entry, found, values, findings)
    start = _counted_from(entry, seconds, options)
    walker = CeleryWalker(
        schedule=found,
        zone=entry.zone if found.relative else "UTC",
        rule=Rule(zone="UTC", start_at=entry.start_at, end_at=entry.end_at),
        last_run_at=start or options.now.replace(microsecond=0),
    )
    if found.relative and seconds >= 1:
        columns, more, nearest = _of_rounded(walker, seconds, start, options)
    else:
        columns, more, nearest = columns_of_interval(seconds, start)
    return Found(
        values=values | columns,
        findings=findings + more,
        nearest=nearest,
        old=walker if seconds >= 1 else None,
        interval_seconds=seconds,
    )


def _counted_from(entry: CeleryEntry, seconds: float, options: Options) -> datetime | None:
    """Returns what Celery counts from: the last run, or a start that comes before the next run."""
    last, start = entry.last_run_at, _extra_run(entry, options)
    if start is not None and (last is None or last + timedelta(seconds=seconds) <= start):
        return start
    return last


_ZERO: Final = frozenset({0})
# A distance of one unit that is rounded to it: each full minute, hour or day of the app's zone.
_RELATIVE: Final[Mapping[float, Rule]] = {
    60.0: Rule(zone=""),
    3600.0: Rule(zone="", minutes=_ZERO),
    86_400.0: Rule(zone="", minutes=_ZERO, hours=_ZERO),
}


def _of_round_interval(
    entry: CeleryEntry, found: schedule, values: dict[str, Any], findings: list[Finding]
) -> Found:
    rule = replace(
        _RELATIVE[float(found.seconds)],
        zone=entry.zone,
        start_at=entry.start_at,
        end_at=entry.end_at,
    )
    columns, more, nearest = columns_of_rule(rule)
    walker = CeleryWalker(schedule=found, zone=entry.zone, rule=rule)
    return Found(
        values=values | columns, findings=findings + more, nearest=nearest, old=walker, rule=rule
    )


def _of_rounded(
    walker: CeleryWalker, seconds: float, start: datetime | None, options: Options
) -> Columns:
    """A distance of several units that is rounded: Celery says where the next run is."""
    first, *_others = walker.slots(options.now, options.now + timedelta(seconds=2 * seconds), 1)
    columns, findings, nearest = columns_of_interval(seconds, first)
    if seconds % _DAY_SECONDS == 0:
        text = every_days_text(
            int(seconds) // _DAY_SECONDS, first.astimezone(ZoneInfo(walker.zone))
        )
        columns = {"cron_expression": text, "timezone": walker.zone}
    if start is None and not nearest:
        findings = [differs(Reason.PHASE, expression=columns["cron_expression"])]
    return columns, findings, nearest


def _take_options(
    given: Mapping[str, Any],
    values: dict[str, Any],
    findings: list[Finding],
    options: Options,
    *,
    has_priorities: bool,
) -> None:
    left = {name: value for name, value in given.items() if value not in (None, "", {}, [])}
    queue = left.pop("queue", None)
    if queue:
        values["queue"] = getattr(queue, "name", None) or str(queue)
    routes = [name for name in ("exchange", "routing_key") if left.pop(name, None)]
    if routes:
        findings.append(differs(Reason.ROUTING, names=", ".join(routes)))
    limits = [left.pop(name, None) for name in ("expires", "expire_seconds")]
    findings += [differs(Reason.EXPIRES, limit=_span(each)) for each in limits if each is not None]
    values |= _priority(left.pop("priority", None), options, findings, has_any=has_priorities)
    headers = left.pop("headers", {})
    left |= dict(headers) if isinstance(headers, Mapping) else {"headers": headers}
    left.pop("periodic_task_name", None)
    if left:
        findings.append(differs(Reason.HEADERS, names=", ".join(sorted(map(str, left)))))


def _span(limit: object) -> str:
    seconds = limit.total_seconds() if isinstance(limit, timedelta) else limit
    return f"{seconds} s" if isinstance(seconds, int | float) else str(limit)


def _priority(
    given: object, options: Options, findings: list[Finding], *, has_any: bool
) -> dict[str, int]:
    """On Redis 0 is the highest and the default; RabbitMQ counts as jobu does, up to 255."""
    is_redis = (options.broker or broker_of_app()) == "redis"
    if given is None and not (is_redis and has_any):
        return {}
    old = given if isinstance(given, int) else 0
    new = max(0, min(9, 9 - old if is_redis else old))
    if isinstance(given, int):
        say = note if is_redis and 0 <= old <= 9 else differs
        if new != old:
            findings.append(say(Reason.PRIORITY, old=old, new=new))
    return {"priority": new}


def broker_of_app(url: str = "") -> str:
    """Returns redis or amqp, by the Celery app's broker."""
    text = url or str(own_app().conf.broker_url or "")
    return "redis" if text.startswith(("redis", "rediss", "sentinel", "unix")) else "amqp"


def zone_of(zone: object) -> str:
    """Returns the IANA name of a zone of Celery's, UTC where it has none."""
    return str(getattr(zone, "key", None) or getattr(zone, "zone", None) or "UTC")
