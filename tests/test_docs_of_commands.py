"""docs/cli.md and docs/operations.md do what they say: commands are run, names exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from scheduler.api import probes
from scheduler.events import EVENTS
from tests.test_commands import run
from tests.test_docs import DOCS, commands_of

PREFIX = "python manage.py "


@pytest.mark.django_db(transaction=True, reset_sequences=True)
def test_the_commands_of_the_page_do_in_its_order_what_it_says() -> None:
    commands = commands_of("cli.md")
    assert len(commands) > 30

    for command in commands:
        assert command.startswith(PREFIX), command
        text, _, comment = command.removeprefix(PREFIX).partition("  # ")
        expected = 1 if comment == "exit code 1" else 0
        done = run(*shlex.split(text))
        assert done.code == expected, f"{command}\n{done.out}{done.err}"
        assert done.out or done.err or " logs " in text, command


def test_every_command_that_any_page_names_exists() -> None:
    from django.core.management import get_commands

    named = set()
    for page in DOCS.glob("*.md"):
        named |= set(re.findall(r"manage\.py ([a-z_]+)", page.read_text(encoding="utf-8")))
    assert named <= set(get_commands())


def test_events_and_metrics_that_operations_names_exist() -> None:
    text = (DOCS / "operations.md").read_text(encoding="utf-8")

    events = set(re.findall(r"`((?:[a-z]+)\.[a-z_]+)`", text)) - {"admin.timezone", "manage.py"}
    metrics = set(re.findall(r"\b(jobu_(?!project)[a-z_]+)\b", text))

    assert {name for name in events if name.split(".")[0] in _prefixes()} <= set(EVENTS)
    assert len(events & set(EVENTS)) >= 10
    source = Path(probes.__file__).read_text(encoding="utf-8")
    assert [name for name in metrics if f'"{name}"' not in source] == []


def _prefixes() -> set[str]:
    return {name.split(".")[0] for name in EVENTS}


@pytest.mark.parametrize("page", ["cli.md", "operations.md"])
def test_every_page_that_is_named_exists(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert [n for n in re.findall(r"\]\(([\w.]+)\)", text) if not (DOCS / n).exists()] == []
