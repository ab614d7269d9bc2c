"""What a MySQL column means beyond what the protocol says.

The protocol describes instants (a naive datetime is UTC), booleans (TINYINT(1)) and MySQL's JSON.
MariaDB's JSON is LONGTEXT with a check, and a UUID is CHAR(36) with the comment 'uuid' (or
MariaDB's UUID): those are looked up in information_schema, once per table and pool.
"""

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from asyncmy.constants import FIELD_TYPE

from dbpools.driver import Args
from dbpools.values import Row

Converter = Callable[[Any], Any]
BINARY_CHARSET = 63
LONGTEXT_BYTES = 2**32 - 1
UUID_CHARACTERS = 36


class Field(Protocol):
    """A column of a result, as asyncmy describes it."""

    name: str
    org_name: str
    org_table: str
    charsetnr: int
    length: int
    type_code: int


class Connection(Protocol):
    """A connection that can be asked about a table."""

    async def query_plain(self, sql: str, args: Args) -> list[Row]: ...


class ColumnTypes:
    """The types of columns that the protocol does not describe, as far as they are known."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, Converter]] = {}

    def unknown_tables(self, fields: Iterable[Field]) -> set[str]:
        """Returns the tables that `converters` needs and does not know yet."""
        return {
            field.org_table
            for field in fields
            if field.type_code in _AMBIGUOUS
            and _is_ambiguous(field)
            and field.org_table not in self._tables
        }

    async def learn(self, table: str, connection: Connection) -> None:
        """Asks the database for the columns of a table.

        Until the answer is there, other connections ask, too.
        """
        found: dict[str, Converter] = {}
        for column in await connection.query_plain(COLUMNS, {"table_name": table}):
            if column["is_uuid"]:
                found[column["name"]] = _uuid
            elif column["is_json"]:
                found[column["name"]] = _json
        self._tables[table] = found

    def converters(self, fields: Iterable[Field]) -> list[tuple[str, Converter]]:
        """Returns which columns of a result need conversion, and how."""
        found: list[tuple[str, Converter]] = []
        for field in fields:
            code = field.type_code
            converter = _CERTAIN.get(code)
            if code in _AMBIGUOUS:
                converter = self._tables.get(field.org_table, {}).get(field.org_name)
            elif converter is _truth and field.length != 1:
                continue
            if converter is not None:
                found.append((field.name, converter))
        return found


# If tables of that name in several schemas differ, their columns stay what the protocol says.
COLUMNS = """
    select c.column_name as name,
           min(c.data_type = 'uuid' or lower(c.column_comment) = 'uuid') as is_uuid,
           min(exists (
               select 1
                 from information_schema.check_constraints k
                where k.constraint_schema = c.table_schema
                  and replace(k.check_clause, '`', '') = concat('json_valid(', c.column_name, ')')
           )) as is_json
      from information_schema.columns c
     where c.table_name = %(table_name)s
     group by c.column_name
"""


def _is_ambiguous(field: Field) -> bool:
    if not field.org_table or field.charsetnr == BINARY_CHARSET:
        return False
    if field.type_code == FIELD_TYPE.BLOB:
        return field.length >= LONGTEXT_BYTES
    return field.type_code == FIELD_TYPE.STRING and field.length % UUID_CHARACTERS == 0


def _instant(value: Any) -> Any:
    # A zero date comes as text, because it means no instant.
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


def _truth(value: Any) -> Any:
    return bool(value) if value in (0, 1) else value


def _json(value: Any) -> Any:
    with suppress(ValueError):  # the column was JSON when the driver asked, and is text now
        return json.loads(value)
    return value


def _uuid(value: Any) -> Any:
    with suppress(ValueError):
        return UUID(value)
    return value


_AMBIGUOUS = {FIELD_TYPE.BLOB, FIELD_TYPE.STRING}
_CERTAIN: dict[int, Converter] = {
    FIELD_TYPE.DATETIME: _instant,
    FIELD_TYPE.TIMESTAMP: _instant,
    FIELD_TYPE.TINY: _truth,
    FIELD_TYPE.JSON: json.loads,
}
# For numbers, dates and short text the protocol says everything.
PLAIN_TYPES = {
    FIELD_TYPE.DECIMAL,
    FIELD_TYPE.NEWDECIMAL,
    FIELD_TYPE.SHORT,
    FIELD_TYPE.LONG,
    FIELD_TYPE.LONGLONG,
    FIELD_TYPE.INT24,
    FIELD_TYPE.FLOAT,
    FIELD_TYPE.DOUBLE,
    FIELD_TYPE.DATE,
    FIELD_TYPE.VAR_STRING,
    FIELD_TYPE.VARCHAR,
}
