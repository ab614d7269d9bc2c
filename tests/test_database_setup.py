"""A database that cannot take jobu's tables as they must be, or has only a part of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from django.db import DatabaseError, connections

from jobu_project.interrupted import what_to_do
from scheduler.store.encodings import wrong_encoding
from tests.harness.servers import MariaDB, Postgres

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parent.parent

# In one process: Django's start takes longer than all of this.
ASK_EVERYBODY = """
import django; django.setup()
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import connection
from scheduler import checks
from scheduler.admin.liveness import encoding_problem
try:
    call_command("migrate", verbosity=0)
except CommandError as error:
    print("migrate:", error)
def ours():
    return [found for found in run_checks(databases=["default"]) if found.id.startswith("jobu.")]
print("check:", *ours())
with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE cron_jobs (name varchar(100))")
print("check:", *ours())
call_command("check", databases=["default"])
checks._log_wrong_encoding()
print("page:", encoding_problem())
"""


def configured(tmp_path: Path, url: str) -> None:
    (tmp_path / "database.yaml").write_text(f"databases: {{default: {{dsn: '{url}'}}}}")


def python(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "JOBU_CONFIG_DIR": str(tmp_path),
        "JOBU_DATA_DIR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "jobu_project.settings",
    }
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


Maker = Callable[[str], str]


@pytest.fixture
def mariadb_database(mariadb_server: MariaDB) -> Iterator[Maker]:
    made = []

    def make(charset: str) -> str:
        url = mariadb_server.create_database("setup")
        made.append(url)
        name = urlsplit(url).path.lstrip("/")
        mariadb_server._execute(f"ALTER DATABASE `{name}` CHARACTER SET {charset}")
        return url

    yield make
    for url in made:
        mariadb_server.drop_database(url)


def test_mariadb_of_another_character_set_takes_no_first_tables_and_is_named_later(
    mariadb_database: Maker, tmp_path: Path
) -> None:
    url = mariadb_database("latin1")
    name = urlsplit(url).path.lstrip("/")
    configured(tmp_path, url)

    done = python(tmp_path, "-c", ASK_EVERYBODY)

    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    migrate, first, second, page = (
        line for line in said.splitlines() if line.startswith(("migrate:", "check:", "page:"))
    )
    fact = f"{name!r} stores text as latin1, not utf8mb4"
    repair = f"ALTER DATABASE `{name}` CHARACTER SET utf8mb4;"
    assert fact in migrate
    assert repair in migrate
    assert "jobu.E020" in first
    assert "jobu.W020" in second
    assert "stores text as latin1" in page
    [logged] = [line for line in said.splitlines() if "ERROR" in line and fact in line]
    assert "docs/production.md" in logged


def test_postgresql_of_another_encoding_takes_no_first_tables(
    postgres_server: Postgres, tmp_path: Path
) -> None:
    url = postgres_server.create_database("setup")
    name = urlsplit(url).path.lstrip("/")
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(f"drop database {name}")
        connection.execute(
            f"create database {name} encoding 'LATIN1' template template0 locale 'C'"
        )
    configured(tmp_path, url)

    done = python(tmp_path, "manage.py", "migrate", "--noinput")

    assert done.returncode != 0
    assert "jobu.E020" in done.stderr
    assert f"CREATE DATABASE \"{name}\" ENCODING 'UTF8' TEMPLATE template0;" in done.stderr
    postgres_server.drop_database(url)


@pytest.mark.database
@pytest.mark.django_db
def test_databases_of_the_tests_store_every_text() -> None:
    assert wrong_encoding(connections["default"]) is None


# Stops between two statements, as SIGTERM does: MySQL has committed each of them.
INTERRUPT = """
import django, json; django.setup()
from django.core.management import CommandError, call_command
from django.db import connection

class Interrupted(BaseException):
    pass

def run(command):
    with connection.cursor() as cursor:
        for statement in command.split(";"):
            if statement.strip():
                cursor.execute(statement)

def migrate(*, statements):
    left = [statements]
    def stop(execute, sql, *arguments):
        left[0] -= sql.startswith(("CREATE", "ALTER"))
        if left[0] < 0:
            raise Interrupted
        return execute(sql, *arguments)
    with connection.execute_wrapper(stop):
        call_command("migrate", "auth", "0001", verbosity=0)

def told():
    try:
        migrate(statements=999)
    except CommandError as error:
        return str(error)

said = []
for statements in (5, 13):
    try:
        migrate(statements=statements)
    except Interrupted:
        said.append(told())
        [removal] = [line for line in said[-1].splitlines() if "DROP TABLE" in line]
        run(removal)
said.append(told())  # nothing is left that could be in the way
run("DELETE FROM django_migrations WHERE app = 'auth'")
run("INSERT INTO auth_user (password, last_login, is_superuser, username, first_name, last_name,"
    " email, is_staff, is_active, date_joined)"
    " VALUES ('', NOW(), 1, 'ann', '', '', '', 1, 1, NOW())")
said.append(told())
print(json.dumps(said))
"""


def test_migrate_says_what_to_do_after_it_was_interrupted(
    mariadb_database: Maker, tmp_path: Path
) -> None:
    configured(tmp_path, mariadb_database("utf8mb4"))

    done = python(tmp_path, "-c", INTERRUPT)

    assert done.returncode == 0, done.stderr
    *first, nothing, with_data = json.loads(done.stdout)
    for told in first:
        assert "already exists" in told
        assert "interrupted in auth.0001_initial" in told
        assert "Nothing is stored yet" in told
    assert nothing is None
    assert "DROP" not in with_data
    assert "backup" in with_data
    assert "sqlmigrate auth 0001_initial" in with_data


def test_other_errors_of_migrate_get_no_such_advice() -> None:
    assert what_to_do(connections["default"], DatabaseError("the disk is full")) is None
