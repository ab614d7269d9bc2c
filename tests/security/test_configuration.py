"""Unsafe settings are refused or reported, and the settings for production are safe."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, current_app
from celery.concurrency.thread import TaskPool
from django.test import Client

from jobu_project.celery import app
from jobu_project.config import ConfigError, load
from scheduler.checks import check_celery, refuse_to_start
from tests.harness.fork_server import the_fork_server
from tests.harness.system import ROOT

DOCS = ROOT / "docs"


@pytest.fixture
def broker_url(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    url = str(request.param)
    monkeypatch.setitem(current_app.conf, "broker_url", url)
    return url


@pytest.mark.parametrize(
    "broker_url",
    [
        "redis://10.0.0.1:6379/0",
        "rediss://redis.example.com/0",
        "redis://name@10.0.0.1/0",
        "amqp://10.0.0.1//",
        "amqp://guest:guest@rabbit.example.com//",
        "amqps://jobu@rabbit.example.com//",
    ],
    indirect=True,
)
def test_remote_broker_requires_a_password_that_is_not_the_default(broker_url):
    assert {found.id for found in check_celery()} <= {"jobu.E008", "jobu.E009"}
    with pytest.raises(SystemExit, match="password"):
        refuse_to_start()


@pytest.mark.parametrize(
    "broker_url",
    [
        "redis://127.0.0.1:6379/0",
        "redis://[::1]:6379/0",
        "redis://:password@10.0.0.1/0",
        "amqp://guest:guest@localhost//",
        "amqp://jobu:password@rabbit.example.com/jobu",
        "jobufs://",
    ],
    indirect=True,
)
def test_local_brokers_and_brokers_with_a_password_are_accepted(broker_url):
    refuse_to_start()
    assert check_celery() == []


@pytest.mark.parametrize("broker_url", ["redis://10.0.0.1:6379/0"], indirect=True)
def test_worker_of_another_celery_app_is_not_refused(broker_url):
    class Worker:
        def __init__(self, name: str) -> None:
            self.app = Celery(name, set_as_current=False)

    refuse_to_start(instance=Worker("theirs"))
    with pytest.raises(SystemExit, match="password"):
        refuse_to_start(instance=SimpleNamespace(app=app))


@pytest.mark.parametrize("green", ["gevent", "eventlet"])
def test_a_worker_with_a_green_pool_is_refused_whoever_chose_it(settings: Any, green: str):
    # As -P gives it: the class, whatever the configuration says.
    chosen = type("TaskPool", (), {"__module__": f"celery.concurrency.{green}"})

    with pytest.raises(SystemExit, match=rf"E012.*{green}"):
        refuse_to_start(options={"pool_cls": chosen})
    refuse_to_start(options={"pool_cls": TaskPool})


def test_no_message_of_a_check_repeats_the_password(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(current_app.conf, "broker_url", "amqp://guest:hunter2@10.0.0.1//")
    monkeypatch.setitem(current_app.conf, "accept_content", ["json", "pickle"])
    found = check_celery()
    assert found
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch CANARY']",
        "scheduler: !!python/name:os.system",
        "scheduler: {broker_url: !!python/object/new:os.system ['touch CANARY']}",
    ],
)
def test_yaml_cannot_run_code(tmp_path: Path, text: str):
    canary = tmp_path / "canary"
    (tmp_path / "scheduler.yaml").write_text(text.replace("CANARY", str(canary)), encoding="utf-8")
    with pytest.raises(ConfigError):
        load(tmp_path, {})
    assert not canary.exists()


def deploy_check(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("JOBU_")}
    return the_fork_server().run(
        [str(ROOT / "manage.py"), "check", "--deploy", "--fail-level=WARNING"],
        environment={**kept, "JOBU_DATA_DIR": str(tmp_path), **environment},
        timeout=60,
    )


def test_settings_of_the_production_guide_pass_the_deploy_check(tmp_path: Path):
    guide = (DOCS / "production.md").read_text(encoding="utf-8")
    (block,) = re.findall(
        r"^```sh\n# /etc/jobu/environment.*?\n(.*?)```", guide, re.MULTILINE | re.DOTALL
    )
    given = dict(line.split("=", 1) for line in block.splitlines())
    assert set(given) >= {"JOBU_DATABASE_URL", "JOBU_BROKER_URL", "JOBU_HTTPS"}

    done = deploy_check(tmp_path, **given)
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout

    plain = deploy_check(tmp_path, **given | {"JOBU_HTTPS": "false", "JOBU_DEBUG": "true"})
    assert plain.returncode != 0
    assert {"security.W012", "security.W016", "security.W018"} <= set(
        re.findall(r"security\.W\d+", plain.stderr)
    )


COMMANDS = (
    (str(ROOT / "manage.py"), "check"),
    *(("-m", "celery", "-A", "jobu_project", part) for part in ("beat", "worker", "flower")),
    ("-m", "gunicorn", "jobu_project.wsgi"),
)


def ended(command: tuple[str, ...], **environment: str) -> str:
    """Returns the output of a process that cannot start."""
    done = the_fork_server().run(command, environment={**os.environ, **environment}, timeout=60)
    assert done.returncode == 1
    return done.stdout + done.stderr


@pytest.mark.processes
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[-1])
def test_a_misspelt_key_is_named_without_a_traceback(command: tuple[str, ...], tmp_path: Path):
    (tmp_path / "scheduler.yaml").write_text("scheduler: {bach_size: 5}", encoding="utf-8")
    output = ended(command, JOBU_CONFIG_DIR=str(tmp_path), JOBU_DATA_DIR=str(tmp_path / "data"))
    assert "bach_size: unknown key, did you mean 'batch_size'?" in output
    assert "Traceback" not in output


@pytest.mark.processes
def test_directory_that_cannot_be_created_is_reported_without_a_traceback(tmp_path: Path):
    (tmp_path / "file").touch()
    output = ended(
        (str(ROOT / "manage.py"), "check"), JOBU_DATA_DIR=str(tmp_path / "file" / "below")
    )
    assert f"JOBU_DATA_DIR: {tmp_path}/file/below cannot be made: Not a directory" in output
    assert "Traceback" not in output


@pytest.mark.processes
def test_data_directory_is_created_with_its_parents(tmp_path: Path):
    static = tmp_path / "as" / "new" / "static"
    done = deploy_check(tmp_path / "new" / "data", JOBU_STATIC_ROOT=str(static))
    assert "Traceback" not in done.stderr
    assert (tmp_path / "new" / "data").stat().st_mode & 0o777 == 0o700
    # Not by who only comes by: a beat or worker may not be allowed to make it.
    assert not static.exists()

    subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "collectstatic", "--noinput", "--ignore=unfold"],
        env={**os.environ, "JOBU_DATA_DIR": str(tmp_path), "JOBU_STATIC_ROOT": str(static)},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert (static / "scheduler" / "favicon.svg").is_file()


@pytest.mark.parametrize("made", [False, True])
def test_static_files_are_served_from_static_root_or_else_from_the_packages(
    made: bool, tmp_path: Path, settings: Any
):
    settings.STATIC_ROOT = tmp_path / "as" / "new" / "static"
    settings.WHITENOISE_USE_FINDERS = False  # as where JOBU_STATIC_ROOT is set
    settings.WHITENOISE_AUTOREFRESH = False  # as outside of tests
    if made:
        (settings.STATIC_ROOT / "scheduler").mkdir(parents=True)
        (settings.STATIC_ROOT / "scheduler" / "favicon.svg").write_text("collected")
    answer = Client().get("/static/scheduler/favicon.svg")
    assert answer.status_code == 200
    assert (answer.getvalue() == b"collected") is made


@pytest.mark.processes
def test_beat_and_worker_load_only_what_they_need():
    program = """
import sys
from jobu_project.celery import app
app.loader.import_default_modules()
import scheduler.beat
heavy = ("scheduler.api", "scheduler.admin", "jobu_project.urls", "kombu.transport.redis")
sys.exit(", ".join(name for name in sys.modules if name.startswith(heavy)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == ""


UNITS = sorted((DOCS / "production").glob("*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_unit_restarts_has_time_to_stop_and_is_sandboxed(unit: Path):
    lines = [line for line in unit.read_text(encoding="utf-8").splitlines() if "=" in line]
    given = dict(line.split("=", 1) for line in lines)
    assert given["Restart"] == "always"
    assert given["User"] == "jobu"
    for name in ("NoNewPrivileges", "PrivateTmp", "ProtectHome"):
        assert given[name] == "yes"
    assert given["ProtectSystem"] == "strict"
    assert int(given["TimeoutStopSec"]) >= (55 if "worker" in unit.name else 30)
    assert not [line for line in lines if re.search("PASSWORD=|AUTH=.", line) and line[0] != "#"]


def commands_of_the_guide() -> str:
    guide = (DOCS / "production.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^## systemd\n.*?^```sh\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    return str(block)


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_guide_creates_everything_that_a_systemd_unit_needs(unit: Path):
    made = commands_of_the_guide()
    given = unit.read_text(encoding="utf-8")
    for path in re.findall(r"^EnvironmentFile=(.*)$", given, re.MULTILINE):
        assert path.replace("%i", "prefork") in made
    assert re.search(rf"systemctl enable .*{unit.name.partition('.')[0]}", made)
    assert made.index("useradd") < made.index("migrate") < made.index("systemctl enable")


def test_command_line_of_the_guide_uses_the_settings_of_the_services(tmp_path: Path):
    (script,) = re.findall(
        r"<<'EOF'\n(.*?)^EOF$", commands_of_the_guide(), re.MULTILINE | re.DOTALL
    )
    places = {"/etc/jobu": tmp_path, "/var/lib/jobu": tmp_path / "data", "/opt/jobu": ROOT}
    for place, here in places.items():
        script = script.replace(place, str(here))
    assert ".venv/bin/python" in script
    url = "postgresql://u@127.0.0.1:1/d?sslmode=verify-full&sslrootcert=/ca.pem"
    (tmp_path / "environment").write_text(f"JOBU_DATABASE_URL='{url}'\n", encoding="ascii")
    (tmp_path / "jobu-manage").write_text(
        script.replace(".venv/bin/python", sys.executable), encoding="ascii"
    )
    asked = "from django.conf import settings as s; print(s.DATA_DIR, s.DATABASES['default'])"
    kept = {key: value for key, value in os.environ.items() if not key.startswith("JOBU_")}
    done = subprocess.run(
        ["sh", str(tmp_path / "jobu-manage"), "shell", "--no-imports", "-c", asked],
        env=kept,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"{tmp_path}/data ")
    assert "'sslmode': 'verify-full', 'sslrootcert': '/ca.pem'" in done.stdout


def test_every_page_and_file_that_the_guide_names_exists():
    guide = (DOCS / "production.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([\w./@-]+)\)", guide)
    named = re.findall(r"`((?:docker|tests|config)/[\w./-]+\.\w+)`", guide)
    missing = [name for name in linked if not (DOCS / name).exists()]
    missing += [name for name in named if not (ROOT / name).exists() and name != "docker/.env"]
    assert len(UNITS) == 4
    assert missing == []
