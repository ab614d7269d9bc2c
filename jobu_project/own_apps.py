"""The apps of a project that stands beside the ready-made one: `worker.apps`, or JOBU_APPS.

They are looked at before Django loads them, because Django names one mistake, in a traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Final

from django.apps import AppConfig
from django.conf import settings

from dbpools.nearest import nearest
from jobu_project.config import ConfigError, get_config

WHERE: Final = "worker.yaml: worker.apps (JOBU_APPS)"
# Making their configurations would make ours again. Their labels are their names.
_NOT_MADE: Final = ("jobu_project", "scheduler")


def refuse_mistakes() -> None:
    """Raises ConfigError with all apps that Django could not load. Imports the apps."""
    entries = get_config().worker.apps
    if not entries:
        return
    others = list(settings.INSTALLED_APPS)
    for entry in entries:
        others.remove(entry)
    found = list(_mistakes(entries, others))
    if found:
        raise ConfigError([f"{WHERE}: {mistake}" for mistake in found])


def _mistakes(entries: Sequence[str], others: Sequence[str]) -> Iterator[str]:
    """`others`: entries of INSTALLED_APPS that are not the user's own."""
    owners = {name: name for name in _NOT_MADE}
    for entry in others:
        if entry not in _NOT_MADE:
            owners[AppConfig.create(entry).label] = entry
    for number, entry in enumerate(entries):
        if entry in entries[:number] or entry in others:
            yield f"{entry!r} is installed already: name it once, and none of jobu's own apps"
            continue
        try:
            label = AppConfig.create(entry).label
        except Exception as error:  # noqa: BLE001 - the import runs whatever the app's modules do
            yield _why(entry, error)
            continue
        if label in owners:
            yield (
                f"{entry!r} has the label {label!r}, as {owners[label]!r} has. Give it a label of"
                f' its own in its AppConfig, such as label = "shop_{label}", and name that class'
            )
        owners.setdefault(label, entry)


def _why(entry: str, error: Exception) -> str:
    if not isinstance(error, ModuleNotFoundError) or not _is_part(error.name or "", entry):
        # Django's own words name a class that is not there, and the classes that are.
        return f"{entry!r} cannot be loaded: {type(error).__name__}: {error}"
    package, _, name = (error.name or "").rpartition(".")
    near = nearest(name, [module.name for module in iter_modules(_places_of(package))])
    if near:
        right = f"{package}.{near}" if package else near
        return f"there is no module {error.name!r}, did you mean {right!r}?"
    if package:
        return f"there is no module {error.name!r} in {', '.join(_places_of(package))}"
    looked = ", ".join(dict.fromkeys(path for path in sys.path if Path(path).is_dir()))
    return (
        f"there is no module {error.name!r} in {looked}. Put the folder that holds {name!r} on"
        f" PYTHONPATH, or install the project"
    )


def _is_part(missing: str, entry: str) -> bool:
    """Whether the entry itself is missing, and not something that its modules import."""
    return f"{entry}.".startswith(f"{missing}.")


def _places_of(package: str) -> list[str]:
    if not package:
        return sys.path
    module = import_module(package)
    return list(getattr(module, "__path__", []))
