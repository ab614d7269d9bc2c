"""examples/shop as its README says: web, beat and two workers on PostgreSQL and Redis."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.harness.fork_server import the_fork_server
from tests.harness.servers import Postgres, Redis
from tests.harness.servers.base import free_port
from tests.harness.servers.daemon import Daemon
from tests.harness.system import ROOT
from tests.harness.waiting import wait_until
from tests.harness.web_browser import Browser

EXAMPLE = ROOT / "examples" / "shop"
README = (EXAMPLE / "README.md").read_text(encoding="utf-8")
MANAGE = str(EXAMPLE / "manage.py")
# What people do in the admin.
FILL = """
from django.contrib.auth.models import User
from orders.models import Order, Product

User.objects.create_superuser("ann", password="pw")
tea = Product.objects.create(name="tea", stock=3)
for pieces in (2, 2):
    Order.objects.create(product=tea, pieces=pieces)
"""
# As if beat had not run since yesterday: it makes up for the newest slot.
MISSED = "UPDATE cron_jobs SET next_run_at = next_run_at - interval '1 day' WHERE name = 'sales'"


def commands_of_the_readme() -> list[str]:
    """The lines of its `sh` blocks, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]


class Shop:
    def __init__(self, place: Path, database_url: str, broker_url: str) -> None:
        self.place = place
        at = urlsplit(database_url)
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": f"{EXAMPLE}:{ROOT}",
            "PYTHONUNBUFFERED": "1",
            "PGHOST": at.hostname or "",
            "PGPORT": str(at.port),
            "PGUSER": at.username or "",
            "PGPASSWORD": at.password or "",
            "PGDATABASE": at.path[1:],
            "CELERY_BROKER_URL": broker_url,
        }
        self.database = psycopg.connect(database_url, autocommit=True, row_factory=dict_row)
        self.parts: list[Daemon] = []

    def manage(self, *arguments: str) -> str:
        done = the_fork_server().run([MANAGE, *arguments], environment=self.environment, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *arguments: str) -> None:
        log = self.place / f"{len(self.parts)}.log"
        process = the_fork_server().start(list(arguments), environment=self.environment, output=log)
        self.parts.append(Daemon.of(process, log))

    def rows(self, query: str) -> list[dict[str, Any]]:
        return self.database.execute(query.encode()).fetchall()

    def logs(self) -> str:
        return "\n".join(part.log_tail() for part in self.parts)

    def close(self) -> None:
        for part in self.parts:
            part.kill()
        self.database.close()


@pytest.fixture
def shop(tmp_path: Path, postgres_server: Postgres, redis_server: Redis) -> Iterator[Shop]:
    url = postgres_server.create_database("example")
    made = Shop(tmp_path, url, redis_server.create_database())
    yield made
    made.close()
    postgres_server.drop_database(url)


@pytest.mark.processes
def test_the_example_shop_runs_its_tasks_and_handlers_in_two_workers(shop: Shop) -> None:
    commands = commands_of_the_readme()
    setup = [line.split() for line in commands if line.startswith("python manage.py m")]
    servers = [line.split()[1:] for line in commands if line.startswith("celery ")]
    assert [words[2] for words in setup] == ["migrate", "make_jobs"]
    assert [words[2] for words in servers] == ["beat", "worker", "worker"]

    for _, _, *arguments in setup:
        shop.manage(*arguments)
    shop.manage("shell", "-v0", "-c", FILL)
    shop.database.execute(MISSED)
    port = free_port()
    shop.start(MANAGE, "runserver", "--noreload", f"127.0.0.1:{port}")
    for arguments in servers:
        shop.start("-m", "celery", *arguments)

    browser = Browser(port)
    wait_until(
        lambda: browser.is_answered("/jobu/health"), 60, "the web process", details=shop.logs
    )
    browser.log_in("/jobu/", "ann", "pw")
    for name in ("ship", "restock"):
        [job] = shop.rows(f"SELECT id FROM cron_jobs WHERE name = '{name}'")
        browser.send(f"/jobu/scheduler/cronjob/{job['id']}/run/", {})

    def ended() -> set[str]:
        query = "SELECT DISTINCT job_name FROM job_executions WHERE status = 'SUCCESS'"
        return {row["job_name"] for row in shop.rows(query)}

    wait_until(lambda: ended() >= {"ship", "restock", "sales"}, 60, "three runs", details=shop.logs)
    # A job may have come due once more in the meantime: that run has no worker yet.
    owners = {
        row["job_name"]: row["lease_owner"].partition("@")[0]
        for row in shop.rows(
            "SELECT job_name, lease_owner FROM job_executions WHERE status = 'SUCCESS'"
        )
        if row["job_name"] != "sales"
    }
    assert owners == {"ship": "tasks", "restock": "io"}
    assert shop.rows("SELECT shipped FROM orders_order ORDER BY id")[0] == {"shipped": True}
    assert "restock" in browser.see("/jobu/scheduler/jobexecution/?q=restock")
    assert "unfold" not in browser.see("/admin/orders/order/")
