"""Finding handlers: import every module below the packages that the settings name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from handlers.json_safe import storable_text
from handlers.registry import forget_module


@dataclass(frozen=True)
class DiscoveryReport:
    """`modules`: imported, in order; `failures`: (module, "ErrorClass: reason") for the others."""

    modules: tuple[str, ...] = ()
    failures: tuple[tuple[str, str], ...] = ()


def discover(packages: Sequence[str]) -> DiscoveryReport:
    """Import the packages and everything below them.

    A module that fails is reported and leaves no handler behind; the others go on. `__main__`
    modules are left alone. Calling it again imports nothing twice.
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
        except (Exception, SystemExit) as exc:  # noqa: BLE001 - any module may do anything at import
            forget_module(name)
            failures.append((name, storable_text(f"{type(exc).__name__}: {exc}", 2048)))
            continue
        modules.append(name)
        waiting.extend(reversed(below))
    return DiscoveryReport(tuple(modules), tuple(failures))


def _children(package: str, paths: Sequence[str]) -> Iterator[str]:
    found = {info.name for info in pkgutil.iter_modules(paths)}
    for path in paths:
        # pkgutil does not see folders without __init__.py; python imports them all the same.
        if Path(path).is_dir():
            found.update(d.name for d in Path(path).iterdir() if _is_bare_package(d))
    for name in sorted(found - {"__main__"}):
        yield f"{package}.{name}"


def _is_bare_package(folder: Path) -> bool:
    return folder.name.isidentifier() and folder.is_dir() and any(folder.glob("*.py"))
