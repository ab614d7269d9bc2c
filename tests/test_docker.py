"""Checks the compose file and the Dockerfile of docker/, and runs the real entrypoint.

These tests do not build the image or start containers, because that needs a container engine.
docs/production.md describes what was run instead.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml

from dbpools.config import MySQLConfig, PostgresConfig
from handlers import get_registered_handlers
from handlers.databases import database_warning
from jobu_project.config import Config, WorkerConfig, load
from jobu_project.databases import pool_databases
from tests.harness.servers import MariaDB, Postgres, Redis
from tests.harness.servers.base import find_program, free_port
from tests.harness.servers.daemon import Daemon
from tests.harness.system import ROOT, System
from tests.harness.waiting import wait_until
from tests.samples.servers import as_handler_user, make_mysql, make_postgres, mysql
from tests.test_script_server import basic, get

DOCKER = ROOT / "docker"
ENTRYPOINT = DOCKER / "entrypoint.sh"
SCRIPTS = sorted(DOCKER.rglob("*.sh"))
OURS = ("migrate", "web", "beat1", "beat2", "worker", "worker-threads", "flower")
THEIRS = ("postgres", "mysql", "redis")
SECRETS = (
    "POSTGRES_PASSWORD",
    "MYSQL_ROOT_PASSWORD",
    "HANDLERS_PASSWORD",
    "REDIS_PASSWORD",
    "JOBU_FLOWER_PASSWORD",
    "JOBU_SECRET_KEY",
)


# --- compose.yaml ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def text() -> str:
    return (DOCKER / "compose.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def services(text: str) -> dict[str, Any]:
    return dict(yaml.safe_load(text)["services"])


def env_example() -> dict[str, str]:
    lines = (DOCKER / ".env.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def seconds(duration: str) -> int:
    assert duration.endswith("s"), duration
    return int(duration[:-1])


def mebibytes(size: str) -> int:
    return int(size[:-1]) * {"m": 1, "g": 1024}[size[-1]]


def test_compose_file_has_every_service(services):
    assert set(services) == {*OURS, *THEIRS}
    images = {name: services[name]["image"] for name in THEIRS}
    assert images["postgres"] == "postgres:16-alpine"
    assert images["mysql"] == "mysql:8.0"
    assert images["redis"].startswith("redis:7")


def test_every_service_has_limits_a_restart_policy_and_rotated_logs(services):
    for name, service in services.items():
        assert 128 <= mebibytes(service["mem_limit"]) <= 1024, name
        assert service["restart"], name
        assert "max-size" in service["logging"]["options"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert not service.get("privileged"), name


def test_every_long_running_service_has_a_health_check(services):
    for name, service in services.items():
        health = service["healthcheck"]
        if name == "migrate":
            assert health == {"disable": True}
            continue
        assert seconds(health["timeout"]) < seconds(health["interval"]) <= 60, name
        assert health["retries"] >= 3, name
    for name in ("web", "flower", "worker"):
        assert services[name]["healthcheck"]["test"][-1] == name
    assert services["beat2"]["healthcheck"]["test"][-1] == "beat"


def test_containers_of_jobu_have_no_extra_privileges(services):
    for name in OURS:
        service = services[name]
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert any(mount.startswith("/tmp:") for mount in service["tmpfs"]), name
        writable = [*service["tmpfs"], *service.get("volumes", [])]
        assert any("/var/lib/jobu" in mount for mount in writable), name
        assert "user" not in service, "the image's own user is the unprivileged one"


def test_every_service_starts_after_one_migrate(services):
    for name in OURS:
        needed = services[name]["depends_on"]
        if name == "migrate":
            assert needed == {"postgres": {"condition": "service_healthy"}}
        else:
            assert needed["migrate"] == {"condition": "service_completed_successfully"}, name
            assert needed["redis"] == {"condition": "service_healthy"}, name
    assert services["migrate"]["restart"].startswith("on-failure:"), "it ends, and not endlessly"


def test_every_service_of_jobu_has_one_time_zone(services):
    zones = {services[name]["environment"]["JOBU_TIME_ZONE"] for name in OURS}
    assert zones == {"${JOBU_TIME_ZONE:-Asia/Seoul}"}
    assert env_example()["JOBU_TIME_ZONE"] == "Asia/Seoul"


def test_there_are_two_beats_and_two_kinds_of_workers(services):
    assert services["beat1"]["command"] == services["beat2"]["command"] == ["beat"]
    assert "--pool=prefork" in services["worker"]["command"]
    assert "--pool=threads" in services["worker-threads"]["command"]


def test_stop_time_of_a_worker_is_long_enough_to_hand_back_runs(services):
    worker = WorkerConfig()
    for name in ("worker", "worker-threads"):
        patience = seconds(services[name]["stop_grace_period"])
        assert patience >= worker.shutdown_timeout_seconds + worker.grace_seconds + 15, name


def test_only_web_and_flower_are_published_and_on_loopback(text, services):
    for name, service in services.items():
        ports = service.get("ports", [])
        assert bool(ports) == (name in ("web", "flower")), name
        assert all(port.startswith("127.0.0.1:") for port in ports), name
    networks = yaml.safe_load(text)["networks"]
    assert networks["data"]["internal"] is True
    assert all(services[name]["networks"] == ["data"] for name in (*THEIRS, "beat1", "beat2"))


def test_data_is_stored_in_volumes(text, services):
    named = yaml.safe_load(text)["volumes"]
    for name in (*THEIRS, "worker", "worker-threads"):
        mounts = [mount.split(":")[0] for mount in services[name]["volumes"]]
        assert set(mounts) & set(named), name


def test_files_that_are_mounted_exist(services):
    mounts = [m for s in services.values() for m in s.get("volumes", []) if m.startswith(".")]
    assert len(mounts) == 4
    for mount in mounts:
        path, _, mode = mount.split(":")
        assert (DOCKER / path).is_file(), mount
        assert mode == "ro", mount


def test_redis_has_a_password_and_evicts_nothing(services):
    command = services["redis"]["command"]
    assert "${REDIS_PASSWORD:?" in command[command.index("--requirepass") + 1]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert "--maxmemory" in command


def test_mysql_uses_utf8mb4_utc_and_read_committed(services):
    command = " ".join(services["mysql"]["command"])
    for option in ("utf8mb4", "transaction-isolation=READ-COMMITTED", "default-time-zone=+00:00"):
        assert option in command


def test_no_secret_has_a_default(text):
    for name in SECRETS:
        uses = re.findall(r"\$\{" + name + r"\b([^}]*)\}", text)
        assert uses, name
        assert all(rest.startswith(":?") for rest in uses), name
    for line in text.splitlines():
        key, _, value = line.strip().partition(": ")
        if re.search("PASSWORD|SECRET", key) and key.isupper():
            assert value.startswith("${"), line


def test_example_is_marked_as_a_demo_and_has_every_required_variable(text):
    example = (DOCKER / ".env.example").read_text(encoding="utf-8")
    assert example.startswith("# DEMO")
    given = env_example()
    assert all("demo" in given[name] for name in SECRETS)
    assert set(re.findall(r"\$\{(\w+):\?", text)) <= set(given)
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "docker/.env" in ignored


def config_of(service: dict[str, Any], data_dir: Path) -> Config:
    """Returns the configuration in a container, with the secrets of the example."""
    given = env_example()

    def fill(value: str) -> str:
        value = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: given[found[1]], value)
        return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: given.get(found[1]) or found[2], value)

    environment = {k: fill(str(v)) for k, v in service["environment"].items()}
    return load(ROOT / "config", {**environment, "JOBU_DATA_DIR": str(data_dir)})


def test_every_url_of_the_example_can_be_parsed(services, tmp_path):
    for name in OURS:
        config = config_of(services[name], tmp_path)
        assert isinstance(config.job_database, PostgresConfig)
        assert config.job_database.host == "postgres", name
        assert config.scheduler.broker_url.startswith("redis://:demo-redis@"), name
        if name.startswith("worker"):
            mysql = config.databases["mysql_1"]
            assert isinstance(mysql, MySQLConfig)
            assert mysql.user == "jobu_handlers"


def test_admin_does_not_report_databases_that_only_workers_have_as_missing(services, tmp_path):
    at_web = pool_databases(config_of(services["web"], tmp_path))
    at_worker = pool_databases(config_of(services["worker"], tmp_path))
    needs = {name: cls.databases for name, cls in get_registered_handlers().items()}
    warned = set()

    for name, needed in needs.items():
        assert database_warning(needed, at_worker) is None, name
        warning = database_warning(needed, at_web)
        if warning is not None:
            warned.add(name)
            assert "in this process. Unless the workers" in warning, name
            assert "will fail" not in warning.split("Unless")[0], name

    assert warned >= {"sample3", "sample5"}


# --- Dockerfile -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dockerfile() -> list[tuple[str, str]]:
    """Returns (instruction, arguments) of each instruction; continued lines are joined."""
    joined = re.sub(r"\\\n\s*", "", (DOCKER / "Dockerfile").read_text(encoding="utf-8"))
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def test_the_image_is_built_in_two_stages_from_one_python(dockerfile):
    stages = [rest.split()[0] for name, rest in dockerfile if name == "FROM"]
    assert stages == ["python:3.12-slim", "python:3.12-slim"]


def test_the_image_runs_as_a_user_who_owns_no_program_files(dockerfile):
    users = [rest for name, rest in dockerfile if name == "USER"]
    assert users == ["10001:10001"]
    last_copy = max(i for i, (name, _) in enumerate(dockerfile) if name == "COPY")
    assert [name for name, _ in dockerfile].index("USER") > last_copy
    assert not any("--chown" in rest for name, rest in dockerfile if name == "COPY")


def test_image_has_stop_signal_health_check_and_exec_form(dockerfile):
    given = dict(dockerfile)
    assert given["STOPSIGNAL"] == "SIGTERM"
    assert given["ENTRYPOINT"] == '["/opt/jobu/docker/entrypoint.sh"]'
    assert given["CMD"] == '["web"]'
    assert 'CMD ["/opt/jobu/docker/health.sh"]' in given["HEALTHCHECK"]


def test_the_image_holds_no_secret(dockerfile):
    for name, rest in dockerfile:
        if name in ("ENV", "ARG"):
            assert not re.search("PASSWORD|SECRET|_URL", rest), rest


@pytest.mark.parametrize(
    ("path", "is_in"),
    [
        ("docker/.env", False),
        (".env", False),
        ("data/secret_key", False),
        ("tests/conftest.py", False),
        (".git/config", False),
        ("manage.py", True),
        ("docker/entrypoint.sh", True),
        ("config/worker.yaml", True),
        ("scheduler/static/scheduler/live.js", True),
    ],
)
def test_the_image_contains_only_the_needed_files(path: str, is_in: bool):
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    ignored = False
    for pattern in patterns:  # the last match decides, as in a container engine
        bare = pattern.removeprefix("!")
        hits = fnmatch.fnmatch(path, bare) or path.startswith(f"{bare}/")
        if hits:
            ignored = not pattern.startswith("!")
    assert ignored != is_in


# --- the scripts under sh -------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(DOCKER)))
def test_a_script_is_posix_sh_and_may_be_run(script: Path):
    assert script.read_text(encoding="utf-8").startswith("#!/bin/sh\n")
    assert os.access(script, os.X_OK)
    for shell in ("sh", "dash", "bash"):
        if shutil.which(shell):
            subprocess.run([shell, "-n", str(script)], check=True, timeout=10)


@pytest.fixture
def stand_ins(tmp_path: Path) -> Path:
    """Replaces the real programs by fake ones that print how they were called."""
    place = tmp_path / "bin"
    place.mkdir()
    for name in ("gunicorn", "celery", "python"):
        program = place / name
        program.write_text('#!/bin/sh\necho "$$ $(basename "$0") $*"\nenv\n', encoding="ascii")
        program.chmod(0o755)
    return place


def enter(stand_ins: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shutil.which("dash") or "/bin/sh", str(ENTRYPOINT), *arguments],
        env={
            "PATH": f"{stand_ins}:/usr/bin:/bin",
            "JOBU_ROLE_FILE": str(stand_ins / "role"),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        (["web"], "gunicorn jobu_project.wsgi --bind 0.0.0.0:8000"),
        (["beat", "--loglevel=DEBUG"], "celery -A jobu_project beat --loglevel=DEBUG"),
        (["worker", "--queues=io"], "celery -A jobu_project worker --without-gossip"),
        (["migrate"], "python manage.py migrate --noinput"),
        (
            ["manage", "createsuperuser", "--no input"],
            "python manage.py createsuperuser --no input",
        ),
    ],
)
def test_each_role_starts_its_program(stand_ins, arguments, called):
    process = subprocess.Popen(
        [str(ENTRYPOINT), *arguments],
        env={"PATH": f"{stand_ins}:/usr/bin:/bin", "JOBU_ROLE_FILE": str(stand_ins / "role")},
        stdout=subprocess.PIPE,
        text=True,
    )
    out, _ = process.communicate(timeout=20)
    pid, _, line = out.splitlines()[0].partition(" ")
    assert line.startswith(called)
    assert line.endswith(arguments[-1] if len(arguments) > 1 else line)
    assert int(pid) == process.pid, "replaced by exec: the program itself gets the signals"


def test_flower_refuses_to_start_without_a_password(stand_ins):
    for environment in ({}, {"JOBU_FLOWER_PASSWORD": ""}):
        done = enter(stand_ins, "flower", **environment)
        assert (done.returncode, done.stdout) == (78, "")
        assert "JOBU_FLOWER_PASSWORD is not set" in done.stderr


@pytest.mark.parametrize("password", ["a,b", "p\u00e4ss", "a\nb"])
def test_flower_refuses_a_password_that_it_cannot_use(stand_ins, password):
    assert enter(stand_ins, "flower", JOBU_FLOWER_PASSWORD=password).returncode == 78


def test_password_of_flower_is_only_in_the_environment_of_flower(stand_ins):
    flower = enter(stand_ins, "flower", JOBU_FLOWER_PASSWORD="hunter2", JOBU_FLOWER_USER="ops")
    command, *environment = flower.stdout.splitlines()
    assert "hunter2" not in command
    assert [line for line in environment if "hunter2" in line] == ["FLOWER_BASIC_AUTH=ops:hunter2"]
    assert "hunter2" not in enter(stand_ins, "web", JOBU_FLOWER_PASSWORD="hunter2").stdout


def test_a_secret_may_come_from_a_file(stand_ins, tmp_path):
    (tmp_path / "key").write_text("s3cret $with 'quotes'\n", encoding="ascii")
    done = enter(stand_ins, "web", JOBU_SECRET_KEY_FILE=str(tmp_path / "key"))
    assert "JOBU_SECRET_KEY=s3cret $with 'quotes'" in done.stdout.splitlines()
    assert "JOBU_SECRET_KEY_FILE" not in done.stdout

    missing = enter(stand_ins, "web", JOBU_SECRET_KEY_FILE=str(tmp_path / "nothing"))
    both = enter(stand_ins, "web", JOBU_SECRET_KEY_FILE=str(tmp_path / "key"), JOBU_SECRET_KEY="x")
    assert (missing.returncode, both.returncode) == (78, 78)
    assert "s3cret" not in missing.stderr + both.stderr


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["--help"], ["web; id"]])
def test_an_unknown_role_prints_the_usage(stand_ins, arguments):
    done = enter(stand_ins, *arguments)
    assert done.returncode == 64
    assert "usage: entrypoint.sh web|beat|worker|flower|migrate|manage" in done.stderr


# --- the entrypoint with the real programs --------------------------------------------------------


@pytest.fixture
def roles(job_database_url: str, redis_server: Redis, system: Any) -> System:
    made: System = system(broker_url=redis_server.create_database())
    made.migrate()
    return made


class Containers:
    """Starts roles by the entrypoint, as the image does."""

    def __init__(self, system: System, place: Path) -> None:
        self._place = place
        self.web, self.flower = free_port(), free_port()
        venv = Path(sys.executable).parent
        self.environment = {
            **system.environment,
            "PATH": f"{venv}:/usr/bin:/bin",
            "JOBU_WEB_PORT": str(self.web),
            "JOBU_FLOWER_PORT": str(self.flower),
            "JOBU_FLOWER_PASSWORD": "flower-password",
            "WEB_CONCURRENCY": "1",
        }
        self.started: dict[str, Daemon] = {}

    def start(self, role: str, *arguments: str) -> Daemon:
        daemon = Daemon(
            [str(ENTRYPOINT), role, *arguments],
            log_path=self._place / f"{role}.log",
            environment={**self.environment, "JOBU_ROLE_FILE": str(self._place / role)},
            directory=ROOT,
        )
        self.started[role] = daemon
        return daemon

    def health(self, role: str) -> subprocess.CompletedProcess[str]:
        """Runs the HEALTHCHECK of the image on the checkout instead of /opt/jobu."""
        script = self._place / "health.sh"
        text = (DOCKER / "health.sh").read_text(encoding="utf-8")
        script.write_text(text.replace("/opt/jobu", str(ROOT)), encoding="utf-8")
        return subprocess.run(
            ["/bin/sh", str(script)],
            cwd=ROOT,
            env={**self.environment, "JOBU_ROLE_FILE": str(self._place / role)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def containers(roles: System, tmp_path: Path) -> Iterator[Containers]:
    made = Containers(roles, tmp_path)
    yield made
    for daemon in made.started.values():
        daemon.kill()


@pytest.mark.processes
def test_every_role_runs_is_healthy_and_stops_on_sigterm(containers: Containers, tmp_path: Path):
    containers.start("web")
    containers.start("flower")
    # The secrets of the other two, and of all health checks, are in files.
    for name in ("JOBU_DATABASE_URL", "JOBU_BROKER_URL"):
        (tmp_path / name).write_text(f"{containers.environment.pop(name)}\n", encoding="utf-8")
        containers.environment[f"{name}_FILE"] = str(tmp_path / name)
    containers.start("beat")
    containers.start("worker", "--pool=threads", "--concurrency=2")

    # A health check starts Django: the first is worth its time when the role has begun.
    begun = {"beat": "beat: Starting", "worker": "ready."}
    for role, daemon in containers.started.items():

        def is_well(role: str = role, daemon: Daemon = daemon) -> bool:
            assert daemon.is_alive, daemon.log_tail()
            return begun.get(role, "") in daemon.log() and containers.health(role).returncode == 0

        def why(role: str = role, daemon: Daemon = daemon) -> str:
            done = containers.health(role)
            return done.stdout + done.stderr + daemon.log_tail()

        wait_until(is_well, 60, f"{role} is well", details=why)
    assert get(containers.flower, "/")[0] == 401
    opened = get(containers.flower, "/", Authorization=basic("admin", "flower-password"))
    assert opened[0] in (200, 302)
    assert "flower-password" not in "".join(d.log() for d in containers.started.values())

    for daemon in containers.started.values():
        daemon.send(signal.SIGTERM)
    codes = {role: daemon.wait(30) for role, daemon in containers.started.items()}
    assert codes == dict.fromkeys(codes, 0)


# --- the databases' init scripts ------------------------------------------------------------------


def run_script(engine: str, url: str, password: str | None, *arguments: str) -> None:
    """Runs docker/init/ENGINE/handlers_password.sh with the variables of the image."""
    parts = urlsplit(url)
    given = {
        "POSTGRES_USER": parts.username or "",
        "POSTGRES_DB": parts.path.lstrip("/"),
        "PGHOST": parts.hostname or "",
        "PGPORT": str(parts.port),
        "PGPASSWORD": parts.password or "",
        "MYSQL_ADMIN_USER": parts.username or "",
        "MYSQL_ROOT_PASSWORD": parts.password or "",
    }
    if password is not None:
        given["JOBU_HANDLERS_PASSWORD"] = password
    done = subprocess.run(
        [str(DOCKER / "init" / engine / "handlers_password.sh"), *arguments],
        env={"PATH": os.environ["PATH"], **given},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr)


def test_the_handlers_user_of_postgres_gets_its_own_password(postgres_server: Postgres):
    if find_program("psql") is None:
        pytest.skip("no psql on this machine")
    url = make_postgres(postgres_server)

    def verifier() -> Any:
        with psycopg.connect(url) as connection:
            return connection.execute(
                "select rolpassword from pg_authid where rolname = 'jobu_handlers'"
            ).fetchone()

    shipped = verifier()
    run_script("postgres", url, "it's \\ $new :'x'")
    changed = verifier()
    run_script("postgres", url, "jobu_handlers")  # for the tests that come after
    assert shipped != changed != verifier()
    with pytest.raises(RuntimeError, match="is not set"):
        run_script("postgres", url, None)
    postgres_server.drop_database(url)


def test_the_handlers_user_of_mysql_gets_its_own_password(mariadb_server: MariaDB):
    if find_program("mysql") is None:
        pytest.skip("no mysql client on this machine")
    url = make_mysql(mariadb_server)
    parts = urlsplit(url)
    where = ["--no-defaults", f"--host={parts.hostname}", f"--port={parts.port}"]
    try:
        run_script("mysql", url, "new-pass_1", *where)
        with pytest.raises(Exception, match="Access denied"):
            mysql(as_handler_user(url))
        mysql(as_handler_user(url).replace("jobu_handlers@", "new-pass_1@")).close()
        for bad in ("it's", "a;b", "$(id)", None):
            with pytest.raises(RuntimeError, match=r"letters|is not set"):
                run_script("mysql", url, bad, *where)
    finally:
        run_script("mysql", url, "jobu_handlers", *where)
        mysql(as_handler_user(url)).close()
        mariadb_server.drop_database(url)
