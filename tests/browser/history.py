"""Creates one day of history of a small shop, for pictures. Runs inside `manage.py shell`."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from tests.browser.site import DIVIDED, PASSWORD

DAY: Final = timedelta(hours=24)
RUNS: Final = 24
REPORT: Final = "Sales report"


@dataclass(frozen=True, kw_only=True)
class Past:
    """A job and how its runs went."""

    name: str
    description: str
    expression: str
    handler: str
    every: timedelta
    after: timedelta = timedelta(0)
    seconds: float
    # Which of its runs did not go well, counted from the newest: 0 is the last one.
    bad: dict[int, tuple[str, str]]
    options: dict[str, Any]


FAILED: Final = ("FAILED", "ConnectionError: suppliers.example.com did not answer within 30 s")
TIMEOUT: Final = ("TIMEOUT", "took longer than 600 s")
SKIPPED: Final = ("SKIPPED", "the run before had not ended")

PASTS: Final = (
    Past(
        name="Order sync", description="Orders of the web shop into the warehouse",
        expression="*/5 * * * *", handler="orders.sync", every=timedelta(minutes=5), seconds=14,
        bad={9: SKIPPED, 40: FAILED, 41: FAILED, 160: SKIPPED}, options={"overlap_policy": "skip"},
    ),
    Past(
        name="Stock recount", description="Shelves against books",
        expression="15 * * * *", handler="stock.recount", every=timedelta(hours=1),
        after=timedelta(minutes=15), seconds=170,
        bad={6: TIMEOUT}, options={"timeout_seconds": 600},
    ),
    Past(
        name="Supplier prices", description="Price lists of four suppliers",
        expression="0 */2 * * *", handler="prices.import", every=timedelta(hours=2), seconds=48,
        bad={0: FAILED, 1: FAILED, 5: FAILED}, options={},
    ),
    Past(
        name="Cache warm-up", description="The pages that people open first",
        expression="*/15 6-23 * * *", handler="cache.warm", every=timedelta(minutes=15), seconds=5,
        bad={}, options={},
    ),
    Past(
        name="Invoices by mail", description="Every business day after closing",
        expression="30 18 * * 1-5", handler="invoices.mail", every=DAY,
        after=timedelta(hours=9, minutes=30), seconds=95,
        bad={4: TIMEOUT}, options={"calendar": "kr:next"},
    ),
)  # fmt: skip


def shop() -> None:
    from django.contrib.auth import get_user_model

    from scheduler.models import CronJob
    from scheduler.operations.actor import Actor
    from scheduler.operations.control import Control
    from tests.browser.seed import a_row_of_each_kind, runs_that_do_not_start, shadow_of_a_crontab

    dice = random.Random(7)
    minji = get_user_model().objects.create_superuser("minji", password=PASSWORD)
    control = Control(actor=Actor(name="minji"))
    now = control.clock.now()
    for past in PASTS:
        job = control.create_job(
            name=past.name,
            description=past.description,
            cron_expression=past.expression,
            handler_name=past.handler,
            **past.options,
        )
        _write_runs(job, past, now, dice)
    control.create_job(
        name=REPORT,
        description="By region, for the managers",
        cron_expression="0 7 * * 1-5",
        handler_name="report.sales",
        handler_params={"day": "2026-11-20", "format": "pdf", "recipients": 12},
    )
    control.create_job(
        name="Month-end closing",
        description="Last business day of the month",
        cron_expression="0 18 L * *",
        handler_name="report.sales",
        calendar="kr:previous",
    )
    paused = control.create_job(
        name="Warehouse labels", cron_expression="*/10 8-18 * * *", handler_name="cache.warm"
    )
    control.pause(paused.pk, reason="the printer is being replaced")
    orders = CronJob.objects.get(name="Order sync")
    control.update_job(orders.pk, description="Orders of the web shop", owner="Warehouse")
    shadow_of_a_crontab(control, "Old crontab", "cache.warm")
    a_row_of_each_kind(control, minji, job=orders)
    runs_that_do_not_start(
        control, upstream=CronJob.objects.get(name="Supplier prices"), handler="stock.move"
    )
    statements = control.create_job(
        name=DIVIDED,
        description="One for each customer with an account",
        cron_expression="0 5 1 * *",
        handler_name="report.sales",
        shards=12,
    )
    control.run_now(statements.pk)


def _write_runs(job: Any, past: Past, now: datetime, dice: random.Random) -> None:
    from scheduler.models import CronJob, JobExecution

    count = int(DAY / past.every) if past.every < DAY else RUNS
    # Slots stand on whole multiples of their span in UTC, `after` later.
    since = (now - past.after).timestamp() % past.every.total_seconds()
    newest = now - timedelta(seconds=since)
    rows = []
    for number in range(count):
        slot = newest - number * past.every
        status, error = past.bad.get(number, ("SUCCESS", None))
        started = slot + timedelta(seconds=dice.uniform(0.1, 0.6))
        took = timedelta(seconds=600 if status == "TIMEOUT" else past.seconds * dice.gauss(1, 0.12))
        if started + took > now:
            continue
        rows.append(
            JobExecution(
                job_id=job.pk,
                job_name=past.name,
                handler_name=past.handler,
                scheduled_time=slot,
                status=status,
                attempt=0 if status == "SKIPPED" else 1,
                failures=int(status in ("FAILED", "TIMEOUT")),
                max_retry=0,
                started_at=None if status == "SKIPPED" else started,
                finished_at=slot if status == "SKIPPED" else started + took,
                error_message=error,
                created_at=slot,
            )
        )
    JobExecution.objects.bulk_create(rows[::-1])
    if rows:
        CronJob.objects.filter(pk=job.pk).update(
            last_run_at=rows[0].scheduled_time, last_status=rows[0].status
        )
