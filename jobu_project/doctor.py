"""`python -m jobu_project doctor`: says what hides or overwrites the packages of jobu.

It uses Python's standard library alone. The other commands cannot say it: they fail when they
import what is hidden.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

DISTRIBUTION: Final = "jobu-scheduler"
PACKAGES: Final = ("scheduler", "handlers", "dbpools", "jobu_project")


def main() -> int:
    """Prints what is wrong. Returns 1 if something is."""
    home = Path(__file__).resolve().parent.parent
    owners = importlib.metadata.packages_distributions()
    problems = [*overwritten(owners), *hidden(home, Path.cwd())]
    for problem in problems:
        print(f"- {problem}")
    if not problems:
        print(f"Nothing hides or overwrites {', '.join(PACKAGES)} of {home}.")
    return 1 if problems else 0


def overwritten(owners: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yields each package that another distribution has installed over ours.

    `owners`: package -> distributions with files in it. pip overwrites without a word.
    """
    for name in PACKAGES:
        others = sorted({each for each in owners.get(name, ()) if each != DISTRIBUTION})
        if others:
            yield (
                f"{', '.join(others)} has installed a package {name!r}, too: their files are mixed"
                f" with jobu's. Run: pip uninstall {' '.join(others)};"
                f" pip install --force-reinstall {DISTRIBUTION}"
            )


def hidden(home: Path, folder: Path) -> Iterator[str]:
    """Yields each package of ours in `home` that something of the same name hides.

    `folder`: where a project's commands are started. Python searches it first.
    """
    for name in PACKAGES:
        places = [PathFinder.find_spec(name, [str(folder)]), PathFinder.find_spec(name)]
        # A folder without __init__.py has no origin, and hides nothing.
        origins = [Path(spec.origin).resolve() for spec in places if spec and spec.origin]
        if not origins:
            yield f"The package {name!r} cannot be found."
            continue
        place = origins[0].parent if origins[0].name == "__init__.py" else origins[0]
        if place != home / name:
            yield (
                f"{name!r} is {place}, and hides that of jobu. Rename it, or move it into a"
                f" package: shop/{place.name} is `shop.{name}`."
            )
