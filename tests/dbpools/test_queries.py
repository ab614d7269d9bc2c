"""SQL files: one object, three engines, equal answers; mistakes are found when loading."""

from pathlib import Path
from typing import Any

import aiosql
import pytest

from dbpools import (
    BaseDatabase,
    QueryExecutionError,
    QueryLoadError,
    UnknownDatabaseError,
    get_aiosql_adapter,
    get_aiosql_adapter_for_db,
    load_queries,
)
from tests.dbpools.conftest import names_in

ITEMS = """
-- name: add_item(name, amount)<!
insert into item (name, amount) values (:name, :amount)

-- name: add_items(name, amount)*!
insert into item (name, amount) values (:name, :amount);

-- name: all_items()
-- Every item, sorted.
select name, amount from item order by name;

-- name: item_named(name)^
select name, amount -- a comment with :nothing in it
  from item
 where name = :name and name <> ':name' and name not like '100%';

-- name: count_items()$
select count(*) as n from item;

-- name: raise_amounts(by_amount)!
update item set amount = amount + :by_amount;

-- name: reset#
delete from item;
insert into item (name, amount) values ('only;one', 1);
"""
RETURNING = """
-- name: add_item(name, amount)<!
insert into item (name, amount) values (:name, :amount) returning id
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    directory = tmp_path / "sql"
    directory.mkdir()
    (directory / "items.sql").write_text(ITEMS, encoding="utf-8")
    (directory / "items.postgres.sql").write_text(RETURNING, encoding="utf-8")
    return directory


async def test_every_operation_answers_alike(shop: BaseDatabase, folder: Path) -> None:
    queries = load_queries(folder / "items.sql", "default")
    async with shop.transaction() as tx:
        first = await queries.add_item(tx, name="a", amount=1)
        assert await queries.add_item(tx, name="b", amount=2) == first + 1
        many = [{"name": "c", "amount": 3}, {"name": "d", "amount": 4}]
        assert await queries.add_items(tx, many) == 2
        assert await queries.count_items(tx) == 4
        assert await queries.raise_amounts(tx, by_amount=10) == 4
        assert await queries.item_named(tx, name="b") == {"name": "b", "amount": 12}
        assert await queries.item_named(tx, name="none") is None
        rows = await queries.all_items(tx)
        assert rows == [{"name": name, "amount": 11 + at} for at, name in enumerate("abcd")]
        assert [row async for row in queries.all_items(tx)] == rows
        async with queries.all_items_cursor(tx) as stream:
            assert [row async for row in stream] == rows
        await queries.reset(tx)

    assert await names_in(shop) == ["only;one"]


async def test_directory_is_one_object_with_its_subdirectories(
    shop: BaseDatabase, folder: Path
) -> None:
    below = folder / "reports"
    below.mkdir()
    (below / "totals.sql").write_text(
        "-- name: total()$\nselect sum(amount) from item\n", encoding="utf-8"
    )
    queries = load_queries(folder)

    assert "reports.total" in queries.available_queries
    async with shop.transaction() as tx:
        await queries.add_items(tx, [{"name": "a", "amount": 5}])
        assert await queries.reports.total(tx) == 5


async def test_aiosql_itself_works_with_our_connections(shop: BaseDatabase, folder: Path) -> None:
    text = "-- name: named(name)^\nselect name from item where name = :name"
    ours: Any = lambda: get_aiosql_adapter_for_db("default")  # noqa: E731
    for adapter in ("dbpools", "asyncmy", ours):
        queries: Any = aiosql.from_str(text, adapter)
        async with shop.transaction() as tx:
            assert await queries.named(tx, name="x") is None


async def test_adapter_for_what_does_not_exist() -> None:
    with pytest.raises(ValueError, match="unknown database type 'mysq'; did you mean 'mysql'"):
        get_aiosql_adapter("mysq")
    with pytest.raises(UnknownDatabaseError):
        get_aiosql_adapter_for_db("none")


async def test_wrong_calls_are_named(shop: BaseDatabase, folder: Path) -> None:
    queries = load_queries(folder / "items.sql")
    async with shop.transaction(readonly=True) as tx:
        with pytest.raises(AttributeError, match="no query 'all_item'; did you mean 'all_items'"):
            queries.all_item(tx)
        with pytest.raises(QueryExecutionError, match="item_named: no value for :name"):
            await queries.item_named(tx)
        with pytest.raises(QueryExecutionError, match="'nmae' is not a parameter"):
            await queries.item_named(tx, nmae="x")
        with pytest.raises(QueryExecutionError, match="named parameters"):
            await queries.item_named(tx, "x")
        with pytest.raises(QueryExecutionError, match="one list of parameters"):
            await queries.add_items(tx, name="x")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no .sql file"),
        ({"a.sql": "-- name: x()\nselect 1\n-- name: x()\nselect 2"}, "'x' is defined twice"),
        (
            {"a.sql": "-- name: x()\nselect 1", "b.sql": "-- name: x()\nselect 2"},
            r"'x' is defined twice: .*a\.sql:\d+ and .*b\.sql:\d+",
        ),
        ({"a.sql": "-- name: x()\nselect :y"}, r"x uses :y without declaring it: write x\(y\)"),
        ({"a.sql": "-- name: x(y, z)\nselect :y"}, "x declares z but does not use it"),
        (
            {"a.sql": "\n-- name: x^\nselect :y, :z"},
            r"a\.sql: line 2: x has no list of parameters: write `-- name: x\(y, z\)\^`",
        ),
        ({"a.sql": "-- what\nselect 1"}, "there is SQL, and no query with a name"),
        ({"a.sql": "-- name: x()"}, "empty query"),
        ({"a.sql": "-- name: x()?\nselect 1"}, r"invalid query name.*`-- name: by_id\(id\)\^`"),
        ({"a.sql": "-- name: available_queries()\nselect 1"}, "cannot override"),
        (
            {"a.sql": "-- name: x(y)!\nselect :y", "a.mysql.sql": "-- name: x(z)!\nselect :z"},
            r"takes \(z\) here and \(y\) in",
        ),
        (
            {"a.sql": "-- name: x()!\nselect 1", "a.mysql.sql": "-- name: x()\nselect 1"},
            "is a SELECT here and a INSERT_UPDATE_DELETE in",
        ),
    ],
)
def test_files_with_mistakes_are_refused(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")

    with pytest.raises(QueryLoadError, match=message):
        load_queries(tmp_path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(QueryLoadError, match="no such file or directory"):
        load_queries(tmp_path / "none.sql")


def test_parameters_are_found_by_our_rules(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text(
        "-- name: x(y)\nselect ':no', a::text, :y -- :no\n", encoding="utf-8"
    )

    assert load_queries(tmp_path).available_queries == ["x", "x_cursor"]


async def test_query_of_another_engine_only(shop: BaseDatabase, tmp_path: Path) -> None:
    other = "mysql" if shop.db_type != "mysql" else "postgres"
    (tmp_path / f"a.{other}.sql").write_text("-- name: x()$\nselect 1", encoding="utf-8")
    queries = load_queries(tmp_path / "a.sql")

    async with shop.transaction() as tx:
        with pytest.raises(QueryLoadError, match=f"no text for {shop.db_type}"):
            await queries.x(tx)
    with pytest.raises(QueryLoadError, match=f"no {shop.db_type} text for x"):
        load_queries(tmp_path / "a.sql", "default")
