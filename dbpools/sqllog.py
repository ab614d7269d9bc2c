"""The SQL log: which query, how many rows, how many milliseconds. Never a parameter's value.

Logger `dbpools.sql`: DEBUG for every statement, WARNING for slow ones. To ship statements
elsewhere, attach a logging.Handler to that logger, or register a listener here; both get the same
facts, the handler as attributes of the record (`database`, `query`, `rows`, `elapsed_ms`).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger("dbpools.sql")


@dataclass(frozen=True, slots=True)
class StatementEvent:
    """One finished statement."""

    database: str
    query: str
    """The name given to it, or the beginning of its text (markers in it, never values)."""
    rows: int
    """Rows returned or changed; -1 when it failed."""
    elapsed_ms: float
    is_slow: bool


Listener = Callable[[StatementEvent], None]
_listeners: list[Listener] = []


def add_statement_listener(listener: Listener) -> Callable[[], None]:
    """Call `listener` after every statement, on the event loop: it must not block.

    Gives a function that removes it again. What a listener raises is logged once per call and
    never reaches the statement.
    """
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)


def is_wanted() -> bool:
    """Whether anybody would see a statement that is not slow."""
    return bool(_listeners) or logger.isEnabledFor(logging.DEBUG)


def report(event: StatementEvent) -> None:
    """Tell the log and the listeners."""
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
