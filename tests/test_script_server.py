"""`script/server` with real parts and ports, and a data directory for each test."""

from __future__ import annotations

import base64
import fcntl
import http.client
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
import pytest
from django.core.management.base import CommandError

from jobu_project.launcher.launch import Address, launch
from jobu_project.management.commands.jobu import Command
from tests.harness.fork_server import the_fork_server
from tests.harness.template_database import fill_migrated
from tests.harness.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
INSTALL_SECONDS = 600.0
STOP_SECONDS = 30.0

pytestmark = pytest.mark.processes


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def get(port: int, path: str, **headers: str) -> tuple[int, str]:
    """Returns status and body; status 0 if nothing answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@cache
def install() -> None:
    """Makes this checkout's .venv, if it has none. That takes a minute or more, and is no start.

    tests/test_bootstrap.py tests the installation itself.
    """
    ensure = '. "$0/script/bootstrap.sh" && ensure_venv "$0" requirements.txt'
    done = subprocess.run(
        ["sh", "-c", ensure, str(ROOT)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout


class Server:
    """Runs `script/server` with free ports and a separate data directory."""

    def __init__(self, place: Path) -> None:
        place.mkdir(exist_ok=True)
        self.data_dir = place / "data"
        self.web, self.flower = free_port(), free_port()
        self._log = place / "log"
        self._place = place
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *parts: str, **environment: str) -> None:
        install()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("JOBU_", "DJANGO_"))}
        own = {
            "JOBU_DATA_DIR": str(self.data_dir),
            "JOBU_WEB_PORT": str(self.web),
            "JOBU_FLOWER_PORT": str(self.flower),
        }
        with self._log.open("w") as out:
            self.process = subprocess.Popen(
                [ROOT / "script" / "server", *parts],
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self._place,  # not the project: the script must work from every directory
                env={**kept, **own, **environment},
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_for_log(self, text: str, times: int = 1) -> None:
        def seen() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log
            return self.log.count(text) >= times

        wait_until(seen, START_SECONDS, repr(text), details=lambda: self.log)

    def wait_until_running(self) -> None:
        self.wait_for_log("Ctrl-C stops.")

    def processes(self) -> list[psutil.Process]:
        return list(psutil.Process(self.pid).children(recursive=True))

    def part(self, word: str) -> psutil.Process:
        """Returns the main process of a part, found by a word of its command line."""
        (found,) = [p for p in psutil.Process(self.pid).children() if word in p.cmdline()]
        return found

    def wait(self, seconds: float) -> int:
        assert self.process is not None
        return self.process.wait(seconds)

    def stop(self) -> int:
        os.kill(self.pid, signal.SIGINT)
        return self.wait(STOP_SECONDS)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            left = self.processes()
            self.process.kill()
            for process in left:
                process.kill()
            self.process.wait(10)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.close()


@pytest.fixture
def prepared(server: Server) -> Server:
    """A server whose database is migrated already, which takes seconds. Nothing else is there."""

    def migrate(url: str) -> None:
        done = the_fork_server().run(
            [str(ROOT / "manage.py"), "migrate", "--verbosity=0"],
            environment={**os.environ, "JOBU_DATABASE_URL": url},
            timeout=60,
        )
        assert done.returncode == 0, done.stderr

    server.data_dir.mkdir(mode=0o700)
    fill_migrated(f"sqlite:///{server.data_dir}/jobu.sqlite3", migrate)
    return server


def are_gone(processes: list[psutil.Process]) -> bool:
    return not [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def log_in(port: int, user: str, password: str) -> int:
    """Logs in and returns the status of the admin's front page; 302 means that the login failed."""
    cookies: SimpleCookie = SimpleCookie()

    def request(method: str, path: str, form: dict[str, str] | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with closing(connection):
            headers = {"Cookie": "; ".join(f"{k}={m.value}" for k, m in cookies.items())}
            if form is not None:
                headers["Content-Type"] = "application/x-www-form-urlencoded"
            connection.request(method, path, urlencode(form) if form else None, headers)
            answer = connection.getresponse()
            for cookie in answer.headers.get_all("Set-Cookie") or []:
                cookies.load(cookie)
            return answer.status, answer.read().decode()

    _, page = request("GET", "/admin/login/")
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert token is not None
    form = {"username": user, "password": password, "csrfmiddlewaretoken": token.group(1)}
    request("POST", "/admin/login/?next=/admin/", form)
    return request("GET", "/admin/")[0]


def test_fresh_start_works_and_one_ctrl_c_ends_all_processes(server: Server) -> None:
    server.start()
    server.wait_until_running()
    login = re.search(r"Login +admin / (\S+) ", server.log)
    assert login is not None, server.log
    password = login.group(1)

    assert f"http://127.0.0.1:{server.web}/" in server.log
    assert get(server.web, "/health")[0] == 200
    status, page = get(server.web, "/admin/login/")
    assert status == 200
    stylesheet = re.search(r'href="(/static/[^"]+\.css)"', page)
    assert stylesheet is not None
    assert get(server.web, stylesheet.group(1))[0] == 200, "static files with DEBUG off"
    assert log_in(server.web, "admin", password) == 200
    assert log_in(server.web, "admin", "wrong") == 302

    wait_until(
        lambda: is_listening(server.flower), START_SECONDS, "Flower", details=lambda: server.log
    )
    assert get(server.flower, "/")[0] == 401
    assert get(server.flower, "/metrics")[0] == 401
    assert get(server.flower, "/metrics", Authorization=basic("admin", password))[0] == 200
    assert get(server.flower, "/healthcheck")[0] == 200
    assert get(server.flower, "/", Authorization=basic("admin", password))[0] == 200

    server.wait_for_log("ready.")
    assert "Inspect method" not in server.log
    processes = server.processes()
    assert not [p for p in processes if password in " ".join(p.cmdline())]
    assert server.stop() == 0, server.log
    assert are_gone(processes)
    assert server.log.count(password) == 1
    stored = [
        p for p in server.data_dir.rglob("*") if p.is_file() and password.encode() in p.read_bytes()
    ]
    assert stored == []


def test_configured_password_is_not_printed_a_killed_part_restarts_and_all_end_with_their_launcher(
    prepared: Server,
) -> None:
    server = prepared
    secret = "correct horse battery"
    server.start(JOBU_ADMIN_PASSWORD=secret)
    server.wait_until_running()

    assert log_in(server.web, "admin", secret) == 200
    wait_until(lambda: is_listening(server.flower), START_SECONDS, "Flower")
    assert get(server.flower, "/", Authorization=basic("admin", secret))[0] == 200
    assert secret not in server.log
    assert not [p for p in server.processes() if "JOBU_ADMIN_PASSWORD" in p.environ()]

    beat = server.part("beat")
    server.wait_for_log("beat: Starting")
    beat.kill()
    server.wait_for_log("beat was killed by SIGKILL; starting it again in 1 s")
    server.wait_for_log("beat: Starting", times=2)
    assert server.part("beat").pid != beat.pid
    assert get(server.web, "/health")[0] == 200

    server.wait_for_log("ready.")
    processes = server.processes()
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: are_gone(processes), STOP_SECONDS, "all parts to end")


def test_beat_and_worker_alone_open_no_port(prepared: Server) -> None:
    server = prepared
    mark = server.data_dir / "broker" / "mark"
    mark.parent.mkdir(mode=0o700)
    mark.touch()
    server.start("worker", "beat")
    server.wait_for_log("ready.")
    server.wait_for_log("beat: Starting")

    assert not mark.exists(), "a first launcher starts with an empty broker"
    assert not is_listening(server.web)
    assert not is_listening(server.flower)
    assert server.stop() == 0, server.log
    order = [server.log.rindex(f"\n{name} ") for name in ("beat", "worker")]
    assert order == sorted(order), "beat stops first, then the worker"


def test_second_launcher_keeps_the_broker_and_the_user_of_the_first(
    prepared: Server, tmp_path: Path
) -> None:
    server = prepared
    server.start("web")
    server.wait_until_running()
    assert "Login " in server.log
    mark = server.data_dir / "broker" / "mark"
    mark.touch()
    second = Server(tmp_path / "second")
    second.data_dir = server.data_dir
    try:
        second.start("flower")
        second.wait_until_running()

        assert mark.exists()
        assert "Login " not in second.log
        assert re.search(r"Flower's login +admin / \S+ ", second.log)
        with closing(sqlite3.connect(server.data_dir / "jobu.sqlite3")) as connection:
            users = connection.execute("select username from auth_user").fetchall()
        assert users == [("admin",)]
        assert (second.stop(), server.stop()) == (0, 0)
    finally:
        second.close()


def test_second_launcher_beside_one_that_is_starting_says_so_at_once(
    prepared: Server, tmp_path: Path
) -> None:
    first, same_port, other_port = prepared, Server(tmp_path / "b"), Server(tmp_path / "c")
    same_port.data_dir = other_port.data_dir = first.data_dir
    same_port.web = first.web
    try:
        with (first.data_dir / "prepare.lock").open("w") as preparing:
            fcntl.flock(preparing, fcntl.LOCK_EX)
            first.start("web")
            first.wait_for_log("another script/server is preparing the database; waiting")
            assert not is_listening(first.web)
            same_port.start("web")
            other_port.start("web")

            assert same_port.wait(START_SECONDS) == 1
            other_port.wait_for_log("another script/server is preparing the database; waiting")
        (line,) = same_port.log.splitlines()
        assert f"{first.data_dir} uses port {first.web}, or is starting" in line
        assert f"JOBU_WEB_PORT={first.web + 1}" in line
        first.wait_until_running()
    finally:
        same_port.close()
        other_port.close()


def test_unknown_part_prints_usage_and_exits_with_1(server: Server) -> None:
    server.start("web", "bear")

    assert server.wait(START_SECONDS) == 1
    assert "there is no part bear" in server.log
    assert "usage: manage.py jobu [web] [beat] [worker] [flower]" in server.log
    assert "Traceback" not in server.log
    assert not (server.data_dir / "jobu.sqlite3").exists()


def test_used_port_is_an_error_before_any_part_starts(server: Server) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", server.flower))
        other.listen()
        server.start()

        assert server.wait(START_SECONDS) == 1
    assert f"port {server.flower}: Address already in use" in server.log
    assert "JOBU_FLOWER_PORT chooses another port" in server.log
    assert not (server.data_dir / "jobu.sqlite3").exists()


def test_unreachable_database_is_one_clear_error(server: Server) -> None:
    server.start(JOBU_DATABASE_URL="postgresql://nobody@127.0.0.1:1/jobu")

    assert server.wait(START_SECONDS) == 1
    assert "the database cannot be prepared: connection failed" in server.log
    assert "Traceback" not in server.log


@pytest.mark.parametrize("arguments", [["bear"], ["Beat"], ["--nonsense"]])
def test_every_wrong_call_prints_usage_and_exits_with_1(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        Command().run_from_argv(["manage.py", "jobu", *arguments])

    assert end.value.code == 1
    assert "usage: manage.py jobu [web]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("JOBU_FLOWER_PORT", "http"),
        ("JOBU_FLOWER_PORT", "65536"),
        ("JOBU_FLOWER_PASSWORD", "a,b"),
        ("JOBU_FLOWER_PASSWORD", "한국어"),
    ],
)
def test_value_that_flower_cannot_use_is_refused_before_any_part_starts(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(CommandError, match=variable):
        launch(["flower"])


def test_a_data_directory_that_cannot_be_written_is_one_clear_error(
    settings: Any, tmp_path: Path
) -> None:
    settings.DATA_DIR = tmp_path
    (tmp_path / "launcher.lock").mkdir()  # also root cannot write it

    with pytest.raises(
        CommandError, match=r"cannot write into the data directory .* JOBU_DATA_DIR="
    ):
        launch(["beat"])


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80/"),
        ("0.0.0.0", "http://127.0.0.1:80/"),
        ("::", "http://[::1]:80/"),
        ("jobu.example", "http://jobu.example:80/"),
    ],
)
def test_printed_url_can_be_opened(host: str, url: str) -> None:
    assert Address(host=host, port=80, variable="JOBU_WEB_PORT").url == url


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a shell")
def test_script_is_posix_shell() -> None:
    text = (ROOT / "script" / "server").read_text()

    assert text.startswith("#!/bin/sh\n")
    assert os.access(ROOT / "script" / "server", os.X_OK)
    assert subprocess.run(["sh", "-n", ROOT / "script" / "server"], check=False).returncode == 0
