"""Whether the database is set up as jobu needs it: can it store every text, and which tables
differ; how its transactions are isolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.apps import apps
from django.db.backends.base.base import BaseDatabaseWrapper

# Only these hold Korean and emoji, and are what the drivers expect. SQLite has no other.
NEEDED: Final = {"mysql": "utf8mb4", "postgresql": "UTF8"}
_OF_THE_DATABASE: Final = {
    "mysql": "SELECT default_character_set_name FROM information_schema.schemata"
    " WHERE schema_name = DATABASE()",
    "postgresql": "SHOW server_encoding",
}
_OTHER_TABLES: Final = (
    "SELECT DISTINCT table_name, character_set_name FROM information_schema.columns"
    " WHERE table_schema = DATABASE() AND character_set_name <> 'utf8mb4'"
)


@dataclass(frozen=True, kw_only=True)
class WrongEncoding:
    """A database that cannot store every text."""

    vendor: str
    database: str
    encoding: str
    """What new tables have, or older ones if those alone are wrong."""
    needed: str
    has_tables: bool
    """Whether jobu's tables are there already."""


def wrong_encoding(connection: BaseDatabaseWrapper) -> WrongEncoding | None:
    """Returns what is wrong with the database of jobu's tables, or None. Two or three queries."""
    needed = NEEDED.get(connection.vendor)
    if needed is None:
        return None
    ours = {model._meta.db_table for model in apps.get_app_config("scheduler").get_models()}
    with connection.cursor() as cursor:
        present = ours.intersection(connection.introspection.table_names(cursor))
        cursor.execute(_OF_THE_DATABASE[connection.vendor])
        [encoding] = cursor.fetchone()
        others: list[str] = []
        if present and connection.vendor == "mysql":
            cursor.execute(_OTHER_TABLES)
            others = [found for table, found in cursor.fetchall() if table in ours]
    if encoding == needed and not others:
        return None
    return WrongEncoding(
        vendor=connection.vendor,
        database=str(connection.settings_dict["NAME"]),
        encoding=str(encoding if encoding != needed else others[0]),
        needed=needed,
        has_tables=bool(present),
    )


def isolation_of(connection: BaseDatabaseWrapper) -> str:
    """Returns how this connection's transactions are isolated, as "read committed"."""
    statement = "SHOW default_transaction_isolation"
    if connection.vendor == "mysql":
        # MariaDB has known the other name since 11.1 only.
        mysql: Any = connection
        variable = "tx_isolation" if mysql.mysql_is_mariadb else "transaction_isolation"
        statement = f"SELECT @@{variable}"
    with connection.cursor() as cursor:
        cursor.execute(statement)
        [isolation] = cursor.fetchone()
    return str(isolation).lower().replace("-", " ")
