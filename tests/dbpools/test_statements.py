"""Statements and values mean the same on the three engines."""

import json
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any

import pytest

from dbpools import BaseDatabase, Json, QueryExecutionError, TransactionError
from tests.dbpools.conftest import names_in
from tests.dbpools.engines import Engine

ADD = "insert into item (name, amount) values (:name, :amount)"


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    LARGE = 3


VALUES: list[tuple[str, Any]] = [
    ("text", "plain"),
    ("text", "emoji \U0001f600, quote ' \" \\ and 100 %s :name"),
    ("text", ""),
    ("number", 2**63 - 1),
    ("number", -(2**63)),
    ("real", 0.1 + 0.2),
    ("decimal", Decimal("123456789012345678901234567890.0123456789")),
    ("instant", datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC)),
    ("instant", datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
    ("day", date(2024, 2, 29)),
    ("flag", True),
    ("flag", False),
    ("bytes", b"\x00\xff'\\%"),
    ("json", {"name": "Café", "list": [1, 2.5, None, True], "nested": {"a": []}}),
    ("json", [1, "two"]),
    ("uuid", uuid.UUID("12345678-1234-5678-1234-567812345678")),
]


async def test_values_come_back_as_they_went_in(engine: Engine, database: BaseDatabase) -> None:
    async with database.connection(autocommit=True) as connection:
        for number, (kind, value) in enumerate(VALUES):
            await connection.execute(engine.create_table(f"thing{number}", content=kind))
            insert = f"insert into thing{number} (content) values (:value)"
            await connection.execute(insert, {"value": value})
            await connection.execute(insert, {"value": None})

            rows = await connection.fetch_all(f"select content from thing{number} order by id")

            assert rows == [{"content": value}, {"content": None}]
            assert isinstance(rows[0]["content"], type(value))


async def test_instant_with_another_offset_comes_back_in_utc(
    engine: Engine, database: BaseDatabase
) -> None:
    seoul = datetime(2026, 1, 1, 9, 0, 0, 5, tzinfo=timezone(timedelta(hours=9)))
    async with database.connection(autocommit=True) as connection:
        await connection.execute(engine.create_table("thing", at="instant"))
        await connection.execute("insert into thing (at) values (:at)", {"at": seoul})

        stored = await connection.fetch_val("select at from thing")

    assert stored == seoul
    assert stored.tzinfo is UTC


async def test_instant_that_the_database_wrote_is_aware(
    engine: Engine, database: BaseDatabase
) -> None:
    async with database.connection(autocommit=True) as connection:
        await connection.execute(engine.create_table("thing", at="instant"))
        await connection.execute("insert into thing (at) values (current_timestamp)")

        stored = await connection.fetch_val("select at from thing")

    assert abs(stored - datetime.now(UTC)) < timedelta(minutes=1)  # noqa: TID251 - the real time


async def test_instants_are_compared_as_instants(engine: Engine, database: BaseDatabase) -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    instants = [noon + timedelta(microseconds=us) for us in (0, 1, 500_000, 1_000_000)]
    async with database.connection(autocommit=True) as connection:
        await connection.execute(engine.create_table("thing", at="instant"))
        await connection.executemany(
            "insert into thing (at) values (:at)", [{"at": at} for at in reversed(instants)]
        )

        later = await connection.fetch_all(
            "select at from thing where at > :noon order by at", {"noon": noon}
        )

    assert [row["at"] for row in later] == instants[1:]


async def test_naive_datetime_is_refused(shop: BaseDatabase) -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - the point of the test
    async with shop.transaction() as tx:
        with pytest.raises(QueryExecutionError, match="parameter :name: naive datetime"):
            await tx.execute(ADD, {"name": naive, "amount": 1})

        assert await tx.execute(ADD, {"name": "after", "amount": 1}) == 1


@pytest.mark.parametrize(
    "beyond",
    [
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=9))),
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-9))),
    ],
    ids=["before", "after"],
)
async def test_datetime_that_has_no_instant_in_utc_is_refused(
    shop: BaseDatabase, beyond: datetime
) -> None:
    async with shop.transaction() as tx:
        with pytest.raises(QueryExecutionError, match=r"parameter :name: .* out of range"):
            await tx.execute(ADD, {"name": beyond, "amount": 1})

        assert await tx.execute(ADD, {"name": "after", "amount": 1}) == 1


async def test_object_that_no_column_holds_is_refused(shop: BaseDatabase) -> None:
    async with shop.transaction() as tx:
        with pytest.raises(QueryExecutionError, match=r":amount.*object cannot be stored"):
            await tx.execute(ADD, {"name": "x", "amount": object()})


async def test_json_scalar_is_marked(engine: Engine, database: BaseDatabase) -> None:
    async with database.connection(autocommit=True) as connection:
        await connection.execute(engine.create_table("thing", content="json"))
        for value in (Json("text"), Json(None), Json([1]), json.dumps({"raw": "text"})):
            await connection.execute("insert into thing (content) values (:v)", {"v": value})

        rows = await connection.fetch_all("select content from thing order by id")

    assert [row["content"] for row in rows] == ["text", None, [1], {"raw": "text"}]


async def test_enum_members_are_stored_as_their_values(shop: BaseDatabase) -> None:
    async with shop.transaction() as tx:
        await tx.execute(ADD, {"name": Colour.RED, "amount": Size.LARGE})

        row = await tx.fetch_one("select name, amount from item")

    assert row == {"name": "red", "amount": 3}


async def test_number_too_large_is_a_named_error(shop: BaseDatabase) -> None:
    async with shop.transaction() as tx:
        with pytest.raises(QueryExecutionError):
            await tx.execute(ADD, {"name": "x", "amount": 2**63})
        await tx.rollback()


async def test_lone_surrogate_is_a_named_error(shop: BaseDatabase) -> None:
    async with shop.connection() as connection:
        await connection.begin()
        with pytest.raises(QueryExecutionError):
            await connection.execute(ADD, {"name": "\ud800", "amount": 1})
        await connection.rollback()


async def test_nul_character_is_stored_or_refused_by_name(
    engine: Engine, shop: BaseDatabase
) -> None:
    async with shop.connection(autocommit=True) as connection:
        if engine.kind == "postgres":
            with pytest.raises(QueryExecutionError, match="NUL"):
                await connection.execute(ADD, {"name": "a\x00b", "amount": 1})
        else:
            await connection.execute(ADD, {"name": "a\x00b", "amount": 1})
            assert await connection.fetch_val("select name from item") == "a\x00b"


async def test_execute_counts_inserted_updated_and_deleted_rows(shop: BaseDatabase) -> None:
    async with shop.transaction() as tx:
        assert await tx.execute(ADD, {"name": "a", "amount": 1}) == 1
        assert await tx.execute(ADD, {"name": "b", "amount": 1}) == 1
        # Found counts, even where nothing changes: MySQL would say 0 without FOUND_ROWS.
        assert await tx.execute("update item set amount = 1") == 2
        assert await tx.execute("update item set amount = 2 where name = 'none'") == 0
        assert await tx.execute("select * from item") == 0
        assert await tx.execute("delete from item where amount = :n", {"n": 1}) == 2


async def test_insert_from_a_select_counts(shop: BaseDatabase) -> None:
    async with shop.transaction() as tx:
        await tx.execute(ADD, {"name": "a", "amount": 1})

        count = await tx.execute(
            "insert into item (name, amount) select 'copy', amount from item where amount = 1"
        )

    assert count == 1


async def test_executemany_counts_all_rows(engine: Engine, shop: BaseDatabase) -> None:
    count = 123 if engine.is_rough else 1234
    rows = [{"name": f"n{number}", "amount": number} for number in range(count)]
    async with shop.transaction() as tx:
        assert await tx.executemany(ADD, rows) == count
        assert await tx.executemany(ADD, []) == 0
        assert (
            await tx.executemany(
                "update item set amount = :amount where name = :name",
                [{"name": "n1", "amount": 5}, {"name": "none", "amount": 5}],
            )
            == 1
        )
        assert await tx.fetch_val("select count(*) from item") == count


async def test_executemany_of_rows_without_parameters(shop: BaseDatabase) -> None:
    async with shop.transaction() as tx:
        assert await tx.executemany("insert into item (amount) values (7)", [{}, {}, {}]) == 3
        assert await tx.fetch_val("select sum(amount) from item") == 21


async def test_fetches_of_nothing(shop: BaseDatabase) -> None:
    async with shop.transaction() as tx:
        assert await tx.fetch_all("select * from item") == []
        assert await tx.fetch_one("select * from item") is None
        assert await tx.fetch_val("select name from item") is None


async def test_first_row_and_first_value(shop: BaseDatabase) -> None:
    async with shop.transaction() as tx:
        await tx.executemany(ADD, [{"name": name, "amount": 1} for name in "abc"])

        assert await tx.fetch_one("select name, amount from item order by name") == {
            "name": "a",
            "amount": 1,
        }
        assert await tx.fetch_val("select name from item order by name desc") == "c"


async def test_two_columns_of_one_name_are_refused(shop: BaseDatabase) -> None:
    async with shop.connection(autocommit=True) as connection:
        await connection.execute(ADD, {"name": "a", "amount": 1})

        with pytest.raises(QueryExecutionError, match="more than one column is named id"):
            await connection.fetch_all("select a.id, b.id from item a, item b")


async def test_literals_comments_and_percent_signs_survive(shop: BaseDatabase) -> None:
    sql = """
        select 'it''s :not' as a, -- a comment with :nothing and 100 %
               '100 %' as b, /* :neither */
               :value as c
          from item where name like 'a%' and name <> ':name'
    """
    async with shop.transaction() as tx:
        await tx.execute(ADD, {"name": "abc", "amount": 1})
        text = sql.replace(":value", "cast(:value as char(3))")

        row = await tx.fetch_one(text, {"value": "c%c"})

    assert row == {"a": "it's :not", "b": "100 %", "c": "c%c"}


async def test_percent_sign_without_parameters_survives(shop: BaseDatabase) -> None:
    async with shop.transaction() as tx:
        await tx.execute("insert into item (name) values ('5 %')")

        assert await tx.fetch_val("select name from item where name like '5%'") == "5 %"


async def test_engine_native_placeholders(engine: Engine, shop: BaseDatabase) -> None:
    marks = {"sqlite": "?, ?", "postgres": "$1, $2", "mysql": "%s, %s"}[engine.kind]
    async with shop.transaction() as tx:
        sql = f"insert into item (name, amount) values ({marks})"

        assert await tx.execute(sql, ["native", 7]) == 1
        assert await tx.executemany(sql, [("one", 1), ("two", 2)]) == 2

    assert await names_in(shop) == ["native", "one", "two"]


async def test_list_that_does_not_fit_the_markers_costs_no_connection(
    engine: Engine, shop: BaseDatabase
) -> None:
    marks = {"sqlite": "?, ?", "postgres": "$1, $2", "mysql": "%s, %s"}[engine.kind]
    sql = f"insert into item (name, amount) values ({marks})"
    async with shop.connection(autocommit=True) as connection:
        closed_before = shop.statistics().closed_broken_count
        misfits: list[tuple[Callable[..., Awaitable[object]], str, list[Any]]] = [
            (connection.execute, sql, ["short"]),
            (connection.execute, sql, ["long", 1, 2]),
            (connection.executemany, sql, [("short",), ("short",)]),
            (connection.fetch_one, sql, ["short"]),
            (connection.insert, sql, ["short"]),
        ]
        if engine.kind == "mysql":
            misfits += [
                (connection.execute, "delete from item where name like 'a%' or id = %s", [1]),
                (connection.executemany, "update item set amount = %s where id = %s", [[1]]),
            ]

        for run, text, params in misfits:
            with pytest.raises(QueryExecutionError) as caught:
                await run(text, params)
            assert type(caught.value) is QueryExecutionError
        await connection.begin()
        with pytest.raises(QueryExecutionError) as caught:
            async for _ in connection.stream(f"select {marks} from item", ["short"]):
                pass
        assert type(caught.value) is QueryExecutionError
        await connection.rollback()

        assert await connection.execute(sql, ["fits", 1]) == 1
        assert shop.statistics().closed_broken_count == closed_before
    assert await names_in(shop) == ["fits"]


async def test_parameter_used_twice(shop: BaseDatabase) -> None:
    async with shop.transaction() as tx:
        await tx.execute(ADD, {"name": "x", "amount": 3})

        found = await tx.fetch_val(
            "select name from item where amount >= :n and amount <= :n", {"n": 3}
        )

    assert found == "x"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"name": "a"}, "no value for :amount"),
        ({"name": "a", "amount": 1, "amuont": 2}, "'amuont' is not a parameter; did you mean"),
        (None, "no value for :amount, :name"),
    ],
)
async def test_wrong_parameters_are_named(
    shop: BaseDatabase, params: dict[str, Any] | None, message: str
) -> None:
    async with shop.transaction() as tx:
        with pytest.raises(QueryExecutionError, match=message):
            await tx.execute(ADD, params)

        # Nothing reached the database, so the transaction is still good.
        assert await tx.execute(ADD, {"name": "a", "amount": 1}) == 1


async def test_error_keeps_the_drivers_error_as_its_cause(shop: BaseDatabase) -> None:
    async with shop.connection(autocommit=True) as connection:
        with pytest.raises(QueryExecutionError, match="nowhere") as caught:
            await connection.fetch_all("select * from nowhere")

    assert isinstance(caught.value.__cause__, shop.pool.driver.errors)


@pytest.mark.parametrize("sql", ["commit", "BEGIN", " rollback ;", "/* x */ start transaction"])
async def test_transaction_control_in_sql_text_is_refused(shop: BaseDatabase, sql: str) -> None:
    async with shop.transaction() as tx:
        with pytest.raises(TransactionError, match="behind the back"):
            await tx.execute(sql)


async def test_script_runs_every_statement(engine: Engine, shop: BaseDatabase) -> None:
    async with shop.transaction() as tx:
        await tx.execute_script(
            "insert into item (name) values ('a;b');\n"
            "-- a comment with ; in it\n"
            "insert into item (name) values ('c');\n"
        )

    assert await names_in(shop) == ["a;b", "c"]


async def test_insert_gives_the_new_id(engine: Engine, shop: BaseDatabase) -> None:
    returning = " returning id" if engine.kind == "postgres" else ""
    async with shop.transaction() as tx:
        first = await tx.insert(ADD + returning, {"name": "a", "amount": 1})
        second = await tx.insert(ADD + returning, {"name": "b", "amount": 1})

        assert second == first + 1
        assert await tx.fetch_val("select name from item where id = :id", {"id": second}) == "b"
