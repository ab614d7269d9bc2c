"""sample3, sample5, sample6, sample8 and sample9: several databases in one run."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from dbpools import get_db
from handlers.runner import OutcomeKind
from tests.handlers.conftest import ListSink
from tests.harness.servers import MariaDB
from tests.samples.conftest import ALL, Run, add, assert_pools_whole, names, rows, succeed
from tests.samples.servers import mysql

# handler, from, to
SYNCS = [
    ("sample3", "sqlite_2", "postgres_1"),
    ("sync_sqlite_to_postgres", "sqlite_2", "postgres_1"),
    ("sample5", "postgres_1", "mysql_1"),
    ("sync_postgres_to_mysql", "postgres_1", "mysql_1"),
]
EACH_SYNC = pytest.mark.parametrize(("name", "source", "target"), SYNCS)

# A deferred constraint: its trigger raises at the COMMIT and not before.
FAIL_AT_COMMIT = """
create function refuse() returns trigger language plpgsql as
  $$ begin raise exception 'refused at commit'; end $$;
create constraint trigger refuse after insert or update on sample_data
  deferrable initially deferred for each row execute function refuse();
"""
REFUSE_TWO = "alter table sample_data add constraint no_two check (name <> 'two')"
MYSQL_REFUSE_TWO = """
create trigger no_two before insert on sample_data for each row
  if new.name like '%two%' then signal sqlstate '45000' set message_text = 'no two'; end if
"""


def postgres_admin(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def mysql_admin(url: str, statement: str) -> None:
    connection = mysql(url)
    with connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()


# --- the syncs ------------------------------------------------------------------------------------


@EACH_SYNC
async def test_a_sync_copies_every_row(
    databases: None, run: Run, name: str, source: str, target: str
):
    await add(source, "one", "two", "three")

    result = await succeed(run(name))

    assert (result["synced"], result["from"], result["to"]) == (3, source, target)
    copied, given = await rows(target), await rows(source)
    assert [without_writer(row) for row in copied] == [without_writer(row) for row in given]
    assert {row["writer_handler"] for row in copied} == {
        "sample3" if source == "sqlite_2" else "sample5"
    }
    assert_pools_whole()


def without_writer(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "writer_handler"}


@EACH_SYNC
async def test_a_second_sync_updates_rows_and_adds_none(
    databases: None, run: Run, name: str, source: str, target: str
):
    await add(source, "one", "two")
    await succeed(run(name))
    async with get_db(source).transaction() as tx:
        await tx.execute("update sample_data set value = 'changed' where name = 'two'")

    result = await succeed(run(name))

    assert result["synced"] == 2
    assert [row["value"] for row in await rows(target)] == ["of one", "changed"]


@EACH_SYNC
async def test_a_sync_copies_in_batches(
    databases: None, run: Run, sink: ListSink, name: str, source: str, target: str
):
    await add(source, *(f"row {number}" for number in range(7)))

    result = await succeed(run(name, batch_size=3, piece_rows=3))

    assert result["synced"] == 7
    assert [message for _, message in sink.steps] == ["3 rows", "6 rows", "7 rows"]
    assert len(await rows(target)) == 7


@EACH_SYNC
async def test_a_sync_of_an_empty_table_is_a_success(
    databases: None, run: Run, name: str, source: str, target: str
):
    assert (await succeed(run(name)))["synced"] == 0


async def test_rows_made_after_a_sync_do_not_collide_with_copied_ids(databases: None, run: Run):
    await add("sqlite_2", "one", "two", "three")
    await succeed(run("sample3"))

    created = await succeed(run("sample2", action="create", name="four"))

    assert created["id"] > 3
    assert await names("postgres_1") == ["one", "two", "three", "four"]


async def test_a_sync_that_fails_halfway_copies_nothing(
    databases: None, run: Run, postgres_url: str
):
    await add("sqlite_2", "one", "two", "three")
    postgres_admin(postgres_url, REFUSE_TWO)

    outcome = await run("sample3", batch_size=1)

    assert outcome.kind is OutcomeKind.FAILED
    assert "no_two" in outcome.error
    assert await names("postgres_1") == []
    assert_pools_whole()


async def test_a_sync_to_mysql_that_fails_halfway_copies_nothing(
    databases: None, run: Run, mysql_url: str
):
    await add("postgres_1", "one", "two", "three")
    mysql_admin(mysql_url, MYSQL_REFUSE_TWO)

    outcome = await run("sample5", piece_rows=1)

    assert outcome.kind is OutcomeKind.FAILED
    assert "no two" in outcome.error
    assert await names("mysql_1") == []
    assert_pools_whole()


async def test_a_second_commit_that_fails_is_reported_as_a_partial_commit(
    databases: None, run: Run, postgres_url: str
):
    await add("sqlite_2", "one")
    postgres_admin(postgres_url, FAIL_AT_COMMIT)

    outcome = await run("sample3")

    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.error_class == "dbpools.errors.PartialCommitError"
    assert "committed: sqlite_2; commit failed on postgres_1: it is rolled back" in outcome.error
    assert "refused at commit" in outcome.traceback
    assert outcome.retryable  # the sync can run again without harm
    assert await names("postgres_1") == []


# --- three databases, all or nothing --------------------------------------------------------------


@pytest.mark.parametrize("name", ["sample8", "do_work_pattern"])
async def test_three_databases_commit_together(databases: None, run: Run, name: str):
    result = await succeed(run(name, everywhere=True, rows=2))

    assert result["count"] == 6
    assert list(result["data"]) == list(ALL)
    for database in ALL:
        assert await names(database) == ["work 1", "work 2"]
        assert [row["id"] for row in await rows(database)] == result["data"][database]
    assert_pools_whole()


async def test_three_databases_roll_back_when_the_function_raises(
    databases: None, run: Run, sink: ListSink
):
    outcome = await run("sample8", everywhere=True, should_fail=True)

    assert outcome.kind is OutcomeKind.FAILED
    assert [await names(database) for database in ALL] == [[], [], []]
    assert sink.lines == []  # no commit was logged
    assert_pools_whole()


@pytest.mark.parametrize("culprit", ALL)
async def test_three_databases_roll_back_when_one_of_them_fails(
    databases: None, run: Run, culprit: str, postgres_url: str, mysql_url: str
):
    if culprit == "sqlite_2":
        async with get_db("sqlite_2").transaction() as tx:
            await tx.execute(
                "create trigger no_two before insert on sample_data when new.name like '%two%' "
                "begin select raise(abort, 'no two'); end"
            )
    elif culprit == "postgres_1":
        postgres_admin(postgres_url, REFUSE_TWO.replace("<> 'two'", "not like '%two%'"))
    else:
        mysql_admin(mysql_url, MYSQL_REFUSE_TWO)

    outcome = await run("sample8", everywhere=True, name="two")

    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.error_class == "dbpools.errors.QueryExecutionError"
    assert [await names(database) for database in ALL] == [[], [], []]
    assert_pools_whole()


async def test_a_second_of_three_commits_that_fails_is_reported_and_the_third_rolled_back(
    databases: None, run: Run, postgres_url: str
):
    postgres_admin(postgres_url, FAIL_AT_COMMIT)

    outcome = await run("sample8", everywhere=True, rows=1)

    assert outcome.error_class == "dbpools.errors.PartialCommitError"
    assert "committed: sqlite_2; commit failed on postgres_1" in outcome.error
    assert "rolled back: mysql_1" in outcome.error
    assert [await names(database) for database in ALL] == [["work 1"], [], []]
    assert_pools_whole()


async def test_a_server_that_is_killed_before_the_commit_rolls_all_back(
    databases: None, run: Run, mariadb_server: MariaDB
):
    await succeed(run("sample8", everywhere=True, rows=1))
    mariadb_server.kill()

    outcome = await run("sample8", everywhere=True, rows=1)

    assert outcome.kind is OutcomeKind.FAILED
    assert "mysql_1" in outcome.error
    mariadb_server.start()
    assert [await names(database) for database in ALL] == [["work 1"]] * 3
    again = await succeed(run("sample8", everywhere=True, rows=1))
    assert again["count"] == 3
    assert_pools_whole()


async def test_sample8_alone_needs_no_server(sqlite: None, run: Run, sink: ListSink):
    result = await succeed(run("sample8"))

    assert result["data"] == {"sqlite_2": [1, 2, 3]}
    assert sink.lines == [("INFO", "committed in sqlite_2")]


async def test_sample8_everywhere_names_the_missing_databases(sqlite: None, run: Run):
    outcome = await run("sample8", everywhere=True)

    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.retryable is False
    assert "'postgres_1' and 'mysql_1' are not configured" in outcome.error
    assert "JOBU_POSTGRES_1_URL" in outcome.error


# --- reading from three ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sample6", "multi_db_report"])
async def test_the_report_counts_by_handler(databases: None, run: Run, name: str):
    await add("sqlite_2", "a", "b", writer="x")
    await add("postgres_1", "c", writer="x")
    await add("mysql_1", "d", writer="y")

    result = await succeed(run(name))

    assert result["count"] == 4
    assert result["by_handler"] == {"x": 3, "y": 1}
    assert result["data"] == {
        "sqlite_2": {"count": 2, "by_handler": {"x": 2}},
        "postgres_1": {"count": 1, "by_handler": {"x": 1}},
        "mysql_1": {"count": 1, "by_handler": {"y": 1}},
    }
    assert_pools_whole()


@pytest.mark.parametrize("name", ["sample9", "concurrent_queries"])
@pytest.mark.parametrize("mode", ["concurrent", "sequential"])
async def test_both_modes_count_the_same(databases: None, run: Run, name: str, mode: str):
    await add("sqlite_2", "a", "b")
    await add("mysql_1", "c")

    result = await succeed(run(name, action=mode))

    assert (result["mode"], result["count"]) == (mode, 3)
    assert result["data"] == {"sqlite_2": 2, "postgres_1": 0, "mysql_1": 1}
    assert result["elapsed_ms"] > 0
    assert_pools_whole()


async def test_the_default_mode_is_concurrent(databases: None, run: Run):
    assert (await succeed(run("sample9")))["mode"] == "concurrent"


# --- where a server is not configured -------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("sample2", ["postgres_1"]),
        ("sample3", ["postgres_1"]),
        ("sample4", ["mysql_1"]),
        ("sample5", ["postgres_1", "mysql_1"]),
        ("sample6", ["postgres_1", "mysql_1"]),
        ("sample9", ["postgres_1", "mysql_1"]),
    ],
)
async def test_a_missing_server_is_an_error_that_says_what_to_do(
    sqlite: None, run: Run, name: str, missing: list[str]
):
    outcome = await run(name)

    assert outcome.kind is OutcomeKind.INVALID
    assert outcome.retryable is False
    for database in missing:
        assert repr(database) in outcome.error
        assert f"JOBU_{database.upper()}_URL" in outcome.error
    assert "config/database.yaml" in outcome.error
    assert "worker.databases" in outcome.error
