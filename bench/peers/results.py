"""The peer with a history: the same task, and django-celery-results writes each outcome.

`celery -A bench.peers.results worker`. Run as a program it creates the tables.
"""

from __future__ import annotations

import os

import django
from celery import Celery

os.environ["DJANGO_SETTINGS_MODULE"] = "bench.peers.django_settings"
django.setup()

app = Celery("results", broker=os.environ["BENCH_BROKER_URL"])
app.conf.result_backend = "django-db"
app.conf.broker_connection_retry_on_startup = True


@app.task(name="results.nothing", ignore_result=False)
def nothing() -> None:
    return None


if __name__ == "__main__":
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
