"""APScheduler 3: the jobs of a scheduler in the code. Its stores hold pickles: never read."""

from __future__ import annotations

import copy
import inspect
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from celery import Task
from django.utils.translation import gettext as _

from scheduler.moving.aps_fields import UnmappedField, rule_of_trigger
from scheduler.moving.entries import (
    Entry,
    Finding,
    Options,
    Reason,
    UnreadableSource,
    differs,
    impossible,
)
from scheduler.moving.importing_code import imported
from scheduler.moving.mapping_rules import (
    columns_of_instant,
    columns_of_interval,
    columns_of_rule,
)
from scheduler.moving.task_arguments import columns_of_call, retries_of
from scheduler.moving.walking_kinds import Instants
from scheduler.moving.words import in_words

_MADE_ID: Final = re.compile(r"[0-9a-f]{32}")
_DEFAULTS: Final[Mapping[str, Any]] = {
    "misfire_grace_time": 1,
    "coalesce": True,
    "max_instances": 1,
}
_LONGEST_TIMEOUT_SECONDS: Final = 86_400
_BOUNDS: Final = ("start_date", "end_date")
_INSTANT: Final = timedelta(microseconds=1)
_NAMED: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, kw_only=True)
class TriggerWalker:
    """Asks APScheduler's trigger for its fire times, without jitter. Implements OldSchedule."""

    trigger: Any
    zone: str

    def slots(self, after: datetime, until: datetime, limit: int) -> list[datetime]:
        trigger = copy.copy(self.trigger)
        trigger.jitter = None
        found: list[datetime] = []
        # A microsecond more than `after`: a trigger also returns the instant that it is given.
        asked, previous = after + _INSTANT, None
        while len(found) < limit:
            fires_at = trigger.get_next_fire_time(previous, asked.astimezone(ZoneInfo(self.zone)))
            if fires_at is None or fires_at > until:
                break
            found.append(fires_at.astimezone(UTC).replace(microsecond=0))
            # In UTC: local time + delta would forget which pass of a repeated hour this is.
            previous, asked = fires_at, fires_at.astimezone(UTC) + _INSTANT
        return found


def read(where: str, options: Options) -> Iterator[Entry]:
    """Yields the jobs. `where`: `module:scheduler`, which must not have been started."""
    if "://" in where:
        raise UnreadableSource(in_words(impossible(Reason.PICKLE)))
    scheduler = imported(where)
    if not hasattr(scheduler, "get_jobs"):
        text = _("%(where)s is no scheduler but a %(type)s")
        raise UnreadableSource(text % {"where": where, "type": type(scheduler).__name__})
    defaults = {**_DEFAULTS, **getattr(scheduler, "_job_defaults", {})}
    seen: Counter[str] = Counter()
    for job in scheduler.get_jobs():
        # An id that nobody has given is another one at each import.
        name = str(job.name if _MADE_ID.fullmatch(str(job.id)) else job.id)
        seen[name] += 1
        name += f" {seen[name]}" if seen[name] > 1 else ""
        yield _entry(f"{where}:{name}", name, job, defaults, options)


def _entry(key: str, name: str, job: Any, defaults: Mapping[str, Any], options: Options) -> Entry:
    facts: dict[str, Any] = {
        "key": key,
        "name": name,
        "where": repr(name),
        "is_enabled": getattr(job, "next_run_time", "unknown") is not None,
    }
    try:
        call, findings = _call(job, options)
        values = {**call, **_policies(job, defaults, findings)}
        return _with_schedule(facts, values, findings, job.trigger, options)
    except Exception as error:  # noqa: BLE001 - triggers and functions are somebody's code
        problem = f"{type(error).__name__}: {error}"
        return Entry(**facts, findings=[impossible(Reason.UNREADABLE, problem=problem)])


def _with_schedule(
    facts: dict[str, Any],
    values: dict[str, Any],
    findings: list[Finding],
    trigger: Any,
    options: Options,
) -> Entry:
    values["start_at"], values["end_at"] = (_utc(getattr(trigger, "start_date", None)),
                                            _utc(getattr(trigger, "end_date", None)))  # fmt: skip
    values["jitter_seconds"] = int(getattr(trigger, "jitter", None) or 0)
    if values["end_at"] is not None and values["end_at"] <= options.now:
        findings.append(impossible(Reason.OVER, end=values["end_at"].isoformat()))
    match type(trigger).__name__:
        case "CronTrigger":
            zone = str(trigger.timezone)
            old = TriggerWalker(trigger=trigger, zone=zone)
            try:
                rule = rule_of_trigger(
                    trigger, start_at=values["start_at"], end_at=values["end_at"]
                )
            except UnmappedField as error:
                found = [*findings, error.finding]
                return Entry(**facts, values=values, findings=found)
            columns, more, nearest = columns_of_rule(rule)
            return Entry(
                **facts, values=values | columns, findings=findings + more, nearest=nearest,
                old=old, rule=rule,
            )  # fmt: skip
        case "IntervalTrigger":
            return _of_interval(facts, values, findings, trigger)
        case "DateTrigger":
            return _of_date(facts, values, findings, trigger, options)
        case "OrTrigger":
            return _of_several(facts, values, findings, trigger)
        case _:
            more = [impossible(Reason.RULE, rule=str(trigger)[:200])]
    return Entry(**facts, values=values, findings=findings + more)


def _of_interval(
    facts: dict[str, Any], values: dict[str, Any], findings: list[Finding], trigger: Any
) -> Entry:
    seconds = float(trigger.interval_length)
    start = trigger.start_date
    # A start that nobody has given is the instant at which the code was imported.
    is_given = start.microsecond == 0
    columns, more, nearest = columns_of_interval(seconds, start if is_given else None)
    values["start_at"] = None
    return Entry(
        **facts,
        values=values | columns,
        findings=findings + more,
        nearest=nearest,
        old=TriggerWalker(trigger=trigger, zone="UTC"),
        interval_seconds=seconds,
    )


def _of_date(
    facts: dict[str, Any],
    values: dict[str, Any],
    findings: list[Finding],
    trigger: Any,
    options: Options,
) -> Entry:
    columns, more, _nearest = columns_of_instant(trigger.run_date, options.now)
    old = Instants(instants=[trigger.run_date])
    return Entry(**facts, values=values | columns, findings=findings + more, old=old)


def _of_several(
    facts: dict[str, Any], values: dict[str, Any], findings: list[Finding], trigger: Any
) -> Entry:
    """Any of several triggers: a line for each, if all are cron triggers of one zone."""
    zones = {str(getattr(each, "timezone", "")) for each in trigger.triggers}
    kinds = {type(each).__name__ for each in trigger.triggers}
    bounds = [getattr(each, name, None) for each in trigger.triggers for name in _BOUNDS]
    try:
        if kinds != {"CronTrigger"} or len(zones) != 1 or any(bounds):
            raise UnmappedField(impossible(Reason.RULE, rule=str(trigger)[:200]))
        found = [columns_of_rule(rule_of_trigger(each)) for each in trigger.triggers]
    except UnmappedField as error:
        return Entry(**facts, values=values, findings=[*findings, error.finding])
    more = [finding for _columns, said, _nearest in found for finding in said]
    (zone,) = zones
    if not more:
        lines = dict.fromkeys(columns["cron_expression"] for columns, *_rest in found)
        values |= {"cron_expression": "\n".join(lines), "timezone": zone}
    old = TriggerWalker(trigger=trigger, zone=zone)
    return Entry(**facts, values=values, findings=findings + more, old=old)


def _call(job: Any, options: Options) -> tuple[dict[str, Any], list[Finding]]:
    task = getattr(job.func, "__self__", job.func)
    if isinstance(task, Task) and getattr(job.func, "__name__", "") != "apply_async":
        values, findings = columns_of_call(task.name, list(job.args), dict(job.kwargs))
        return {**values, **retries_of(task.name, findings)}, findings
    reference = str(job.func_ref or job.name)
    handler = options.handlers.get(reference)
    if handler is None:
        return {"max_retry": 0}, [impossible(Reason.NO_HANDLER, name=reference)]
    names = [
        name for name, each in inspect.signature(job.func).parameters.items() if each.kind in _NAMED
    ]
    params = {**dict(zip(names, job.args, strict=False)), **job.kwargs}
    values = {"handler_name": handler, "handler_params": params, "max_retry": 0}
    if len(job.args) > len(names):
        text = f"takes {len(names)} named arguments, {len(job.args)} are given without a name"
        return values, [impossible(Reason.ARGUMENTS, problem=text)]
    return values, []


def _policies(job: Any, defaults: Mapping[str, Any], findings: list[Finding]) -> dict[str, Any]:
    late = getattr(job, "misfire_grace_time", defaults["misfire_grace_time"])
    coalesce = getattr(job, "coalesce", defaults["coalesce"])
    instances = getattr(job, "max_instances", defaults["max_instances"])
    if instances > 1:
        findings.append(differs(Reason.INSTANCES, count=instances))
    values = {
        "overlap_policy": "skip" if instances == 1 else "allow",
        "timeout_seconds": _LONGEST_TIMEOUT_SECONDS,
    }
    if late is None:
        return {**values, "misfire_policy": "latest" if coalesce else "all"}
    return {**values, "misfire_policy": "skip", "misfire_grace_seconds": int(late)}


def _utc(instant: datetime | None) -> datetime | None:
    return None if instant is None else instant.astimezone(UTC)
