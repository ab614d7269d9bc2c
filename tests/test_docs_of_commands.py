"""Runs the commands of docs/cli.md and docs/operations.md, and checks that named things exist."""

from __future__ import annotations

import re
import shlex

import pytest
from django.contrib.auth import get_user_model

from jobu_project.config import WorkerConfig
from scheduler.events import EVENTS
from scheduler.models import JobExecution
from scheduler.states import RunStatus
from scheduler.store.connection import database_now
from scheduler.worker import lease
from tests.test_commands import Done, run
from tests.test_docs import DOCS, commands_of

PREFIX = "python manage.py "


@pytest.mark.django_db(transaction=True, reset_sequences=True)
def test_commands_of_the_page_work_in_the_order_of_the_page() -> None:
    get_user_model().objects.create_superuser("admin", password="x")  # a token acts as a user
    commands = commands_of("cli.md")
    assert len(commands) > 30

    for command in commands:
        assert command.startswith(PREFIX), command
        text, _, comment = command.removeprefix(PREFIX).partition("  # ")
        expected = 1 if comment == "exit code 1" else 0
        done = run(*shlex.split(text))
        assert done.code == expected, f"{command}\n{done.out}{done.err}"
        assert done.out or done.err or " logs " in text, command


@pytest.mark.django_db(transaction=True)
def test_the_commands_of_the_page_stop_many_runs() -> None:
    job = ("--handler", "sample", "--cron", "@daily", "--timezone", "UTC")
    assert run("jobs", "create", "wild", *job).code == 0
    assert run("backfill", "start", "wild", "--since", "3d ago").code == 0
    for _ in range(3):
        assert run("jobs", "run", "wild").code == 0
    running = JobExecution.objects.earliest("id")
    now = database_now()
    JobExecution.objects.filter(pk=running.pk).update(
        status=RunStatus.RUNNING, started_at=now,
        lease_token="t", lease_expires_at=now, deadline_at=now,
    )  # fmt: skip

    commands = [c for c in commands_of("operations.md") if "NAME" in c or "ID" in c]
    assert len(commands) == 7
    listed: Done | None = None
    for command in commands:
        words = shlex.split(command.removeprefix(PREFIX).replace("NAME", "wild"))
        if "ID" in words:
            assert listed is not None
            ids = [str(item["id"]) for item in listed.json["items"]]
            assert ids, command
            at = words.index("ID")
            words[at : at + 1] = ids
        listed = run(*words)
        assert listed.code == 0, f"{command}\n{listed.out}{listed.err}"

    running.refresh_from_db()
    assert running.cancel_requested_at is not None
    others = JobExecution.objects.exclude(pk=running.pk)
    assert set(others.values_list("status", flat=True)) == {RunStatus.CANCELLED}


def test_documented_time_without_the_database_matches_the_defaults() -> None:
    worker = WorkerConfig()
    share = f"{lease._ABANDON_SHARE:g} x `lease_seconds`"
    alone = lease._ABANDON_SHARE * worker.lease_seconds
    survived = alone - worker.heartbeat_seconds
    operations = (DOCS / "operations.md").read_text(encoding="utf-8")
    architecture = (DOCS / "architecture.md").read_text(encoding="utf-8")

    assert f"{share} - `heartbeat_seconds` ({survived:g} s)" in operations
    assert f"{share} ({alone:g} s)" in operations
    assert f"runs survive {survived:g} s" in architecture


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
    explained = (DOCS / "monitoring.md").read_text(encoding="utf-8")
    assert [name for name in metrics if name not in explained] == []


def test_every_event_that_a_page_names_is_logged() -> None:
    text = (DOCS / "operations.md").read_text(encoding="utf-8")
    table = text.partition("| event | what to do |\n|---|---|\n")[2].partition("\n\n")[0]
    named = {
        name
        for line in table.splitlines()
        for name in re.findall(r"`([a-z_.]+)`", line.split(" | ")[0])
    }
    assert len(named) > 10
    keys = {f"worker.{name}" for name in WorkerConfig.model_fields}
    for page in DOCS.glob("*.md"):
        prefixed = re.findall(r"`([a-z]+\.[a-z_]+)`", page.read_text(encoding="utf-8"))
        named |= {name for name in prefixed if name.split(".")[0] in _prefixes()} - keys

    assert named <= set(EVENTS)


def _prefixes() -> set[str]:
    return {name.split(".")[0] for name in EVENTS}


@pytest.mark.parametrize("page", ["cli.md", "operations.md"])
def test_every_page_that_is_named_exists(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert [n for n in re.findall(r"\]\(([\w.]+)\)", text) if not (DOCS / n).exists()] == []
