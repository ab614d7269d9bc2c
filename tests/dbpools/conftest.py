"""One engine per test, each test its own empty database, and the registry left clean."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dbpools import BaseDatabase, DatabaseRegistry, PoolStatistics
from tests.dbpools.databases import DatabaseSupply
from tests.dbpools.engines import Engine, make_engine
from tests.dbpools.proxy import proxied

FIXTURES = {"postgres": "postgres_server", "mysql": "mariadb_server"}
ROUGH = "postgres behind a rough network"
KINDS = ("sqlite", "postgres", "mysql")
CONFORMANCE = (
    *("test_statements", "test_queries", "test_sqllog"),
    *("test_transactions", "test_read_only", "test_transactional", "test_tasks"),
    *("test_batches", "test_streams"),
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that take an engine run on each; those of what it means also on a rough network."""
    if "engine" in metafunc.fixturenames:
        module = metafunc.module.__name__.rpartition(".")[2]
        kinds = (*KINDS, ROUGH) if module in CONFORMANCE else KINDS
        metafunc.parametrize("engine", kinds, indirect=True)


SupplyOf = Callable[[str], DatabaseSupply | None]


@pytest.fixture(scope="session")
def supplies() -> dict[str, DatabaseSupply]:
    """The databases that wait for the next test, by the name of their engine."""
    return {}


@pytest.fixture
def supply_of(request: pytest.FixtureRequest, supplies: dict[str, DatabaseSupply]) -> SupplyOf:
    """The databases of an engine by its name. None for SQLite."""

    def supply(kind: str) -> DatabaseSupply | None:
        if kind not in FIXTURES:
            return None
        server = request.getfixturevalue(FIXTURES[kind])
        return supplies.setdefault(kind, DatabaseSupply(server))

    return supply


@pytest.fixture
async def engine(
    request: pytest.FixtureRequest, supply_of: SupplyOf, tmp_path: Path
) -> AsyncIterator[Engine]:
    """SQLite, PostgreSQL and MySQL or MariaDB in turn, and PostgreSQL again behind a proxy.

    The proxy delays every piece, chops it small, refuses connections and cuts them when they were
    given back to the pool. The tests expect the same as without it.
    """
    kind = "postgres" if request.param == ROUGH else request.param
    databases = supply_of(kind)
    engine = make_engine(kind, databases, tmp_path)
    if request.param != ROUGH or databases is None:
        yield engine
        engine.close()
        return
    seed = random.SystemRandom().randrange(2**32)
    print(f"the proxy's seed: {seed}")
    async with proxied(databases.server.url, seed) as proxy:
        proxy.delay_seconds = 0.001
        proxy.is_chopping = True
        proxy.idle_drop_chance = 0.3
        proxy.refusal_chance = 0.3
        engine.through(proxy.url)
        yield engine
        # Its pools must be gone before the proxy is.
        await DatabaseRegistry.close_all(timeout_seconds=2)
    engine.close()


@pytest.fixture
def engine_of(supply_of: SupplyOf, tmp_path: Path) -> Iterator[Callable[[str], Engine]]:
    """An engine by its name, for tests that need a certain one or several."""
    made: list[Engine] = []

    def make(kind: str) -> Engine:
        made.append(make_engine(kind, supply_of(kind), tmp_path))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


@pytest.fixture(autouse=True)
async def clean_registry() -> AsyncIterator[None]:
    """Nothing is registered before a test; every pool is closed and whole after it."""
    DatabaseRegistry.clear()
    yield
    databases = DatabaseRegistry.get_all()
    await DatabaseRegistry.close_all(timeout_seconds=2)
    for database in databases.values():
        assert_whole(database.statistics(), open_connections=0)


def assert_whole(statistics: PoolStatistics, *, open_connections: int | None = None) -> None:
    """Nothing is lent out, nobody waits, and the sum is right."""
    assert statistics.in_use == 0
    assert statistics.waiting == 0
    assert statistics.size == statistics.idle + statistics.opening
    assert statistics.size <= statistics.max_size
    if open_connections is not None:
        assert statistics.size == open_connections


Opener = Callable[..., Awaitable[BaseDatabase]]


@pytest.fixture
def open_database(engine: Engine, clean_registry: None) -> Opener:
    """Registers a new database of the engine: `await open_database(size=2, max_idle=...)`."""

    async def make(name: str = "default", **settings: Any) -> BaseDatabase:
        await DatabaseRegistry.init_from_config({name: engine.config(**settings)})
        return DatabaseRegistry.get(name)

    return make


@pytest.fixture
async def database(open_database: Opener) -> BaseDatabase:
    """The default database, empty."""
    return await open_database()


@pytest.fixture
async def shop(engine: Engine, database: BaseDatabase) -> BaseDatabase:
    """The default database with a table `item` of name (unique) and amount."""
    await make_shop(engine, database)
    return database


async def make_shop(engine: Engine, database: BaseDatabase) -> None:
    """Create the table `item` of name (unique) and amount."""
    async with database.connection(autocommit=True) as connection:
        await connection.execute(engine.create_table("item", name="unique_text", amount="number"))


async def names_in(database: BaseDatabase) -> list[str]:
    """What is committed in `item`, sorted."""
    async with database.transaction(readonly=True) as tx:
        return [row["name"] for row in await tx.fetch_all("select name from item order by name")]
