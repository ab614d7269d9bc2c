"""Tests what script/bootstrap.sh installs, and when. A fake uv records its arguments."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.system import ROOT

UV = """#!/bin/sh
echo "$1 $2" >>"$CALLS"
if [ "$1" = venv ]; then
    for place; do :; done
else
    place=${5%/bin/python}
fi
mkdir -p "$place/bin"
# The real uv locks this file of the environment: https://github.com/astral-sh/uv
flock --nonblock "$place/.lock" true || { echo "$place/.lock is held" >&2; exit 1; }
[ "$1" = venv ] || exit 0
ln -sf "$JOBU_PYTHON" "$place/bin/python"
"""


class Checkout:
    def __init__(self, place: Path) -> None:
        self.root, self._bin, self._calls = place / "root", place / "bin", place / "calls"
        self.root.mkdir()
        self._bin.mkdir()
        (self.root / "requirements.txt").write_text("django\n", encoding="ascii")
        (self._bin / "uv").write_text(UV, encoding="ascii")
        (self._bin / "uv").chmod(0o755)

    def start(self) -> list[str]:
        """Runs `ensure_venv` and returns its calls of uv."""
        self._calls.write_text("", encoding="ascii")
        script = f'. "{ROOT}/script/bootstrap.sh"; ensure_venv "{self.root}" requirements.txt'
        subprocess.run(
            ["/bin/sh", "-euc", script],
            env={
                "PATH": f"{self._bin}:{os.environ['PATH']}",
                "JOBU_PYTHON": sys.executable,
                "CALLS": str(self._calls),
            },
            check=True,
            capture_output=True,
            timeout=30,
        )
        return self._calls.read_text(encoding="ascii").splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_requirements_are_installed_once(checkout: Checkout) -> None:
    assert checkout.start() == ["venv --quiet", "pip install"]
    assert checkout.start() == []


def test_a_venv_whose_python_is_gone_gets_its_requirements_again(checkout: Checkout) -> None:
    checkout.start()
    (checkout.root / ".venv" / "bin" / "python").unlink()

    assert checkout.start() == ["venv --quiet", "pip install"]
