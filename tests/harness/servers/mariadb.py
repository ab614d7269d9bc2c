"""A private MariaDB, or MySQL if the machine has only that."""

from __future__ import annotations

import getpass
import os
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql

from tests.harness.servers.base import Server, ServerUnavailableError, find_program, unique_name
from tests.harness.servers.daemon import Daemon

# The server runs this at every start. It creates the account that tests use.
ACCOUNT_SQL = """\
CREATE USER IF NOT EXISTS 'jobu'@'%' IDENTIFIED BY 'jobu';
GRANT ALL PRIVILEGES ON *.* TO 'jobu'@'%' WITH GRANT OPTION;
"""


class MariaDB(Server):
    name = "MariaDB or MySQL"
    url_variable = "TEST_MYSQL_URL"
    debian_packages = "mariadb-server-core mariadb-client"
    more_options: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._databases: list[str] = []
        super().__init__()

    @property
    def url(self) -> str:
        return self.external_url or f"mysql://jobu:jobu@127.0.0.1:{self.port}/mysql"

    def create_database(self, name: str) -> str:
        """Returns the URL of a new, empty database. Its real name has a random suffix."""
        unique = unique_name(name)
        self._execute(f"CREATE DATABASE `{unique}` CHARACTER SET utf8mb4")
        self._databases.append(unique)
        return urlsplit(self.url)._replace(path=f"/{unique}").geturl()

    def drop_database(self, url: str) -> None:
        name = urlsplit(url).path.lstrip("/")
        self._execute(f"DROP DATABASE IF EXISTS `{name}`")
        self._databases.remove(name)

    def drop_everything(self) -> None:
        for name in list(self._databases):
            self.drop_database(f"//server/{name}")

    def load_time_zones(self) -> None:
        """Fills the server's time zone tables, for tests that truncate dates in SQL. Takes seconds.

        Not part of every start, because only such tests need zones in the server. A server that the
        environment names has its tables already: the official images fill them.
        """
        if self.external_url is not None:
            return
        tool = self.require("mariadb-tzinfo-to-sql" if self._is_mariadb else "mysql_tzinfo_to_sql")
        client = self.require("mariadb" if self._is_mariadb else "mysql")
        # The tool warns on stderr about every file below zoneinfo that is not a zone.
        zones = subprocess.run(
            [tool, "/usr/share/zoneinfo"], capture_output=True, check=True
        ).stdout
        login = ["--no-defaults", "-h127.0.0.1", f"-P{self.port}", "-ujobu", "-pjobu", "mysql"]
        subprocess.run([client, *login], input=zones, capture_output=True, check=True)

    def check_installed(self) -> None:
        self._server = find_program("mariadbd") or self.require("mysqld")
        version = subprocess.run(
            [self._server, "--version"], capture_output=True, text=True, check=True
        )
        self._is_mariadb = "MariaDB" in version.stdout
        if self._is_mariadb:
            self._install = self.require("mariadb-install-db")

    @property
    def _own_tmpdir(self) -> str:
        # A starting server removes the temporary tables of other servers from a shared directory.
        return f"--tmpdir={self.directory}"

    def prepare(self) -> None:
        (self.directory / "account.sql").write_text(ACCOUNT_SQL, encoding="ascii")
        self.fill_once(self._data, self._initialise)

    def _initialise(self) -> None:
        if self._is_mariadb:
            self.run(
                [
                    self._install,
                    "--no-defaults",
                    *self._identity,
                    f"--datadir={self._data}",
                    self._own_tmpdir,
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                ]
            )
        else:
            self.run(
                [
                    self._server,
                    "--no-defaults",
                    "--initialize-insecure",
                    *self._identity,
                    f"--datadir={self._data}",
                    self._own_tmpdir,
                ]
            )

    def launch(self) -> Daemon:
        # "loose": the product that does not know the option then ignores it.
        return Daemon(
            [
                self._server,
                "--no-defaults",
                *self._identity,
                f"--datadir={self._data}",
                self._own_tmpdir,
                f"--socket={self.directory / 'socket'}",
                f"--pid-file={self.directory / 'pid'}",
                f"--port={self.port}",
                "--bind-address=127.0.0.1",
                f"--init-file={self.directory / 'account.sql'}",
                "--character-set-server=utf8mb4",
                "--max-connections=200",
                "--skip-log-bin",
                "--skip-name-resolve",
                "--innodb-buffer-pool-size=64M",
                # 2, not 0: each commit reaches the kernel, so that a SIGKILL loses none.
                "--innodb-flush-log-at-trx-commit=2",
                "--loose-skip-mysqlx",
                # PyMySQL would need another package for the newer default of MySQL 8.
                "--loose-mysql-native-password=ON",
                "--loose-default-authentication-plugin=mysql_native_password",
                *self.more_options,
            ],
            log_path=self.directory / "log",
            directory=self.directory,
        )

    def ping(self) -> None:
        self._connect(connect_timeout=2, read_timeout=2).close()

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _identity(self) -> list[str]:
        # Both refuse to run as root without this option.
        return [f"--user={getpass.getuser() if os.geteuid() != 0 else 'root'}"]

    def _execute(self, statement: str) -> None:
        connection = self._connect(connect_timeout=5, read_timeout=30)
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()

    def _connect(self, **options: int) -> Any:
        parts = urlsplit(self.url)
        if parts.hostname is None:
            raise ServerUnavailableError(f"{self.url_variable} names no host")
        return pymysql.connect(
            host=parts.hostname,
            port=parts.port or 3306,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            database=parts.path.lstrip("/") or None,
            ssl_disabled=True,  # otherwise PyMySQL reads all certificates, which takes 20 ms
            autocommit=True,
            **options,
        )
