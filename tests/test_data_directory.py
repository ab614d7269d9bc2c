"""What jobu makes in its data directory is for its own user alone, whatever the umask is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dbpools.config import SqliteConfig
from dbpools.drivers.sqlite import SqliteDriver
from tests.harness.system import ROOT, System

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes of files")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.processes
def test_directory_and_database_are_private_and_an_open_directory_is_said_and_taken(tmp_path: Path):
    made = tmp_path / "deep" / "data"
    jobu = System(f"sqlite:///{made}/jobu.sqlite3", None, tmp_path)
    # With its umask, a service may make files that everybody reads.
    program = (
        "import os, sys; os.umask(0); from django.core.management import execute_from_command_line;"
        "execute_from_command_line(['manage.py', *sys.argv[1:]])"
    )

    def manage(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env=jobu.environment | {"JOBU_DATA_DIR": str(made)},
            cwd=ROOT, text=True, capture_output=True, check=True, timeout=100,
        )  # fmt: skip
        return done.stdout + done.stderr

    assert "jobu.W101" not in manage("migrate", "--verbosity=0")
    assert mode(made) == 0o700
    assert {mode(path) for path in made.glob("jobu.sqlite3*")} == {0o600}
    assert mode(made / "secret_key") == 0o600 if (made / "secret_key").exists() else True

    made.chmod(0o755)
    said = manage("check")
    assert "jobu.W101" in said
    assert f"chmod 700 {made}" in said


async def test_the_file_of_a_pool_is_private(tmp_path: Path):
    path = tmp_path / "shop.sqlite3"
    before = os.umask(0)
    try:
        connection = await SqliteDriver(SqliteConfig(path=str(path))).connect()
    finally:
        os.umask(before)
    await connection.close()

    assert mode(path) == 0o600
