"""Jobs that are due together share a plan only where each would have got the same one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from scheduler.beat.planning import Planned, Planner
from scheduler.conf import SchedulerSettings
from scheduler.schedule.fingerprint import fingerprint_of
from scheduler.store.slots import DueJob

NOW = datetime(2026, 3, 2, 12, 0, 5, tzinfo=UTC)
DUE = NOW.replace(second=0) - timedelta(hours=3)
SETTINGS = SchedulerSettings(
    default_timezone="UTC", calendars={"bank": {"dates": ["2026-03-03"], "weekends": True}}
)
JOB = DueJob(
    id=1, name="a", handler_name="ok", queue="", cron_expression="0 */3 * * *", timezone="",
    calendar="", misfire_policy="latest", misfire_grace_seconds=60, max_catchup=100,
    jitter_seconds=0, start_at=None, end_at=None, is_enabled=True, next_run_at=DUE,
    missed_from=None, schedule_fingerprint=None, last_slot_at=DUE - timedelta(hours=3),
    last_nominal_at=None, created_at=datetime(2026, 1, 1, 0, 7, tzinfo=UTC), is_shadow=False,
    approval_seconds=0, upstream_seconds=60, has_upstreams=False,
)  # fmt: skip


def planner() -> Planner:
    return Planner(SETTINGS, NOW, decides=lambda job_id: True)


def others() -> list[DueJob]:
    """Returns jobs that differ from JOB in one column, and those whose text says not all."""
    changes: list[dict[str, object]] = [
        {"cron_expression": "0 * * * *"},
        {"timezone": "Asia/Kathmandu"},
        {"calendar": "bank:next"},
        {"misfire_policy": "all"},
        {"misfire_policy": "skip"},
        {"misfire_grace_seconds": 86_400},
        {"misfire_policy": "all", "max_catchup": 1, "next_run_at": DUE - timedelta(hours=9)},
        {"misfire_policy": "all", "next_run_at": DUE - timedelta(hours=9)},
        {"start_at": NOW - timedelta(minutes=1)},
        {"end_at": NOW - timedelta(minutes=1)},
        {"next_run_at": NOW.replace(second=0)},
        {"next_run_at": None},
        {"schedule_fingerprint": "0" * 32},
        {"last_slot_at": DUE - timedelta(days=2)},
        # Planned by another schedule, so more is owed; its twin below is planned by this one.
        {
            "misfire_policy": "all",
            "schedule_fingerprint": "0" * 32,
            "last_slot_at": DUE - timedelta(days=2),
        },
        {"calendar": "bank:next", "last_nominal_at": NOW + timedelta(days=3)},
        {"cron_expression": "every 7h"},
        {"cron_expression": "every 7h", "created_at": JOB.created_at + timedelta(hours=2)},
        {"cron_expression": "H * * * *"},
        {"cron_expression": "H * * * *", "name": "b"},
    ]
    made = [JOB, *(replace(JOB, **change) for change in changes)]  # type: ignore[arg-type]
    known = [replace(job, schedule_fingerprint=fingerprint_of(job, SETTINGS)) for job in made]
    return [replace(job, id=number) for number, job in enumerate([*made, *known], 1)]


def test_jobs_that_are_due_together_get_the_plans_that_each_would_get_alone():
    alone: list[Planned] = [planner().plan(job) for job in others()]

    for jobs, expected in ((others(), alone), (others()[::-1], alone[::-1])):
        together = planner()
        assert [together.plan(job) for job in jobs] == expected
    assert len({repr(each) for each in alone}) > 12  # they differ


def test_jobs_of_one_schedule_share_a_plan_whatever_they_are_called():
    together = planner()
    first = together.plan(JOB)

    assert together.plan(replace(JOB, id=2, name="b", queue="q", jitter_seconds=9)) is first
