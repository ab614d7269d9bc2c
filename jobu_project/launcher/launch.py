"""Runs the launcher: prepares the first start, starts the parts, prints the addresses and logins.

Every mistake that can be found in advance stops the launcher before it starts a part.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command, get_commands
from django.core.management.base import CommandError
from django.db import DatabaseError, connections

from jobu_project import layout
from jobu_project.brokers import folder
from jobu_project.config import get_config
from jobu_project.launcher.supervisor import Part, Supervisor
from jobu_project.logs import style_of

PARTS = ("web", "beat", "worker", "flower")
#: Beat stops first, so that no new run is scheduled. Then the worker finishes its runs, while the
#: pages are still up to show them.
STOP_ORDER = ("beat", "worker", "web", "flower")
ADMIN = "admin"
READY_SECONDS = 60.0
#: Secrets of the launcher. The parts do not need them and do not get them.
LAUNCHER_SECRETS = ("JOBU_ADMIN_PASSWORD", "JOBU_FLOWER_PASSWORD")


@dataclass(frozen=True, kw_only=True)
class Address:
    """The address on which a part listens, and the environment variable that sets its port."""

    host: str
    port: int
    variable: str

    @property
    def url(self) -> str:
        return f"http://{self._local_host}:{self.port}/"

    @property
    def _local_host(self) -> str:
        """The host for a connection from this machine: 0.0.0.0 and :: work for listening only."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"[{host}]" if ":" in host else host

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Keeps other launchers of the data directory from this port, also before a part listens.

        Raises CommandError if another one has it, or if no process can listen here.
        """
        with (settings.DATA_DIR / f"port-{self.port}.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise CommandError(
                    f"another script/server with the data directory {settings.DATA_DIR} uses port "
                    f"{self.port}, or is starting and about to open it. Stop it, or choose another "
                    f"port: {self.variable}={self.port + 1}."
                ) from error
            self.check_free()
            yield

    def check_free(self) -> None:
        """Raises CommandError if no process can listen here, for example because it is in use."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host, self.port))
            except OSError as error:
                raise CommandError(
                    f"cannot listen on {self.host} port {self.port}: {error.strerror}. "
                    f"{self.variable} chooses another port."
                ) from error

    def answers(self, path: str) -> bool:
        """Returns True if GET `path` returns 200. Waits up to 2 seconds."""
        connection = http.client.HTTPConnection(self._local_host, self.port, timeout=2)
        try:
            connection.request("GET", path, headers={"Host": "localhost"})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@dataclass(frozen=True, kw_only=True)
class Password:
    value: str
    #: True if this start generated the password; the launcher then prints it once.
    is_new: bool


def launch(names: list[str]) -> int:
    """Prepares the data, runs the parts until a signal arrives, and returns the exit code."""
    _configured_flower_password()  # refuses a wrong password before anything starts
    config = get_config()
    web = Address(host=config.admin.host, port=config.admin.port, variable="JOBU_WEB_PORT")
    flower = Address(host="127.0.0.1", port=_flower_port(), variable="JOBU_FLOWER_PORT")
    addresses = [each for name, each in (("web", web), ("flower", flower)) if name in names]
    if len({each.port for each in addresses}) < len(addresses):
        raise CommandError("JOBU_WEB_PORT and JOBU_FLOWER_PORT are the same port")

    with ExitStack() as held:
        with _data_directory_is_writable():
            for address in addresses:
                held.enter_context(address.reserved())
            held.enter_context(_broker_lock())
        admin_password = _prepare()
        for address in addresses:
            address.check_free()  # a program that shares no data directory may have been quicker
        flower_password = _flower_password(admin_password)
        supervisor = Supervisor(
            [_part(name, web=web, flower=flower, password=flower_password) for name in names],
            stop_order=STOP_ORDER,
            json_lines=_log_style() == "json",
        )
        block = _startup_message(names, web, flower, admin_password, flower_password)
        announce = _call_once(lambda: supervisor.say(block))
        is_up = (lambda: web.answers("/health")) if "web" in names else (lambda: True)
        threading.Thread(
            target=_announce_when, args=(is_up, announce, supervisor), daemon=True
        ).start()
        try:
            return supervisor.run()
        finally:
            announce()  # also if the stop came before the web was up: a new password must be shown


# Preparation


@contextmanager
def _data_directory_is_writable() -> Iterator[None]:
    """Turns an OSError into a CommandError: a read-only file system, a full disk, modes."""
    try:
        yield
    except OSError as error:
        raise CommandError(
            f"cannot write into the data directory {settings.DATA_DIR}: {error.strerror}. "
            "Free some space there, or name another directory: JOBU_DATA_DIR=/path."
        ) from error


@contextmanager
def _broker_lock() -> Iterator[None]:
    """Deletes old messages of the file broker, unless another launcher uses the data directory.

    The messages are left over from an earlier start. Workers need none of them to find the runs
    that wait. Does nothing for other brokers.
    """
    if not settings.CELERY_BROKER_URL.startswith(f"{folder.SCHEME}:"):
        yield
        return
    with (settings.DATA_DIR / "launcher.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            folder.wipe(Path(settings.CELERY_BROKER_TRANSPORT_OPTIONS["folder"]))
        except BlockingIOError:
            pass
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def _prepare() -> Password | None:
    """Creates tables, the first user and example jobs. Returns the admin's password if known."""
    with _data_directory_is_writable():
        lock = (settings.DATA_DIR / "prepare.lock").open("a")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write("jobu: another script/server is preparing the database; waiting\n")
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            call_command("migrate", interactive=False, verbosity=0)
            password = _admin_password()
            _load_examples()
        except DatabaseError as error:
            raise CommandError(f"the database cannot be prepared: {_words_of(error)}") from error
        finally:
            connections.close_all()
    return password


def _words_of(error: DatabaseError) -> str:
    """Returns the words of the driver, and what to do if there is no room for SQLite's file."""
    if "disk is full" in str(error):
        return f"{error}. Free some space in {settings.DATA_DIR}, and start again."
    if "readonly database" in str(error):
        return f"{error}. Make {settings.DATA_DIR} writable, or name another: JOBU_DATA_DIR=/path."
    return str(error)


def _admin_password() -> Password | None:
    """Creates the admin user if there are no users. Returns None if the password is unknown."""
    configured = os.environ.get("JOBU_ADMIN_PASSWORD") or None
    users = get_user_model()._default_manager
    if users.exists():
        return Password(value=configured, is_new=False) if configured else None
    password = Password(value=configured or secrets.token_urlsafe(12), is_new=configured is None)
    get_user_model().objects.create_superuser(ADMIN, email="", password=password.value)
    return password


def _load_examples() -> None:
    from scheduler.models import CronJob

    if "load_examples" in get_commands() and not CronJob.objects.exists():
        call_command("load_examples", verbosity=0)


def _flower_port() -> int:
    text = os.environ.get("JOBU_FLOWER_PORT") or "5555"
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise CommandError(f"JOBU_FLOWER_PORT: {text!r} is not a port number")
    return int(text)


def _flower_password(admin: Password | None) -> Password:
    """Returns Flower's configured password, else the admin's, else a new one. Never empty."""
    configured = _configured_flower_password()
    if configured:
        return Password(value=configured, is_new=False)
    if admin is not None and _flower_can_check(admin.value):
        return Password(value=admin.value, is_new=False)
    return Password(value=secrets.token_urlsafe(12), is_new=True)


def _configured_flower_password() -> str | None:
    """Returns JOBU_FLOWER_PASSWORD, or None if it is not set.

    Raises CommandError if Flower cannot use it.
    """
    password = os.environ.get("JOBU_FLOWER_PASSWORD") or None
    if password and not _flower_can_check(password):
        raise CommandError("JOBU_FLOWER_PASSWORD: only ASCII without commas works with Flower")
    return password


def _flower_can_check(password: str) -> bool:
    """Returns True if Flower can use it: Flower splits logins at commas and compares ASCII only."""
    return password.isascii() and "," not in password


# The parts


def _part(name: str, *, web: Address, flower: Address, password: Password) -> Part:
    celery = [sys.executable, "-m", "celery", "-A", "jobu_project"]
    env = _environment(web, flower)
    here = layout.start_dir()
    if name == "web":
        bind = f"[{web.host}]:{web.port}" if ":" in web.host else f"{web.host}:{web.port}"
        argv = [sys.executable, "-m", "gunicorn", "jobu_project.wsgi", "--bind", bind]
        argv += ["--config", str(layout.GUNICORN_CONFIG)]
        argv += ["--threads", "8", "--graceful-timeout", "10", "--no-control-socket"]
        return Part(name=name, argv=argv, env=env, cwd=here)
    if name == "beat":
        return Part(name=name, argv=[*celery, "beat"], env=env, cwd=here)
    if name == "worker":
        # The process id makes the node name unique when two launchers run on one machine.
        node = f"--hostname=worker{os.getpid()}@%h"
        argv = [*celery, "worker", node, "--without-gossip", "--without-mingle", "-E"]
        return Part(name=name, argv=argv, env=env, cwd=here, stop_seconds=_drain_seconds())
    argv = [*celery, "flower", f"--address={flower.host}", f"--port={flower.port}"]
    # Passed in the environment, because every user of the machine can read command lines.
    env |= {"FLOWER_BASIC_AUTH": f"{ADMIN}:{password.value}"}
    return Part(name=name, argv=argv, env=env, cwd=here)


def _environment(web: Address, flower: Address) -> dict[str, str]:
    env = {key: value for key, value in os.environ.items() if key not in LAUNCHER_SECRETS}
    env |= {"PYTHONUNBUFFERED": "1", "JOBU_DATA_DIR": str(settings.DATA_DIR)}
    env.setdefault("JOBU_FLOWER_URL", flower.url.rstrip("/"))
    # Flower and alerts lead to our pages.
    env.setdefault("JOBU_LINK_BASE", f"{web.url.rstrip('/')}/admin")
    # The parts write to a pipe, so they cannot see whether the launcher writes to a terminal.
    env["JOBU_LOG_STYLE"] = _log_style()
    if _log_style() == "json":
        env["CELERY_QUIET"] = "1"  # beat and worker print no banner between the JSON lines
    return env


def _log_style() -> str:
    return style_of(get_config().logging, is_terminal=sys.stdout.isatty())


def _drain_seconds() -> float:
    """Returns the time in which the worker finishes or hands back its runs, plus a margin."""
    worker = get_config().worker
    return worker.shutdown_timeout_seconds + worker.grace_seconds + 15


# Output


def _startup_message(
    names: list[str],
    web: Address,
    flower: Address,
    admin_password: Password | None,
    flower_password: Password,
) -> str:
    """Returns the lines with the addresses and with every password that is new."""
    lines = []
    if "web" in names:
        lines.append(f"Admin     {web.url}")
    if "flower" in names:
        lines.append(f"Flower    {flower.url}")
    if admin_password is not None and admin_password.is_new:
        login = f"{ADMIN} / {admin_password.value}"
        lines.append(f"Login     {login}    (shown this once, kept nowhere)")
    if "flower" in names and flower_password.is_new:
        login = f"{ADMIN} / {flower_password.value}"
        lines.append(f"Flower's login    {login}    (of this start only)")
    lines.append(f"Running   {', '.join(names)}. Ctrl-C stops.")
    rule = "-" * 72
    return "\n".join([rule, *lines, rule])


def _announce_when(
    is_up: Callable[[], bool], announce: Callable[[], None], supervisor: Supervisor
) -> None:
    """Waits until `is_up`, then calls `announce`. Does nothing more once the supervisor stops."""
    for _ in range(int(READY_SECONDS / 0.2)):
        if is_up():
            announce()
            return
        if supervisor.stopping.wait(0.2):
            return
    supervisor.say(f"web does not answer after {READY_SECONDS:.0f} s; its lines above say why")
    announce()


def _call_once(action: Callable[[], None]) -> Callable[[], None]:
    """Returns a function that calls `action` at its first call and does nothing at later calls."""
    lock = threading.Lock()
    done: list[bool] = []

    def first_call_only() -> None:
        with lock:
            if not done:
                done.append(True)
                action()

    return first_call_only
