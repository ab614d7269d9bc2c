"""jobu as real processes for one test: `celery beat`, `celery worker` and `manage.py`."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import psycopg
import psycopg.rows
import pymysql
import pymysql.cursors
import yaml

from tests.harness.fork_server import the_fork_server
from tests.harness.servers.daemon import Daemon
from tests.harness.template_database import fill_migrated
from tests.harness.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
Answer = TypeVar("Answer")


class Part:
    """A started beat or worker, in its own process group."""

    def __init__(self, name: str, daemon: Daemon) -> None:
        self.name = name
        self._daemon = daemon

    @property
    def pid(self) -> int:
        return self._daemon.pid

    @property
    def is_alive(self) -> bool:
        return self._daemon.is_alive

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._daemon.exit_code

    def kill(self) -> None:
        """Sends SIGKILL to the process and all its children. Returns when they have ended."""
        self._daemon.kill()

    def terminate(self) -> None:
        """Sends SIGTERM to the process alone, as a supervisor does. Does not wait."""
        self._daemon.send(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        self._daemon.send(number)

    @property
    def is_stopped(self) -> bool:
        """Whether the process is stopped, also by itself."""
        state = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8")
        return state.rpartition(")")[2].split()[0] == "T"

    def stop(self) -> None:
        """Sends SIGSTOP to the process and all its children, as on a host that pauses."""
        self._daemon.freeze()

    def cont(self) -> None:
        self._daemon.thaw()

    def wait(self, timeout: float) -> int:
        """Returns the exit code. Raises subprocess.TimeoutExpired."""
        return self._daemon.wait(timeout)

    def log(self) -> str:
        return self._daemon.log()

    def wait_for_log(self, text: str, timeout: float = 30) -> None:
        """Returns when the log contains the text. Raises at once if the process has ended."""

        def appeared() -> bool:
            if text in self.log():
                return True
            assert self.is_alive, f"{self.describe()} ended\n{self._daemon.log_tail()}"
            return False

        wait_until(appeared, timeout, f"{text!r} from {self.name}", details=self._daemon.log_tail)

    def describe(self) -> str:
        state = "running" if self.is_alive else f"ended with {self.exit_code}"
        return f"{self.name} (pid {self.pid}, {state})"

    def log_tail(self) -> str:
        return self._daemon.log_tail()


class System:
    """A job database, a broker, a configuration, and the processes that use them.

    `config` overrides values of the project's own config/*.yaml, by section:
    `{"scheduler": {"min_cron_interval_seconds": 1}, "worker": {"lease_seconds": 6}}`.
    `handler_paths` are added to PYTHONPATH, for packages named in `worker.handler_packages`.
    Without `broker_url` the system uses the file broker in its data directory.
    """

    def __init__(
        self,
        database_url: str,
        broker_url: str | None,
        tmp_path: Path,
        config: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        handler_paths: Sequence[Path] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.database_url = database_url
        self.broker_url = broker_url
        self.place = tmp_path
        self.config_dir = tmp_path / "config"
        self.data_dir = tmp_path / "data"
        self.data_dir.mkdir(mode=0o700)
        self.parts: list[Part] = []
        #: What beats and workers are started with; their own arguments follow.
        self.program: tuple[str, ...] = ("-m", "celery", "-A", "jobu_project")
        write_config(self.config_dir, config or {})
        self.environment = self._environment(handler_paths) | dict(environment or {})

    # --- processes --------------------------------------------------------------------------------

    def migrate(self) -> None:
        """Creates jobu's tables in the empty database."""
        fill_migrated(
            self.database_url,
            lambda url: self.manage("migrate", "--verbosity=0", JOBU_DATABASE_URL=url),
        )

    def manage(self, *arguments: str, timeout: float = 60, **environment: str) -> str:
        """Runs a `manage.py` command and returns its output. Raises with the output if it fails."""
        done = the_fork_server().run(
            [str(ROOT / "manage.py"), *arguments],
            environment=self.environment | environment,
            timeout=timeout,
        )
        if done.returncode != 0:
            raise AssertionError(
                f"manage.py {' '.join(arguments)} ended with {done.returncode}:\n"
                f"{done.stdout}{done.stderr}"
            )
        return done.stdout

    def start_beat(self, *arguments: str) -> Part:
        return self._start("beat", ["beat", *arguments])

    def start_worker(
        self,
        *arguments: str,
        pool: str = "prefork",
        concurrency: int = 2,
        queues: Sequence[str] = (),
    ) -> Part:
        command = ["worker", f"--pool={pool}", f"--concurrency={concurrency}"]
        # Celery cannot tell two workers with the same name apart.
        command.append(f"--hostname=worker{len(self.parts)}@{self.place.name}")
        if queues:
            command.append(f"--queues={','.join(queues)}")
        return self._start("worker", [*command, *arguments])

    def start_module(self, name: str, *arguments: str) -> Part:
        """Starts `python -m NAME ARGUMENTS...` beside the beats and workers."""
        return self._start(name, ["-m", name, *arguments], program=())

    def close(self) -> None:
        """Ends every process that this system has started, by pid."""
        for part in self.parts:
            part.kill()

    # --- looking at it ----------------------------------------------------------------------------

    def sql(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        """Runs one statement on the job database and commits it. Placeholders are %s.

        Returns rows as mappings, column -> value, with the values of the plain driver: on SQLite 0
        and 1 for booleans, text for instants and JSON.
        """
        parts = urlsplit(self.database_url)
        if parts.scheme == "sqlite":
            return _sqlite(self.database_url.removeprefix("sqlite:///"), statement, parameters)
        if parts.scheme == "postgresql":
            return _postgres(self.database_url, statement, parameters)
        return _mysql(self.database_url, statement, parameters)

    def wait_until(self, predicate: Callable[[], Answer], timeout: float, what: str) -> Answer:
        """Returns the predicate's first true answer. Fails with the ends of all logs."""
        return wait_until(predicate, timeout, what, details=self.logs)

    def logs(self) -> str:
        return "\n".join(f"--- {part.describe()}\n{part.log_tail()}" for part in self.parts)

    # --- helpers ----------------------------------------------------------------------------------

    def _start(
        self, kind: str, arguments: Sequence[str], program: Sequence[str] | None = None
    ) -> Part:
        name = f"{kind}{len(self.parts)}"
        log = self.place / f"{name}.log"
        process = the_fork_server().start(
            [*(self.program if program is None else program), *arguments],
            environment=self.environment,
            output=log,
        )
        part = Part(name, Daemon.of(process, log))
        self.parts.append(part)
        return part

    def _environment(self, handler_paths: Sequence[Path]) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("JOBU_")}
        own = {
            "DJANGO_SETTINGS_MODULE": "jobu_project.settings",
            "JOBU_CONFIG_DIR": str(self.config_dir),
            "JOBU_DATA_DIR": str(self.data_dir),
            "JOBU_DATABASE_URL": self.database_url,
            "JOBU_SECRET_KEY": "a key for tests only",
            "PYTHONPATH": os.pathsep.join(map(str, [ROOT, *handler_paths])),
            "PYTHONUNBUFFERED": "1",
        }
        if self.broker_url is not None:
            own["JOBU_BROKER_URL"] = self.broker_url
        return inherited | own


def write_config(directory: Path, overrides: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes the project's configuration, with the overrides merged into their sections."""
    shutil.copytree(ROOT / "config", directory)
    left = dict(overrides)
    for path in sorted(directory.glob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        changes = {section: left.pop(section) for section in content if section in left}
        if changes:
            merged = deep_merge(content, changes)
            path.write_text(yaml.safe_dump(merged, allow_unicode=True), encoding="utf-8")
    if left:
        raise ValueError(f"no file in config/ has a section {', '.join(sorted(left))}")


def deep_merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `base` with `changes`: mappings are merged, other values are replaced."""
    merged = dict(base)
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = deep_merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def _sqlite(path: str, statement: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(path, timeout=20, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        rows = connection.execute(statement.replace("%s", "?"), parameters).fetchall()
        return [dict(row) for row in rows]


def _postgres(url: str, statement: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
    with psycopg.connect(
        url, autocommit=True, connect_timeout=5, row_factory=psycopg.rows.dict_row
    ) as connection:
        cursor = connection.execute(statement.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []


def _mysql(url: str, statement: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
    parts = urlsplit(url)
    connection = pymysql.connect(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=parts.path.lstrip("/"),
        charset="utf8mb4",
        autocommit=True,
        ssl_disabled=True,  # otherwise PyMySQL reads all certificates, which takes 20 ms
        connect_timeout=5,
        cursorclass=pymysql.cursors.DictCursor,
        init_command="SET time_zone = '+00:00'",
    )
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return list(cursor.fetchall())
