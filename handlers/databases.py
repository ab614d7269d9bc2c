"""Which databases a handler needs, and messages for those that are not configured."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from dbpools import DatabaseRegistry
from handlers.errors import DatabaseNotConfiguredError


def require_databases(*names: str) -> None:
    """Raises DatabaseNotConfiguredError unless all these databases are configured on this worker.

    The runner calls it for `BaseHandler.databases`. Call it in a handler whose params choose the
    database. It opens no connection.
    """
    missing = missing_databases(names, DatabaseRegistry.get_all())
    if missing:
        noun, verb = ("database", "is") if len(missing) == 1 else ("databases", "are")
        quoted = " and ".join(map(repr, missing))
        text = f"the {noun} {quoted} {verb} not configured on this worker. {_remedy(missing)}"
        raise DatabaseNotConfiguredError(missing, text)


def database_warning(
    needed: Iterable[str], configured: Collection[str], translate: Callable[[str], str] = str
) -> str | None:
    """Returns what is missing and what to do, for a person who saves a job; None if nothing is.

    It may be wrong: `configured` belongs to this process, and workers may have other databases.
    `translate` returns a text in the person's language; its placeholders are filled in later.
    """
    missing = missing_databases(needed, configured)
    if not missing:
        return None
    if len(missing) == 1:
        text = translate(
            "The database %(names)s is not configured in this process. Unless the workers'"
            " environment has it, every run will fail. %(remedy)s"
        )
    else:
        text = translate(
            "The databases %(names)s are not configured in this process. Unless the workers'"
            " environment has them, every run will fail. %(remedy)s"
        )
    names = translate(" and ").join(map(repr, missing))
    return text % {"names": names, "remedy": _remedy(missing, translate)}


def missing_databases(needed: Iterable[str], configured: Collection[str]) -> tuple[str, ...]:
    """Returns the names in `needed` that are not in `configured`, in their order."""
    return tuple(name for name in needed if name not in configured)


def _remedy(names: Collection[str], translate: Callable[[str], str] = str) -> str:
    entry = translate("databases.%(name)s.dsn, for instance ${%(variable)s:-}")
    both = translate(" and ")
    text = translate(
        "Give config/database.yaml an address (%(entries)s, with %(variables)s in the "
        "environment), name %(names)s in worker.databases of config/worker.yaml, and restart"
    )
    return text % {
        "entries": both.join(entry % {"name": n, "variable": _variable(n)} for n in names),
        "variables": both.join(map(_variable, names)),
        "names": both.join(names),
    }


def _variable(name: str) -> str:
    return f"JOBU_{name.upper()}_URL"
