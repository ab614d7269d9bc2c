"""`manage.py load_examples`: creates a few jobs, which run within a minute of the first start."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from scheduler.management.cli import actor_named
from scheduler.operations.control import Control, InvalidJob

EXAMPLES: tuple[dict[str, Any], ...] = (
    {
        "name": "example: every minute",
        "description": "Greets, and shows that everything works. Disable it some day.",
        "cron_expression": "* * * * *",
        "handler_name": "sample",
        "handler_params": {"message": "hello from jobu"},
    },
    {
        "name": "example: with progress",
        "description": "Works for a few seconds, every five minutes; look at its log and progress.",
        "cron_expression": "*/5 * * * *",
        "handler_name": "sample",
        "handler_params": {"message": "a longer one", "sleep_seconds": 5},
        "overlap_policy": "skip",
    },
    {
        "name": "example: fails and is tried again",
        "description": "Fails on purpose: look at its attempts and errors.",
        "cron_expression": "17 * * * *",
        "handler_name": "sample",
        "handler_params": {"message": "this one fails", "should_fail": True},
        "max_retry": 1,
        "retry_backoff_seconds": 5,
    },
    {
        "name": "example: last business day",
        "description": "18:00 on the last Korean business day of each month: calendars at work.",
        "cron_expression": "0 18 L * *",
        "timezone": "Asia/Seoul",
        "calendar": "kr:previous",
        "handler_name": "sample",
        "handler_params": {"message": "month's end"},
    },
)


class Command(BaseCommand):
    help = "Create a few example jobs. Those that exist, by name, are left alone."

    def handle(self, *args: Any, **options: Any) -> None:
        control = Control(actor=actor_named(None))
        for example in EXAMPLES:
            try:
                job = control.create_job(**example)
            except InvalidJob as error:
                self.stderr.write(f"{example['name']}: {error}")
            else:
                self.stdout.write(f"created {job.name!r} ({job.cron_expression})")
