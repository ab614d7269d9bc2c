"""SIGTERM ends a beat within its bound, wherever the signal finds it."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
import pymysql
import pytest

from scheduler.beat.stopping import STOP_SECONDS
from tests.harness.process_helpers import insert_job
from tests.harness.system import System

pytestmark = [pytest.mark.processes, pytest.mark.database]

# A loaded machine needs a moment to notice that the process has ended.
_MARGIN_SECONDS = 2


@contextmanager
def locked_jobs(url: str) -> Iterator[None]:
    """Locks cron_jobs against every reader and writer, as DDL of a careless person does."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        path = url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, isolation_level=None)) as greedy:
            greedy.execute("BEGIN EXCLUSIVE")
            yield
            greedy.execute("ROLLBACK")
    elif parts.scheme == "postgresql":
        with psycopg.connect(url) as connection:
            connection.execute("LOCK TABLE cron_jobs IN ACCESS EXCLUSIVE MODE")
            yield
            connection.rollback()
    else:
        with closing(mysql(url)) as connection, connection.cursor() as cursor:
            cursor.execute("LOCK TABLES cron_jobs WRITE")
            yield
            cursor.execute("UNLOCK TABLES")


def mysql(url: str) -> pymysql.Connection[Any]:
    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=parts.path.lstrip("/"),
        ssl_disabled=True,
    )


def beats(jobu: System) -> int:
    found = jobu.sql("SELECT count(*) AS n FROM scheduler_process WHERE kind = 'beat'")
    return int(found[0]["n"])


def test_a_beat_inside_a_blocked_query_ends_in_order_and_within_its_bound(jobu: System):
    insert_job(jobu, "every second")
    waiting, idle = jobu.start_beat(), jobu.start_beat()
    jobu.wait_until(lambda: beats(jobu) == 2, 60, "both beats")

    with locked_jobs(jobu.database_url):
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(1.5)  # longer than a tick: both beats wait for the lock
        for part in (waiting, idle):
            part.terminate()
            part.terminate()  # some supervisors send it twice
        started = time.monotonic()
        codes = [part.wait(STOP_SECONDS + _MARGIN_SECONDS) for part in (waiting, idle)]
        assert time.monotonic() - started < STOP_SECONDS + _MARGIN_SECONDS
    assert codes == [0, 0], jobu.logs()
    cut_off = [part.log().count("it was cut off") for part in (waiting, idle)]
    # SQLite waits 20 s inside one call. Elsewhere both ended by themselves and said goodbye.
    is_sqlite = jobu.database_url.startswith("sqlite")
    assert (cut_off, beats(jobu)) == (([1, 1], 2) if is_sqlite else ([0, 0], 0))

    # A beat that waits for nothing ends at once, and says goodbye on every database.
    before = beats(jobu)
    third = jobu.start_beat()
    jobu.wait_until(lambda: beats(jobu) == before + 1, 60, "the third beat")
    third.terminate()
    assert third.wait(_MARGIN_SECONDS) == 0
    assert beats(jobu) == before
