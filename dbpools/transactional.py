"""`@transactional`: a function is one transaction, on one database or on several.

The transaction belongs to the task that called the function. Another decorated function that is
called in the same task is nested: a savepoint. A child task (asyncio.gather, create_task, and
wait_for before Python 3.12) inherits the context but not the transaction: there a decorated
function gets a transaction of its own, and get_connection() raises an error instead of writing into
the transaction of the parent.
"""

import asyncio
import functools
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar, overload

from dbpools.database import BaseDatabase
from dbpools.errors import (
    DatabaseError,
    NoTransactionError,
    PartialCommitError,
    ReadOnlyTransactionError,
    TransactionError,
)
from dbpools.managed import ManagedTransaction
from dbpools.registry import DatabaseRegistry
from dbpools.shielded import shielded
from dbpools.transaction import TransactionContext

log = logging.getLogger("dbpools.transaction")

P = ParamSpec("P")
T = TypeVar("T")
AsyncFunction = Callable[P, Coroutine[Any, Any, T]]


@dataclass(frozen=True)
class _Scope:
    """The transactions around the code that runs now."""

    owner: "asyncio.Task[Any] | None"
    contexts: dict[str, TransactionContext] = field(default_factory=dict)


_scope: ContextVar[_Scope | None] = ContextVar("dbpools_scope", default=None)


@overload
def transactional(function: AsyncFunction[P, T], /) -> AsyncFunction[P, T]: ...
@overload
def transactional(
    *databases: str | BaseDatabase, readonly: bool = False
) -> Callable[[AsyncFunction[P, T]], AsyncFunction[P, T]]: ...
def transactional(*databases: Any, readonly: bool = False) -> Any:
    """Runs an async function in a transaction: commits when it returns, rolls back when it raises.

    `@transactional` means the default database; `@transactional("orders", "stock")` opens one
    transaction on each, in that order, and commits in that order. A failure before the first
    commit rolls all back; a failure after it is a PartialCommitError that lists what was committed.
    The databases are looked up when the function is called.
    """
    if len(databases) == 1 and callable(databases[0]):
        return _decorate(databases[0], (), readonly)
    names = set()
    for database in databases:
        if not isinstance(database, (str, BaseDatabase)):
            raise TypeError(f"@transactional takes names of databases, not {database!r}")
        name = database if isinstance(database, str) else database.name
        if name in names:
            raise ValueError(f"@transactional: database {name!r} is named twice")
        names.add(name)

    def decorator(function: AsyncFunction[P, T]) -> AsyncFunction[P, T]:
        return _decorate(function, databases, readonly)

    return decorator


@overload
def transactional_readonly(function: AsyncFunction[P, T], /) -> AsyncFunction[P, T]: ...
@overload
def transactional_readonly(
    *databases: str | BaseDatabase,
) -> Callable[[AsyncFunction[P, T]], AsyncFunction[P, T]]: ...
def transactional_readonly(*databases: Any) -> Any:
    """Like `transactional`, but the database refuses every write: ReadOnlyTransactionError."""
    if len(databases) == 1 and callable(databases[0]):
        return _decorate(databases[0], (), True)
    return transactional(*databases, readonly=True)


def get_connection(name: str | None = None) -> TransactionContext:
    """Returns the connection of the transaction around this code.

    Without a name, that is the transaction on the default database. NoTransactionError if there is
    none. TransactionError in a child task of the task that opened it: there, call a @transactional
    function, or pass the connection as an argument. Child tasks may use a read-only transaction.
    """
    wanted = DatabaseRegistry.default_name() if name is None else name
    scope = _scope.get()
    context = scope.contexts.get(wanted) if scope is not None else None
    task = _current_task()
    if task is None:
        raise NoTransactionError(
            f"get_connection({wanted!r}) was called outside a task, in a plain thread for example "
            "(asyncio.to_thread, an executor, a `def execute`): connections belong to an event "
            "loop. Call it in an `async def` function that is @transactional, and give the thread "
            "the rows; a thread may wait for such a function with "
            "asyncio.run_coroutine_threadsafe(function(), loop).result()"
        )
    if scope is None or context is None:
        opened = ", ".join(scope.contexts) if scope is not None else ""
        raise NoTransactionError(
            f"no transaction on {wanted!r} here"
            + (f" (open: {opened})" if opened else "")
            + f'; decorate the function with @transactional("{wanted}") or use '
            "get_db(...).transaction()"
        )
    if scope.owner is not task and not context.is_read_only:
        raise TransactionError(
            f"the transaction on {wanted!r} belongs to the task that opened it, and this is "
            "another one (asyncio.gather, create_task and, before Python 3.12, wait_for start "
            "tasks): call a @transactional function here, which gets its own transaction, or "
            "pass the connection to the task as an argument. For a time limit use "
            "asyncio.timeout()"
        )
    return context


def _current_task() -> asyncio.Task[Any] | None:
    """Returns the task of this code; None in a thread without a loop, and in a callback."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _decorate(
    function: AsyncFunction[P, T], databases: Sequence[str | BaseDatabase], readonly: bool
) -> AsyncFunction[P, T]:
    if not inspect.iscoroutinefunction(function):
        raise TypeError(
            f"@transactional is for `async def` functions, and "
            f"{getattr(function, '__qualname__', function)!r} is not one"
        )

    @functools.wraps(function)
    async def in_transaction(*args: P.args, **kwargs: P.kwargs) -> T:
        async with _entered(databases, readonly=readonly):
            return await function(*args, **kwargs)

    return in_transaction


@asynccontextmanager
async def _entered(
    databases: Sequence[str | BaseDatabase], *, readonly: bool
) -> AsyncIterator[None]:
    """Opens the transactions that are not open yet, nests in the others, ends all together."""
    resolved = [
        database if isinstance(database, BaseDatabase) else DatabaseRegistry.get(database)
        for database in (databases or (None,))
    ]
    outer = _scope.get()
    is_mine = outer is not None and outer.owner is asyncio.current_task()
    contexts = dict(outer.contexts) if outer is not None and is_mine else {}
    started: list[tuple[ManagedTransaction, TransactionContext]] = []
    async with AsyncExitStack() as stack:
        for database in resolved:
            present = contexts.get(database.name)
            if present is not None:
                _check_can_nest(present, readonly)
                await stack.enter_async_context(present.savepoint(readonly=readonly))
                continue
            managed = database.transaction(readonly)
            context = await managed.start()
            stack.push_async_callback(managed.give_back)
            started.append((managed, context))
            contexts[database.name] = context
        token = _scope.set(_Scope(asyncio.current_task(), contexts))
        try:
            yield
        finally:
            _scope.reset(token)
        await _commit_all([context for _, context in started])


def _check_can_nest(present: TransactionContext, readonly: bool) -> None:
    if present.is_read_only and not readonly:
        raise ReadOnlyTransactionError(
            f"a write transaction on {present.database!r} inside a read-only one: make the outer "
            "function @transactional"
        )


async def _commit_all(contexts: list[TransactionContext]) -> None:
    """Commits in order. Finds out before the first commit whatever can be found out by then."""
    for context in contexts:
        if context.failure is not None:
            await context.commit()  # raises, and names the error that was swallowed
    if len(contexts) == 1:
        await contexts[0].commit_unless_ended()
    elif contexts:
        for context in contexts:
            if context.is_open:
                await context.fetch_val("SELECT 1", name="check before commit")
        await shielded(_commit_in_order(contexts))


async def _commit_in_order(contexts: list[TransactionContext]) -> None:
    committed: list[str] = []
    for position, context in enumerate(contexts):
        try:
            await context.commit_unless_ended()
        except DatabaseError as error:
            if not committed and not context.is_outcome_unknown:
                raise  # nothing is committed anywhere: an ordinary failure
            rest = contexts[position + 1 :]
            for other in rest:
                await _roll_back(other)
            raise PartialCommitError(
                committed=committed,
                failed=context.database,
                is_failed_unknown=context.is_outcome_unknown,
                rolled_back=[other.database for other in rest],
            ) from error
        committed.append(context.database)


async def _roll_back(context: TransactionContext) -> None:
    try:
        await context.rollback()
    except DatabaseError:
        # Its connection is given up, and the server rolls back what is left on it.
        log.exception("rollback on %s failed", context.database)
