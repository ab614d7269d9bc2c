"""pytest plugin: gives a run its job database before Django reads its settings.

`JOBU_TEST_DATABASE` names it: sqlite (the default, runs every test), postgres or mysql (run the
tests marked `database` again). `JOBU_TEST_SLOW=1` adds the tests marked `slow`.
`JOBU_TEST_QUICK=1` leaves out tests that need processes or servers. With `JOBU_REQUIRE_SERVICES=1`
a missing server is a failure instead of a skip. `JOBU_TEST_FILES` names the test files of this run,
if several runs share them. tests/run.py sets these variables from the arguments of script/test.

pytest loads it with `-p tests.plugin`, because it reads conftest.py only after Django is set up.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import tempfile
from collections import defaultdict
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
from tests.sharing import ROOT, SITE, has_tests_for

JobServer = Postgres | MariaDB
JOB_SERVERS: dict[str, type[JobServer]] = {"postgres": Postgres, "mysql": MariaDB}
DATABASE_KINDS = ("sqlite", *JOB_SERVERS)
# The server that a fixture needs, so that all servers of the collected tests start in parallel.
SERVER_OF_FIXTURE: dict[str, type[Server]] = {
    "postgres_server": Postgres,
    "mariadb_server": MariaDB,
    "redis_server": Redis,
    "rabbitmq_server": RabbitMQ,
}
# Fixtures whose tests start beats, workers, servers or a browser with any parameters.
STARTS_PROCESSES = frozenset({"job_database_url", "jobu", "engine_of", "site"})
SERVERS_OF_FILES = pytest.StashKey[dict[str, list[str]]]()


class Run:
    """The resources of this pytest run: a data directory, a job database, servers."""

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
        # A server for Django alone: tests may kill the one that they get as a fixture.
        self._django_server: JobServer | None = None
        self._set_environment()

    def _set_environment(self) -> None:
        # Without compiled modules every process of every test compiles them: a second each.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        sys.dont_write_bytecode = False
        # Tests must neither read a developer's settings nor write to a developer's database.
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

    def create_database(self, name: str) -> str:
        """Returns the URL of an empty database beside that of `JOBU_DATABASE_URL`, on a server."""
        assert self._django_server is not None
        return self._django_server.create_database(name)

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
    """Returns a running server, or skips the test; fails it if services are required."""
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
    """Ignores files without a test for this run, so that pytest does not import them."""
    if not collection_path.name.startswith("test_") or collection_path.suffix != ".py":
        return None
    return None if _file_belongs_to_run(collection_path) else True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = [item for item in items if _belongs_to_run(item)]
    if len(chosen) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen


def pytest_collection_finish(session: pytest.Session) -> None:
    session.config.stash[SERVERS_OF_FILES] = {
        file: sorted([*(server.name for server in servers_needed(items)), *_sites_needed(items)])
        for file, items in _by_file(session.items).items()
    }
    if not session.config.option.collectonly and the_run().missing is None:
        the_run().servers.start(servers_needed(session.items))
    # What is imported by now stays: the collector of garbage need not look at it again. It looks at
    # the rest less often, as most of that goes without it.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 50)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    if the_run().missing is not None:
        skip_without_server(the_run().missing or "")
    the_run().servers.heal()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Writes the counts for the table of tests/run.py and the times for tests/durations.json."""
    path = os.environ.get("JOBU_TEST_SUMMARY")
    if path is None:
        return
    stats = terminalreporter.stats
    seconds: dict[str, float] = defaultdict(float)
    for report in (report for reports in stats.values() for report in reports):
        if isinstance(report, pytest.TestReport):
            seconds[report.nodeid.partition("::")[0]] += report.duration
    summary = {
        "counts": {name: len(reports) for name, reports in stats.items() if name},
        "seconds": seconds,
        "servers": config.stash.get(SERVERS_OF_FILES, {}),
    }
    Path(path).write_text(json.dumps(summary), encoding="utf-8")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    the_run().close()


# --- helpers --------------------------------------------------------------------------------------


def _file_belongs_to_run(path: Path) -> bool:
    """Decides by the name and text of a file. `_belongs_to_run` then decides for each test."""
    files = os.environ.get("JOBU_TEST_FILES")
    if files is not None and os.path.relpath(path, ROOT) not in files.split(os.pathsep):
        return False
    return has_tests_for(path, the_run().kind)


def _belongs_to_run(item: pytest.Item) -> bool:
    # pytest ignores the answer of pytest_ignore_collect for a file that its arguments name.
    if not _file_belongs_to_run(item.path):
        return False
    if item.get_closest_marker("slow") and os.environ.get("JOBU_TEST_SLOW") != "1":
        return False
    if os.environ.get("JOBU_TEST_QUICK") == "1" and not _is_quick(item):
        return False
    marker = item.get_closest_marker("database")
    if marker is None:
        return the_run().kind == "sqlite"
    return not marker.args or the_run().kind in marker.args


def _is_quick(item: pytest.Item) -> bool:
    """A unit test: it starts neither processes nor servers, and tries few examples."""
    if item.get_closest_marker("processes") or item.get_closest_marker("thorough"):
        return False
    return not STARTS_PROCESSES & set(getattr(item, "fixturenames", ())) and not servers_needed(
        [item]
    )


def _by_file(items: Iterable[pytest.Item]) -> dict[str, list[pytest.Item]]:
    found: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        found[item.nodeid.partition("::")[0]].append(item)
    return found


def servers_needed(items: Iterable[pytest.Item]) -> set[type[Server]]:
    """Returns the servers that the tests need: as a fixture, through one, or as their engine."""
    items = list(items)
    names = {name for item in items for name in getattr(item, "fixturenames", ())}
    needed = {SERVER_OF_FIXTURE[name] for name in names if name in SERVER_OF_FIXTURE}
    if "job_server" in names and the_run().kind in JOB_SERVERS:
        needed.add(JOB_SERVERS[the_run().kind])
    # tests/dbpools: "postgres", "mysql", "postgres behind a rough network".
    engines = {_engine_of(item).partition(" ")[0] for item in items}
    return needed | {JOB_SERVERS[engine] for engine in engines if engine in JOB_SERVERS}


def _sites_needed(items: Iterable[pytest.Item]) -> list[str]:
    names = {name for item in items for name in getattr(item, "fixturenames", ())}
    return [SITE] if "signed_in" in names else []


def _engine_of(item: pytest.Item) -> str:
    return str(item.callspec.params.get("engine", "")) if hasattr(item, "callspec") else ""
