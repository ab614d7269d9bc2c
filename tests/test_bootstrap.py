"""Tests what script/bootstrap.sh installs, and when. A fake uv records its arguments."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.harness.system import ROOT

UV = """#!/bin/sh
echo "$1 $2" >>"$CALLS"
if [ "$1" = venv ]; then
    for place; do :; done
else
    place=${4%/bin/python}
fi
mkdir -p "$place/bin"
# The real uv locks this file of the environment: https://github.com/astral-sh/uv
flock --nonblock "$place/.lock" true || { echo "$place/.lock is held" >&2; exit 1; }
if [ "$1" = pip ]; then
    [ -z "${UV_SAYS:-}" ] || { echo "$UV_SAYS"; exit 1; }
    echo "Resolved 55 packages in 2s"
    exit
fi
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
        done = self.run()
        assert done.returncode == 0, done.stderr
        return self._calls.read_text(encoding="ascii").splitlines()

    def run(self, *, path: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.begin(path=path, **environment)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def begin(self, *, path: str = "", **environment: str) -> subprocess.Popen[str]:
        script = f'. "{ROOT}/script/bootstrap.sh"; ensure_venv "{self.root}" requirements.txt'
        return subprocess.Popen(
            ["/bin/sh", "-euc", f'root="{self.root}"; {script}'],
            env={
                "PATH": path or f"{self._bin}:{os.environ['PATH']}",
                "JOBU_PYTHON": sys.executable,
                "CALLS": str(self._calls),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


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


def test_progress_is_in_sight_while_it_installs(checkout: Checkout) -> None:
    said = checkout.run().stderr.splitlines()

    assert said[0].startswith("jobu: making .venv with Python 3.")
    assert said[1].startswith("jobu: installing requirements.txt into .venv; the first time")
    assert said[2:] == ["jobu: Resolved 55 packages in 2s"]


def test_a_script_that_waits_for_the_installation_of_another_one_says_so(
    checkout: Checkout,
) -> None:
    with (checkout.root / ".venv.lock").open("w") as installing:
        fcntl.flock(installing, fcntl.LOCK_EX)
        waiting = checkout.begin()
        assert waiting.stderr is not None
        said = waiting.stderr.readline()

    assert said == "jobu: another script is installing into .venv; waiting until it has ended\n"
    assert waiting.wait(60) == 0
    waiting.communicate()


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        (
            "error: Failed to fetch: `http://127.0.0.1:9/django/`",
            "the package index cannot be reac",
        ),
        ("[Errno 111] Connection refused\nERROR: No matching distribution", "Connect this machine"),
        ("OSError: [Errno 28] No space left on device", "the disk is full. Free some space"),
        ("OSError: [Errno 30] Read-only file system", "is not writable. Copy the checkout"),
        ("Collecting x\nERROR: x has no wheel\nnotice", "requirements.txt: ERROR: x has no wheel"),
    ],
)
def test_a_failed_installation_says_in_one_line_what_to_do(
    checkout: Checkout, output: str, advice: str
) -> None:
    done = checkout.run(UV_SAYS=output)

    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("jobu: could not install requirements.txt: ")
    assert advice in last
    assert checkout.start() == ["pip install"], "the next start tries again"


def test_a_python_without_venv_is_named_with_its_package(checkout: Checkout) -> None:
    python = checkout.root.parent / "python3"
    python.write_text(
        f"""#!/bin/sh
case "$2" in *ensurepip*) exit 1;; esac
exec {sys.executable} "$@"
""",
        encoding="ascii",
    )
    python.chmod(0o755)

    done = checkout.run(path="/usr/bin:/bin", JOBU_PYTHON=str(python))

    assert done.returncode == 1
    version = "{}.{}".format(*sys.version_info)
    (line,) = done.stderr.splitlines()
    assert f"({version}) cannot make .venv" in line
    assert f"sudo apt install python{version}-venv" in line
    assert not (checkout.root / ".venv").exists()


def test_a_checkout_in_place_needs_no_writable_folder(checkout: Checkout) -> None:
    checkout.start()
    lock = checkout.root / ".venv.lock"
    lock.unlink()
    lock.mkdir()  # nobody can open it, root included

    assert checkout.start() == []
    (checkout.root / "requirements.txt").write_text("flask\n", encoding="ascii")
    done = checkout.run()
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "is not writable, or its disk is full" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("with_uv", [True, False])
def test_real_tools_without_a_network_say_what_to_do(tmp_path: Path, with_uv: bool) -> None:
    if not with_uv and shutil.which("uv", path="/usr/bin:/bin"):
        pytest.skip("uv cannot be left out of PATH")
    checkout = Checkout(tmp_path)
    nowhere = "http://127.0.0.1:9/"
    done = checkout.run(
        path=f"{Path(find_uv_bin()).parent}:/usr/bin:/bin" if with_uv else "/usr/bin:/bin",
        PIP_INDEX_URL=nowhere, PIP_CONFIG_FILE=os.devnull,
        UV_DEFAULT_INDEX=nowhere, UV_NO_CACHE="1",
    )  # fmt: skip

    assert done.returncode == 1
    assert "the package index cannot be reached" in done.stderr.splitlines()[-1]
