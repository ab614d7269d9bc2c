"""Which databases a handler needs, and what to tell people where one of them is not configured."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from dbpools import DatabaseRegistry
from handlers.errors import DatabaseNotConfiguredError


def require_databases(*names: str) -> None:
    """DatabaseNotConfiguredError unless this worker may open every one of them.

    The runner asks it for `BaseHandler.databases`; ask it yourself where params choose a database.
    Connects to nothing.
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
    """For a person who saves a job: what is missing and what to do. None: nothing is. Pure.

    A guess and no more: the workers, who will run it, may have databases that `configured`, of the
    process that asks, lacks.

    `translate` gives the person's words for an English text; placeholders are filled in afterwards.
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
    """Those of `needed` that are not among `configured`, in their order."""
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
