"""Fills the database of a site for the tests. Runs inside `manage.py shell`."""

from __future__ import annotations

from typing import Any, Final

from tests.browser.site import AWAITED, DIVIDED, FROZEN, IN_LINE, LANGUAGES, PASSWORD, UNAPPROVED

_LONG: Final = {"sleep_seconds": 600}


def people_and_jobs() -> None:
    """Creates a user for each language. Each has separate jobs, so that tests do not interfere."""
    from django.contrib.auth import get_user_model

    from scheduler.models import CronJob
    from scheduler.operations.actor import Actor
    from scheduler.operations.control import Control

    control = Control(actor=Actor(name="seed"))
    for language in LANGUAGES:
        user = get_user_model().objects.create_superuser(f"reader-{language}", password=PASSWORD)
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
        for_errands(control, language)
    nightly = CronJob.objects.get(name="en nightly")
    a_row_of_each_kind(control, user, job=nightly)
    runs_that_do_not_start(
        control, upstream=CronJob.objects.get(name="en failing"), handler="sample"
    )
    divided = control.create_job(
        name=DIVIDED,
        cron_expression="0 0 1 1 *",
        handler_name="sample",
        handler_params=_LONG,
        shards=2,
    )
    control.run_now(divided.pk)


def for_errands(control: Any, language: str) -> None:
    """Creates what test_errands.py works on: each errand has rows of its own."""
    job = control.create_job(
        name=f"{language} nightly",
        cron_expression="0 4 * * *",
        handler_name="sample",
        handler_params={"sleep_seconds": 0, "message": "good night"},
    )
    control.update_job(job.pk, cron_expression="0 3 * * *")  # so there is a version to restore
    for _run in range(2):
        control.run_now(job.pk)
    broken = control.create_job(
        name=f"{language} broken",
        cron_expression="0 0 1 1 *",
        handler_name="sample",
        handler_params={"should_fail": True, "message": "the disk is full"},
        max_retry=0,
    )
    control.run_now(broken.pk)
    halted = control.create_job(
        name=f"{language} halted",
        cron_expression="*/2 * * * * *",
        handler_name="sample",
        misfire_policy="skip",
    )
    control.pause(halted.pk, reason="the warehouse is being moved")
    for name in ("to pause", "in bulk one", "in bulk two"):
        control.create_job(
            name=f"{language} {name}", cron_expression="0 0 1 1 *", handler_name="sample"
        )


def a_row_of_each_kind(control: Any, user: Any, *, job: Any) -> None:
    """Creates what has a page and comes from nowhere else (page_list.py)."""
    from datetime import timedelta

    from django.contrib.auth.models import Group
    from django_celery_results.models import TaskResult

    from scheduler.alert_states import AlertKind
    from scheduler.models import Alert
    from scheduler.operations.backfills import BackfillControl
    from scheduler.operations.keys import TokenControl

    now = control.clock.now()
    control.of(BackfillControl).start(job.pk, since=now - timedelta(hours=25), until=now)
    control.of(TokenControl).create(user, "a script", ["read"])
    Group.objects.create(name="operators")
    TaskResult.objects.create(task_id="c0ffee", task_name="shop.add", status="SUCCESS")
    Alert.objects.create(
        kind=AlertKind.NOT_STARTED,
        subject_key=f"job:{job.pk}",
        job_id=job.pk,
        job_name=job.name,
        opened_at=now,
        last_seen_at=now,
        owner="night shift",
        facts={"seconds": 700, "scheduled_time": now.isoformat()},
    )


def runs_that_do_not_start(control: Any, *, upstream: Any, handler: str) -> None:
    """Creates a freeze, a group, and a run for each reason to wait.

    Beat records the runs of slots: each job has one slot, a moment after this.
    """
    from datetime import timedelta

    from scheduler.operations.freezes import FreezeControl
    from scheduler.operations.groups import GroupControl
    from scheduler.states import BlockedSlots

    now = control.clock.now()
    slot = now + timedelta(seconds=5)
    once = {
        "cron_expression": f"{slot:%-S %-M %-H %-d %-m} *",
        "timezone": "UTC",
        "handler_name": handler,
    }
    control.of(GroupControl).set_limits(
        "warehouse", description="Its database bears no more", max_running=1
    )
    limited = control.create_job(
        name=IN_LINE,
        cron_expression="0 0 1 1 *",
        handler_name=handler,
        handler_params=_LONG if handler == "sample" else {},
        concurrency_group="warehouse",
    )
    for _run in range(2):
        control.run_now(limited.pk)
    control.create_job(name=UNAPPROVED, approval_seconds=86_400, owner="Sales", **once)
    control.create_job(name=AWAITED, upstreams=[upstream.name], **once)
    control.create_job(name=FROZEN, tags=["stock"], **once)
    control.of(FreezeControl).create(
        name="Stocktaking",
        reason="the shelves are being counted",
        since=now,
        until=now + timedelta(days=2),
        tags=["stock"],
        blocked_slots=BlockedSlots.LATEST,
    )


def shadow_of_a_crontab(control: Any, name: str, handler: str = "sample") -> None:
    """Creates a shadow of a line that runs at another minute: each page has something to show."""
    import tempfile
    from datetime import timedelta
    from pathlib import Path

    from scheduler.models import CronJob, JobExecution
    from scheduler.moving.entries import Options
    from scheduler.moving.reading import read
    from scheduler.states import ReasonCode, RunStatus
    from scheduler.store.connection import database_now

    path = Path(tempfile.gettempdir()) / "jobu-example" / "crontab"  # pictures show where
    path.parent.mkdir(exist_ok=True)
    path.write_text("5 * * * * /usr/bin/true a line of a crontab\n", encoding="utf-8")
    now = database_now()
    (entry,) = read(f"crontab:{path}", Options(now=now, timezone="UTC"))[1]
    job = control.create_job(name=name, cron_expression="0 * * * *", handler_name=handler)
    control.shadow(job.pk, on=True)
    CronJob.objects.filter(pk=job.pk).update(source=f"crontab:{entry.key}")
    hour = now.replace(minute=0, second=0, microsecond=0)
    JobExecution.objects.bulk_create(
        JobExecution(
            job=job,
            job_name=name,
            handler_name=handler,
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
