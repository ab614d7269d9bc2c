"""How many rows a statement changed: the same on the three engines, however it is written."""

# ruff: noqa: PT012 - what must raise is the end of a transaction, so its body is in the block

import pytest

from dbpools import BaseDatabase, QueryExecutionError
from tests.dbpools.conftest import names_in
from tests.dbpools.engines import Engine

INSERT = "insert into item (name, amount) values (:name, length('a;b -- c'))"
UPDATE = "update item set amount = amount + 1 where name = :name"
ROWS = [{"name": f"n{number:02}"} for number in range(50)]


def ways_to_insert(engine: Engine) -> list[str]:
    """Texts that insert one row. All three engines (MySQL by MariaDB) have INSERT ... RETURNING."""
    ways = [
        INSERT,
        f"{INSERT};",
        f"{INSERT}; -- the end; really",
        f"{INSERT} -- not the end\n;\n/* the end */",
        f"/* first */ {INSERT}",
        f"-- first\n{INSERT} returning id",
        f"{INSERT} returning id, name; /* ; */",
        "insert into item (name, amount) select :name, 1",
        "insert into item (name, amount) with x as (select 1 as a) select :name, a from x",
    ]
    if engine.kind != "mysql":
        ways += [
            "with x as (select 1 as a) insert into item (name, amount) select :name, a from x",
            "with x as (select 1 as a) insert into item (name, amount) select :name, a from x"
            " returning id",
        ]
    return ways


async def test_inserts_are_counted_however_they_are_written(
    engine: Engine, shop: BaseDatabase
) -> None:
    async with shop.connection(autocommit=True) as connection:
        for sql in ways_to_insert(engine):
            assert await connection.executemany(sql, ROWS[:3]) == 3, sql
            assert await connection.execute(sql, ROWS[3]) == 1, sql
            assert await connection.execute("delete from item; -- all") == 4, sql


async def test_updates_and_deletes_are_counted_however_they_are_written(
    engine: Engine, shop: BaseDatabase
) -> None:
    updates = [UPDATE, f"{UPDATE}; -- returning", f"/* a */{UPDATE};"]
    if engine.kind != "mysql":  # MariaDB has RETURNING for the others only
        updates.append(f"{UPDATE} returning amount;")
    async with shop.connection(autocommit=True) as connection:
        for sql in updates:
            await connection.executemany(INSERT, ROWS[:3])

            assert await connection.executemany(sql, [*ROWS[:3], {"name": "nobody"}]) == 3, sql
            assert await connection.execute(sql, ROWS[0]) == 1, sql

            delete = "-- x\ndelete from item where name = :name returning id"
            assert await connection.executemany(delete, ROWS[:4]) == 3
            assert await connection.execute(delete, ROWS[0]) == 0


async def test_reading_counts_no_rows(shop: BaseDatabase) -> None:
    async with shop.connection(autocommit=True) as connection:
        await connection.executemany(INSERT, ROWS[:3])

        assert await connection.executemany("select * from item where :name <> ''", ROWS[:2]) == 0
        assert await connection.execute("/* returning */ select * from item; -- x") == 0


@pytest.mark.parametrize("how", ["executemany", "execute", "insert", "fetch_one", "fetch_val"])
async def test_batch_commits_what_returning_wrote(
    shop: BaseDatabase, how: str, engine: Engine
) -> None:
    committed_before_the_end = []
    with pytest.raises(ZeroDivisionError):
        async with shop.batch(every=10) as batch:
            if how == "executemany":
                await batch.executemany(f"{INSERT} returning id", ROWS)
            else:
                for row in ROWS:
                    await getattr(batch, how)(f"{INSERT} returning id", row)
            committed_before_the_end.append(batch.committed_rows)
            await batch.executemany(INSERT, [{"name": "undone"}])
            raise ZeroDivisionError

    assert committed_before_the_end == [50]
    assert await names_in(shop) == [row["name"] for row in ROWS]


async def test_several_statements_in_one_text_are_refused_before_any_runs(
    shop: BaseDatabase,
) -> None:
    two = f"{INSERT}; {INSERT}"
    async with shop.transaction() as tx:
        for method in (tx.execute, tx.insert, tx.fetch_all, tx.fetch_one, tx.fetch_val):
            with pytest.raises(QueryExecutionError, match=r"several statements.*execute_script"):
                await method(two, ROWS[0])
        with pytest.raises(QueryExecutionError, match="several statements"):
            await tx.executemany(two, ROWS)
        with pytest.raises(QueryExecutionError, match="several statements"):
            await tx.execute("delete from item; commit")
        assert await tx.execute(INSERT, ROWS[0]) == 1

    assert await names_in(shop) == ["n00"]


async def test_statement_that_holds_statements_is_one(engine: Engine, shop: BaseDatabase) -> None:
    trigger = {
        "sqlite": "create trigger t after insert on item begin"
        " update item set amount = 7 where id = new.id; delete from item where amount = 8; end;",
        "postgres": "create rule t as on delete to item do also"
        " (insert into item (name) values ('x'); insert into item (name) values ('y'))",
        "mysql": "create trigger t before insert on item for each row begin"
        " set new.amount = 7; set @seen = 1; end",
    }[engine.kind]
    async with shop.connection(autocommit=True) as connection:
        await connection.execute(trigger)
