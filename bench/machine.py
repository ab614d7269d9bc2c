"""The machine and the versions of everything that a measurement depends on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tests.harness.servers.base import find_program
from tests.harness.system import ROOT

_PACKAGES = (
    "celery",
    "kombu",
    "redis",
    "Django",
    "psycopg",
    "PyMySQL",
    "asyncpg",
    "asyncmy",
    "celery-redbeat",
    "django-celery-beat",
    "django-celery-results",
    "asgiref",
)
_SERVERS = {"postgres": "PostgreSQL", "mariadbd": "MariaDB", "redis-server": "Redis"}


def described() -> dict[str, Any]:
    """One line for the head of a file of results."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD") or "unknown",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": platform.release(),
        "load_before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "servers": {name: _server(program) for program, name in _SERVERS.items()},
        "packages": {name: _package(name) for name in _PACKAGES},
    }


def _processor() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text("utf-8"))
    return found[1].strip() if found else platform.machine()


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _server(program: str) -> str:
    places = [*sorted(Path("/usr/lib/postgresql").glob("*/bin")), Path("/usr/sbin")]
    path = find_program(program, places)
    found = re.search(r"\d+\.\d+(?:\.\d+)?", _output(str(path), "--version")) if path else None
    return found[0] if found else "not installed"


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except OSError:
        return ""
    return done.stdout.strip()
