"""Fills the database of a site for the tests. Runs inside `manage.py shell`."""

from __future__ import annotations

from typing import Any

from tests.browser.site import LANGUAGES, PASSWORD


def people_and_jobs() -> None:
    """Creates a user for each language. Each has separate jobs, so that tests do not interfere."""
    from django.contrib.auth import get_user_model

    from scheduler.operations.actor import Actor
    from scheduler.operations.control import Control

    control = Control(actor=Actor(name="seed"))
    for language in LANGUAGES:
        get_user_model().objects.create_superuser(f"reader-{language}", password=PASSWORD)
        control.create_job(
            name=f"{language} long",
            cron_expression="0 0 1 1 *",
            handler_name="sample",
            handler_params={"sleep_seconds": 600, "message": "takes its time"},
        )
        control.create_job(
            name=f"{language} failing",
            cron_expression="0 0 1 1 *",
            handler_name="sample",
            handler_params={"should_fail": True, "message": "no luck"},
            max_retry=0,
        )
        control.create_job(
            name=f"{language} often",
            cron_expression="*/2 * * * * *",
            handler_name="sample",
            misfire_policy="skip",
        )
        control.create_job(
            name=f"{language} daily",
            cron_expression="0 6 * * *",
            handler_name="sample",
            handler_params={"sleep_seconds": 0.5, "message": "for {slot:%Y-%m-%d}"},
        )
        shadow_of_a_crontab(control, f"{language} shadow")


def shadow_of_a_crontab(control: Any, name: str) -> None:
    """Creates a shadow of a line that runs at another minute: each page has something to show."""
    from datetime import timedelta
    from pathlib import Path

    from scheduler.models import CronJob, JobExecution
    from scheduler.moving.entries import Options
    from scheduler.moving.reading import read
    from scheduler.states import ReasonCode, RunStatus
    from scheduler.store.connection import database_now

    path = Path("crontab").absolute()
    path.write_text("5 * * * * /usr/bin/true a line of a crontab\n", encoding="utf-8")
    now = database_now()
    (entry,) = read(f"crontab:{path}", Options(now=now, timezone="UTC"))[1]
    job = control.create_job(name=name, cron_expression="0 * * * *", handler_name="sample")
    control.shadow(job.pk, on=True)
    CronJob.objects.filter(pk=job.pk).update(source=f"crontab:{entry.key}")
    hour = now.replace(minute=0, second=0, microsecond=0)
    JobExecution.objects.bulk_create(
        JobExecution(
            job=job,
            job_name=name,
            handler_name="sample",
            scheduled_time=hour - timedelta(hours=hours),
            available_at=hour,
            finished_at=hour,
            created_at=hour,
            max_retry=0,
            status=RunStatus.SKIPPED,
            reason_code=ReasonCode.SHADOW,
        )
        for hours in range(1, 9)
    )


def many_runs(job_name: str, number: int) -> None:
    """Creates a job with failed runs."""
    from datetime import timedelta

    from scheduler.models import JobExecution
    from scheduler.operations.control import Control
    from scheduler.states import RunStatus
    from scheduler.store.connection import database_now

    job = Control().create_job(
        name=job_name, cron_expression="0 0 1 1 *", handler_name="sample", is_enabled=False
    )
    now = database_now()
    JobExecution.objects.bulk_create(
        JobExecution(
            job=job,
            job_name=job_name,
            handler_name="sample",
            scheduled_time=now - timedelta(seconds=second),
            available_at=now,
            started_at=now,
            finished_at=now,
            status=RunStatus.FAILED,
        )
        for second in range(number)
    )
