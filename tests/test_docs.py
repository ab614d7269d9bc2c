"""Runs the code blocks of docs/handlers.md and docs/tutorial.md with real servers."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml

from handlers.samples.group1 import sync_sqlite_to_postgres
from tests.harness.servers import Postgres
from tests.harness.servers.base import find_program
from tests.harness.system import ROOT, System
from tests.harness.waiting import wait_until
from tests.harness.web_browser import Browser
from tests.scheduler.conftest import own_registry
from tests.test_script_server import Server

__all__ = ["own_registry"]  # a fixture

DOCS = ROOT / "docs"
PASSWORD = "a password for the tutorial"
ADDRESS_IN_TUTORIAL = "127.0.0.1:5432/jobu"


@dataclass(frozen=True)
class Block:
    language: str
    text: str

    @property
    def path(self) -> str | None:
        """Returns the path in the first line of the block, as `# shop/handlers/greet.py`."""
        found = re.match(r"(?:#|--) (\S+\.(?:py|sql|yaml))\n", self.text)
        return found.group(1) if found else None


def blocks_of(page: str) -> list[Block]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        Block(*found)
        for found in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def commands_of(page: str) -> list[str]:
    """Returns the lines after a `$`, in order."""
    texts = [block.text for block in blocks_of(page) if block.language == "console"]
    return [line[2:] for text in texts for line in text.splitlines() if line.startswith("$ ")]


# --- handlers.md ----------------------------------------------------------------------------------


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Creates a directory with every file that handlers.md shows."""
    for block in blocks_of("handlers.md"):
        if block.language in ("python", "sql"):
            assert block.path is not None, f"no path in its first line:\n{block.text}"
            file = tmp_path / block.path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
    return tmp_path


@pytest.mark.processes
def test_the_tests_of_the_handlers_page_pass(shop: Path) -> None:
    (command,) = commands_of("handlers.md")
    words = shlex.split(command)
    assert words[0] == "python"

    done = subprocess.run(
        [sys.executable, *words[1:], "-p", "no:django", "-p", "no:cacheprovider"],
        cwd=shop,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(shop)])},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 passed" in done.stdout


@pytest.mark.processes
def test_the_handlers_of_the_page_run_in_a_worker_as_configured_there(
    system: Callable[..., System], shop: Path
) -> None:
    (config,) = [block for block in blocks_of("handlers.md") if block.language == "yaml"]
    given = yaml.safe_load(config.text)
    jobu = system(config=given, handler_paths=(shop,))
    jobu.migrate()
    runs = {
        "greet": {"to": "Ann", "times": 2},
        "plain": {"b": 1, "a": 2},
        "charge": {"card": "good", "cents": 5},
        "pack": {},
        "pack_async": {},
        "deactivate_staff": {"names": ["bob"]},
    }
    for number, (name, params) in enumerate(runs.items()):
        jobu.sql(
            "INSERT INTO job_executions (handler_name, scheduled_time, param_source, params)"
            " VALUES (%s, %s, 'event', %s)",
            name,
            f"2026-01-01 00:00:00.00000{number}",
            json.dumps(params),
        )

    jobu.start_worker(pool="threads")
    jobu.start_beat()

    def results() -> dict[str, Any]:
        rows = jobu.sql("SELECT * FROM job_executions WHERE finished_at IS NOT NULL")
        assert {row["status"] for row in rows} <= {"SUCCESS"}, rows
        return {row["handler_name"]: json.loads(row["result"]) for row in rows}

    jobu.wait_until(lambda: len(results()) == len(runs), 60, "the runs of the handlers' page")
    assert results()["greet"]["count"] == 2
    assert results()["plain"] == {"seen": ["a", "b"]}
    assert results()["charge"] == {"charged_under": "execution:3"}


# --- tutorial.md ----------------------------------------------------------------------------------


LABELS = {
    "Name": "name",
    "Handler": "handler_name",
    "Parameters": "handler_params",
    "Cron expression": "cron_expression",
}


def forms_of_tutorial() -> list[dict[str, str]]:
    """Returns the tables of fields and values, in order."""
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    tables = re.findall(r"\| Field \| Value \|\n\|---\|---\|\n((?:\|.*\|\n)+)", text)
    found = []
    for table in tables:
        lines = re.findall(r"^\| (.+?) \| `(.*)` \|$", table, re.MULTILINE)
        found.append({LABELS[label]: value for label, value in lines})
    return found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.close()


@pytest.fixture
def empty_postgres(postgres_server: Postgres) -> Iterator[str]:
    url = postgres_server.create_database("tutorial")
    yield url
    postgres_server.drop_database(url)


def shell(command: str) -> str:
    done = subprocess.run(
        command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def files_that_the_image_runs(mount: str) -> list[Path]:
    """Those of a --volume at /docker-entrypoint-initdb.d, in the order of their names there."""
    source, target, _ = mount.replace("$PWD", str(ROOT)).split(":")
    directory, here = Path("/docker-entrypoint-initdb.d"), Path(source)
    assert here.exists(), "docker would make an empty directory of that name"
    if Path(target) == directory:
        return sorted(here.iterdir())
    assert Path(target).parent == directory
    assert (here.is_file(), Path(target).suffix) == (True, here.suffix)
    return [here]


@pytest.mark.processes
def test_init_scripts_of_the_tutorial_database_succeed(empty_postgres: str) -> None:
    if find_program("psql") is None:
        pytest.skip("no psql on this machine")
    (block,) = [block.text for block in blocks_of("tutorial.md") if block.language == "sh"]
    words = shlex.split(block)
    options = list(itertools.pairwise(words))
    given = dict(value.split("=", 1) for name, value in options if name == "--env")
    parts = urlsplit(empty_postgres)
    environment = {
        **given,
        "POSTGRES_DB": parts.path.lstrip("/"),
        "PATH": os.environ["PATH"],
        "PGHOST": parts.hostname or "",
        "PGPORT": str(parts.port),
        "PGUSER": given["POSTGRES_USER"],
        "PGPASSWORD": given["POSTGRES_PASSWORD"],
        "PGDATABASE": parts.path.lstrip("/"),
    }

    for mount in [value for name, value in options if name == "--volume"]:
        for file in files_that_the_image_runs(mount):
            command = ["psql", "-v", "ON_ERROR_STOP=1", "--no-psqlrc", "-f", str(file)]
            done = subprocess.run(
                [str(file)] if file.suffix == ".sh" else command,
                env=environment,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            assert done.returncode == 0, f"the container has exited: {done.stderr}"

    with psycopg.connect(empty_postgres) as connection:
        assert connection.execute("select count(*) from sample_data").fetchone() == (0,)


@pytest.mark.processes
def test_steps_of_the_tutorial_end_with_a_working_sync(server: Server, empty_postgres: str) -> None:
    parts = urlsplit(empty_postgres)
    here = f"{parts.hostname}:{parts.port}{parts.path}"
    commands = [
        command.replace(ADDRESS_IN_TUTORIAL, here) for command in commands_of("tutorial.md")
    ]
    prepare, export, start, look = commands
    assert start == "script/server"
    if not any((Path(place) / "psql").is_file() for place in os.environ["PATH"].split(os.pathsep)):
        pytest.skip("no psql on this machine")

    shell(prepare)
    variable, _, url = export.removeprefix("export ").partition("=")
    server.start("web", "beat", "worker", JOBU_ADMIN_PASSWORD=PASSWORD, **{variable: url})
    server.wait_until_running()
    browser = Browser(server.web)
    browser.log_in("/admin/", "admin", PASSWORD)
    forms = forms_of_tutorial()
    assert [sorted(form) for form in forms] == [sorted(LABELS.values())] * 2
    assert "Add job" in browser.see("/admin/scheduler/cronjob/")
    labels = re.findall(r"<label[^>]*>\s*([\w ]+)", browser.see("/admin/scheduler/cronjob/add/"))
    assert {label.strip() for label in labels} >= set(LABELS)
    for form in forms:
        browser.send("/admin/scheduler/cronjob/add/", form)

    def synced() -> dict[str, Any] | None:
        with closing(sqlite3.connect(server.data_dir / "jobu.sqlite3", timeout=20)) as database:
            rows = database.execute(
                "SELECT status, result, error_message FROM job_executions"
                " WHERE handler_name = 'sample3' AND finished_at IS NOT NULL ORDER BY id DESC"
            ).fetchall()
        for status, result, error in rows:
            assert status == "SUCCESS", error
            if json.loads(result)["synced"]:
                return dict(json.loads(result))
        return None

    # The first run may start before the first row exists; the next one starts a minute later.
    result = wait_until(synced, 150, "a sync of at least one row", details=lambda: server.log)
    (documented,) = [json.loads(b.text) for b in blocks_of("tutorial.md") if b.language == "json"]
    assert result is not None
    assert result.items() >= documented.items()
    (shown,) = re.findall(r"^(apple\|.*)$", (DOCS / "tutorial.md").read_text(), re.MULTILINE)
    assert shell(look).strip() == shown
    assert server.stop() == 0


def test_the_tutorial_quotes_the_handler_unchanged() -> None:
    (quoted,) = [b.text.strip() for b in blocks_of("tutorial.md") if b.language == "python"]
    source = Path(sync_sqlite_to_postgres.__file__).read_text(encoding="utf-8")

    assert quoted in "\n".join(line.removeprefix("    ") for line in source.splitlines())


# --- both -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["handlers.md", "tutorial.md"])
def test_every_file_and_page_that_is_named_exists(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    files = re.findall(r"`((?:handlers|docker|config|tests|script)/[\w./-]+)`", text)
    pages = re.findall(r"\]\(([\w.]+)\)", text)

    missing = [name for name in files if not (ROOT / name).exists()]
    missing += [name for name in pages if not (DOCS / name).exists()]
    assert missing == []
