"""Django and the pools connect to real servers: by Unix sockets, and with TLS if required."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db.utils import ConnectionHandler

from dbpools import DatabaseRegistry
from jobu_project.config import load
from jobu_project.databases import django_databases, pool_databases
from scheduler.moving.entries import UnreadableSource
from scheduler.moving.tables import reading
from tests.harness.servers import MariaDB, Postgres
from tests.harness.servers.daemon import credentials
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.processes


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate for 127.0.0.1."""

    file: Path
    key: Path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Certificate, Certificate]:
    """Creates a certificate for the servers, and one of a foreign server."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    made = []
    for name in ("server", "other"):
        place = tmp_path_factory.mktemp(name)
        made.append(Certificate(place / "cert.pem", place / "key.pem"))
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", str(made[-1].key), "-out", str(made[-1].file)),
            ],
            check=True,
            capture_output=True,
        )
    return made[0], made[1]


def installed(certificate: Certificate, server: Postgres | MariaDB) -> tuple[Path, Path]:
    """Copies the files for the server. Only the server may read the key."""
    places = server.directory / "tls.pem", server.directory / "tls.key"
    for source, place in zip((certificate.file, certificate.key), places, strict=True):
        shutil.copy(source, place)
        place.chmod(0o600)
        if (user := server.user()) and credentials(user):
            shutil.chown(place, user)
    return places


@pytest.fixture
def postgres(
    postgres_server: Postgres, certificates: tuple[Certificate, Certificate]
) -> Iterator[Postgres]:
    if not postgres_server.is_restartable:
        pytest.skip("somebody's own server is not ours to reconfigure")

    def tell(*statements: str) -> None:
        with psycopg.connect(postgres_server.url, autocommit=True) as connection:
            for statement in (*statements, "select pg_reload_conf()"):
                connection.execute(statement)

    def has_tls() -> bool:
        with psycopg.connect(postgres_server.url) as connection:
            return bool(connection.pgconn.ssl_in_use)

    file, key = installed(certificates[0], postgres_server)
    tell(
        f"alter system set ssl_cert_file = '{file}'",
        f"alter system set ssl_key_file = '{key}'",
        "alter system set ssl = on",
    )
    wait_until(has_tls, 10, "PostgreSQL to speak TLS")
    yield postgres_server
    tell(*(f"alter system reset {name}" for name in ("ssl", "ssl_cert_file", "ssl_key_file")))
    wait_until(lambda: not has_tls(), 10, "PostgreSQL to speak no TLS")


@pytest.fixture(scope="module")
def mariadb(certificates: tuple[Certificate, Certificate]) -> Iterator[MariaDB]:
    server = MariaDB()
    if not server.is_restartable:
        pytest.skip("somebody's own server is not ours to reconfigure")
    file, key = installed(certificates[0], server)
    server.more_options = (f"--ssl-cert={file}", f"--ssl-key={key}")
    server.start()
    yield server
    server.close()


class Reached:
    """Connects to one URL: through Django, through a pool, and as `import` reads a source."""

    def __init__(self, url: str, place: Path, cipher: str) -> None:
        self._url = url
        place.mkdir(exist_ok=True)
        (place / "database.yaml").write_text(f"databases: {{default: {{dsn: '{url}'}}}}")
        (place / "worker.yaml").write_text("worker: {databases: [default]}")
        self._config = load(place, {"JOBU_DATA_DIR": str(place)})
        self._cipher = cipher

    def by_django(self) -> Any:
        connection = ConnectionHandler(django_databases(self._config))["default"]
        try:
            with connection.cursor() as cursor:
                cursor.execute(self._cipher)
                return cursor.fetchone()[-1]
        finally:
            connection.close()

    def by_an_import(self) -> Any:
        with reading(self._url) as database:
            (row,) = database.select(self._cipher, [])
            return list(row.values())[-1]

    def by_a_pool(self, connect_timeout: float = 10) -> Any:
        return asyncio.run(self._by_a_pool(connect_timeout))

    async def _by_a_pool(self, connect_timeout: float) -> Any:
        entries = pool_databases(self._config)
        pool = entries["default"].pool.model_copy(
            update={"connect_timeout_seconds": connect_timeout}
        )
        entries["default"] = entries["default"].model_copy(update={"pool": pool})
        try:
            await DatabaseRegistry.init_from_config(entries)
            async with DatabaseRegistry.get("default").connection(autocommit=True) as connection:
                row = await connection.fetch_one(self._cipher)
                return list((row or {}).values())[-1]
        finally:
            await DatabaseRegistry.close_all(timeout_seconds=2)
            DatabaseRegistry.clear()


def check(
    url: str, cipher: str, words: dict[str, str], other: dict[str, str], tmp_path: Path
) -> None:
    for number, (word, authority) in enumerate(words.items()):
        good = Reached(f"{url}?{word}{authority}", tmp_path / f"good{number}", cipher)
        assert good.by_django(), word
        assert good.by_a_pool(), word
        assert good.by_an_import(), word
    for number, (word, authority) in enumerate(other.items()):
        bad = Reached(f"{url}?{word}{authority}", tmp_path / f"bad{number}", cipher)
        with pytest.raises(Exception, match=r"(?i)certificate"):
            bad.by_django()
        with pytest.raises(Exception, match=r"(?i)certificate"):
            bad.by_a_pool(connect_timeout=2)
        with pytest.raises(UnreadableSource, match=r"(?i)certificate"):
            bad.by_an_import()


def test_postgresql_connection_by_unix_socket(
    postgres_server: Postgres, tmp_path: Path, django_db_blocker: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if not postgres_server.is_restartable:
        pytest.skip("the socket of somebody's own server is not known")
    place, port = postgres_server.directory, postgres_server.port
    monkeypatch.setenv("PGHOST", str(place))  # both libraries read it if the URL has no host
    by_socket = "select inet_server_addr() is null"
    named = f"postgresql://jobu@:{port}/postgres?host={place}"
    unnamed = f"postgresql://jobu@:{port}/postgres"

    for number, url in enumerate((named, unnamed)):
        reached = Reached(url, tmp_path / str(number), by_socket)
        with django_db_blocker.unblock():
            assert reached.by_django() is True
        assert reached.by_a_pool(connect_timeout=2) is True


def test_mysql_connection_by_unix_socket(
    mariadb_server: MariaDB, tmp_path: Path, django_db_blocker: Any
) -> None:
    if not mariadb_server.is_restartable:
        pytest.skip("the socket of somebody's own server is not known")
    file = mariadb_server.directory / "socket"
    by_socket = (
        "select substring_index(host, ':', 1) from information_schema.processlist"
        " where id = connection_id()"
    )
    reached = Reached(f"mysql://jobu:jobu@/mysql?host={file}", tmp_path, by_socket)

    with django_db_blocker.unblock():
        assert reached.by_django() == "localhost"
    assert reached.by_a_pool(connect_timeout=2) == "localhost"
    assert reached.by_an_import() == "localhost"


PG_CIPHER = "select cipher from pg_stat_ssl where pid = pg_backend_pid()"
MY_CIPHER = "show session status like 'Ssl_cipher'"


def test_postgresql_tls_connects_only_to_the_server_with_the_right_certificate(
    postgres: Postgres, certificates: tuple[Certificate, Certificate], tmp_path: Path,
    django_db_blocker: Any,
) -> None:  # fmt: skip
    mine, other = (f"&sslrootcert={made.file}" for made in certificates)
    with django_db_blocker.unblock():
        check(
            postgres.url,
            PG_CIPHER,
            {"sslmode=require": "", "sslmode=verify-ca": mine, "sslmode=verify-full": mine},
            {"sslmode=verify-full": other},
            tmp_path,
        )
        unnamed = Reached(
            f"{postgres.url}?sslmode=verify-full&sslrootcert=system", tmp_path, PG_CIPHER
        )
        with pytest.raises(Exception, match=r"(?i)certificate"):
            unnamed.by_django()
        with pytest.raises(Exception, match=r"(?i)certificate"):
            unnamed.by_a_pool(connect_timeout=2)


def test_postgresql_uses_tls_by_default_if_the_server_offers_it(
    postgres: Postgres, tmp_path: Path, django_db_blocker: Any
) -> None:
    undemanded = Reached(postgres.url, tmp_path, PG_CIPHER)
    with django_db_blocker.unblock():
        assert undemanded.by_django()
    assert undemanded.by_a_pool()


def test_mysql_tls_connects_only_to_the_server_with_the_right_certificate(
    mariadb: MariaDB, certificates: tuple[Certificate, Certificate], tmp_path: Path,
    django_db_blocker: Any,
) -> None:  # fmt: skip
    mine, other = (f"&ssl-ca={made.file}" for made in certificates)
    words = ("ssl-mode=VERIFY_CA", "ssl-mode=VERIFY_IDENTITY")
    with django_db_blocker.unblock():
        check(
            mariadb.url,
            MY_CIPHER,
            {"ssl-mode=REQUIRED": "", **dict.fromkeys(words, mine)},
            {"ssl-mode=VERIFY_CA": other},
            tmp_path,
        )


def test_mysql_without_tls_is_refused_if_tls_is_required(
    mariadb_server: MariaDB, tmp_path: Path, django_db_blocker: Any
) -> None:
    plain = Reached(f"{mariadb_server.url}?ssl-mode=REQUIRED", tmp_path, MY_CIPHER)
    with django_db_blocker.unblock(), pytest.raises(Exception, match="SSL is required"):
        plain.by_django()
    with pytest.raises(Exception, match="cannot be opened"):
        plain.by_a_pool(connect_timeout=2)
    with pytest.raises(UnreadableSource, match="SSL is required"):
        plain.by_an_import()
