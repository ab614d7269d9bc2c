"""What jobu is installed from: exact pins with their reasons, one Python floor, no detours."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

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


def test_python_311_is_the_oldest_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert project["project"]["requires-python"] == ">=3.11"


def test_nobody_bends_the_import_path() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in ("jobu_project", "scheduler", "handlers", "dbpools", "bench")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path"
    ]

    assert found == []
