"""The peer django-celery-beat: `celery -A bench.peers.django_beat beat -S django`.

Run as a program it makes the tables and `COUNT` tasks that are due at `FIRST`, once an hour.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta

import django

from bench.peers.bare import app, nothing

os.environ["DJANGO_SETTINGS_MODULE"] = "bench.peers.django_settings"
django.setup()
app.conf.timezone = "UTC"
app.conf.beat_scheduler = "django_celery_beat.schedulers:DatabaseScheduler"
app.conf.beat_max_loop_interval = 1


def fill(count: int, first: float) -> None:
    from django.core.management import call_command
    from django_celery_beat.models import IntervalSchedule, PeriodicTask, PeriodicTasks

    call_command("migrate", verbosity=0)
    hourly = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.HOURS)
    before = datetime.fromtimestamp(first, UTC) - timedelta(hours=1)
    PeriodicTask.objects.bulk_create(
        [
            PeriodicTask(
                name=f"task {number}", task=nothing.name, interval=hourly, last_run_at=before
            )
            for number in range(count)
        ],
        batch_size=1000,
    )
    PeriodicTasks.update_changed()


if __name__ == "__main__":
    fill(int(sys.argv[1]), float(sys.argv[2]))
