"""The settings of the scheduler: one frozen value, `settings.JOBU`.

These models own each key, its unit, its default, its bounds and its description. The ready-made
project reads scheduler.yaml and worker.yaml through them; docs/settings.md is made from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any
from zoneinfo import available_timezones

from django.conf import settings
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from dbpools.config import DatabaseConfig
from dbpools.nearest import nearest

TASK_NAME = "scheduler.execute"
# Celery's own limit is the last ring, behind the runner's and the bridge's. It works under prefork
# only.
TIME_LIMIT_MARGIN_SECONDS = 45
# A run's lease ends for good 30 s after its timeout (store/runs.py: DEADLINE_MARGIN_SECONDS), and
# beat may then hand it to another worker. Before that it must be stopped and its end be written.
GRACE_SECONDS_MAX = 25


def known_timezone(name: str) -> str:
    """Returns `name`. ValueError with the nearest name where this host knows no such zone."""
    if name not in available_timezones():
        hint = nearest(name, available_timezones())
        raise ValueError(
            f"unknown time zone {name!r}" + (f", did you mean {hint!r}?" if hint else "")
        )
    return name


def _ends_before_the_lease(grace_seconds: float) -> float:
    if grace_seconds > GRACE_SECONDS_MAX:
        raise ValueError(
            f"must be at most {GRACE_SECONDS_MAX}: a run's lease ends 30 s after its timeout, and"
            " another worker may begin it again while this one still waits"
        )
    return grace_seconds


TimezoneName = Annotated[str, AfterValidator(known_timezone)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """A part of the configuration. Unknown keys are refused; nothing changes after it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CalendarSettings(Section):
    """A named set of excluded days."""

    country: str | None = Field(None, description="public holidays of this country, such as KR")
    subdivision: str | None = Field(None, description="a state or province, such as BY in DE")
    weekends: bool = Field(False, description="Saturdays and Sundays are excluded")
    dates: frozenset[date] = Field(frozenset(), description="further excluded days, YYYY-MM-DD")
    working_dates: frozenset[date] = Field(
        frozenset(), description="business days, although the other keys exclude them"
    )


class BeatSettings(Section):
    """When jobs run."""

    default_timezone: TimezoneName = Field(
        "Asia/Seoul", description="time zone of jobs that have none"
    )
    poll_interval_seconds: Seconds = Field(
        1, description="beat looks at due jobs at least this often"
    )
    max_sleep_seconds: Seconds = Field(300, description="upper bound of any sleep of beat")
    min_cron_interval_seconds: Count = Field(
        60, description="jobs that fire more often are refused"
    )
    batch_size: Count = Field(
        500, description="jobs planned, and executions published, per transaction"
    )
    republish_seconds: Seconds = Field(
        30, description="a published execution that nobody claimed is sent again after this time"
    )
    republish_max_seconds: Seconds = Field(
        600, description="the wait between two messages doubles up to this"
    )
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


class SchedulerSettings(BeatSettings, WorkerSettings):
    """All that the scheduler needs to know."""

    # Not in repr, because it holds passwords.
    databases: Mapping[str, DatabaseConfig | Mapping[str, Any]] = Field(
        {}, repr=False, description="what handlers may open: entries as dbpools takes them"
    )
    default_database: str = Field("default", description="what a bare @transactional uses")


def current() -> SchedulerSettings:
    """Returns the settings in force. Ask each time: a test may replace them."""
    value = settings.JOBU
    assert isinstance(value, SchedulerSettings)
    return value
