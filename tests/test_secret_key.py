"""The secret key of a data directory: one key for all processes, never incomplete."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobu_project.config import ConfigError
from jobu_project.data_directory import load_or_create_secret_key
from tests.harness.system import ROOT


def test_key_is_created_once_and_only_the_owner_can_read_it(tmp_path: Path) -> None:
    key = load_or_create_secret_key(tmp_path)

    assert len(key) >= 50
    assert load_or_create_secret_key(tmp_path) == key
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600


def test_key_is_created_on_a_file_system_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(os, "chmod", refused)  # such a mount may also refuse chmod
    key = load_or_create_secret_key(tmp_path)

    assert len(key) >= 50
    assert load_or_create_secret_key(tmp_path) == key
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600


def test_processes_that_start_together_use_the_same_key(tmp_path: Path) -> None:
    starters = 16
    barrier = threading.Barrier(starters)

    def start(directory: Path) -> str:
        barrier.wait(timeout=20)
        return load_or_create_secret_key(directory)

    with ThreadPoolExecutor(starters) as threads:
        for number in range(100):
            directory = tmp_path / str(number)
            directory.mkdir()
            keys = set(threads.map(start, [directory] * starters))
            assert len(keys) == 1, "some read another one, or one that was not yet written"
            assert "" not in keys


def test_full_disk_leaves_no_incomplete_key(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-B", "manage.py", "check"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "JOBU_DATA_DIR": str(tmp_path)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode != 0
    assert "secret_key can be neither made nor read: File too large" in done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []
    assert load_or_create_secret_key(tmp_path)


@pytest.mark.parametrize("left", ["", "\n"])
def test_empty_key_is_refused_with_a_helpful_message(tmp_path: Path, left: str) -> None:
    (tmp_path / "secret_key").write_text(left, encoding="ascii")

    with pytest.raises(ConfigError, match="secret_key is empty; delete it") as caught:
        load_or_create_secret_key(tmp_path)

    assert str(tmp_path) in str(caught.value)
