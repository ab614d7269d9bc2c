"""`manage.py make_jobs`: creates the jobs of the shop. People can do the same at /jobu/."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

JOBS = {
    "ship": ["--cron=* * * * *", "--handler=celery:orders.tasks.ship_open_orders"],
    "sales": ["--cron=30 6 * * *", "--handler=celery:orders.tasks.count_sales"],
    # An async handler belongs to the worker with threads, which takes the queue `io`.
    "restock": ["--cron=*/15 8-18 * * 1-5", "--handler=restock", "--param=to=50", "--queue=io"],
}


class Command(BaseCommand):
    help = "Create the jobs of the shop."

    def handle(self, *args: Any, **options: Any) -> None:
        for name, arguments in JOBS.items():
            call_command("jobs", "create", name, "--overlap-policy=skip", *arguments)
