"""The requirements of jobu: exact versions, one oldest Python, no changed import path."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("requirements.txt", r"[\w.\[\],-]+==[\w.]+.*\s# \S"),  # each with its reason
        ("requirements-dev.txt", r"[\w.\[\],-]+==[\w.]+"),
    ],
)
def test_every_requirement_is_pinned(name: str, shape: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    asked = [line for line in lines if line.strip() and not line.startswith(("#", "-"))]
    assert asked

    assert [line for line in asked if not re.match(shape, line)] == []


def test_oldest_supported_python_is_311() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert project["project"]["requires-python"] == ">=3.11"


def test_no_module_changes_the_import_path() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in ("jobu_project", "scheduler", "handlers", "dbpools", "bench")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.expr) and changes_the_import_path(node)
    ]

    assert found == []


def changes_the_import_path(node: ast.AST) -> bool:
    """An assignment, or a method such as insert. A message may read where Python looks."""
    match node:
        case ast.Attribute(value=ast.Attribute() as whole):  # sys.path.insert
            return ast.unparse(whole) == "sys.path"
        case ast.Attribute(ctx=ast.Store() | ast.Del()):  # sys.path = ..., sys.path += ...
            return ast.unparse(node) == "sys.path"
        case ast.Subscript(value=whole, ctx=ast.Store() | ast.Del()):  # sys.path[:0] = ...
            return ast.unparse(whole) == "sys.path"
    return False


@pytest.mark.parametrize(
    ("text", "is_change"),
    [
        ("sys.path.insert(0, 'x')", True),
        ("sys.path += ['x']", True),
        ("sys.path[:0] = ['x']", True),
        ("print(*sys.path)", False),
    ],
)
def test_each_change_of_the_import_path_is_found(text: str, is_change: bool) -> None:
    assert any(map(changes_the_import_path, ast.walk(ast.parse(text)))) is is_change


def pins(name: str = "requirements.txt") -> list[Requirement]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    texts = [line.partition("#")[0].strip() for line in lines if not line.startswith("-")]
    return [Requirement(text) for text in texts if text]


def ranges() -> dict[str, list[Requirement]]:
    """Returns the version ranges by extra; "" stands for those that are always installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = {"": project["dependencies"], **project["optional-dependencies"]}
    found = {extra: [Requirement(text) for text in lines] for extra, lines in texts.items()}
    # The project itself, with the extras that [site] includes.
    return {
        extra: [each for each in lines if each.name != project["name"]]
        for extra, lines in found.items()
    }


def test_each_range_allows_the_version_that_is_tested() -> None:
    both = [*pins(), *pins("requirements-dev.txt")]
    tested = {(canonicalize_name(pin.name), str(pin.marker)): pin for pin in both}
    wrong = []
    for each in (each for lines in ranges().values() for each in lines):
        pin = tested.get((canonicalize_name(each.name), str(each.marker)))
        if pin is None or each.extras - pin.extras or not _allows(each, pin):
            wrong.append(f"{each} is not tested: {pin}")

    assert wrong == []


def _allows(wanted: Requirement, pin: Requirement) -> bool:
    (exact,) = pin.specifier
    return wanted.specifier.contains(exact.version)


def test_each_version_that_is_tested_has_its_range() -> None:
    allowed = {canonicalize_name(each.name) for lines in ranges().values() for each in lines}

    assert {canonicalize_name(pin.name) for pin in pins()} - allowed == set()


def test_site_includes_all_other_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (itself,) = [
        requirement
        for text in project["optional-dependencies"]["site"]
        if (requirement := Requirement(text)).name == project["name"]
    ]

    # The site enqueues no tasks. Whoever adds apps that do adds the package, or has Django 6.
    # Mail and webhooks need no library. Whoever wants traces also chooses an SDK and an exporter.
    left_out = {"site", "tasks", "alerts", "otel"}
    assert itself.extras == set(project["optional-dependencies"]) - left_out


@pytest.mark.parametrize(
    ("packages", "extras"),
    [
        # Drivers are imported when a database of their kind is opened, the theme if installed.
        (
            ("scheduler", "handlers", "dbpools"),
            {"", "admin", "postgres", "mysql", "tasks", "alerts", "otel"},
        ),
        (("jobu_project",), {"", "admin", "flower", "redis", "postgres", "mysql", "site", "otel"}),
    ],
)
def test_every_imported_distribution_is_required(
    packages: tuple[str, ...], extras: set[str]
) -> None:
    asked = {canonicalize_name(each.name) for extra in extras for each in ranges()[extra]}
    # Installed together with a listed requirement, and part of its public API.
    asked |= {canonicalize_name("pydantic-core"), canonicalize_name("asgiref")}
    asked.add(canonicalize_name("billiard"))  # Celery's own processes
    distributions = packages_distributions()
    missing = [
        f"{path.relative_to(ROOT)}: {module}"
        for package in packages
        for path in (ROOT / package).rglob("*.py")
        for module in _imported(path)
        if module not in sys.stdlib_module_names
        and module not in ("jobu_project", "scheduler", "handlers", "dbpools")
        and not asked & {canonicalize_name(name) for name in distributions.get(module, ())}
    ]

    assert missing == []


def _imported(path: Path) -> set[str]:
    """Returns the top-level names of all modules that the file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found
