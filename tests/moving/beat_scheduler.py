"""django-celery-beat's own scheduler, in a process of its own, which a test tells what to do.

python -m tests.moving.beat_scheduler DATABASE_URL

It answers each line of its input with a line of JSON. `run`: it sends the task, and remembers that.
`look`: it looks for changes, as it does every five seconds.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import django
from django.conf import settings

from tests.moving.beat_project import entry_of


def main(url: str) -> None:
    settings.configure(
        DATABASES={"default": entry_of(url)},
        INSTALLED_APPS=["django.contrib.contenttypes", "django_celery_beat"],
        USE_TZ=True,
        SECRET_KEY="x",
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    django.setup()
    from celery import Celery
    from django.core.management import call_command
    from django_celery_beat.models import IntervalSchedule, PeriodicTask
    from django_celery_beat.schedulers import DatabaseScheduler

    call_command("migrate", verbosity=0)
    every = IntervalSchedule.objects.create(every=1, period="hours")
    task = PeriodicTask.objects.create(name="a", task="shop.plain", interval=every)
    app = Celery("legacy", broker="memory://")
    scheduler = DatabaseScheduler(app=app, lazy=True)
    tell(id=task.pk, names=sorted(scheduler.schedule))
    for line in sys.stdin:
        if line.strip() == "run":
            scheduler.reserve(scheduler.schedule["a"])
        entry = scheduler.schedule.get("a")
        is_due = None if entry is None else bool(entry.is_due().is_due)
        tell(names=sorted(scheduler.schedule), is_due=is_due)


def tell(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
