"""pytest plugin: gives a run its job database before Django reads its settings.

`JOBU_TEST_DATABASE` says which one: sqlite (the default, runs every test), postgres or mysql (run
the tests marked `database` again). `JOBU_TEST_SLOW=1` adds the tests marked `slow`, and with
`JOBU_REQUIRE_SERVICES=1` a server that is missing is a failure instead of a skip. tests/run.py sets
these from the arguments of script/test.

Loaded with `-p tests.plugin`, because conftest.py is read only after Django is set up.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

from tests.harness.servers import (
    MariaDB,
    Postgres,
    RabbitMQ,
    Redis,
    Server,
    ServerPool,
    ServerUnavailableError,
)
from tests.harness.servers.guardian import guardian
from tests.harness.servers.pool import Kind, start_server
from tests.harness.waiting import wait_patiently_for_processes

JobServer = Postgres | MariaDB
JOB_SERVERS: dict[str, type[JobServer]] = {"postgres": Postgres, "mysql": MariaDB}
DATABASE_KINDS = ("sqlite", *JOB_SERVERS)
# JOBU_TEST_PART: which part of the tests; all, where it is not set. Those that need no job database
# are the most, and shared out by their files.
EACH_DATABASE = "each database"
NEED_NO_DATABASE = tuple(f"(none) {number}" for number in range(1, 7))
# Which server a fixture needs, so that all that the collected tests need can start side by side.
SERVER_OF_FIXTURE: dict[str, type[Server]] = {
    "postgres_server": Postgres,
    "mariadb_server": MariaDB,
    "redis_server": Redis,
    "rabbitmq_server": RabbitMQ,
}


class Run:
    """What this pytest run has outside of itself: a data directory, a job database, servers."""

    def __init__(self) -> None:
        self.kind = os.environ.get("JOBU_TEST_DATABASE") or "sqlite"
        if self.kind not in DATABASE_KINDS:
            raise pytest.UsageError(
                f"JOBU_TEST_DATABASE={self.kind}: must be one of {', '.join(DATABASE_KINDS)}"
            )
        self.data_dir = Path(tempfile.mkdtemp(prefix="jobu-tests-"))
        guardian.add_directory(self.data_dir)
        self.servers = ServerPool()
        self.missing: str | None = None
        # Django's own server: not the one that tests get as a fixture and may kill.
        self._django_server: Server | None = None
        self._set_environment()

    def _set_environment(self) -> None:
        # A developer's own settings must not leak in, nor the tests out into their database.
        for name in [name for name in os.environ if name.startswith("JOBU_")]:
            if not name.startswith(("JOBU_TEST_", "JOBU_REQUIRE_")):
                del os.environ[name]
        os.environ["JOBU_DATA_DIR"] = str(self.data_dir)
        os.environ["JOBU_SECRET_KEY"] = "a key for tests only"
        os.environ["JOBU_DATABASE_URL"] = self._database_url()

    def _database_url(self) -> str:
        if self.kind in JOB_SERVERS:
            try:
                server = start_server(JOB_SERVERS[self.kind])
            except ServerUnavailableError as error:
                self.missing = str(error)
            else:
                self._django_server = server
                return server.create_database("jobu")
        return f"sqlite:///{self.data_dir}/jobu.sqlite3"

    def close(self) -> None:
        self.servers.close()
        if self._django_server is not None:
            self._django_server.close()
        shutil.rmtree(self.data_dir, ignore_errors=True)
        guardian.close()


@cache
def the_run() -> Run:
    return Run()


def server_or_skip(kind: type[Kind]) -> Kind:
    """A running server of the run, else a loud skip; a failure when services are required."""
    try:
        return the_run().servers.get(kind)
    except ServerUnavailableError as error:
        reason = str(error)
    return skip_without_server(reason)


def skip_without_server(reason: str) -> NoReturn:
    if os.environ.get("JOBU_REQUIRE_SERVICES") == "1":
        pytest.fail(f"required by JOBU_REQUIRE_SERVICES=1: {reason}", pytrace=False)
    pytest.skip(reason)


# --- hooks, in the order in which pytest calls them -----------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    wait_patiently_for_processes()
    the_run()  # before pytest-django's hook of the same name, which reads the settings


def pytest_report_header() -> str:
    return f"jobu: job database {the_run().kind}"


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Files without a test for this run are not even imported: seven runs would each read all."""
    if not collection_path.name.startswith("test_") or collection_path.suffix != ".py":
        return None
    return None if _file_belongs_to_run(collection_path) else True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = [item for item in items if _belongs_to_run(item)]
    if len(chosen) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen


def pytest_collection_finish(session: pytest.Session) -> None:
    if not session.config.option.collectonly and the_run().missing is None:
        the_run().servers.start(servers_needed(session.items))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    if the_run().missing is not None:
        skip_without_server(the_run().missing or "")
    the_run().servers.heal()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Counts for the table of tests/run.py."""
    if path := os.environ.get("JOBU_TEST_SUMMARY"):
        counts = {name: len(reports) for name, reports in terminalreporter.stats.items() if name}
        Path(path).write_text(json.dumps(counts), encoding="ascii")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    the_run().close()


# --- helpers --------------------------------------------------------------------------------------


def _file_belongs_to_run(path: Path) -> bool:
    """What its name and text tell; `_belongs_to_run` then looks at each test.

    A file says `mark.database` itself, where it has such tests.
    """
    part = os.environ.get("JOBU_TEST_PART", "")
    if part in NEED_NO_DATABASE:
        return part == _part_of(path)
    if part == EACH_DATABASE or the_run().kind != "sqlite":
        return "mark.database" in path.read_text(encoding="utf-8")
    return True


def _part_of(path: Path) -> str:
    return NEED_NO_DATABASE[zlib.crc32(path.name.encode()) % len(NEED_NO_DATABASE)]


def _belongs_to_run(item: pytest.Item) -> bool:
    if item.get_closest_marker("slow") and os.environ.get("JOBU_TEST_SLOW") != "1":
        return False
    marker = item.get_closest_marker("database")
    for_each_database = marker is not None
    if marker is not None and marker.args and the_run().kind not in marker.args:
        return False
    part = os.environ.get("JOBU_TEST_PART", "")
    if part in NEED_NO_DATABASE:
        return not for_each_database and part == _part_of(item.path)
    return for_each_database or (the_run().kind == "sqlite" and part != EACH_DATABASE)


def servers_needed(items: Iterable[pytest.Item]) -> set[type[Server]]:
    """Servers that the tests name, directly or through other fixtures."""
    names = {name for item in items for name in getattr(item, "fixturenames", ())}
    needed = {SERVER_OF_FIXTURE[name] for name in names if name in SERVER_OF_FIXTURE}
    if "job_server" in names and the_run().kind in JOB_SERVERS:
        needed.add(JOB_SERVERS[the_run().kind])
    return needed
