"""Finds a task by its path, `module.qualname`. Nothing but a task that has this path is found."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from django.apps import apps

from scheduler.django_tasks.compat import Task
from scheduler.events import emit

_lock = threading.Lock()
_reported: set[str] = set()


def find(path: str, *, may_import: Callable[[str], bool]) -> Task[..., Any] | None:
    """Returns the task. None: there is none at this path, or its module cannot be imported.

    `may_import` is asked for the name of each module that is not imported yet.
    """
    parts = path.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    for length in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:length])
        module = sys.modules.get(name)
        if module is None and may_import(name):
            module = _imported(name)
        if module is not None:
            return _member(module, parts[length:], path)
    return None


def imported_only(module: str) -> bool:
    """A `may_import` that imports nothing."""
    return False


def any_module(module: str) -> bool:
    """For workers: whoever wrote the row was allowed to."""
    return True


def modules_of_tasks(module: str) -> bool:
    """For doors: a person may name any path, so only `<app>.tasks` and what lies below."""
    for config in apps.get_app_configs():
        tasks = f"{config.name}.tasks"
        if module == tasks or module.startswith(f"{tasks}."):
            return True
    return False


def known_paths() -> Iterator[str]:
    """Yields the paths of the tasks in the modules `<app>.tasks` that are imported."""
    for config in apps.get_app_configs():
        module = sys.modules.get(f"{config.name}.tasks")
        for value in list(vars(module).values()) if module is not None else ():
            if isinstance(value, Task) and value.func.__module__ == f"{config.name}.tasks":
                yield value.module_path


def _imported(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            return None  # no such module; perhaps it is the name of a class
        _report(name, error)
    # Modules are user code. What they raise is reported once per process.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        _report(name, error)
    return None


def _report(name: str, error: BaseException) -> None:
    with _lock:
        if name in _reported:
            return
        _reported.add(name)
    emit("discovery.failed", handler_module=name, error=f"{type(error).__name__}: {error}")


def _member(module: ModuleType, names: list[str], path: str) -> Task[..., Any] | None:
    found: Any = module
    for name in names:
        # Not getattr, which may run code of the module or of a class.
        found = getattr(found, "__dict__", {}).get(name)
    return found if isinstance(found, Task) and found.module_path == path else None
