"""The sdist and the wheel: what is in them, and that a jobu that was installed from them works."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement

import scheduler
from tests.harness.servers.daemon import Daemon
from tests.harness.waiting import wait_until
from tests.packaging.project_files import ROOT, files_not_ignored, tracked_files
from tests.plugin import skip_without_server

PACKAGES = ("jobu_project", "scheduler", "handlers", "dbpools")
# What belongs to the ready-made site lies beside the packages in a checkout, and inside
# jobu_project in the wheel.
MOVED = {
    "config/": "jobu_project/default_config/",
    "templates/": "jobu_project/templates/",
    "gunicorn.conf.py": "jobu_project/gunicorn.conf.py",
}
# Every kind of file that a wheel may hold. A new kind is a decision: add it here.
KINDS = {".py", ".html", ".css", ".js", ".svg", ".sql", ".yaml", ".po", ".mo"}
# What an index that cannot be reached makes uv say, whatever the reason.
UNREACHABLE = re.compile(r"error sending request|dns error|Failed to fetch|tcp connect error")


@dataclass(frozen=True, kw_only=True)
class Distributions:
    sdist: Path
    wheel: Path

    def files_of_sdist(self) -> set[str]:
        with tarfile.open(self.sdist) as archive:
            return {
                str(PurePosixPath(*PurePosixPath(member.name).parts[1:]))
                for member in archive.getmembers()
                if member.isfile()
            }

    def files_of_wheel(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return {name for name in archive.namelist() if not name.endswith("/")}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """Built as `python -m build` does it: the sdist from the tree, the wheel from the sdist."""
    directory = tmp_path_factory.mktemp("dist")
    # Without isolation: the pinned hatchling of requirements-dev.txt builds, no index is asked.
    _run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(directory), str(ROOT)])
    (sdist,) = directory.glob("*.tar.gz")
    (wheel,) = directory.glob("*.whl")
    return Distributions(sdist=sdist, wheel=wheel)


# --- contents -------------------------------------------------------------------------------------


def test_both_are_named_after_the_distribution_and_the_one_version(
    distributions: Distributions,
) -> None:
    stem = f"jobu_scheduler-{scheduler.__version__}"

    assert distributions.sdist.name == f"{stem}.tar.gz"
    assert distributions.wheel.name == f"{stem}-py3-none-any.whl"


def test_the_sdist_holds_every_tracked_file_and_nothing_else(distributions: Distributions) -> None:
    found = distributions.files_of_sdist() - {"PKG-INFO"}

    assert tracked_files() - found == set()
    assert found - files_not_ignored() == set()


def test_the_wheel_holds_the_packages_and_what_the_site_needs_and_nothing_else(
    distributions: Distributions,
) -> None:
    found = {name for name in distributions.files_of_wheel() if ".dist-info/" not in name}

    assert _in_the_wheel(tracked_files()) - found == set()
    assert found - _in_the_wheel(files_not_ignored()) == set()


def test_the_wheel_holds_no_unexpected_kind_of_file(distributions: Distributions) -> None:
    info = f"jobu_scheduler-{scheduler.__version__}.dist-info"
    described = {name for name in distributions.files_of_wheel() if name.startswith(info)}
    others = {PurePosixPath(name) for name in distributions.files_of_wheel() - described}

    assert described == {
        f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE")
    }
    assert {path.parts[0] for path in others} == set(PACKAGES)
    assert [path for path in others if path.suffix not in KINDS and path.name != "py.typed"] == []
    assert {path.parts[0] for path in others if path.name == "py.typed"} >= {
        "scheduler",
        "jobu_project",
    }


def _in_the_wheel(names: set[str]) -> set[str]:
    """Where the wheel must hold those of `names` that belong into it."""
    kept = {name for name in names if name.startswith(tuple(f"{each}/" for each in PACKAGES))}
    moved = {
        target + name.removeprefix(source)
        for name in names
        for source, target in MOVED.items()
        if name == source or (source.endswith("/") and name.startswith(source))
    }
    return kept | moved


# --- an unpacked sdist ----------------------------------------------------------------------------


@pytest.mark.processes
def test_the_tests_run_from_the_sdist(distributions: Distributions, tmp_path: Path) -> None:
    with tarfile.open(distributions.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()

    # Files whose tests read the tree: the configuration, the requirements, the list of files.
    names = ["test_config.py", "test_requirements.py", "packaging/test_tree.py"]
    output = _run(
        [sys.executable, "-m", "pytest", "-q", *(f"tests/{name}" for name in names)],
        directory=unpacked,
        environment=_clean_environment(tmp_path),
    )

    assert re.search(r"^\d+ passed", output, re.MULTILINE), output
    assert "skipped" not in output


# --- an installed wheel ---------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Site:
    """`jobu-scheduler[site]` in an environment of its own, used from an empty directory. Its tables
    are there.
    """

    python: Path
    directory: Path
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        # It compiles what it imports, once: the environment is its own.
        return _clean_environment(self.home) | {"PYTHONDONTWRITEBYTECODE": ""}

    @property
    def data(self) -> Path:
        return self.home / ".local" / "share" / "jobu"

    def run(self, *arguments: str) -> str:
        return _run(
            [str(self.python), *arguments],
            directory=self.directory,
            environment=self.environment,
        )


@pytest.fixture(scope="module")
def site(distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Site:
    place = tmp_path_factory.mktemp("site")
    python = place / "environment" / "bin" / "python"
    uv = [sys.executable, "-m", "uv"]
    _run([*uv, "venv", "--quiet", "--python", sys.executable, str(python.parent.parent)])
    pins = place / "constraints.txt"
    pins.write_text("\n".join(_pins()), encoding="ascii")
    install = [
        *uv,
        "pip",
        "install",
        "--quiet",
        "--python",
        str(python),
        "--constraints",
        str(pins),
    ]
    done = subprocess.run(
        [*install, f"jobu-scheduler[site] @ {distributions.wheel.as_uri()}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 and UNREACHABLE.search(done.stderr):
        skip_without_server(f"[site] needs a package index that answers:\n{done.stderr}")
    assert done.returncode == 0, done.stderr
    made = Site(python=python, directory=place / "empty", home=place / "home")
    made.directory.mkdir()
    made.home.mkdir()
    made.run("-m", "jobu_project", "migrate", "--verbosity=0")
    return made


def _pins() -> Iterator[str]:
    """requirements.txt as constraints: a release of tomorrow must not change what is tested."""
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if text:
            pin = Requirement(text)
            yield f"{pin.name}{pin.specifier}" + (f" ; {pin.marker}" if pin.marker else "")


@pytest.mark.processes
def test_an_installed_jobu_is_imported_from_the_environment_alone(site: Site) -> None:
    output = site.run(
        "-c",
        f"import {', '.join(PACKAGES)}\n"
        f"for package in ({', '.join(PACKAGES)}): print(package.__file__)\n"
        "import importlib.metadata as metadata\n"
        "print(metadata.version('jobu-scheduler'))",
    )

    *files, version = output.splitlines()
    assert version == scheduler.__version__
    assert len(files) == len(PACKAGES)
    assert all(Path(file).is_relative_to(site.python.parent.parent) for file in files)


@pytest.mark.processes
def test_an_installed_jobu_that_knows_no_place_for_its_data_says_so(site: Site) -> None:
    homeless = {name: value for name, value in site.environment.items() if name != "HOME"}
    done = subprocess.run(
        [str(site.python), "-m", "jobu_project", "check"],
        cwd=site.directory,
        env=homeless,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "- JOBU_DATA_DIR: must be set, because HOME is not set either" in done.stderr


@pytest.mark.processes
def test_an_installed_beat_records_a_due_slot_on_sqlite(site: Site) -> None:
    database = site.data / "jobu.sqlite3"
    with sqlite3.connect(database) as connection:
        connection.execute(
            "insert into cron_jobs (name, cron_expression, handler_name, next_run_at)"
            " values ('due', '* * * * *', 'sample', '2026-01-01 00:00:00')"
        )
    connection.close()

    beat = Daemon(
        [str(site.python), "-m", "celery", "-A", "jobu_project", "beat"],
        log_path=site.home / "beat.log",
        environment=site.environment,
        directory=site.directory,
    )
    try:
        wait_until(
            lambda: _statuses(database, "due") >= {"PENDING"},
            60,
            "the slot of the due job",
            details=beat.log_tail,
        )
        beat.send(signal.SIGTERM)
        assert beat.wait(30) == 0, beat.log_tail()
    finally:
        beat.kill()

    assert list(site.directory.iterdir()) == []  # all that was written is in the data directory


@pytest.mark.processes
def test_an_installed_site_has_its_pages_its_catalogue_and_its_static_files(site: Site) -> None:
    output = site.run(
        "-m",
        "jobu_project",
        "shell",
        "--no-imports",
        "--verbosity=0",
        "--command",
        "from django.contrib.auth.models import User\n"
        "from django.contrib.staticfiles import finders\n"
        "from django.test import Client\n"
        "client = Client(headers={'accept-language': 'ko', 'host': 'localhost'})\n"
        "client.force_login(User.objects.create_superuser('root'))\n"
        "answer = client.get('/admin/')\n"
        "print(answer.status_code, '작업' in answer.content.decode())\n"
        "print(client.get('/admin/scheduler/cronjob/add/').status_code)\n"
        "print(bool(finders.find('scheduler/live.js')))\n"
        "print(client.get('/health').json()['version'])",
    )

    assert output.splitlines() == ["200 True", "200", "True", scheduler.__version__]


def _statuses(database: Path, job: str) -> set[str]:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)
    try:
        rows = connection.execute("select status from job_executions where job_name = ?", [job])
        return {status for (status,) in rows}
    finally:
        connection.close()


# --- helpers --------------------------------------------------------------------------------------


def _clean_environment(home: Path) -> dict[str, str]:
    """Ours, without what could lead to this checkout, its settings or its data."""
    foreign = ("JOBU_", "PYTHON", "DJANGO_", "XDG_", "CELERY_", "PYTEST_", "COVERAGE_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    return {**kept, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}


def _run(
    command: list[str],
    *,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """What the command prints. Fails with all of its output when it fails."""
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout
