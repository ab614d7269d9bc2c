"""A project that starts from nothing with the wheel of this checkout, as docs/embedding.md says.

    python -m tests.fresh_project [--python 3.12] [--django 6.0]

In an empty folder: an environment with that Django, `django-admin startproject`, a model and a
`@shared_task` that uses it, `pip install` of the wheel, the blocks of the page as they are written,
`migrate`, web, beat and a worker on PostgreSQL and Redis. A person signs in at the project's site
and makes a job for the task; the next slot and a *Run now* both run it. Prints one line.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg.rows import dict_row

from tests.harness.servers import Postgres, Redis
from tests.harness.servers.base import free_port
from tests.harness.servers.daemon import Daemon
from tests.harness.servers.pool import start_server
from tests.harness.system import ROOT
from tests.harness.waiting import wait_until
from tests.harness.web_browser import Browser

PAGE = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
DISTRIBUTION = "jobu-scheduler"
# The project's own part. The page has the rest.
OWN_FILES = {
    "orders/__init__.py": "",
    "orders/models.py": """
from django.db import models


class Order(models.Model):
    item = models.TextField()
""",
    "orders/tasks.py": """
from celery import shared_task

from orders.models import Order


@shared_task
def place(item, pieces: int = 1):
    for _ in range(pieces):
        Order.objects.create(item=item)
    return {"orders": Order.objects.count()}
""",
}
OWN_SETTINGS = """
DATABASES = {{"default": {{"ENGINE": "django.db.backends.postgresql", "NAME": {name!r},
    "USER": {user!r}, "PASSWORD": {password!r}, "HOST": {host!r}, "PORT": {port!r}}}}}
CELERY_BROKER_URL = {broker!r}
"""
VERSIONS = """
import platform
from importlib.metadata import version

names = ("Django", "celery", "kombu", "django-unfold", "jobu-scheduler")
print("Python", platform.python_version(), *(f"| {name} {version(name)}" for name in names))
"""
USER = ("ann", "a long enough password")


def files_of_the_page() -> dict[str, str]:
    """Path -> content of each block of Python that begins with its path."""
    found = re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return dict(found)


def commands_of_the_page() -> list[list[str]]:
    """The words of each line of its `sh` blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


class Project:
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.folder.mkdir()
        self.logs_folder = folder
        self.bin = folder / "environment" / "bin"
        foreign = ("JOBU_", "PYTHON", "DJANGO_", "CELERY_", "PYTEST_", "COVERAGE_", "VIRTUAL_ENV")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        path = f"{self.bin}{os.pathsep}{kept['PATH']}"
        self.environment = {**kept, "PATH": path, "PYTHONUNBUFFERED": "1"}
        self.parts: list[Daemon] = []

    def run(self, *command: str, **environment: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def add(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(exist_ok=True)
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        file.write_text(f"{before}\n{text}", encoding="utf-8")

    def start(self, *command: str) -> None:
        log = self.logs_folder / f"{len(self.parts)}.log"
        program = str(self.bin / command[0])
        daemon = Daemon(
            [program, *command[1:]],
            log_path=log,
            environment=self.environment,
            directory=self.folder,
        )
        self.parts.append(daemon)

    def logs(self) -> str:
        return "\n".join(part.log_tail() for part in self.parts)


def build_wheel(folder: Path) -> Path:
    """Builds without isolation: the pinned hatchling of requirements-dev.txt, and no index."""
    options = ["--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(
        [sys.executable, "-m", "build", *options], check=True, capture_output=True, timeout=300
    )
    [wheel] = folder.glob("*.whl")
    return wheel


def find_python(version: str) -> str | None:
    """Returns the path of an interpreter such as 3.12. It runs each: shims of a version manager may
    be on PATH and refuse.
    """
    managed = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    places = [
        sys.executable,
        shutil.which(f"python{version}"),
        *managed.glob(f"{version}.*/bin/python"),
    ]
    test = f"import sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
    for place in places:
        if (
            place
            and subprocess.run([place, "-c", test], capture_output=True, check=False).returncode
            == 0
        ):
            return str(place)
    return None


def install(project: Project, wheel: Path, python: str, django: str) -> None:
    """Makes the environment and installs the newest releases that fit, as the page says."""
    project.run(python, "-m", "venv", str(project.bin.parent))
    [asked] = re.findall(rf'pip install "({DISTRIBUTION}\[[\w,]+\])"', PAGE)
    needed = [f"Django=={django}.*", "celery[redis]", "psycopg[binary]"]  # the project's own
    pip = [str(project.bin / "python"), "-m", "pip", "install", "--quiet"]
    project.run(*pip, *needed, f"{asked} @ {wheel.as_uri()}", PIP_DISABLE_PIP_VERSION_CHECK="1")


def write(project: Project, database_url: str, broker_url: str) -> None:
    project.run("django-admin", "startproject", "shop", ".")
    for path, text in OWN_FILES.items():
        project.add(path, text)
    (project.folder / "shop" / "urls.py").unlink()  # the page has all of it
    for path, text in files_of_the_page().items():
        project.add(path, text)
    at = urlsplit(database_url)
    project.add(
        "shop/settings.py",
        OWN_SETTINGS.format(
            name=at.path[1:],
            user=at.username,
            password=at.password,
            host=at.hostname,
            port=str(at.port),
            broker=broker_url,
        ),
    )


def try_it(folder: Path, wheel: Path, python: str, django: str, servers: tuple[str, str]) -> str:
    """Goes the whole way. Returns what ran, with versions. Raises AssertionError with the logs."""
    database_url, broker_url = servers
    project = Project(folder)
    install(project, wheel, python, django)
    write(project, database_url, broker_url)
    [first, *_] = commands = commands_of_the_page()
    assert first == ["python", "manage.py", "check"]
    project.run("python", "manage.py", "makemigrations", "orders")
    for command in commands:
        if command[0] == "python" and command[1] == "manage.py":
            project.run(*command)
    name, password = USER
    project.run(
        "python", "manage.py", "createsuperuser", "--noinput", "--username", name, "--email=a@b.de",
        DJANGO_SUPERUSER_PASSWORD=password,
    )  # fmt: skip
    port = free_port()
    project.start("python", "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}")
    for command in commands:
        if command[0] == "celery":
            project.start(*command)
    try:
        seconds = make_job_and_wait(project, Browser(port), database_url)
    finally:
        for part in project.parts:
            part.kill()
    found = project.run("python", "-c", VERSIONS)
    return f"{found.strip()} | the slot ran after {seconds:.0f} s"


def make_job_and_wait(project: Project, browser: Browser, database_url: str) -> float:
    wait_until(
        lambda: browser.is_answered("/jobu/health"), 60, "the web process", details=project.logs
    )
    browser.log_in("/jobu/", *USER)
    browser.send(
        "/jobu/scheduler/cronjob/add/",
        {
            "name": "place",
            "cron_expression": "* * * * *",
            "handler_name": "celery:orders.tasks.place",
            "handler_params": '{"item": "tea", "pieces": 2}',
        },
    )
    with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as database:

        def ended(source: str) -> bool:
            rows = database.execute(
                "SELECT status, error_message FROM job_executions"
                " WHERE job_name = 'place' AND param_source = %s AND finished_at IS NOT NULL",
                [source],
            ).fetchall()
            assert {row["status"] for row in rows} <= {"SUCCESS"}, rows
            return bool(rows)

        job = database.execute("SELECT id FROM cron_jobs WHERE name = 'place'").fetchone()
        assert job is not None
        browser.send(f"/jobu/scheduler/cronjob/{job['id']}/run/", {})
        wait_until(lambda: ended("manual"), 60, "the run that was asked for", details=project.logs)
        began = time.monotonic()
        wait_until(lambda: ended("cron"), 90, "the next slot", details=project.logs)
        items = database.execute("SELECT item, count(*) FROM orders_order GROUP BY item").fetchall()
    # Two pieces each: the run that was asked for, and one or more slots.
    assert items[0]["item"] == "tea"
    assert items[0]["count"] >= 4
    assert "place" in browser.see("/jobu/scheduler/jobexecution/?q=place")
    return time.monotonic() - began


@contextlib.contextmanager
def own_servers() -> Iterator[tuple[str, str]]:
    with (
        contextlib.closing(start_server(Postgres)) as postgres,
        contextlib.closing(start_server(Redis)) as redis,
    ):
        yield postgres.create_database("fresh"), redis.create_database()


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="tests.fresh_project")
    parser.add_argument("--python", default="3.11", help="a version such as 3.12")
    parser.add_argument("--django", default="5.2")
    chosen = parser.parse_args(arguments)
    python = find_python(chosen.python)
    if python is None:
        parser.error(f"no Python {chosen.python} on PATH")
    with tempfile.TemporaryDirectory(prefix="jobu-fresh-") as place, own_servers() as servers:
        folder = Path(place)
        wheel = build_wheel(folder)
        print(try_it(folder, wheel, python, chosen.django, servers))


if __name__ == "__main__":
    main(sys.argv[1:])
