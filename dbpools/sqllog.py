"""The SQL log: query, number of rows, milliseconds. Never the value of a parameter.

The logger `dbpools.sql` writes every statement at DEBUG and slow ones at WARNING. To send
statements elsewhere, attach a logging.Handler to that logger, or register a listener here. Both get
the same facts; the handler finds them as attributes of the record (`database`, `query`, `rows`,
`elapsed_ms`).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger("dbpools.sql")

FAILED_ROWS = -1
"""What stands for the number of rows of a statement that failed."""


@dataclass(frozen=True, slots=True)
class StatementEvent:
    """One finished statement."""

    database: str
    query: str
    """The name given to it, or the beginning of its text (markers in it, never values)."""
    rows: int
    """Rows returned or changed; FAILED_ROWS when it failed."""
    elapsed_ms: float
    is_slow: bool


Listener = Callable[[StatementEvent], None]
_listeners: list[Listener] = []


def add_statement_listener(listener: Listener) -> Callable[[], None]:
    """Calls `listener` after every statement, on the event loop: it must not block.

    Returns a function that removes it again. What a listener raises is logged, and never reaches
    the statement.
    """
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)


def is_wanted() -> bool:
    """Whether anybody would see a statement that is not slow."""
    return bool(_listeners) or logger.isEnabledFor(logging.DEBUG)


def report(event: StatementEvent) -> None:
    """Writes the statement to the log and calls the listeners."""
    logger.log(
        logging.WARNING if event.is_slow else logging.DEBUG,
        "%s on %s: %d rows in %.1f ms",
        event.query,
        event.database,
        event.rows,
        event.elapsed_ms,
        extra={
            "database": event.database,
            "query": event.query,
            "rows": event.rows,
            "elapsed_ms": event.elapsed_ms,
        },
    )
    for listener in tuple(_listeners):
        try:
            listener(event)
        except Exception:
            logger.exception("a statement listener failed")
