"""Continuous integration, pre-commit and the gate: one set of tools, one list of versions."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from tests.packaging.project_files import ROOT
from tests.packaging.test_fresh_project import COMBINATIONS


def read_yaml(name: str) -> dict[str, Any]:
    document = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


@pytest.fixture(scope="module")
def jobs() -> dict[str, Any]:
    found = read_yaml(".github/workflows/ci.yml")["jobs"]
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return dict(document["project"])


def classified(project: dict[str, Any], prefix: str) -> list[str]:
    """Versions that the classifiers below `prefix` name."""
    pattern = re.compile(rf"{prefix} :: (\d+\.\d+)")
    return [match[1] for text in project["classifiers"] if (match := pattern.fullmatch(text))]


def test_the_gate_runs_on_every_python_that_the_classifiers_name(
    jobs: dict[str, Any], project: dict[str, Any]
) -> None:
    pythons = jobs["gate"]["strategy"]["matrix"]["python"]

    assert pythons == classified(project, "Programming Language :: Python")
    assert all(version in SpecifierSet(project["requires-python"]) for version in pythons)


def test_the_databases_are_tried_with_the_oldest_and_the_newest_django(
    jobs: dict[str, Any], project: dict[str, Any]
) -> None:
    rows = jobs["databases"]["strategy"]["matrix"]["include"]
    djangos = classified(project, "Framework :: Django")
    products = {"postgres", "mysql", "mariadb"}

    assert {row["django"] for row in rows} == {djangos[0], djangos[-1]}
    for django in (djangos[0], djangos[-1]):
        servers = {row["server"].partition(":")[0] for row in rows if row["django"] == django}
        assert servers == products, django


def test_a_fresh_project_is_tried_with_every_python_and_django(
    jobs: dict[str, Any], project: dict[str, Any]
) -> None:
    pythons = classified(project, "Programming Language :: Python")

    assert jobs["fresh-project"]["strategy"]["matrix"]["python"] == pythons
    assert sorted({python for python, _ in COMBINATIONS}) == pythons
    assert sorted({django for _, django in COMBINATIONS}) == classified(
        project, "Framework :: Django"
    )


@pytest.mark.parametrize("tool", ["format", "lint", "types", "imports", "migrations"])
def test_pre_commit_runs_the_tools_of_the_gate(tool: str) -> None:
    (repository,) = read_yaml(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"  # no versions beside those of requirements-dev.txt
    hooks = {hook["id"]: hook for hook in repository["hooks"]}
    gate = (ROOT / "script" / "check").read_text(encoding="utf-8")
    (step,) = re.findall(rf"^(?:step|beside) {tool} (.+)$", gate, re.MULTILINE)
    program = re.search(r"-m (\w+ ?\w*)|(manage\.py \w+)|(lint-imports)", step)
    assert program is not None

    assert hooks[tool]["language"] == "system"
    assert ".venv/bin/" in hooks[tool]["entry"]
    assert next(filter(None, program.groups())).strip() in hooks[tool]["entry"]
