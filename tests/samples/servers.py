"""Real databases for the samples, prepared by the scripts that the containers run."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
import pymysql
from pymysql.constants import CLIENT

from tests.harness.servers import MariaDB, Postgres

ROOT = Path(__file__).resolve().parent.parent.parent
POSTGRES_INIT = ROOT / "docker" / "init" / "postgres" / "init.sql"
MYSQL_INIT = ROOT / "docker" / "init" / "mysql" / "init.sql"


def make_postgres(server: Postgres) -> str:
    """Returns the URL of a new database with the table of the samples."""
    url = server.create_database("samples")
    run_postgres_init(url)
    return url


def make_mysql(server: MariaDB) -> str:
    """Returns the URL of a new database with the table of the samples."""
    url = server.create_database("samples")
    run_mysql_init(url)
    return url


def run_postgres_init(url: str) -> None:
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        connection.execute(POSTGRES_INIT.read_bytes())


def run_mysql_init(url: str) -> None:
    with closing(mysql(url)) as connection, connection.cursor() as cursor:
        cursor.execute(MYSQL_INIT.read_text(encoding="utf-8"))
        while cursor.nextset():
            pass


def mysql(url: str) -> Any:
    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=parts.path.lstrip("/"),
        ssl_disabled=True,  # PyMySQL would read all certificates, for 20 ms each time
        autocommit=True,
        connect_timeout=5,
        client_flag=CLIENT.MULTI_STATEMENTS,
    )


def as_handler_user(url: str) -> str:
    """Returns the URL of the same database with the user that the init scripts create."""
    parts = urlsplit(url)
    host = f"{parts.hostname}:{parts.port}"
    return parts._replace(netloc=f"jobu_handlers:jobu_handlers@{host}").geturl()
