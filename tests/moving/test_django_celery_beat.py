"""200 tasks in a database that django-celery-beat itself has made: imported, again, compared."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from scheduler.models import Activity, CronJob
from scheduler.operations.imports import ImportControl
from tests.harness.servers import Postgres
from tests.harness.system import ROOT
from tests.moving.beat_project import TASKS
from tests.test_commands import run

pytestmark = pytest.mark.django_db(transaction=True)

NOT_THE_SAME: dict[str, tuple[str, set[str]]] = {
    "new york": ("differs", {"clock_change"}),
    "sunrise": ("impossible", {"solar"}),
    "seven": ("impossible", {"expression"}),
    "too many args": ("impossible", {"arguments"}),
    "any args": ("impossible", {"arguments"}),
    "args twice": ("impossible", {"arguments"}),
    "no such task": ("impossible", {"refused"}),
    "bounds": ("differs", {"start"}),
    "over": ("impossible", {"over"}),
    "options": ("differs", {"expires", "headers", "priority", "routing"}),
    "x" * 150: ("differs", {"name"}),
    "broken": ("impossible", {"arguments"}),
}
KINDS = {
    "every 10 minutes": "every 10m from 20",
    "every 7 minutes": "every 7m from 20",
    "every 36 hours": "every 36h from 20",
    "friday the 13th": "RRULE:FREQ=DAILY;BYMONTHDAY=13;BYDAY=FR;BYHOUR=9;BYMINUTE=0",
    "once": "at 20",
    "clocked": "at 2030-01-01T00:00Z",
}
LOSSY = ("--accept-differences", "--skip-impossible")


def beat_database(url: str) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.moving.beat_project", url]
    subprocess.run(command, cwd=ROOT, check=True, timeout=100)


@pytest.fixture(scope="module")
def sqlite_source(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("beat") / "beat.sqlite3"
    beat_database(f"sqlite:///{path}")
    return f"django-celery-beat:sqlite:///{path}"


def said(entry: dict[str, Any]) -> set[str]:
    return {each["reason"] for each in entry["findings"]} - {"off", "counts"}


def check_dry_run(answer: dict[str, Any]) -> None:
    found = {entry["name"]: entry for entry in answer["entries"]}
    assert len(found) == TASKS
    for name, entry in found.items():
        verdict, reasons = NOT_THE_SAME.get(name, ("same", set()))
        assert (entry["verdict"], said(entry)) == (verdict, reasons), entry
    assert (answer["same"], answer["differs"], answer["impossible"]) == (188, 4, 8)
    kinds = {name: found[name]["cron_expression"] for name in KINDS}
    assert all(text.startswith(KINDS[name]) for name, text in kinds.items()), kinds
    impossible = [entry for entry in found.values() if entry["verdict"] == "impossible"]
    assert all(entry["step"] == "leave out" for entry in impossible)


@pytest.mark.database
def test_the_words_of_the_dry_run_are_true_and_a_second_run_changes_nothing(
    control: ImportControl, tasks: Any, sqlite_source: str
):
    dry = run("import", sqlite_source, "--dry-run", "--broker", "redis", "--json")
    assert dry.code == 1
    check_dry_run(dry.json)
    assert CronJob.objects.count() == 0

    refused = run("import", sqlite_source, "--broker", "redis")
    assert refused.code == 1
    assert "--skip-impossible" in refused.err
    assert CronJob.objects.count() == 0

    done = run("import", sqlite_source, *LOSSY, "--broker", "redis", "--json").json
    assert done["steps"]["create"] == CronJob.objects.count() == done["same"] + done["differs"]
    assert not CronJob.objects.filter(is_enabled=True).exists()
    before = list(CronJob.objects.order_by("id").values())
    history = Activity.objects.count()
    assert history == len(before)

    again = run("import", sqlite_source, *LOSSY, "--broker", "redis", "--json").json
    assert again["steps"]["nothing"] == len(before)
    assert list(CronJob.objects.order_by("id").values()) == before
    assert Activity.objects.count() == history

    job = CronJob.objects.get(name="args")
    assert (job.handler_name, job.handler_params) == (
        "celery:shop.report", {"shop": 7, "day": "today"}
    )  # fmt: skip
    # 0 is the highest on Redis, 9 here.
    options = CronJob.objects.get(name="options")
    assert (options.priority, options.queue) == (6, "slow")
    assert CronJob.objects.get(name="plain 1").priority == 9
    bounds = CronJob.objects.get(name="bounds")
    assert bounds.start_at == datetime(2026, 12, 1, tzinfo=UTC)
    assert bounds.end_at == datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.database
def test_a_second_run_updates_what_changed_there_and_keeps_what_was_edited_here(
    control: ImportControl, tasks: Any, sqlite_source: str, tmp_path: Path
):
    shutil.copy(sqlite_source.partition("sqlite:///")[2], tmp_path / "beat.sqlite3")
    source = f"django-celery-beat:sqlite:///{tmp_path}/beat.sqlite3"
    only = ("--only", "plain 1", "plain 2", *LOSSY)
    assert run("import", source, *only).code == 0
    edited = CronJob.objects.get(name="plain 1")
    control.update_job(edited.pk, cron_expression="5 5 * * *", is_enabled=True)
    with sqlite3.connect(tmp_path / "beat.sqlite3") as beat:
        beat.execute("update django_celery_beat_crontabschedule set minute = '59'")
        beat.execute("update django_celery_beat_periodictask set description = 'new'")

    answer = run("import", source, *only, "--json").json

    steps = {entry["name"]: entry for entry in answer["entries"]}
    assert steps["plain 1"]["kept"] == ["cron_expression"]
    assert steps["plain 1"]["changes"] == ["description"]
    assert steps["plain 2"]["changes"] == ["cron_expression", "description"]
    edited.refresh_from_db()
    assert (edited.cron_expression, edited.is_enabled) == ("5 5 * * *", True)
    assert edited.description == "new"
    assert CronJob.objects.get(name="plain 2").cron_expression.startswith("59 ")
    assert CronJob.objects.count() == 2


@pytest.mark.thorough
def test_compare_over_400_days_finds_what_was_said_and_what_was_edited_and_nothing_else(
    control: ImportControl, tasks: Any, sqlite_source: str
):
    run("import", sqlite_source, *LOSSY)
    planted: dict[str, tuple[dict[str, Any], set[str]]] = {
        "plain 0": ({"timezone": "Asia/Tokyo"}, set()),  # the same offset all year
        "plain 6": ({"timezone": "Asia/Shanghai"}, {"zone"}),
        "plain 7": ({"cron_expression": "7 7 * * 0-4"}, {"weekday_number"}),
        "plain 10": ({"cron_expression": "10 0,6,12,18 2-30/2 * 1"}, {"days"}),
        "plain 12": ({"cron_expression": "13 12 * * *"}, {"times"}),
        "plain 16": ({"cron_expression": "16 16 1-31/2 * 1"}, {"day_and_weekday"}),
        "bounds": ({"end_at": None}, {"at_start", "end"}),
        "every 7 minutes": ({"cron_expression": "every 7m from 2026-01-01T00:01Z"}, {"phase"}),
        "every 10 minutes": ({"cron_expression": "every 11m"}, {"interval"}),
        "friday the 13th": ({"cron_expression": "0 9 13 * 5"}, {"day_and_weekday"}),
        "clocked": ({"cron_expression": "at 2026-12-30T00:00Z"}, {"kind"}),
    }
    for name, (values, _causes) in planted.items():
        control.update_job(CronJob.objects.get(name=name).pk, **values)
    began = time.process_time()  # not the load of the machine

    done = run("compare", sqlite_source, "--days", "400", "--json")

    took = time.process_time() - began
    assert done.code == 1
    found = {entry["name"]: set(entry["causes"]) for entry in done.json["entries"]}
    expected = {name: causes for name, (_values, causes) in planted.items()} | {
        "new york": {"clock_change"},
    }
    assert found == {name: expected.get(name, set()) for name in found}
    assert took < 60


def test_on_postgresql_the_same_is_read(
    control: ImportControl, tasks: Any, postgres_server: Postgres
):
    url = postgres_server.create_database("beat")
    beat_database(url)

    answer = run("import", f"django-celery-beat:{url}", "--dry-run", "--broker", "redis", "--json")

    check_dry_run(answer.json)
    # What the URL asks of TLS is asked of the server, which has none here.
    refused = run("import", f"django-celery-beat:{url}?sslmode=require", "--dry-run")
    assert (refused.code, "SSL" in refused.err) == (2, True)
    port = urlsplit(url).port
    assert all(f",{port}/" in entry["source"] for entry in answer.json["entries"])
    assert not any("jobu:jobu" in entry["source"] for entry in answer.json["entries"])
    postgres_server.drop_database(url)


def test_a_table_of_another_version_is_named_with_its_columns(tmp_path: Path):
    with sqlite3.connect(tmp_path / "old.sqlite3") as old:
        old.execute("create table django_celery_beat_periodictask (id integer, name text)")

    done = run("import", f"django-celery-beat:sqlite:///{tmp_path}/old.sqlite3", "--dry-run")

    assert done.code == 2
    assert "django_celery_beat_periodictask is of another version" in done.err
    assert "interval_id" in done.err


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("django-celery-beat:nowhere", "neither a URL nor an alias"),
        ("django-celery-beat:sqlite:////no/such/file", "there is no file"),
        ("django-celery-bet:x", "did you mean django-celery-beat?"),
        ("crontab:/no/such/file", "cannot be read"),
        ("celery:no.such.module:app", "cannot be imported"),
        ("apscheduler:postgresql://user:secret@host/db", "pickles"),
    ],
)
def test_a_source_that_cannot_be_read_is_exit_code_2(source: str, text: str):
    done = run("import", source)
    assert (done.code, text in done.err, "secret" in done.err) == (2, True, False)
