"""The settings of the scheduler: `settings.JOBU`, a mapping or a SchedulerSettings.

These models own each key, its unit, its default, its bounds and its description. The ready-made
project reads scheduler.yaml and worker.yaml through them; a project of one's own writes a mapping.
docs/settings.md is made from them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date
from importlib.util import find_spec
from typing import Annotated, Any, Final, Literal

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    ValidationError,
    model_validator,
)

from dbpools import ConfigurationError
from dbpools.config import DatabaseConfig, parse_database
from dbpools.nearest import nearest
from scheduler.alert_rules import NONE, USUAL, AlertRules, merge
from scheduler.alert_settings import AlertChannels, unknown_channels
from scheduler.setting_types import Count, Seconds, Section, TimezoneName

TASK_NAME = "scheduler.work"
# The instance namespace of jobu's own admin site. `reverse("admin:...", current_app=SITE_NAME)`
# finds its pages, and those of the project's admin where jobu's are there.
SITE_NAME = "jobu"
# Celery's own limit is the last ring, behind the runner's and the bridge's. It works under prefork
# only.
TIME_LIMIT_MARGIN_SECONDS = 45
# A run's lease ends for good 30 s after its timeout (store/runs.py: DEADLINE_MARGIN_SECONDS), and
# beat may then hand it to another worker. Before that it must be stopped and its end be written.
GRACE_SECONDS_MAX = 25


def _ends_before_the_lease(grace_seconds: float) -> float:
    if grace_seconds > GRACE_SECONDS_MAX:
        raise ValueError(
            f"must be at most {GRACE_SECONDS_MAX}: a run's lease ends 30 s after its timeout, and"
            " another worker may begin it again while this one still waits"
        )
    return grace_seconds


# Keys of earlier versions, and what is true in their place.
RETIRED_KEYS: Final[Mapping[str, str]] = dict.fromkeys(
    ("republish_seconds", "republish_max_seconds"),
    "workers look into the table themselves every second; delete the line",
)


def _has_opentelemetry(is_on: bool) -> bool:
    if is_on and find_spec("opentelemetry") is None:
        raise ValueError("needs OpenTelemetry: pip install 'jobu-scheduler[otel]'")
    return is_on


class CalendarSettings(Section):
    """A named set of excluded days."""

    country: str | None = Field(None, description="public holidays of this country, such as KR")
    subdivision: str | None = Field(None, description="a state or province, such as BY in DE")
    weekends: bool = Field(False, description="Saturdays and Sundays are excluded")
    dates: frozenset[date] = Field(frozenset(), description="further excluded days, YYYY-MM-DD")
    working_dates: frozenset[date] = Field(
        frozenset(), description="business days, although the other keys exclude them"
    )


class GroupSettings(Section):
    """Limits that the jobs of a group share."""

    description: str = Field("", max_length=500, description="for people")
    max_running: int | None = Field(None, ge=1, le=10_000, description="most runs at once")
    max_running_per_key: int | None = Field(
        None, ge=1, le=10_000, description="most runs at once of each value of the jobs' key"
    )
    rate_count: int | None = Field(
        None, ge=1, le=10_000, description="most starts in any `rate_seconds`"
    )
    rate_seconds: int | None = Field(None, ge=1, le=86_400, description="see `rate_count`")
    rate_per_key: bool = Field(False, description="the starts of each key are counted")

    @model_validator(mode="after")
    def _limits_something(self) -> GroupSettings:
        if (self.rate_count is None) != (self.rate_seconds is None):
            raise ValueError("rate_count and rate_seconds belong together: one of them is missing")
        if all(
            each is None for each in (self.max_running, self.max_running_per_key, self.rate_count)
        ):
            raise ValueError("limits nothing: set max_running, max_running_per_key or a rate")
        return self


class MetricsSettings(Section):
    """What /metrics shows."""

    max_jobs: int = Field(
        1000,
        ge=0,
        description="so many enabled jobs, the oldest first, have series of their own",
    )
    kept_seconds: float = Field(
        3,
        ge=0,
        le=60,
        description="a web process keeps an answer so long, however many programs ask",
    )


class BeatSettings(Section):
    """When jobs run."""

    default_timezone: TimezoneName = Field(
        "Asia/Seoul", description="time zone of jobs that have none"
    )
    poll_interval_seconds: Seconds = Field(
        1,
        description="beat looks at due jobs, and a worker with free places at waiting runs, at"
        " least this often",
    )
    max_sleep_seconds: Seconds = Field(300, description="upper bound of any sleep of beat")
    min_cron_interval_seconds: Count = Field(
        60, description="jobs that fire more often are refused"
    )
    batch_size: Count = Field(500, description="jobs planned per transaction")
    sweep_interval_seconds: Seconds = Field(
        5, description="how often beat looks for runs of dead workers"
    )
    retention_days: Count = Field(30, description="finished executions are kept this long")
    activity_retention_days: int = Field(
        365, ge=0, description="who did what is kept this long; 0: for ever"
    )
    calendars: dict[str, CalendarSettings] = Field(
        {}, description="named sets of excluded days, used as `name` or `name:skip|next|previous`"
    )
    concurrency_groups: dict[Annotated[str, Field(min_length=1, max_length=100)], GroupSettings] = (
        Field(
            {},
            description="limits that several jobs share, by the name that jobs give as their"
            " `concurrency_group`",
        )
    )
    metrics: MetricsSettings = Field(MetricsSettings(), description="see below")
    tracing: Annotated[bool, AfterValidator(_has_opentelemetry)] = Field(
        False,
        description="attempts are spans of OpenTelemetry; needs the extra `otel` and a tracer"
        " provider",
    )


def _absolute_and_plain(path: str) -> str:
    if not path.startswith("/") or os.path.normpath(path) != path:
        raise ValueError("must be the absolute path of a program, such as /usr/bin/rsync")
    return path


class CommandSettings(Section):
    """Which programs the handler `command` may run. By default none, and the handler is off."""

    allow: tuple[Annotated[str, AfterValidator(_absolute_and_plain)], ...] = Field(
        (), description="absolute paths of programs; a job chooses their arguments"
    )
    shell: bool = Field(
        False, description="also texts for /bin/sh: whoever may edit a job may then run anything"
    )


class WorkerSettings(Section):
    """How executions run."""

    handler_packages: tuple[str, ...] = Field(
        ("handlers.samples",),
        description="every module below these packages is imported, and its handlers registered",
    )
    task_modules: tuple[str, ...] = Field(
        (),
        description="modules with Celery tasks for jobs, besides `tasks` of the Django apps",
    )
    commands: CommandSettings = Field(
        CommandSettings(), description="programs that the handler `command` may run; see below"
    )
    pool_size: Count = Field(500, description="coroutines that run at the same time in one process")
    lease_seconds: Seconds = Field(
        60, description="a worker that does not renew for this long is declared lost"
    )
    heartbeat_seconds: Seconds = Field(
        15, description="how often leases are renewed; at most a quarter of lease_seconds"
    )
    cancel_poll_seconds: Seconds = Field(
        2, description="how often a worker looks for cancel requests and saves logs and progress"
    )
    grace_seconds: Annotated[Seconds, AfterValidator(_ends_before_the_lease)] = Field(
        10,
        description="a run that ignores its timeout for this long is stopped with its process;"
        f" at most {GRACE_SECONDS_MAX}",
    )
    shutdown_timeout_seconds: Seconds = Field(
        30, description="on SIGTERM: wait this long, then cancel the runs and hand them back"
    )
    max_result_bytes: int = Field(
        65536, ge=256, description="a longer result is cut and marked as cut"
    )
    max_log_lines: int = Field(1000, ge=0, le=100_000, description="log lines kept per attempt")

    @model_validator(mode="after")
    def _renews_in_time(self) -> WorkerSettings:
        if self.heartbeat_seconds > self.lease_seconds / 4:
            raise ValueError(
                f"heartbeat_seconds ({self.heartbeat_seconds:g}) must be at most a quarter of "
                f"lease_seconds ({self.lease_seconds:g}), so that one slow renewal loses no run"
            )
        return self


class AlertSettings(AlertChannels):
    """When people are told, who, and how."""

    rules: AlertRules | None = Field(
        None,
        description="for all jobs; none: what docs/alerts.md calls usual, as soon as"
        " `default_channels` names a channel",
    )
    tags: dict[str, AlertRules] = Field({}, description="for the jobs with a tag, over `rules`")

    @property
    def default_rules(self) -> AlertRules:
        """The rules of a job that has none, and whose tags have none."""
        if self.rules is not None:
            return self.rules
        return USUAL if self.default_channels else NONE

    @property
    def are_on(self) -> bool:
        """Whether any job may have rules: without channels nobody could be told."""
        return bool(self.channels)

    @model_validator(mode="after")
    def _rules_have_channels(self) -> AlertSettings:
        named = {f"tags.{tag}": rules for tag, rules in self.tags.items()}
        for place, rules in {"rules": self.rules or NONE, **named}.items():
            if problem := unknown_channels(rules.channels or (), self.channels):
                raise ValueError(f"{place}.channels: {problem}")
            if rules.check_ins:
                raise ValueError(f"{place}.check_ins: only a job has check-ins")
            holds = merge([self.default_rules, rules])
            if rules.asks_for_alerts and not (holds.channels or self.default_channels):
                raise ValueError(f"{place}: names no channel, and default_channels names none")
        return self


class SchedulerSettings(BeatSettings, WorkerSettings):
    """All that the scheduler needs to know."""

    alerts: AlertSettings = Field(AlertSettings(), description="when people are told, and how")

    # Not in repr, because it holds passwords.
    databases: Mapping[str, DatabaseConfig | Mapping[str, Any]] = Field(
        {}, repr=False, description="what handlers may open: entries as dbpools takes them"
    )
    default_database: str = Field("default", description="what a bare @transactional uses")
    admin_site: Literal["own", "project"] = Field(
        "own",
        description="where jobu's pages are: on a site of their own, which `scheduler.urls` mounts,"
        " or on `django.contrib.admin.site`, beside the pages of the project",
    )
    celery_app: str = Field(
        "",
        description="the Celery app, as `module:name`; empty: `celery.py` beside the settings, else"
        " the current app",
    )
    trusted_proxies: frozenset[str] = Field(
        frozenset({"127.0.0.1", "::1"}),
        description="addresses whose X-Forwarded-For tells where a sign-in comes from; *: all",
    )


class ProjectSettings(SchedulerSettings):
    """What `settings.JOBU` may say in a project of one's own: the defaults of the project hold."""

    default_timezone: TimezoneName = Field(
        default_factory=lambda: str(getattr(settings, "TIME_ZONE", "UTC")),
        description="time zone of jobs that have none; otherwise `TIME_ZONE`",
    )
    handler_packages: tuple[str, ...] = Field(
        (), description="every module below these packages is imported, and its handlers registered"
    )


_NOTHING: Final[Mapping[str, Any]] = {}
# What settings.JOBU was when it was read, and what came of it.
_read_from: object = None
_read: SchedulerSettings | None = None


def current() -> SchedulerSettings:
    """Returns the settings in force. Ask each time: a test may replace them.

    Raises ImproperlyConfigured with all mistakes of a mapping.
    """
    global _read_from, _read
    value = getattr(settings, "JOBU", _NOTHING)
    # Several times for each run, so the instance of before comes first: pydantic's isinstance is
    # slow.
    if _read is None or _read_from is not value:
        _read = value if isinstance(value, SchedulerSettings) else from_mapping(value)
        _read_from = value
    return _read


def is_own_project() -> bool:
    """True in a project of one's own. False in the ready-made one, which reads YAML files."""
    return isinstance(current(), ProjectSettings)


def from_mapping(value: object) -> ProjectSettings:
    """Returns the settings of a project. Raises ImproperlyConfigured with one line per mistake."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ImproperlyConfigured(
            "settings.JOBU must be a mapping of names to values, such as"
            " JOBU = {'handler_packages': ['shop.jobs']}"
        )
    given, mistakes = dict(value), list[str]()
    if "databases" in given:
        given["databases"] = _databases(given["databases"], mistakes)
    try:
        found = ProjectSettings(**given)
    except ValidationError as error:
        mistakes += [describe_mistake(item, ProjectSettings) for item in error.errors()]
    if mistakes:
        lines = "\n".join(f"- JOBU{mistake}" for mistake in mistakes)
        raise ImproperlyConfigured(f"settings.JOBU cannot be used:\n{lines}")
    return found


def _databases(value: object, mistakes: list[str]) -> dict[str, DatabaseConfig]:
    if not isinstance(value, Mapping):
        mistakes.append(".databases: expected a mapping of names to databases")
        return {}
    found = {}
    for name, entry in value.items():
        try:
            found[str(name)] = parse_database(str(name), entry)
        except ConfigurationError as error:
            mistakes += [f".{mistake}" for mistake in error.mistakes]
    return found


def describe_mistake(item: Any, model: type[BaseModel]) -> str:
    """Returns a pydantic error as `.key: what is wrong`, without the value (it may be a secret)."""
    where = "".join(f".{part}" for part in item["loc"])
    if item["type"] == "extra_forbidden":
        key = str(item["loc"][-1])
        if key in RETIRED_KEYS:
            return f"{where}: {key} is retired: {RETIRED_KEYS[key]}"
        hint = did_you_mean(key, _keys_at(model, item["loc"][:-1]))
        return f"{where}: unknown key{hint}"
    return f"{where}: {item['msg'].removeprefix('Value error, ')}"


def _keys_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Returns the keys that are allowed at `loc` below `model`, also inside lists and dicts."""
    for part in loc:
        field = model.model_fields.get(str(part))
        candidates = [field.annotation] if field else []
        inner = [a for c in candidates for a in (c, *getattr(c, "__args__", ()))]
        model = next((a for a in inner if isinstance(a, type) and issubclass(a, BaseModel)), model)
    return list(model.model_fields)


def did_you_mean(word: str, known: list[str]) -> str:
    near = nearest(word, known)
    return f", did you mean {near!r}?" if near else f", known: {', '.join(known)}"
