"""What one user leaves in the session of a connection, the next one does not find."""

# ruff: noqa: PT012 - what must raise is the end of a transaction, so its body is in the block

import time
from collections.abc import Callable
from typing import Any

import pytest

from dbpools import BaseDatabase, DatabaseError, DatabaseRegistry
from dbpools.binding import MYSQL, SQLITE, Dialect
from dbpools.session import may_change_session
from tests.dbpools.engines import Engine

EngineOf = Callable[[str], Engine]

MYSQL_LEFTOVERS = [
    "set time_zone = '+09:00'",
    "set foreign_key_checks = 0",
    "set sql_mode = ''",
    "set session transaction isolation level serializable",
    "set transaction isolation level serializable",
    "set autocommit = 0",
    "set names latin1",
    "use mysql",
    "set role keeper",
    "set @left = 1",
    "select @left := 1",
    "select 1 into @left",
    "select /*! @left := */ 1",
    "insert into item (name) values (@left := 'a')",
    "insert into watched (a) values (1)",  # its trigger changes time_zone
    "select sneaky()",  # changes @left by SELECT ... INTO, which the server does not tell
    "select sneaky() + 1 from item where name in (lower('a'))",
    "call sneak()",
    "select sneaky_role()",
    "call sneak_role()",
    "select get_lock('left', 0)",
    "lock tables item write",
    "create temporary table left_over (a int)",
    "prepare left_over from 'select 1'",
]
MYSQL_SEES = """
select @@time_zone as zone, @@foreign_key_checks as checks, @@sql_mode as sql_mode,
       @@session.{isolation} as isolation, @@autocommit as auto, @@character_set_client as charset,
       @@collation_connection as collation, database() as db, current_role() as role, @left as mine,
       is_used_lock('left') as locked
"""
MYSQL_FINDS = ["select * from left_over", "execute left_over"]

POSTGRES_LEFTOVERS = [
    "set role keeper",
    "set session authorization keeper",
    "set search_path = 'pg_catalog'",
    "set timezone = 'Asia/Seoul'",
    "select set_config('my.setting', 'left', false)",
    "select sneaky()",
    "set session characteristics as transaction isolation level serializable",
    "set application_name = 'left'",
    "set statement_timeout = 1",
    "listen left_over",
    "select pg_advisory_lock(1)",
    "select nextval('left_seq')",
    "create temp table left_over (a int)",
    "prepare left_over as select 1",
    'do $$ begin execute \'prepare "left ""over" as select 1\'; end $$',
    "declare left_over cursor with hold for select 1",
]
POSTGRES_SEES = """
select current_user::text, session_user::text, current_setting('search_path') as path,
       current_setting('timezone') as zone,
       coalesce(current_setting('my.setting', true), '') as own,
       current_setting('transaction_isolation') as isolation,
       current_setting('application_name') as app, current_setting('statement_timeout') as timeout,
       (select count(*) from pg_listening_channels()) as channels,
       (select count(*) from pg_locks where locktype = 'advisory') as locks,
       (select count(*) from pg_prepared_statements where from_sql) as prepared,
       (select count(*) from pg_cursors where is_holdable) as cursors
"""
POSTGRES_FINDS = ["select * from pg_temp.left_over", "select lastval()"]

SQLITE_LEFTOVERS = [
    "pragma foreign_keys = off",
    "pragma query_only = on",
    "pragma busy_timeout = 1",
    "attach ':memory:' as other",
    "create temp table left_over (a int)",
    "create table temp.left_over (a int)",
    'create table "temp".left_over (a int)',
    "create temporary view left_over as select 1",
    "create temporary trigger left_over after insert on item begin select 1; end",
]
SQLITE_SEES = """
select (select foreign_keys from pragma_foreign_keys) as checks,
       (select query_only from pragma_query_only) as query_only,
       (select timeout from pragma_busy_timeout) as timeout,
       (select count(*) from pragma_database_list where name <> 'temp') as databases,
       (select count(*) from sqlite_temp_master) as temporary
"""


async def opened(engine: Engine) -> BaseDatabase:
    """A pool of one connection, a table `item`, and on servers a role and what changes sessions."""
    config = engine.config(size=1)
    if engine.kind == "postgres":
        config["options"] = {"statement_timeout": 4321}
    await DatabaseRegistry.init_from_config({"default": config})
    database = DatabaseRegistry.get("default")
    async with database.connection(autocommit=True) as connection:
        await connection.execute(engine.create_table("item", name="unique_text"))
        for statement in PREPARATIONS[engine.kind]:
            await connection.execute(statement)
    return database


PREPARATIONS = {
    "sqlite": [],
    "postgres": [
        "do $$ begin create role keeper; exception when duplicate_object then null; end $$",
        "create sequence left_seq",
        "create function sneaky() returns int language plpgsql as"
        " $$ begin set my.setting = 'left'; return 1; end $$",
    ],
    "mysql": [
        "create role if not exists keeper",
        "grant keeper to current_user()",
        "create table watched (a int)",
        "create trigger watch before insert on watched for each row set time_zone = '+09:00'",
        "create function sneaky() returns int begin select 1 into @left; return 1; end",
        "create procedure sneak() begin select 1 into @left; end",
        "create function sneaky_role() returns int begin set role keeper; return 1; end",
        "create procedure sneak_role() set role keeper",
    ],
}


async def found_by_the_next(
    database: BaseDatabase, sees: str, finds: list[str]
) -> tuple[dict[str, Any] | None, list[str]]:
    """What a user of the connection sees, and which statements find something."""
    found = []
    async with database.connection(autocommit=True) as connection:
        seen = await connection.fetch_one(sees)
        for statement in finds:
            try:
                await connection.fetch_all(statement)
            except DatabaseError:
                continue
            found.append(statement)
    return seen, found


async def leave(database: BaseDatabase, statement: str) -> None:
    """Runs the statement and gives the connection back."""
    async with database.connection(autocommit=True) as connection:
        await connection.fetch_all(statement)


async def isolation_name(database: BaseDatabase) -> str:
    """MariaDB has the older name."""
    async with database.connection(autocommit=True) as connection:
        version = str(await connection.fetch_val("select version()"))
    return "tx_isolation" if "MariaDB" in version else "transaction_isolation"


async def test_mysql_connection_carries_nothing(engine_of: EngineOf) -> None:
    database = await opened(engine_of("mysql"))
    sees = MYSQL_SEES.format(isolation=await isolation_name(database))
    fresh = await found_by_the_next(database, sees, MYSQL_FINDS)
    assert fresh[1] == []
    for statement in MYSQL_LEFTOVERS:
        await leave(database, statement)

        assert await found_by_the_next(database, sees, MYSQL_FINDS) == fresh, statement
        async with database.transaction() as tx:  # no table is locked, and commits are commits
            await tx.execute("insert into item (name) values ('b')")
            await tx.execute("delete from item")
    assert database.statistics().opened_count == 1


async def test_postgres_connection_carries_nothing(engine_of: EngineOf) -> None:
    database = await opened(engine_of("postgres"))
    fresh = await found_by_the_next(database, POSTGRES_SEES, POSTGRES_FINDS)
    assert fresh[1] == []
    assert fresh[0] is not None
    assert fresh[0]["timeout"] == "4321ms"
    for statement in POSTGRES_LEFTOVERS:
        await leave(database, statement)

        assert await found_by_the_next(database, POSTGRES_SEES, POSTGRES_FINDS) == fresh, statement
    assert database.statistics().opened_count == 1


async def test_sqlite_connection_carries_nothing(engine_of: EngineOf) -> None:
    database = await opened(engine_of("sqlite"))
    fresh = await found_by_the_next(database, SQLITE_SEES, [])
    for statement in SQLITE_LEFTOVERS:
        await leave(database, statement)

        assert await found_by_the_next(database, SQLITE_SEES, []) == fresh, statement
    assert database.statistics().closed_broken_count == 0


SCRIPTS = {
    "sqlite": "pragma foreign_keys = off; select 1",
    "postgres": "set role keeper; prepare left_over as select 1",
    "mysql": "set role keeper; select 1 into @left",
}


async def test_script_and_what_bypasses_dbpools_leave_nothing(engine: Engine) -> None:
    database = await opened(engine)
    sees = {"sqlite": SQLITE_SEES, "postgres": POSTGRES_SEES, "mysql": MYSQL_SEES}[engine.kind]
    if engine.kind == "mysql":
        sees = sees.format(isolation=await isolation_name(database))
    fresh = await found_by_the_next(database, sees, [])

    async with database.connection(autocommit=True) as connection:
        await connection.execute_script(SCRIPTS[engine.kind])
    assert await found_by_the_next(database, sees, []) == fresh

    async with database.connection(autocommit=True) as connection:
        for statement in SCRIPTS[engine.kind].split("; "):
            run = connection.raw.query if engine.kind == "mysql" else connection.raw.execute
            await run(statement)
    assert await found_by_the_next(database, sees, []) == fresh


async def test_failed_and_cancelled_users_leave_nothing_either(engine: Engine) -> None:
    database = await opened(engine)
    first = SCRIPTS[engine.kind].partition("; ")[0]
    with pytest.raises(DatabaseError):
        async with database.transaction() as tx:
            await tx.fetch_all(first)
            await tx.execute("insert into nothing values (1)")

    async with database.connection(autocommit=True) as connection:
        if engine.kind == "sqlite":
            assert await connection.fetch_val("pragma foreign_keys") == 1
        else:
            role = "current_user::text" if engine.kind == "postgres" else "current_role()"
            assert await connection.fetch_val(f"select {role}") != "keeper"


PLAIN = [
    "insert into item (name) values (:name)",
    "insert into `item` (name, amount) select lower(name), count(*) from item group by name",
    "select name, coalesce(sum(amount), 0) from item where name in ('a@b.c', :name) for update",
    "with x as (select 1 as a) select @@time_zone, a from x where exists (select 1)",
    "update item set name = concat(name, date_format(now(), '%Y')) -- @x := 1",
    "delete from item where id between (1) and (2); -- get_lock('a')",
]
CHANGES = [
    "select get_lock('a', 1)",
    "select other.my_function(1)",
    "select `get_lock`('a', 1)",
    "select get_lock ('a', 1)",
    "select @a",
    "insert into item (name) values (my_function())",
    "select 1 /*M! , @a := 2 */",
    "set @@session.time_zone = '+01:00'",
    "create temporary table t (a int)",
]


@pytest.mark.parametrize("sql", PLAIN)
def test_plain_statements_cost_no_reset_on_mysql(sql: str) -> None:
    assert not may_change_session(sql, MYSQL)


def test_long_literal_is_searched_within_a_moment() -> None:
    started = time.process_time()
    assert not may_change_session(f"insert into t values (0x{'ab' * 20_000})", MYSQL)
    assert time.process_time() - started < 2, "it took minutes"


@pytest.mark.parametrize("sql", CHANGES)
def test_what_may_change_the_session_is_seen_in_the_text_on_mysql(sql: str) -> None:
    assert may_change_session(sql, MYSQL)


@pytest.mark.parametrize(
    ("dialect", "sql"),
    [(SQLITE, "select 'temp', \"temporary\" from t"), (SQLITE, "create table a (b)")],
)
def test_plain_statements_cost_no_reset_on_sqlite(dialect: Dialect, sql: str) -> None:
    assert not may_change_session(sql, dialect)


async def test_connection_of_plain_statements_is_not_reset(engine_of: EngineOf) -> None:
    for kind in ("sqlite", "mysql"):
        database = await opened(engine_of(kind))
        async with database.pool.acquire() as connection:
            await connection.execute("insert into item (name) values (:name)", {"name": "a"})
            await connection.executemany(PLAIN[0], [{"name": "b"}, {"name": "c"}])
            await connection.fetch_all("select name from item where name <> lower('B')")

            assert not connection.member.connection.needs_reset(), kind
        await DatabaseRegistry.close_all()
        DatabaseRegistry.clear()
