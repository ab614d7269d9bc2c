"""Handlers, processes, documentation, probes, the request log and CORS."""

from __future__ import annotations

import logging
import re
import tomllib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.test import Client

from jobu_project.config import ConfigError, load
from scheduler import __version__
from scheduler.api import probes
from scheduler.models import JobExecution, SchedulerProcess
from scheduler.operations import health
from scheduler.operations.permissions import SCOPE, Action
from scheduler.states import ProcessKind
from scheduler.store.connection import database_now
from tests.api.conftest import Program, error_of, ok
from tests.harness.system import ROOT, write_config

pytestmark = pytest.mark.django_db
on_each_database = pytest.mark.database


def test_every_action_has_its_scope():
    assert set(SCOPE) == set(Action)


# --- handlers and processes --------------------------------------------------------------------


def test_handlers_are_listed_with_the_schema_of_their_parameters(api: Program):
    items = {item["name"]: item for item in ok(api.get("/handlers"))["items"]}

    assert items["sample"] == ok(api.get("/handlers/sample"))
    assert "message" in items["sample"]["params_schema"]["properties"]
    assert error_of(api.get("/handlers/nobody"), 404)["code"] == "HANDLER_NOT_FOUND"


@on_each_database
def test_processes_are_listed_with_liveness(api: Program):
    now = database_now()
    for name, kind, age in (("b", ProcessKind.BEAT, 2), ("w", ProcessKind.WORKER, 300)):
        at = now - timedelta(seconds=age)
        SchedulerProcess.objects.create(
            name=name, kind=kind, host="h", pid=1, started_at=at, heartbeat_at=at
        )

    answer = ok(api.get("/processes"))

    assert [(item["name"], item["is_alive"]) for item in answer["items"]] == [
        ("b", True), ("w", False),
    ]  # fmt: skip
    assert answer["liveness"]["workers_alive"] == 0


# --- documentation -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
def test_documentation_requires_login_and_loads_no_files_from_other_hosts(path: str, alice: User):
    client = Client()
    html = {"Accept": "text/html"}
    led = client.get(path, headers=html, follow=True)
    assert led.redirect_chain[-1][0].startswith("/admin/login/?next=%2Fapi%2F")
    assert error_of(client.get(path, follow=True), 401)

    client.force_login(alice)
    page = client.get(path, headers=html, follow=True)
    assert page.status_code == 200
    assert "'self'" in page.headers["Content-Security-Policy"]
    text = page.content.decode()
    for address in re.findall(r'(?:src|href)="([^"]+)"', text):
        assert address.startswith("/static/"), address
        assert finders.find(address.removeprefix("/static/")), address


def test_openapi_document_has_every_operation_with_errors_and_login(api: Program):
    document = ok(api.get("/openapi.json"))

    assert document["openapi"].startswith("3.1")
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(operations) > 40
    for path, method, operation in operations:
        assert {"400", "401", "403", "default"} <= set(operation["responses"]), (method, path)
        schemes = {name for each in operation["security"] for name in each}
        assert schemes == {"TokenAuth", "SessionAuth"}, (method, path)
        assert operation.get("description"), (method, path)


# --- probes ------------------------------------------------------------------------------------


@on_each_database
def test_health_and_readiness_need_no_login():
    assert ok(Client().get("/health")) == {
        "status": "ok", "database": "connected", "clock": "ok", "version": __version__,
    }  # fmt: skip
    assert ok(Client().get("/ready")) == {
        "status": "ready", "database": "ok", "broker": "ok", "failed": [],
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/health", "/ready"])
@pytest.mark.parametrize("host", ["10.0.0.5:8000", "localhost", ""])
def test_probes_work_with_any_host_name_and_without_tls(path: str, host: str, settings):
    settings.ALLOWED_HOSTS = ["jobs.example.com"]
    settings.SECURE_SSL_REDIRECT = True
    settings.PREPEND_WWW = True

    assert Client().get(path, headers={"Host": host}).status_code == 200
    assert Client().get("/admin/", headers={"Host": host}, secure=True).status_code == 400


def test_the_version_is_that_of_the_project(api: Program):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["hatch"]["version"]["path"] == "scheduler/__init__.py"
    assert ok(api.get("/openapi.json"))["info"]["version"] == __version__


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, Exception], None]]:
    """Makes the check of a part fail with an error."""
    monkeypatch.setattr(probes, "_reported", frozenset())

    def fail(part: str, error: Exception) -> None:
        def ask() -> None:
            raise error

        monkeypatch.setattr(health, f"_{part}", health.Question(part, ask))

    return fail  # type: ignore[return-value]


@pytest.mark.parametrize("part", ["database", "broker"])
def test_readiness_names_the_failed_part_and_logs_the_details(part: str, answers, caplog):
    answers(part, OSError("10.0.0.7 refused"))

    answer = Client().get("/ready")

    assert answer.status_code == 503
    assert answer.json()["failed"] == [part]
    assert b"10.0.0.7" not in answer.content
    Client().get("/ready")
    assert caplog.text.count(f"not ready: {part}: OSError: 10.0.0.7 refused") == 1


def test_health_returns_200_without_the_database(answers):
    answers("database", OSError("gone"))
    assert ok(Client().get("/health"))["database"] == "disconnected"
    answers("database", TimeoutError())
    assert ok(Client().get("/health"))["database"] == "busy"


# --- the request log ---------------------------------------------------------------------------


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "jobu.request"]


def test_each_request_is_one_log_line_without_secrets(api: Program, alice: User, caplog):
    caplog.set_level(logging.INFO)
    api.get("/crons?size=5")
    api.get("/crons?token=hunter2&x=a%0Ab")
    Client().get("/api/crons%0AINFO forged")
    client = Client()
    client.force_login(alice)
    client.get("/admin/scheduler/cronjob/")
    Client().get("/health")

    texts = [re.sub(r"\d+ ms", "N ms", line) for line in lines(caplog)]
    assert texts == [
        "GET /api/crons?size=5 200 N ms alice (token a program)",
        "GET /api/crons?token=********&x=a%0Ab 400 N ms alice (token a program)",
        "GET /api/crons%0AINFO%20forged 404 N ms -",
        "GET /admin/scheduler/cronjob/ 200 N ms alice",
    ]
    assert "hunter2" not in caplog.text


# --- CORS --------------------------------------------------------------------------------------


def test_cors_is_off_by_default(api: Program):
    answer = api.get("/crons", Origin="https://shop.example.com")
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_cors_allows_only_configured_origins(api: Program, settings: Any):
    settings.MIDDLEWARE = ["corsheaders.middleware.CorsMiddleware", *settings.MIDDLEWARE]
    settings.CORS_URLS_REGEX = r"^/(?:api/|health$|ready$)"
    settings.CORS_ALLOWED_ORIGINS = ["https://shop.example.com"]
    shop = Program(api.key)  # its client builds the middleware anew

    let_in = shop.get("/crons", Origin="https://shop.example.com")
    assert let_in.headers["Access-Control-Allow-Origin"] == "https://shop.example.com"
    other = shop.get("/crons", Origin="https://evil.example.com")
    assert "Access-Control-Allow-Origin" not in other.headers
    admin = shop.client.get("/admin/login/", headers={"Origin": "https://shop.example.com"})
    assert "Access-Control-Allow-Origin" not in admin.headers


@pytest.mark.parametrize(
    ("cors", "word"),
    [
        ({"origins": ["shop.example.com"]}, "https://host:port"),
        ({"origins": ["https://shop.example.com/path"]}, "https://host:port"),
        ({"origins": ["*"], "allow_credentials": True}, "name the origins"),
    ],
)
def test_invalid_or_unsafe_cors_origins_are_refused(
    tmp_path: Path, cors: dict[str, Any], word: str
):
    write_config(tmp_path / "config", {"admin": {"cors": cors}})

    with pytest.raises(ConfigError, match=r"admin\.yaml: admin\.cors") as refused:
        load(tmp_path / "config", {})

    assert word in str(refused.value)


def test_how_long_a_run_waits_for_a_worker_is_reported(api: Program):
    due = database_now() - timedelta(seconds=30)
    JobExecution.objects.create(handler_name="sample", scheduled_time=due, available_at=due)
    assert ok(api.get("/processes"))["liveness"]["oldest_waiting_seconds"] >= 30
