"""What takes long is made once, by the first of all pytests of a run that needs it, and copied."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tests.harness.servers.guardian import guardian


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """Returns a file or directory that nobody may change. `make` makes it at the path it is given.

    Blocks while another pytest makes it.
    """
    found = _shared() / name
    with (_shared() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            unfinished = found.with_name(f"{name}.unfinished")
            if unfinished.is_dir():
                shutil.rmtree(unfinished)
            unfinished.unlink(missing_ok=True)
            make(unfinished)
            unfinished.rename(found)
    return found


@cache
def _shared() -> Path:
    """The directory that all pytests of a run share (tests/run.py), else one of this pytest."""
    shared = os.environ.get("JOBU_TEST_TEMPLATES")
    if shared:
        return Path(shared)
    directory = Path(tempfile.mkdtemp(prefix="jobu-migrated-"))
    guardian.add_directory(directory)
    return directory
