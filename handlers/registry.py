"""The registry of handler names: `@handler` adds a name, workers and doors look it up."""

from __future__ import annotations

import inspect
import sys
import threading
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from dbpools.nearest import nearest
from handlers.base import BaseHandler
from handlers.errors import DuplicateHandlerError, HandlerNotFoundError
from handlers.params import HandlerParams

HandlerClass = TypeVar("HandlerClass", bound=type[BaseHandler])
Resolver = Callable[[str], type[BaseHandler] | None]
ListNames = Callable[[], Iterable[str]]

MAX_NAME_LENGTH = 100


@dataclass(frozen=True)
class _Entry:
    cls: type[BaseHandler]
    module_spec: object  # __spec__ of the class's module; a reload of the module replaces it


_entries: dict[str, _Entry] = {}
_resolvers: dict[str, tuple[Resolver, ListNames]] = {}
_missing: dict[str, str] = {}
_lock = threading.RLock()


def handler(
    name: str,
    *aliases: str,
    params: type[BaseModel] | type[dict[str, Any]] | None = None,
    description: str = "",
) -> Callable[[HandlerClass], HandlerClass]:
    """Register a BaseHandler subclass under `name` (and `aliases`).

    `params`: a pydantic model, or `dict` for a plain dict. The default is the annotation of
    `execute`, if it is a model or a dict, else HandlerParams. `description`: the default is the
    first line of the docstring.
    """

    def register(cls: HandlerClass) -> HandlerClass:
        _check_class(cls)
        for each in (name, *aliases):
            _check_name(each)
        with _lock:
            entry = _Entry(cls, getattr(sys.modules.get(cls.__module__), "__spec__", None))
            for each in (name, *aliases):
                _check_free(each, entry)
            if "handler_name" not in cls.__dict__:  # a second decorator only adds names
                _set_attributes(cls, name, params, description)
            for each in (name, *aliases):
                _entries[each] = entry
        return cls

    return register


def get_handler(name: str) -> type[BaseHandler]:
    """Returns the class registered under `name`, or the class of a resolver.

    Raises HandlerNotFoundError.
    """
    entry = _entries.get(name)
    if entry is not None:
        return entry.cls
    for prefix, (resolver, _) in tuple(_resolvers.items()):
        if name.startswith(prefix):
            try:
                found = resolver(name)
            except HandlerNotFoundError as error:
                hint = nearest(name, handler_names())
                raise HandlerNotFoundError(
                    name, hint, broken_modules=error.broken_modules
                ) from None
            if found is not None:
                return found
    if name in _missing:
        raise HandlerNotFoundError(name, reason=_missing[name])
    raise HandlerNotFoundError(name, nearest(name, handler_names()))


def get_registered_handlers() -> dict[str, type[BaseHandler]]:
    """Returns all registered names, aliases too, with their classes, sorted by name.

    Handlers of resolvers are not included.
    """
    with _lock:
        return {name: _entries[name].cls for name in sorted(_entries)}


def handler_names() -> list[str]:
    """Returns every name that a job may use, resolvers' names too, sorted."""
    names = set(_entries)
    for _, known in tuple(_resolvers.values()):
        names.update(known())
    return sorted(names)


def add_resolver(prefix: str, resolver: Resolver, names: ListNames = tuple) -> None:
    """Use `resolver` for names that begin with `prefix`; it receives the whole name.

    It returns a BaseHandler class, or None if there is no such handler. `names` lists the names
    that it knows, for menus and for hints. A second resolver of a prefix replaces the first.
    """
    with _lock:
        _resolvers[prefix] = (resolver, names)


def explain_missing(name: str, reason: str) -> None:
    """Say why no handler has this name: `get_handler` raises with `reason`.

    The name stays free for a handler of the project.
    """
    with _lock:
        _missing[name] = reason


def forget_module(module: str) -> None:
    """Remove the handlers of `module`: its import failed, so some of its globals are missing."""
    with _lock:
        for name in [n for n, entry in _entries.items() if entry.cls.__module__ == module]:
            del _entries[name]


@contextmanager
def restored() -> Iterator[None]:
    """Restores names and resolvers when the block ends. For tests."""
    with _lock:
        entries, resolvers = dict(_entries), dict(_resolvers)
    try:
        yield
    finally:
        with _lock:
            for current, before in ((_entries, entries), (_resolvers, resolvers)):
                current.clear()
                current.update(before)  # type: ignore[arg-type]


def _check_class(cls: object) -> None:
    if not (isinstance(cls, type) and issubclass(cls, BaseHandler)):
        raise TypeError(f"@handler needs a subclass of BaseHandler, not {cls!r}")
    if inspect.isabstract(cls):
        raise TypeError(f"{cls.__qualname__} has no execute()")
    if inspect.isasyncgenfunction(cls.execute) or inspect.isgeneratorfunction(cls.execute):
        raise TypeError(f"{cls.__qualname__}.execute must return its result, not yield")
    if isinstance(cls.databases, str):
        raise TypeError(f"{cls.__qualname__}.databases must be a tuple: ({cls.databases!r},)")


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME_LENGTH:
        raise ValueError(f"a handler's name has 1 to {MAX_NAME_LENGTH} characters, not {name!r}")
    if not name.isprintable() or any(char.isspace() for char in name):
        raise ValueError(f"a handler's name has no spaces or control characters: {name!r}")
    for prefix in _resolvers:
        if name.startswith(prefix):
            raise ValueError(f"names that begin with {prefix!r} are taken: {name!r}")


def _check_free(name: str, new: _Entry) -> None:
    old = _entries.get(name)
    if old is None or old.cls is new.cls:
        return
    same_place = _place(old.cls) == _place(new.cls)
    # A class of a module that was executed again (importlib.reload) replaces the old one. Two
    # classes of one name in one execution are a mistake.
    if same_place and (old.module_spec is not new.module_spec or new.cls.__module__ == "__main__"):
        return
    raise DuplicateHandlerError(name, _place_with_line(old.cls), _place_with_line(new.cls))


def _set_attributes(
    cls: type[BaseHandler], name: str, params: type[Any] | None, description: str
) -> None:
    model = params if params is not None else _annotated_params(cls)
    if model is not None:
        cls.takes_dict = issubclass(model, Mapping)
        cls.params_model = HandlerParams if cls.takes_dict else model
    doc = (cls.__dict__.get("__doc__") or "").strip()
    cls.description = description or doc.partition("\n")[0].strip()
    cls.handler_name = name


def _annotated_params(cls: type[BaseHandler]) -> type[Any] | None:
    """Returns the model or dict in the annotation of `execute`; None if it has neither."""
    try:
        hints = typing.get_type_hints(cls.execute)
        names = [n for n in inspect.signature(cls.execute).parameters if n != "self"]
    except (NameError, TypeError, ValueError, AttributeError):
        return None
    hint = hints.get(names[0]) if names else None
    origin = typing.get_origin(hint) or hint
    if isinstance(origin, type) and issubclass(origin, BaseModel | Mapping):
        return origin
    return None


def _place(cls: type[BaseHandler]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _place_with_line(cls: type[BaseHandler]) -> str:
    code = getattr(inspect.unwrap(cls.execute), "__code__", None)
    return f"{_place(cls)} (execute at line {code.co_firstlineno})" if code else _place(cls)
