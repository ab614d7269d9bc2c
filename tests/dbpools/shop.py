"""What the tests of transactions do with the table `item`."""

from dbpools import TransactionContext, get_connection, transactional

ADD = "insert into item (name, amount) values (:name, 1)"


class TroubleError(Exception):
    """Something that a handler raises."""


async def add(connection: TransactionContext, *names: str) -> None:
    """Inserts a row for each name."""
    for name in names:
        await connection.execute(ADD, {"name": name})


@transactional
async def save(*names: str) -> None:
    """Inserts a row for each name, in a transaction or a savepoint."""
    await add(get_connection(), *names)


@transactional("default")
async def save_and_fail(*names: str) -> None:
    """Does the same, and then raises TroubleError."""
    await add(get_connection("default"), *names)
    raise TroubleError


# Statements that do not end by themselves within a test.
SLOW = {
    "sqlite": "with recursive n(i) as (select 1 union all select i + 1 from n) "
    "select count(*) from n",
    "postgres": "select pg_sleep(30)",
    "mysql": "select sleep(30)",
}
