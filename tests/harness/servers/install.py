"""Installs missing servers and the browser from Debian's packages, where that is possible, and
fetches axe-core, which looks at pages in the browser, from the package index."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from tests.harness import axe, chromium
from tests.harness.servers.base import Server, ServerUnavailableError
from tests.harness.servers.mariadb import MariaDB
from tests.harness.servers.postgres import Postgres
from tests.harness.servers.rabbitmq import RabbitMQ
from tests.harness.servers.redis import Redis

KINDS: tuple[type[Server], ...] = (Postgres, MariaDB, Redis, RabbitMQ)


def install_servers() -> bool:
    """Returns whether all are installed afterwards. Prints what it does and what it cannot do."""
    has_axe = _install_axe()  # also where the packages cannot be had
    return _install_packages() and has_axe


def _install_axe() -> bool:
    if axe.is_installed():
        return True
    _say(f"fetching axe-core {axe.VERSION}")
    problem = axe.install()
    if problem:
        _say(f"cannot fetch axe-core: {problem}")
    return axe.is_installed()


def _install_packages() -> bool:
    packages = missing_packages()
    if not packages:
        _say("all servers and the browser are here already")
        return True
    apt = apt_command()
    if apt is None:
        _say(
            f"cannot install {' '.join(packages)}: needs apt-get, and root or sudo without password"
        )
        return False
    _say(f"installing {' '.join(packages)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-q"], ["install", "-qy", "--no-install-recommends", *packages]):
        if subprocess.run([*apt, *arguments], env=environment, check=False).returncode != 0:
            _say(f"apt-get {arguments[0]} failed, see above")
            return False
    return not missing_packages()


def missing_packages() -> list[str]:
    """Returns the Debian packages of programs that are missing and whose server is not given."""
    packages = []
    for kind in KINDS:
        try:
            kind().close()
        except ServerUnavailableError:
            packages += kind.debian_packages.split()
    try:
        chromium.programs()
    except ServerUnavailableError:
        packages += chromium.DEBIAN_PACKAGES.split()
    return packages


def apt_command() -> list[str] | None:
    if shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return ["apt-get"]
    # -n: fail instead of asking for a password during a run.
    sudo = ["sudo", "-n"]
    if shutil.which("sudo") and subprocess.run([*sudo, "true"], check=False).returncode == 0:
        return [*sudo, "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    return None


def _say(text: str) -> None:
    print(f"jobu: {text}", file=sys.stderr, flush=True)
