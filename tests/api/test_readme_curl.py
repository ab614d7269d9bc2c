"""Runs the API calls of README.md in a shell, with a real web process."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.api.web import web_of
from tests.conftest import SystemFactory
from tests.harness.system import ROOT

pytestmark = pytest.mark.processes

MAKE_TOKEN = """\
from django.contrib.auth.models import User
from scheduler.operations.keys import TokenControl
user = User.objects.create_superuser("ann")
print(TokenControl().create(user, "readme", ["read", "operate", "write"])[1])
"""


def rest_block() -> list[str]:
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## REST\n")[2]
    (block,) = re.findall(
        r"^```sh\n(.*?)^```$", section.partition("\n## ")[0], re.MULTILINE | re.DOTALL
    )
    return str(block).splitlines()


def test_the_calls_of_the_readme_work(system: SystemFactory, tmp_path: Path):
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    export, *lines = rest_block()
    assert export == "export JOBU=http://127.0.0.1:8000/api"
    assert lines.pop(0).startswith(
        "export JOBU_TOKEN=$(python manage.py tokens create --user admin"
    )
    calls = [line for line in lines if line.startswith("call ")]
    assert len(calls) > 8
    jobu = system()
    jobu.migrate()
    key = jobu.manage("shell", "--verbosity=0", "-c", MAKE_TOKEN).strip().splitlines()[-1]

    with web_of(jobu) as web:
        script = ["set -e", f"export JOBU={web.url}/api JOBU_TOKEN={key}", *lines]
        done = subprocess.run(
            ["sh", "-c", "\n".join(script)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert done.returncode == 0, done.stdout + done.stderr
    assert jobu.sql("SELECT COUNT(*) AS n FROM cron_jobs")[0]["n"] == 0
    (event,) = jobu.sql("SELECT status, param_source FROM job_executions")
    assert event == {"status": "PENDING", "param_source": "event"}


def test_readme_names_the_scopes_that_its_calls_need():
    """The form of a token has only `read` ticked."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## REST\n")[2]

    assert "with all three scopes ticked" in " ".join(section.partition("```sh")[0].split())


def test_pages_named_in_the_api_documents_exist():
    for page in ("api.md", "permissions.md"):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([\w./-]+)\)", text):
            assert (ROOT / "docs" / target).exists(), target
