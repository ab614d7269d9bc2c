"""The pages are consistent: links work, tables are complete, examples run."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from django.apps import apps

from handlers import registry

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(DOCS.glob("*.md")),
    *sorted(ROOT.glob("examples/*/*.md")),
]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_has_an_existing_file_and_heading(page: Path) -> None:
    dead = []
    for link in LINK.findall(text_of(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            dead.append(link)

    assert dead == []


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_named_systemd_unit_exists(page: Path) -> None:
    units = {path.stem for path in (DOCS / "production").glob("*.service")}
    named = set()
    for command in re.findall(r"(?:systemctl|journalctl) [^`\n]*", text_of(page)):
        named |= set(re.findall(r"\bjobu-[a-z]+@?", command))

    assert named <= units


def test_table_of_the_readme_lists_every_page_once() -> None:
    table = text_of(ROOT / "README.md").partition("## Where to read on")[2]
    named = sorted(link for link in LINK.findall(table) if link.startswith("docs/"))

    assert named == [f"docs/{page.name}" for page in sorted(DOCS.glob("*.md"))]


def test_the_architecture_names_every_table_and_column() -> None:
    section = text_of(DOCS / "architecture.md").partition("## The tables")[2].partition("\n## ")[0]
    words = set(re.findall(r"`(\w+)`", section)) | set(re.findall(r"\*\*(\w+)\*\*", section))

    for model in apps.get_app_config("scheduler").get_models():
        assert model._meta.db_table in words
        columns = {field.column for field in model._meta.fields}
        assert columns - words == set(), model._meta.db_table


@pytest.mark.parametrize("page", ["README.md"])
def test_handlers_of_the_page_can_be_registered_unchanged(page: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", text_of(ROOT / page), re.DOTALL)
    (block,) = [block for block in blocks if "@handler(" in block]
    (name,) = re.findall(r'@handler\("(\w+)"', block)

    with registry.restored():
        exec(compile(block, page, "exec"), {"__name__": f"page_{name}"})
        found = registry.get_handler(name)

    assert inspect.iscoroutinefunction(found.execute)
