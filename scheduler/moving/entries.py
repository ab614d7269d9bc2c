"""What a source finds: its entries, and what is to be said about each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from scheduler.moving.names import source_key
from scheduler.moving.rules import Rule


class Level(StrEnum):
    """How much a finding matters."""

    NOTE = "note"  # worth knowing; the job does the same
    DIFFERS = "differs"
    IMPOSSIBLE = "impossible"


class Verdict(StrEnum):
    """What becomes of an entry."""

    SAME = "same"
    DIFFERS = "differs"
    IMPOSSIBLE = "impossible"


class Reason(StrEnum):
    """Why a job is not, or not quite, what the entry was. words.py has the text of each."""

    ARGUMENTS = "arguments"
    CLOCK_CHANGE = "clock_change"
    COMMAND = "command"
    CONTAINER = "container"
    COUNTS = "counts"
    DAY_AND_WEEKDAY = "day_and_weekday"
    DUPLICATE = "duplicate"
    EXPIRES = "expires"
    EXPRESSION = "expression"
    HEADERS = "headers"
    INSTANCES = "instances"
    INTERVAL = "interval"
    INTERVAL_END = "interval_end"
    MAIL = "mail"
    NAME = "name"
    NAME_TAKEN = "name_taken"
    NOT_THERE = "not_there"
    NO_HANDLER = "no_handler"
    OFF = "off"
    ONCE = "once"
    OVER = "over"
    PASSED = "passed"
    PHASE = "phase"
    PICKLE = "pickle"
    PRIORITY = "priority"
    RANDOM_DELAY = "random_delay"
    REBOOT = "reboot"
    REFUSED = "refused"
    RETRIES = "retries"
    ROUTING = "routing"
    RULE = "rule"
    SHIFTED = "shifted"
    SOLAR = "solar"
    START = "start"
    TASK_RETRIES = "task_retries"
    TIMEOUT = "timeout"
    TOO_LONG = "too_long"
    TEMPLATE = "template"
    UNKNOWN_KEY = "unknown_key"
    UNREADABLE = "unreadable"
    USER = "user"
    WEEK_OR_YEAR = "week_or_year"
    ZONE = "zone"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing to say about an entry. `facts`: what the text of the reason names."""

    reason: Reason
    level: Level
    facts: Mapping[str, Any] = field(default_factory=dict)


def note(reason: Reason, **facts: Any) -> Finding:
    return Finding(reason=reason, level=Level.NOTE, facts=facts)


def differs(reason: Reason, **facts: Any) -> Finding:
    return Finding(reason=reason, level=Level.DIFFERS, facts=facts)


def impossible(reason: Reason, **facts: Any) -> Finding:
    return Finding(reason=reason, level=Level.IMPOSSIBLE, facts=facts)


class OldSchedule(Protocol):
    """When the old system runs an entry."""

    @property
    def zone(self) -> str:
        """The IANA name of the zone in which it thinks."""

    def slots(self, after: datetime, until: datetime, limit: int) -> list[datetime]:
        """Returns the instants in (after, until], oldest first, at most the `limit` oldest ones."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry of a source.

    `key`: what names it there for ever, also after an edit. `where`: its line, or its place.
    `values`: the columns of the job; without `cron_expression` the entry has no schedule here.
    `nearest`: an expression that comes near, where the right one is impossible. `rule`: its times
    as sets, if they are such; `interval_seconds`: the distance of its runs, if that is its rule.
    """

    key: str
    name: str
    where: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    nearest: str = ""
    old: OldSchedule | None = None
    rule: Rule | None = None
    interval_seconds: float | None = None
    last_run_at: datetime | None = None
    is_enabled: bool = True


class UnreadableSource(Exception):
    """The source as a whole cannot be read: no such file or table, another version, no access.

    The message is for a person and holds no password.
    """


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a person says about a source.

    `timezone`: the zone of entries that name none. `broker`: redis or amqp, for priorities; "": as
    the Celery app says. `handlers`: name in the source -> handler. `now`: the instant of the look.
    `sources`: only the entries of jobs with these sources matter; None: all.
    """

    now: datetime
    timezone: str = ""
    broker: str = ""
    handlers: Mapping[str, str] = field(default_factory=dict)
    sources: frozenset[str] | None = None

    def is_wanted(self, kind: str, key: str) -> bool:
        return self.sources is None or source_key(kind, key) in self.sources
