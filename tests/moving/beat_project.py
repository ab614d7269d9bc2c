"""A project of django-celery-beat's own, in a process of its own: migrates and fills its tables.

python -m tests.moving.beat_project DATABASE_URL
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import django
from django.conf import settings

PLAIN = 180
TASKS = 200


def entry_of(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": parts.path.removeprefix("/")}
    if parts.scheme == "mysql":
        import pymysql

        pymysql.version_info = (2, 2, 8, "final", 0)  # what Django asks of mysqlclient
        pymysql.install_as_MySQLdb()
    return {
        "ENGINE": f"django.db.backends.{'mysql' if parts.scheme == 'mysql' else 'postgresql'}",
        "NAME": parts.path.removeprefix("/"),
        "USER": parts.username,
        "PASSWORD": parts.password,
        "HOST": parts.hostname,
        "PORT": parts.port,
    }


def fill() -> None:
    from django_celery_beat.models import (
        ClockedSchedule,
        CrontabSchedule,
        IntervalSchedule,
        PeriodicTask,
        SolarSchedule,
    )

    def crontab(minute: str, hour: str = "*", **fields: str) -> CrontabSchedule:
        given = {"timezone": "Asia/Seoul", **fields}
        return CrontabSchedule.objects.create(minute=minute, hour=hour, **given)

    def task(name: str, **values: Any) -> None:
        PeriodicTask.objects.create(**{"name": name, "task": "shop.plain", **values})

    # 180 that are the same here: times of the day, steps, weekdays, days and months.
    kinds: list[dict[str, str]] = [
        {},
        {"day_of_week": "mon-fri"},
        {"day_of_month": "1,15"},
        {"month_of_year": "*/3"},
        {"day_of_month": "*/2", "day_of_week": "1"},
        {"day_of_month": "1-7", "day_of_week": "mon"},
    ]
    for number in range(PLAIN):
        hour = "*/6" if number % 5 == 0 else str(number % 24)
        schedule = crontab(str(number % 60), hour, **kinds[number % len(kinds)])
        task(f"plain {number}", crontab=schedule, enabled=number % 2 == 0)
    every = IntervalSchedule.objects.create
    nightly = crontab("30", "2")
    task("every 10 minutes", interval=every(every=10, period="minutes"))
    task("every 7 minutes", interval=every(every=7, period="minutes"))
    task("every 36 hours", interval=every(every=36, period="hours"))
    task("friday the 13th", crontab=crontab("0", "9", day_of_month="13", day_of_week="5"))
    task("new york", crontab=crontab("30", "1,2", timezone="America/New_York"))
    task("new york at noon", crontab=crontab("0", "12", timezone="America/New_York"))
    task("once", interval=every(every=1, period="hours"), one_off=True)
    task(
        "clocked",
        clocked=ClockedSchedule.objects.create(clocked_time=datetime(2030, 1, 1, tzinfo=UTC)),
        one_off=True,
    )
    task("sunrise", solar=SolarSchedule.objects.create(event="sunrise", latitude=37, longitude=127))
    task("seven", crontab=nightly)
    CrontabSchedule.objects.filter(pk=nightly.pk).update(day_of_week="7")
    task("args", crontab=crontab("1", "3"), task="shop.report", args='[7, "today"]')
    task("too many args", crontab=crontab("1", "3"), task="shop.report", args="[7, 8, 9]")
    task("any args", crontab=crontab("1", "3"), task="shop.many", args="[7, 8, 9]")
    task("args twice", crontab=crontab("1", "3"), task="shop.report", args="[7]",
         kwargs='{"shop": 8}')  # fmt: skip
    task("no such task", crontab=crontab("1", "3"), task="shop.gone")
    task("bounds", crontab=crontab("1", "3"), start_time=datetime(2026, 12, 1, tzinfo=UTC),
         expires=datetime(2027, 2, 1, tzinfo=UTC))  # fmt: skip
    task("over", crontab=crontab("1", "3"), expires=datetime(2020, 1, 1, tzinfo=UTC))
    task("options", crontab=crontab("1", "3"), queue="slow", priority=3, exchange="x",
         routing_key="y", headers='{"tenant": 1}', expire_seconds=60)  # fmt: skip
    task("x" * 150, crontab=crontab("1", "3"))
    task("broken", crontab=crontab("1", "3"), kwargs="{}")
    PeriodicTask.objects.filter(name="broken").update(kwargs="{nonsense")
    assert PeriodicTask.objects.count() == TASKS


if __name__ == "__main__":
    settings.configure(
        DATABASES={"default": entry_of(sys.argv[1])},
        INSTALLED_APPS=["django.contrib.contenttypes", "django_celery_beat"],
        USE_TZ=True,
        SECRET_KEY="x",
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    django.setup()
    from django.core.management import call_command
    from django.db import transaction

    call_command("migrate", verbosity=0)
    with transaction.atomic():
        fill()
