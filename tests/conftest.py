"""Fixtures for all tests. tests/plugin.py does what must happen before Django reads settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import hypothesis
import pytest
from django.core.cache import caches
from django.core.management import call_command
from django.db import connections
from django.test import override_settings
from django.utils import translation
from pytest_django import DjangoDbBlocker

from tests import empty_tables, plugin
from tests.harness.process_helpers import HANDLERS, SHORT, Ledger
from tests.harness.servers import MariaDB, Postgres, RabbitMQ, Redis
from tests.harness.system import System
from tests.harness.template_database import fill_migrated

# No deadline: the time of one example depends on the load of the machine. A run that requires the
# services repeats the same examples, so that one commit has one result. Other runs try new ones.
hypothesis.settings.register_profile(
    "jobu", deadline=None, derandomize=os.environ.get("JOBU_REQUIRE_SERVICES") == "1"
)
hypothesis.settings.load_profile("jobu")

# What modules of the product remember about the database or about earlier requests, beside Django's
# cache: the module, and how it forgets.
MEMORIES: dict[str, Callable[[Any], object]] = {
    "scheduler.admin.liveness": lambda module: module._wrong_encoding.cache_clear(),
    "scheduler.api.auth": lambda module: setattr(module._clock, "_reading", None),
    "scheduler.api.probes": lambda module: setattr(module, "_reported", frozenset()),
    "scheduler.api.metrics.view": lambda module: module.ANSWER.forget(),
}


def pytest_configure(config: pytest.Config) -> None:
    # For `pytest` without `-p tests.plugin`: too late for Django's settings, but not for the rest.
    if not config.pluginmanager.has_plugin("tests.plugin"):
        config.pluginmanager.register(plugin, "tests.plugin")


# --- servers: one of each per run, repaired before each test --------------------------------------


@pytest.fixture(autouse=True)
def _language() -> Iterator[None]:
    """Resets the language of the thread, which a test changes if it requests a Korean page."""
    yield
    translation.deactivate()


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    """Empties what the product keeps in memory between requests: no order of tests may matter.

    Memories of pure functions stay, because they give the same answer to every test.
    """
    yield
    for cache in caches.all(initialized_only=True):
        cache.clear()
    for name, forget in MEMORIES.items():
        if name in sys.modules:  # what was not imported has remembered nothing
            forget(sys.modules[name])


@pytest.fixture(scope="session", autouse=True)
def _quick_end_of_transactional_tests() -> None:
    empty_tables.install()


@pytest.fixture(scope="session", autouse=True)
def _quick_settings() -> Iterator[None]:
    """Replaces the real hasher, which takes half a second per password on purpose, and looks for a
    static file when it is requested, because each test Client would look for all of them first.

    Real processes (`System`, script/server) keep jobu's own settings.
    """
    with override_settings(
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        WHITENOISE_AUTOREFRESH=True,
    ):
        yield


@pytest.fixture(scope="session")
def postgres_server() -> Postgres:
    return plugin.server_or_skip(Postgres)


@pytest.fixture(scope="session")
def mariadb_server() -> MariaDB:
    return plugin.server_or_skip(MariaDB)


@pytest.fixture(scope="session")
def redis_server() -> Redis:
    return plugin.server_or_skip(Redis)


@pytest.fixture(scope="session")
def rabbitmq_server() -> RabbitMQ:
    return plugin.server_or_skip(RabbitMQ)


# --- messages -------------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def _no_messages_from_this_process() -> None:
    """Sends none, because tests count those of beat. Real processes do send theirs."""
    from scheduler import wakeups

    wakeups.send_through(None)


# --- the run's job database -----------------------------------------------------------------------


@pytest.fixture(scope="session")
def job_database() -> str:
    """Returns the kind of the job database of this run: sqlite, postgres or mysql."""
    return plugin.the_run().kind


@pytest.fixture(scope="session")
def job_server(job_database: str) -> Postgres | MariaDB | None:
    """Returns the server of `job_database_url`, which a test may kill; None on SQLite."""
    if job_database == "sqlite":
        return None
    return plugin.server_or_skip(plugin.JOB_SERVERS[job_database])


@pytest.fixture
def job_database_url(job_server: Postgres | MariaDB | None, tmp_path: Path) -> Iterator[str]:
    """Returns the URL of an empty database of the run's kind, for this test only."""
    if job_server is None:
        yield f"sqlite:///{tmp_path}/jobu.sqlite3"
        return
    url = job_server.create_database("jobu")
    yield url
    job_server.heal()
    job_server.drop_database(url)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, django_db_blocker: DjangoDbBlocker
) -> None:
    """Makes the test's database a copy of the migrated one, in which Django finds all its tables.

    SQLite is in a file: only there WAL, locks and several connections are real.
    """
    run = plugin.the_run()
    if run.missing is not None:
        return
    test = connections["default"].settings_dict["TEST"]
    if run.kind == "sqlite":
        url = f"sqlite:///{run.data_dir}/test.sqlite3"
    else:
        url = run.create_database("test_jobu")
    with django_db_blocker.unblock():
        fill_migrated(url, _migrate_with_django)
    test["NAME"], test["MIGRATE"] = _name_of(url), False


def _name_of(url: str) -> str:
    """The name of a database for Django."""
    return url.removeprefix("sqlite:///") if url.startswith("sqlite") else url.rpartition("/")[2]


def _migrate_with_django(url: str) -> None:
    connection = connections["default"]
    connection.close()
    before = connection.settings_dict["NAME"]
    connection.settings_dict["NAME"] = _name_of(url)
    try:
        call_command("migrate", verbosity=0, interactive=False)
    finally:
        connection.close()
        connection.settings_dict["NAME"] = before


@pytest.fixture(scope="session")
def django_db_keepdb(request: pytest.FixtureRequest) -> bool:
    """True: Django then uses the copy, which is deleted with the directory or server of the run."""
    return plugin.the_run().missing is None or bool(request.config.getvalue("reuse_db"))


# --- real beats and workers -----------------------------------------------------------------------


class SystemFactory(Protocol):
    def __call__(
        self,
        *,
        database_url: str | None = None,
        broker_url: str | None = None,
        config: dict[str, dict[str, Any]] | None = None,
        handler_paths: tuple[Path, ...] = (),
        environment: dict[str, str] | None = None,
    ) -> System: ...


@pytest.fixture
def system(job_database_url: str, tmp_path: Path) -> Iterator[SystemFactory]:
    """Yields a function that makes Systems on this test's database. They end with the test."""
    systems: list[System] = []

    def make(
        *,
        database_url: str | None = None,
        broker_url: str | None = None,
        config: dict[str, dict[str, Any]] | None = None,
        handler_paths: tuple[Path, ...] = (),
        environment: dict[str, str] | None = None,
    ) -> System:
        place = tmp_path / f"system{len(systems)}"
        place.mkdir()
        made = System(
            database_url or job_database_url,
            broker_url,
            place,
            config=config,
            handler_paths=handler_paths,
            environment=environment,
        )
        systems.append(made)
        return made

    yield make
    for made in systems:
        made.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite3")


@pytest.fixture
def jobu(system: SystemFactory, redis_server: Redis, ledger: Ledger) -> Iterator[System]:
    """Returns a migrated system with the run's job database and a private Redis, not started."""
    started = system(
        broker_url=redis_server.create_database(),
        config=SHORT,
        handler_paths=(HANDLERS,),
        environment={"JOBU_TEST_LEDGER": str(ledger.path)},
    )
    started.migrate()
    yield started
    redis_server.heal()
