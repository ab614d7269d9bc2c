"""jobu in a project that starts from nothing: tests/fresh_project.py on each Python and Django."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import fresh_project
from tests.harness.servers import Postgres, Redis
from tests.plugin import skip_without_server

COMBINATIONS = [("3.11", "5.2"), ("3.12", "6.0"), ("3.12", "6.1"), ("3.13", "6.0"), ("3.13", "6.1")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fresh_project.build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def servers(postgres_server: Postgres, redis_server: Redis) -> Iterator[tuple[str, str]]:
    url = postgres_server.create_database("fresh")
    yield url, redis_server.create_database()
    postgres_server.drop_database(url)


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize(("python", "django"), COMBINATIONS)
def test_a_job_made_in_a_fresh_project_runs_its_task(
    python: str, django: str, wheel: Path, servers: tuple[str, str], tmp_path: Path
) -> None:
    found = fresh_project.find_python(python)
    if found is None:
        skip_without_server(f"no Python {python} on this machine")

    print(fresh_project.try_it(tmp_path, wheel, found, django, servers))
