"""jobu in a Django project that exists already: docs/embedding.md as it is written."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from psycopg.rows import dict_row

from jobu_project import doctor
from scheduler.apps import _refuse_another_database
from scheduler.operations import project_app
from tests.fresh_project import files_of_the_page
from tests.harness.fork_server import the_fork_server
from tests.harness.servers import Postgres, Redis
from tests.harness.servers.daemon import Daemon
from tests.harness.system import ROOT
from tests.harness.waiting import wait_until

MODEL = (
    "from django.db import models\n\n\nclass Order(models.Model):\n    item = models.TextField()\n"
)
ADMIN = """
from django.contrib import admin
from orders.models import Order

admin.site.register(Order)
"""


SETUP = """
import os

os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"

import django

django.setup()
"""


# One table only, and only its reads.
AWAY = """
class Away:
    def db_for_read(self, model, **_):
        return "other" if model._meta.model_name == "jobattempt" else None
"""


@dataclass(frozen=True)
class Shop:
    folder: Path

    def add(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(exist_ok=True)
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        file.write_text(f"{before}\n{text}", encoding="utf-8")

    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if "DJANGO" not in key}
        # The shop's folder first, as `python manage.py` has it.
        return {**kept, "PYTHONPATH": f"{self.folder}{os.pathsep}{ROOT}"}

    def python(self, *arguments: str, fails: bool = False) -> str:
        """Runs Python with nothing imported before: what hides a module must be found."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def script(self, *arguments: str, fails: bool = False) -> str:
        """Runs a script or module in the shop. The libraries are imported: that takes a second."""
        done = the_fork_server().run(
            arguments, environment=self.environment(), timeout=120, directory=self.folder
        )
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def start(self, *arguments: str) -> Daemon:
        """Starts a part of `celery -A shop`."""
        log = self.folder / f"{arguments[0]}.log"
        command = ["-m", "celery", "-A", "shop", *arguments]
        process = the_fork_server().start(
            command, environment=self.environment(), output=log, directory=self.folder
        )
        return Daemon.of(process, log)

    def call(self, *commands: str) -> None:
        """Runs the commands in one process: each start of Django takes a second."""
        calls = "".join(f"call_command(*{shlex.split(command)!r})\n" for command in commands)
        self.add("commands.py", f"{SETUP}from django.core.management import call_command\n{calls}")
        self.script("commands.py")
        (self.folder / "commands.py").unlink()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A new Django project with an app, its model, and what the page says."""
    made = Shop(tmp_path_factory.mktemp("shop"))
    made.script("-m", "django", "startproject", "shop", ".")
    made.add("orders/__init__.py", "")
    made.add("orders/models.py", MODEL)
    made.add("orders/admin.py", ADMIN)
    for path, text in files_of_the_page().items():
        if path == "shop/urls.py":
            (made.folder / path).unlink()
        made.add(path, text)
    made.call("makemigrations orders", "migrate")
    return made


@pytest.fixture
def shop(template: Shop, tmp_path: Path) -> Shop:
    return Shop(Path(shutil.copytree(template.folder, tmp_path / "shop")))


def test_the_lines_of_the_readme_are_those_of_the_page() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```python\n# settings.py\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    files = files_of_the_page()
    page = files["shop/settings.py"] + files["shop/urls.py"]

    own = {"orders", "admin/"}
    assert set(re.findall(r'"([^"]+)"', block)) == set(re.findall(r'"([^"]+)"', page)) - own


# --- the pages ------------------------------------------------------------------------------------

VISIT = """
import json, re, sys
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.urls import get_resolver, reverse
from scheduler.models import CronJob, JobExecution

call_command("jobs", "create", "nightly", "--cron=30 2 * * *", "--handler=restock",
             "--param=item=tea", stdout=sys.stderr)
call_command("jobs", "run", "nightly", stdout=sys.stderr)
User.objects.create_superuser("ann", password="pw")
anybody, ann = Client(), Client()
found = {"anybody": {}, "ann": {}, "shop": {}}
for url in ("/jobu/", "/jobu/login/", "/jobu/api/docs", "/jobu/health", "/jobu/api/crons",
            "/jobu/metrics", "/jobu/theme/admin/js/actions.js", "/jobu/theme/manage.py"):
    answer = anybody.get(url, headers={"accept": "text/html"})
    found["anybody"][url] = [answer.status_code, answer.headers.get("Location")]
answer = ann.post("/jobu/login/", {"username": "ann", "password": "pw"})
found["signed in"] = answer.headers.get("Location")
job, run = CronJob.objects.get().pk, JobExecution.objects.get().pk
pages = [reverse("admin:index", current_app="jobu")]
for name in ("cronjob", "jobexecution", "backfill", "schedulerprocess", "apitoken", "preference"):
    pages.append(reverse(f"admin:scheduler_{name}_changelist", current_app="jobu"))
for name in ("auth_user_changelist", "scheduler_cronjob_add", "scheduler_backfill_add",
             "scheduler_apitoken_add", "password_change"):
    pages.append(reverse(f"admin:{name}", current_app="jobu"))
pages += [f"/jobu/scheduler/cronjob/{job}/change/", f"/jobu/scheduler/cronjob/{job}/run/",
          f"/jobu/scheduler/cronjob/{job}/history/", f"/jobu/scheduler/jobexecution/{run}/change/"]
def seen(url):
    answer = ann.get(url)
    text = answer.content.decode()
    return {
        "status": answer.status_code,
        "theme": "unfold/css" in text,
        "scripts": re.findall(r'src="([^"]*/actions.js)"', text),
        "links": sorted({link.split("/")[1] for link in re.findall(r'href="(/[^"]*/)"', text)}),
        "django's filters": "data-filter-title" in text,
    }
found["ann"] = {url: seen(url) for url in pages}
found["parts"] = [ann.get(f"/jobu/{url}").status_code for url in
                  ("dashboard/now", "dashboard/charts", "search/?s=job", "api/crons", "api/docs")]
found["shop"] = {url: seen(url) for url in ("/admin/", "/admin/orders/order/", "/admin/auth/user/")}
ann.post("/jobu/set-language/", {"language": "ko", "next": "/jobu/"})
found["korean"] = ["작업" in ann.get(url).content.decode() for url in ("/jobu/", "/admin/")]
tries = [("eve", "x")] * 11
found["tries"] = [
    Client().post("/jobu/login/", {"username": name, "password": word}).status_code
    for name, word in [*tries, ("ann", "pw")]
]
print("FOUND" + json.dumps(found))
"""


def visited(shop: Shop) -> dict[str, Any]:
    shop.add("visit.py", SETUP + VISIT)
    output = shop.script("visit.py")
    found: dict[str, Any] = json.loads(output.partition("FOUND")[2].splitlines()[0])
    return found


def assert_jobus_site_is_whole(found: dict[str, Any]) -> None:
    sign_in = "/jobu/login/?next="
    assert found["anybody"] == {
        "/jobu/": [302, f"{sign_in}/jobu/"],
        "/jobu/login/": [200, None],
        "/jobu/api/docs": [302, f"{sign_in}%2Fjobu%2Fapi%2Fdocs"],
        "/jobu/health": [200, None],
        "/jobu/api/crons": [401, None],
        "/jobu/metrics": [401, None],
        "/jobu/theme/admin/js/actions.js": [200, None],
        "/jobu/theme/manage.py": [404, None],
    }
    assert found["signed in"] == "/jobu/"
    for url, page in found["ann"].items():
        assert (page["status"], page["theme"]) == (200, True), url
        assert "admin" not in page["links"], url
        assert page["scripts"] in ([], ["/jobu/theme/admin/js/actions.js"]), url
        assert not page["django's filters"], url
    assert found["parts"] == [200] * 5
    assert found["korean"] == [True, False]
    # The eleventh wrong password of one name waits; others do not.
    assert found["tries"] == [200] * 10 + [429, 302]


def test_jobus_site_has_the_theme_and_the_admin_of_the_project_stays_as_it_was(shop: Shop):
    shop.add(
        "shop/settings.py",
        "ALLOWED_HOSTS = ['*']\n"
        "PASSWORD_HASHERS = ['django.contrib.auth.hashers.MD5PasswordHasher']\n"
        "MIDDLEWARE += ['django.contrib.auth.middleware.LoginRequiredMiddleware']\n",
    )

    found = visited(shop)

    assert_jobus_site_is_whole(found)
    for url, page in found["shop"].items():
        assert (page["status"], page["theme"]) == (200, False), url
        assert "jobu" not in page["links"], url
        assert page["scripts"] in ([], ["/static/admin/js/actions.js"]), url


IN_THE_PROJECTS_ADMIN = """
from django.contrib.auth.models import User
from django.test import Client

User.objects.create_superuser("ann", password="pw")
ann = Client()
ann.force_login(User.objects.get())
for name in ("", "cronjob/", "cronjob/add/", "jobexecution/", "schedulerprocess/", "apitoken/"):
    answer = ann.get(f"/admin/scheduler/{name}")
    assert answer.status_code == 200, (name, answer.status_code)
    assert b"/jobu/scheduler/" not in answer.content
assert ann.get("/jobu/").status_code == 404
assert ann.get("/jobu/api/crons").status_code == 200
print("visited, theme:", "unfold/css" in ann.get("/admin/").content.decode())
"""


def test_the_pages_are_in_the_admin_of_the_project_by_choice(shop: Shop):
    shop.add("shop/settings.py", "ALLOWED_HOSTS = ['*']\nJOBU['admin_site'] = 'project'\n")
    shop.add("visit.py", SETUP + IN_THE_PROJECTS_ADMIN)

    assert "visited, theme: False" in shop.script("visit.py")


# --- mistakes -------------------------------------------------------------------------------------


def test_check_names_what_is_missing_and_the_line_to_write(shop: Shop):
    (shop.folder / "shop" / "celery.py").unlink()
    (shop.folder / "shop" / "__init__.py").write_text("", encoding="utf-8")
    shop.add(
        "shop/settings.py",
        """
INSTALLED_APPS.remove("ninja")
INSTALLED_APPS.remove("unfold.apps.BasicAppConfig")
INSTALLED_APPS.insert(0, "unfold.apps.BasicAppConfig")
CELERY_BEAT_SCHEDULER = "celery.beat:PersistentScheduler"
JOBU = {"handler_packages": ["orders.jobz"]}
DATABASES["other"] = DATABASES["default"]
DATABASE_ROUTERS = ["shop.routers.Away"]
""",
    )
    shop.add(
        "shop/routers.py", "class Away:\n    def allow_migrate(self, *_, **__): return False\n"
    )
    urls = (shop.folder / "shop" / "urls.py").read_text(encoding="utf-8")
    wrong = urls.replace('include("scheduler.urls")', 'include(("scheduler.urls", "cron"))')
    (shop.folder / "shop" / "urls.py").write_text(wrong, encoding="utf-8")

    said = shop.script("manage.py", "check", fails=True)

    found = dict(re.findall(r"\(jobu\.([EW]\d+)\) (.*)", said))
    assert set(found) == {"E004", "E013", "E030", "E031", "E032", "E033", "W006", "W035"}, said
    for line in (
        'JOBU["celery_app"] = "shop.celery:app"',
        'path("jobu/", include("scheduler.urls"))',
        "INSTALLED_APPS += ['ninja']",
        "No module named 'orders.jobz'",
    ):
        assert line in said


@pytest.mark.parametrize(
    ("settings", "files", "said"),
    [
        (
            "JOBU = {'retention_dayz': 3, 'pool_size': 'x', 'databases': {'x': {'type': 'sqlit'}}}",
            {},
            [
                "JOBU.retention_dayz: unknown key, did you mean 'retention_days'?",
                "JOBU.pool_size: Input should be a valid integer",
                "JOBU.databases.x.type: must be 'sqlite', 'postgres' or 'mysql', not 'sqlit'",
            ],
        ),
        (
            "INSTALLED_APPS += ['shop.scheduler']",
            {"shop/scheduler/__init__.py": ""},
            ["two apps with the label 'scheduler'", 'label = "shop_scheduler"'],
        ),
        ("", {"handlers.py": ""}, ["is hidden by", "shop/handlers.py is `shop.handlers`"]),
        (
            "DATABASE_ROUTERS = ['shop.routers.Away']",
            {"shop/routers.py": AWAY},
            [
                "sends scheduler.JobAttempt to the database 'other'",
                "if model._meta.app_label == 'scheduler': return 'default'",
            ],
        ),
    ],
    ids=["keys", "two schedulers", "hidden", "another database"],
)
@pytest.mark.processes
def test_a_mistake_stops_every_process_at_its_start(
    shop: Shop, settings: str, files: dict[str, str], said: list[str]
):
    shop.add("shop/settings.py", settings)
    for path, text in files.items():
        shop.add(path, text)

    # As a web process starts: no system check runs.
    output = shop.python("-c", "import shop.wsgi", fails=True)

    for text in said:
        assert text in output


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (["orders.jobs"], "settings.JOBU must be a mapping"),
        ({"celery_app": "shop:nothing"}, "'shop:nothing', which cannot be imported"),
        ({"celery_app": "json:dumps"}, "'json:dumps', which is no Celery app but a function"),
    ],
)
def test_the_settings_are_refused_with_the_line_to_write(settings: Any, value: Any, said: str):
    settings.JOBU = value

    with pytest.raises(ImproperlyConfigured, match=said):
        project_app.find()


class UsersAway:
    """A router: reads from a replica are allowed, as jobu only shows the names of users."""

    def db_for_read(self, model: Any, **_: Any) -> str | None:
        return "replica" if model._meta.app_label == "auth" else None

    def db_for_write(self, model: Any, **_: Any) -> str | None:
        return self.place if model._meta.app_label == "auth" else None

    place: str | None = None


def test_users_in_another_database_are_refused(settings: Any, monkeypatch: pytest.MonkeyPatch):
    config = apps.get_app_config("scheduler")
    settings.DATABASE_ROUTERS = [f"{__name__}.UsersAway"]
    _refuse_another_database(config)
    monkeypatch.setattr(UsersAway, "place", "people")

    with pytest.raises(ImproperlyConfigured, match=r"sends auth.User to the database 'people'"):
        _refuse_another_database(config)


def test_doctor_names_what_hides_or_overwrites_our_packages(shop: Shop):
    shop.add("dbpools.py", "")
    said = shop.python("-m", "jobu_project", "doctor", fails=True)
    assert said.count("\n") == 1
    assert f"'dbpools' is {shop.folder}/dbpools.py, and hides that of jobu" in said

    owners = {
        "scheduler": ["jobu-scheduler", "django-tasks-scheduler"],
        "handlers": ["jobu-scheduler"],
    }
    [problem] = doctor.overwritten(owners)
    assert "pip uninstall django-tasks-scheduler" in problem


# --- the processes --------------------------------------------------------------------------------

SETTINGS = """
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": %r, "USER": %r,
                         "PASSWORD": %r, "HOST": %r, "PORT": %r}}
JOBU["min_cron_interval_seconds"] = 1
CELERY_BROKER_URL = %r
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_SOFT_TIME_LIMIT = 1
CELERY_BEAT_SCHEDULE = {"static": {"task": "orders.tasks.count", "schedule": 1.0}}
"""
TASKS = """
from celery import shared_task

from orders.models import Order


@shared_task
def count():
    Order.objects.create(item=f"static entry: {Order.objects.count()}")
"""
SLOW = """

@handler("slow")
class Slow(BaseHandler):
    async def execute(self, params):
        import asyncio

        await asyncio.sleep(1.5)  # longer than the soft limit of the project's tasks
"""


@pytest.fixture
def running_shop(
    shop: Shop, postgres_server: Postgres, redis_server: Redis
) -> Iterator[tuple[Shop, str]]:
    url = postgres_server.create_database("shop")
    at = urlsplit(url)
    values = (at.path[1:], at.username, at.password, at.hostname, at.port)
    shop.add("shop/settings.py", SETTINGS % (*values, redis_server.create_database()))
    shop.add("orders/tasks.py", TASKS)
    shop.add("orders/jobs.py", SLOW)
    shop.call(
        "makemigrations orders -v0",
        "migrate -v0",
        "jobs create x --cron='* * * * * *' --handler=restock --param=item=tea",
        "jobs create slow --cron='30 2 * * *' --handler=slow --max-retry=0",
        "jobs run slow",
    )
    parts = [shop.start("beat"), shop.start("worker", "-c1")]
    yield shop, url
    for part in parts:
        part.kill()
    postgres_server.drop_database(url)


@pytest.mark.processes
def test_beat_and_worker_of_the_project_run_its_handlers_and_its_own_schedule(running_shop: Any):
    shop, url = running_shop
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as database:

        def rows(query: str) -> list[dict[str, Any]]:
            return database.execute(query).fetchall()

        def all_is_done() -> bool:
            items = {row["item"].partition(":")[0] for row in rows("SELECT item FROM orders_order")}
            [slow] = rows("SELECT status FROM job_executions WHERE handler_name = 'slow'")
            return items == {"tea", "static entry"} and slow["status"] == "SUCCESS"

        logs = [shop.folder / "beat.log", shop.folder / "worker.log"]
        wait_until(
            all_is_done, 60, "orders", details=lambda: "\n".join(p.read_text() for p in logs)
        )
        assert {row["status"] for row in rows("SELECT status FROM job_executions")} <= {
            "SUCCESS",
            "PENDING",
            "RUNNING",
        }
