"""Django uses the job database of this test run, with the settings that jobu needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from scheduler import checks
from tests import plugin

pytestmark = pytest.mark.database

VENDORS = {"sqlite": "sqlite", "postgres": "postgresql", "mysql": "mysql"}


def ask(statement: str) -> object:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        [answer] = cursor.fetchone()
        return answer


@pytest.mark.django_db
def test_django_runs_on_the_database_of_this_run(job_database: str):
    assert connection.vendor == VENDORS[job_database]


@pytest.mark.django_db
def test_sqlite_is_a_file_with_write_ahead_log(job_database: str):
    if connection.vendor == "sqlite":
        assert Path(str(ask("select file from pragma_database_list"))).is_relative_to(
            plugin.the_run().data_dir
        )
        assert ask("pragma journal_mode") == "wal"


@pytest.mark.django_db
def test_servers_use_utc_and_read_committed(job_database: str):
    if job_database == "postgres":
        assert ask("show timezone") == "UTC"
        assert ask("show transaction_isolation") == "read committed"
    if job_database == "mysql":
        assert ask("select @@session.time_zone") == "+00:00"
        variable = "tx_isolation" if connection.mysql_is_mariadb else "transaction_isolation"  # type: ignore[attr-defined]
        assert ask(f"select @@session.{variable}") == "READ-COMMITTED"


@pytest.mark.django_db
def test_check_names_an_isolation_under_which_limits_would_not_hold(job_database: str):
    assert checks.check_isolation(databases=["default"]) == []
    if job_database != "mysql":
        return
    with connection.cursor() as cursor:
        cursor.execute("set session transaction isolation level repeatable read")
    try:
        (found,) = checks.check_isolation(databases=["default"])
        assert found.id == "jobu.W021"
        assert "repeatable read" in found.msg
    finally:
        with connection.cursor() as cursor:
            cursor.execute("set session transaction isolation level read committed")


def test_tests_do_not_use_the_data_directory_of_the_developer():
    assert Path(settings.DATA_DIR) == plugin.the_run().data_dir
