"""sample1, sample2, sample4 and sample7: the same operations on SQLite, PostgreSQL and MySQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from handlers.runner import OutcomeKind
from tests.samples.conftest import Run, add, assert_pools_whole, names, rows, succeed

CRUD = {
    "sample1": "sqlite_2",
    "sqlite_crud": "sqlite_2",
    "sample2": "postgres_1",
    "postgres_crud": "postgres_1",
    "sample4": "mysql_1",
    "mysql_crud": "mysql_1",
    "sample7": "sqlite_2",
    "service_layer": "sqlite_2",
}
EACH = pytest.mark.parametrize("name", CRUD)


@EACH
async def test_a_row_is_created_read_changed_and_deleted(databases: None, run: Run, name: str):
    created = await succeed(run(name, action="create", name="apple", value="red 🍎 100%"))

    item_id = created["id"]
    read = await succeed(run(name, action="read", id=item_id))
    (item,) = read["data"]
    assert (item["name"], item["value"]) == ("apple", "red 🍎 100%")
    assert abs(datetime.fromisoformat(item["created_at"]) - now()) < timedelta(seconds=30)
    canonical = {"sqlite_2": "sample1", "postgres_1": "sample2", "mysql_1": "sample4"}[CRUD[name]]
    assert item["writer_handler"] == (
        "sample7" if name in ("sample7", "service_layer") else canonical
    )

    await succeed(run(name, action="update", id=item_id, value="green"))
    (item,) = (await succeed(run(name, action="read", id=item_id)))["data"]
    assert (item["name"], item["value"]) == ("apple", "green")

    deleted = await succeed(run(name, action="delete", id=item_id))
    assert (deleted["action"], deleted["id"], deleted["count"]) == ("delete", item_id, 1)
    assert await rows(CRUD[name]) == []
    assert_pools_whole()


def now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - compared with the clock of the servers


@EACH
async def test_without_params_the_newest_rows_are_read(databases: None, run: Run, name: str):
    for each in ("a", "b", "c"):
        await succeed(run(name, action="create", name=each))

    result = await succeed(run(name))

    assert (result["action"], result["count"]) == ("read", 3)
    assert [item["name"] for item in result["data"]] == ["c", "b", "a"]


@EACH
@pytest.mark.parametrize("action", ["update", "delete"])
async def test_changing_a_missing_row_is_a_failure(
    databases: None, run: Run, name: str, action: str
):
    outcome = await run(name, action=action, id=404, value="x")

    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.result["success"] is False
    assert outcome.result["error"] in ("no row 404", "no item 404")


@pytest.mark.parametrize("name", ["sample1", "sample2", "sample4"])
async def test_new_ids_follow_the_last_id(databases: None, run: Run, name: str):
    (last,) = await add(CRUD[name], "last")

    created = await succeed(run(name, action="write", name="next", value=5))

    assert (created["action"], created["id"]) == ("write", last + 1)
    assert (await rows(CRUD[name]))[-1]["value"] == "5"


@pytest.mark.parametrize("name", ["sample1", "sample2", "sample4"])
@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"action": "create"}, "this action needs a name"),
        ({"action": "write", "name": ""}, "name: "),
        ({"action": "create", "name": "x" * 256}, "name: "),
        ({"action": "update", "name": "x"}, "this action needs an id"),
        ({"action": "delete"}, "this action needs an id"),
        ({"action": "delete", "id": 0}, "id: "),
        ({"action": "truncate"}, "action: "),
        ({"action": "read", "limit": 100_000}, "limit: "),
    ],
)
async def test_invalid_params_are_refused(
    run: Run, name: str, params: dict[str, object], reason: str
):
    outcome = await run(name, **params)

    assert outcome.kind is OutcomeKind.INVALID
    assert reason in outcome.error


async def test_sql_in_a_value_stays_a_value(databases: None, run: Run):
    nasty = "'); drop table sample_data; -- :name %s $1 ?"
    for name, database in (
        ("sample1", "sqlite_2"),
        ("sample2", "postgres_1"),
        ("sample4", "mysql_1"),
    ):
        await succeed(run(name, action="create", name=nasty))
        assert await names(database) == [nasty]


async def test_sample1_needs_no_server_and_creates_its_table(sqlite: None, run: Run):
    created = await succeed(run("sample1", action="create", name="first"))

    assert (created["id"], created["count"]) == (1, 1)


async def test_postgres_returns_the_changed_row(databases: None, run: Run):
    (item_id,) = await add("postgres_1", "old")

    updated = await succeed(run("sample2", action="update", id=item_id, name="new"))
    deleted = await succeed(run("sample2", action="delete", id=item_id))

    assert updated["data"][0]["name"] == deleted["data"][0]["name"] == "new"


async def test_mysql_returns_the_created_row(databases: None, run: Run):
    created = await succeed(run("sample4", action="create", name="new"))

    assert created["data"][0]["id"] == created["id"]


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"action": "explode"}, "unknown action 'explode'"),
        ({"action": "create"}, "create needs a name"),
        ({"action": "delete"}, "delete needs an id"),
        ({"action": "read", "id": 7}, "no item 7"),
    ],
)
async def test_the_controller_reports_errors_with_success_false(
    sqlite: None, run: Run, params: dict[str, object], reason: str
):
    outcome = await run("sample7", **params)

    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.result["success"] is False
    assert outcome.result["error"].startswith(reason)
    assert outcome.error.startswith("Handler reported failure: ")
