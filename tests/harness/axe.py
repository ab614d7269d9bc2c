"""axe-core, which finds what people with a screen reader or weak eyes could not use on a page.

Its script comes from a wheel of the package index: pinned, and kept for later runs. Nothing of the
wheel is imported, so what the wheel depends on is not installed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.harness.servers.base import ServerUnavailableError

VERSION: Final = "4.12.1"
_WHEEL: Final = "axe-playwright-python==0.1.8"
_WHEEL_SHA256: Final = "fdd263c998388f1a8e67cad02677e612d946248bd44d163be5e8650ea31f95f8"
_FILE: Final = Path("axe_playwright_python", "axe.min.js")
_FILE_SHA256: Final = "84494fec757e4710dc751c8d7a636e457f4532f08f85c86dc9070133fbff53bc"
# A .venv that uv has made contains no pip, and uv knows no pip.conf.
_INSTALLERS: Final = (("pip",), ("uv", "pip"))


def script() -> str:
    """Returns the text of axe-core. Raises ServerUnavailableError, which says how to get it."""
    path = kept_at()
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != _FILE_SHA256:
        raise ServerUnavailableError(
            f"no axe-core {VERSION} in {path.parent} (script/test --install-servers fetches it)."
        )
    return content.decode()


def is_installed() -> bool:
    try:
        return bool(script())
    except ServerUnavailableError:
        return False


def install() -> str:
    """Fetches the script. Returns why that was not possible; empty if it was."""
    problems = []
    with tempfile.TemporaryDirectory(prefix="jobu-axe-") as name:
        place = Path(name)
        wanted = place / "wanted.txt"
        wanted.write_text(f"{_WHEEL} --hash=sha256:{_WHEEL_SHA256}\n", encoding="utf-8")
        options = ("--no-deps", "--require-hashes", "--target", name, "--requirement", str(wanted))
        for installer in _INSTALLERS:
            done = subprocess.run(
                [sys.executable, "-m", *installer, "install", "--quiet", *options],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode == 0:
                _keep(place / _FILE)
                return ""
            problems.append(done.stderr.strip())
    return "\n".join(problems)


def kept_at() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches, "jobu-tests", f"axe-{VERSION}.min.js")


def _keep(found: Path) -> None:
    """In one step: another run may read the file at the same time."""
    kept = kept_at()
    kept.parent.mkdir(parents=True, exist_ok=True)
    unfinished = kept.with_name(f"{kept.name}.{os.getpid()}")
    unfinished.write_bytes(found.read_bytes())
    unfinished.replace(kept)
