"""What can go wrong, as one tree. Catch the class that you can act on.

DatabaseError
├── ConfigurationError (also ValueError)       a key, a type or a value in the configuration
├── UnknownDatabaseError (also KeyError)       no database of that name is registered
├── QueryLoadError                             a .sql file cannot be used
├── WrongLoopError                             a pool was used from another event loop
├── PoolClosedError                            the pool, or the connection, was given back
├── DatabaseUnavailableError                   no connection could be opened
├── ConnectionPoolExhaustedError               every connection is in use and none came back in time
├── QueryExecutionError                        a statement was refused; `__cause__` says why
│   └── ConnectionLostError                    the connection broke under the statement
└── TransactionError                           begin, commit, rollback, savepoint gone wrong
    ├── NoTransactionError (also RuntimeError) no transaction in this task
    ├── ReadOnlyTransactionError               a write where only reading is allowed
    └── PartialCommitError                     several databases, and not all of them committed
"""

from collections.abc import Iterable

from dbpools.nearest import nearest


class DatabaseError(Exception):
    """The root of everything that dbpools raises on purpose."""


class ConfigurationError(DatabaseError, ValueError):
    """The configuration of a database cannot be used. Lists every mistake that was found."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(self.mistakes))


class UnknownDatabaseError(DatabaseError, KeyError):
    """No database of that name is registered."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = sorted(known)
        super().__init__(
            f"no database named {name!r} is registered{did_you_mean(name, self.known)}; "
            f"registered: {', '.join(self.known) or 'none'}. Add it to `databases:` and to "
            "the names given to DatabaseRegistry.init_from_config"
        )

    def __str__(self) -> str:
        # KeyError prints the repr of its argument; a sentence must stay a sentence.
        return str(self.args[0])


class QueryLoadError(DatabaseError):
    """A .sql file is missing, cannot be parsed, or contradicts itself."""


class WrongLoopError(DatabaseError):
    """A pool belongs to the event loop that it was first used on, and to no other."""


class PoolClosedError(DatabaseError):
    """The pool is closed, or the connection was already given back to it."""


class DatabaseUnavailableError(DatabaseError):
    """No connection could be opened: server away, wrong password, missing directory."""


class ConnectionPoolExhaustedError(DatabaseError):
    """No connection of the pool became free within its `pool_timeout`."""

    def __init__(self, pool: str, *, waited_seconds: float, size: int, waiting: int) -> None:
        self.pool = pool
        self.waited_seconds = waited_seconds
        self.size = size
        self.waiting = waiting
        super().__init__(
            f"no connection from pool {pool!r} within {waited_seconds:.1f} s: all {size} are in "
            f"use and {waiting} more callers wait. Raise the pool's size, shorten the "
            "transactions, or run fewer handlers at a time"
        )


class QueryExecutionError(DatabaseError):
    """The database or its driver refused a statement; the driver's error is `__cause__`."""


class ConnectionLostError(QueryExecutionError):
    """The connection broke while the statement ran: whether it took effect is not known."""


class TransactionError(DatabaseError):
    """A transaction was used in a way that it does not allow, or it could not be committed."""


class NoTransactionError(TransactionError, RuntimeError):
    """This task is not inside a transaction on that database."""


class ReadOnlyTransactionError(TransactionError):
    """The database refused a write, because the transaction is read-only."""


class PartialCommitError(TransactionError):
    """Of several databases some committed and some did not. Nothing here undoes a commit."""

    def __init__(
        self,
        *,
        committed: Iterable[str],
        failed: str,
        is_failed_unknown: bool,
        rolled_back: Iterable[str],
    ) -> None:
        self.committed = tuple(committed)
        self.failed = failed
        self.is_failed_unknown = is_failed_unknown
        self.rolled_back = tuple(rolled_back)
        fate = (
            "its connection broke during COMMIT, so it may or may not be committed"
            if is_failed_unknown
            else "it is rolled back"
        )
        super().__init__(
            f"committed: {', '.join(self.committed) or 'nothing'}; commit failed on "
            f"{failed}: {fate}; rolled back: {', '.join(self.rolled_back) or 'nothing'}. "
            "Compare the databases before running this again"
        )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns `; did you mean 'x'?` with the nearest of the known words, or an empty string."""
    near = nearest(word, known)
    return f"; did you mean {near!r}?" if near else ""
