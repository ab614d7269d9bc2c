"""The private test servers can be killed, restarted with their data, and frozen."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psutil
import psycopg
import pymysql
import pytest
import redis
from kombu.connection import Connection

from tests.harness.servers import MariaDB, Postgres, RabbitMQ, Redis, ServerUnavailableError
from tests.harness.servers.daemon import Daemon
from tests.harness.servers.guardian import guardian
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.processes


def ask_postgres(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        cursor = connection.execute(statement.encode())
        return [tuple(row) for row in cursor] if cursor.description else []


def ask_mariadb(url: str, statement: str, read_timeout: int = 10) -> list[tuple[Any, ...]]:
    parts = urlsplit(url)
    connection = pymysql.connect(
        host=parts.hostname or "",
        port=parts.port or 0,
        user=parts.username,
        password=parts.password or "",
        database=parts.path.lstrip("/"),
        autocommit=True,
        connect_timeout=5,
        read_timeout=read_timeout,
    )
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(statement)
        return [tuple(row) for row in cursor.fetchall()]


def children_of(pid: int) -> list[psutil.Process]:
    children: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    return children


def is_gone(process: psutil.Process) -> bool:
    """Returns True if the process has ended, also if its parent has not waited for it yet."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


# --- PostgreSQL -----------------------------------------------------------------------------------


def test_postgres_keeps_every_commit_when_it_is_killed(postgres_server: Postgres):
    url = postgres_server.create_database("kept")
    ask_postgres(url, "create table kept (n int)")
    for n in range(50):
        ask_postgres(url, f"insert into kept values ({n})")

    postgres_server.kill()
    postgres_server.start()

    assert ask_postgres(url, "select count(*) from kept") == [(50,)]


def test_postgres_kill_ends_the_backends_too(postgres_server: Postgres):
    with psycopg.connect(postgres_server.url) as connection:
        connection.execute("select 1")
        children = children_of(postgres_server.pid)

        postgres_server.kill()

        assert children
        assert all(map(is_gone, children))
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    assert not postgres_server.is_running


def test_frozen_postgres_accepts_connections_but_does_not_answer(postgres_server: Postgres):
    url = postgres_server.create_database("frozen")

    postgres_server.freeze()
    with pytest.raises(psycopg.errors.ConnectionTimeout):
        psycopg.connect(url, connect_timeout=2)
    postgres_server.thaw()

    assert ask_postgres(url, "select 1") == [(1,)]


def test_postgres_databases_do_not_see_each_other(postgres_server: Postgres):
    one = postgres_server.create_database("twin")
    other = postgres_server.create_database("twin")

    ask_postgres(one, "create table only_here (n int)")

    assert one != other
    assert ask_postgres(other, "select to_regclass('only_here')") == [(None,)]


def test_postgres_database_with_an_open_connection_can_be_dropped(postgres_server: Postgres):
    url = postgres_server.create_database("dropped")
    with psycopg.connect(url, autocommit=True):
        postgres_server.drop_database(url)

    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


def test_postgres_stops_in_order_and_starts_again(postgres_server: Postgres):
    port = postgres_server.port

    postgres_server.stop()
    assert not postgres_server.is_running
    postgres_server.start()

    assert postgres_server.port == port
    assert ask_postgres(postgres_server.url, "select 1") == [(1,)]


# --- MariaDB --------------------------------------------------------------------------------------


def test_mariadb_keeps_every_commit_when_it_is_killed(mariadb_server: MariaDB):
    url = mariadb_server.create_database("kept")
    ask_mariadb(url, "CREATE TABLE kept (n INT)")
    for n in range(50):
        ask_mariadb(url, f"INSERT INTO kept VALUES ({n})")

    mariadb_server.kill()
    mariadb_server.start()

    assert ask_mariadb(url, "SELECT count(*) FROM kept") == [(50,)]


def test_frozen_mariadb_does_not_answer_until_it_is_thawed(mariadb_server: MariaDB):
    url = mariadb_server.create_database("frozen")

    mariadb_server.freeze()
    with pytest.raises(pymysql.OperationalError):
        ask_mariadb(url, "SELECT 1", read_timeout=1)
    mariadb_server.thaw()

    assert ask_mariadb(url, "SELECT 1") == [(1,)]


def test_mariadb_databases_do_not_see_each_other(mariadb_server: MariaDB):
    one = mariadb_server.create_database("twin")
    other = mariadb_server.create_database("twin")

    ask_mariadb(one, "CREATE TABLE only_here (n INT)")

    assert ask_mariadb(other, "SHOW TABLES") == []


def test_mariadb_stores_all_of_unicode(mariadb_server: MariaDB):
    url = mariadb_server.create_database("unicode")

    ask_mariadb(url, "CREATE TABLE texts (line VARCHAR(20))")

    [[_, definition]] = ask_mariadb(url, "SHOW CREATE TABLE texts")
    assert "utf8mb4" in definition


def test_mariadb_loads_time_zones_on_request(mariadb_server: MariaDB):
    mariadb_server.load_time_zones()

    [[local]] = ask_mariadb(
        mariadb_server.url, "SELECT CONVERT_TZ('2026-01-01 00:00:00', 'UTC', 'Asia/Seoul')"
    )
    assert str(local) == "2026-01-01 09:00:00"


# --- Redis ----------------------------------------------------------------------------------------


def test_redis_comes_back_empty_on_the_same_port(redis_server: Redis):
    url = redis_server.create_database()
    with redis.Redis.from_url(url) as client:
        client.set("key", "value")

    redis_server.kill()
    redis_server.start()

    with redis.Redis.from_url(url) as client:
        assert client.get("key") is None


def test_frozen_redis_does_not_answer_until_it_is_thawed(redis_server: Redis):
    with redis.Redis.from_url(redis_server.url, socket_timeout=0.3) as client:
        client.ping()

        redis_server.freeze()
        with pytest.raises(redis.exceptions.TimeoutError):
            client.ping()
        redis_server.thaw()

    redis_server.ping()


def test_redis_databases_are_empty_at_the_start_of_a_test(redis_server: Redis):
    urls = {redis_server.create_database() for _ in range(15)}
    with redis.Redis.from_url(next(iter(urls))) as client:
        client.set("key", "value")

    again = [redis_server.create_database() for _ in range(15)]

    assert set(again) == urls
    for url in again:
        with redis.Redis.from_url(url) as client:
            assert client.dbsize() == 0


# --- RabbitMQ -------------------------------------------------------------------------------------


def test_rabbitmq_keeps_durable_messages_when_it_is_killed(rabbitmq_server: RabbitMQ):
    url = rabbitmq_server.create_vhost("kept")
    with Connection(url, transport_options={"confirm_publish": True}) as connection:
        queue = connection.SimpleQueue("letters")
        queue.put("hello")
        queue.close()

    rabbitmq_server.kill()
    rabbitmq_server.start()

    with Connection(url) as connection:
        queue = connection.SimpleQueue("letters")
        message = queue.get(timeout=10)
        message.ack()
        queue.close()
    assert message.payload == "hello"


def test_rabbitmq_runs_on_a_separate_node(rabbitmq_server: RabbitMQ):
    if not rabbitmq_server.is_restartable:
        pytest.skip("the node from TEST_RABBITMQ_URL belongs to somebody else")

    answer = rabbitmq_server.control("eval", "{node(), nodes()}.")

    assert f"jobu{rabbitmq_server.port}@localhost" in answer
    assert answer.strip().endswith(",[]}")


# --- where servers come from, and how they end ----------------------------------------------------


def test_server_from_the_environment_is_used_and_never_killed(
    postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TEST_POSTGRES_URL", postgres_server.url)
    external = Postgres()

    url = external.create_database("guest")
    with pytest.raises(pytest.skip.Exception, match="TEST_POSTGRES_URL"):
        external.kill()
    external.close()

    assert postgres_server.is_running
    name = urlsplit(url).path.lstrip("/")
    query = f"select count(*) from pg_database where datname = '{unquote(name)}'"
    assert ask_postgres(postgres_server.url, query) == [(0,)]


def test_missing_server_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TEST_REDIS_URL", raising=False)
    monkeypatch.setattr("tests.harness.servers.redis.find_program", lambda program: None)
    monkeypatch.setattr("tests.harness.servers.base.find_program", lambda program, places=(): None)

    with pytest.raises(ServerUnavailableError, match=r"redis-server.*TEST_REDIS_URL"):
        Redis()


def test_server_that_cannot_start_shows_its_log(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TEST_REDIS_URL", raising=False)
    try:
        server = Redis()
    except ServerUnavailableError as error:
        pytest.skip(str(error))
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", server.port))
        squatter.listen()

        with pytest.raises(RuntimeError, match="Address already in use"):
            server.start()

    server.close()
    assert not server.directory.exists()


PARENT = """
import sys, threading
from pathlib import Path
from tests.harness.servers.daemon import Daemon
from tests.harness.servers.guardian import guardian

place = Path(sys.argv[1])
guardian.add_directory(place)
# A shell with a child in another session. Neither the process group nor the process tree alone
# finds both.
daemon = Daemon(["sh", "-c", "setsid sleep 600 & sleep 600"], log_path=place / "log")
print(daemon.pid, flush=True)
threading.Event().wait()
"""


def test_killed_test_run_leaves_neither_processes_nor_directories(tmp_path: Path):
    place = tmp_path / "place"
    place.mkdir()
    run = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(place)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with run:
        assert run.stdout is not None
        daemon = psutil.Process(int(run.stdout.readline()))
        wait_until(lambda: len(daemon.children()) == 2, 5, "both sleeps")
        family = [daemon, *daemon.children()]

        run.send_signal(signal.SIGKILL)

    wait_until(lambda: all(map(is_gone, family)), 10, "their end")
    wait_until(lambda: not place.exists(), 5, "removal of the directory")


def test_kill_finds_orphans_of_a_parent_that_has_already_died(tmp_path: Path):
    daemon = Daemon(["sh", "-c", "sleep 600 & echo $!"], log_path=tmp_path / "log")
    daemon.wait(timeout=10)
    orphan = psutil.Process(int(daemon.log()))

    daemon.kill()

    assert is_gone(orphan)


def test_guardian_can_be_closed_and_used_again(tmp_path: Path):
    other = type(guardian)()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        other.add_directory(tmp_path / name)
        other.close()
        assert not (tmp_path / name).exists()
