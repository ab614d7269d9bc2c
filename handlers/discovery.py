"""Finds handlers by importing every module below the packages that the settings name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from handlers.json_safe import storable_text
from handlers.registry import forget_module


@dataclass(frozen=True)
class DiscoveryReport:
    """The outcome of an import of handler packages.

    `modules`: those that were imported, in order. `failures`: (module, "ErrorClass: reason") for
    those that could not be imported.
    """

    modules: tuple[str, ...] = ()
    failures: tuple[tuple[str, str], ...] = ()


def discover(
    packages: Sequence[str], *, after_import: Callable[[str], None] = lambda _module: None
) -> DiscoveryReport:
    """Import the packages and everything below them, except `__main__` modules.

    A module that fails is reported, registers no handler, and does not stop the others. A second
    call imports nothing again. `after_import` is called with the name of each module after its
    import, also if that failed.
    """
    modules: list[str] = []
    failures: list[tuple[str, str]] = []
    waiting = list(reversed(packages))
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            module = importlib.import_module(name)
            below = list(_children(name, getattr(module, "__path__", ())))
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - modules are user code
            forget_module(name)
            failures.append((name, storable_text(f"{type(exc).__name__}: {exc}", 2048)))
            continue
        finally:
            after_import(name)
        modules.append(name)
        waiting.extend(reversed(below))
    return DiscoveryReport(tuple(modules), tuple(failures))


def _children(package: str, paths: Sequence[str]) -> Iterator[str]:
    found = {info.name for info in pkgutil.iter_modules(paths)}
    for path in paths:
        # pkgutil does not list folders without __init__.py, although Python imports them.
        if Path(path).is_dir():
            found.update(d.name for d in Path(path).iterdir() if _is_bare_package(d))
    for name in sorted(found - {"__main__"}):
        yield f"{package}.{name}"


def _is_bare_package(folder: Path) -> bool:
    return folder.name.isidentifier() and folder.is_dir() and any(folder.glob("*.py"))
