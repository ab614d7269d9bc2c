"""What a person can do when `migrate` was interrupted and the next one fails at what is there.

MySQL and MariaDB do not undo a migration that was cut off (SIGTERM, a lost connection), and neither
does any database for a migration that is not atomic.
"""

from __future__ import annotations

from typing import Final

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

# A table, a column, an index or a constraint is there already, or is gone already.
_MYSQL: Final = frozenset({1005, 1050, 1060, 1061, 1091, 1359, 1826, 3822})
_POSTGRES: Final = frozenset({"42P07", "42701", "42710", "42704", "42703"})
_SQLITE: Final = ("already exists", "duplicate column", "no such trigger")
# Tables with rows of people. Without any row in them, nothing is lost with the others. SQLite makes
# a changed table anew under another name.
_OF_PEOPLE: Final = ("auth_user", "cron_jobs", "new__cron_jobs", "job_executions")


def what_to_do(connection: BaseDatabaseWrapper, error: DatabaseError) -> str | None:
    """Returns what to do, with the exact statements. None: the error has another reason."""
    if not _is_half_done(connection, error):
        return None
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if not plan:
        return None
    migration = plan[0][0]
    told = (
        f"The tables cannot be made: {error}\n"
        f"An earlier migrate was interrupted in {migration}. The database has kept a part of it.\n"
        "If another migrate is running, wait for its end. If none is:\n"
    )
    if _is_without_data(connection):
        return f"{told}Nothing is stored yet. {_removal(connection)}\nThen migrate again."
    app, name = migration.app_label, migration.name
    return (
        f"{told}Restore the backup from before the upgrade and migrate again. Or compare the tables"
        f" with\n    manage.py sqlmigrate {app} {name}\n"
        "run by hand what is missing, and then\n"
        f"    manage.py migrate {app} {name} --fake\n"
        "    manage.py migrate"
    )


def _is_half_done(connection: BaseDatabaseWrapper, error: DatabaseError) -> bool:
    cause = error.__cause__ or error
    match connection.vendor:
        case "mysql":
            return bool(cause.args) and cause.args[0] in _MYSQL
        case "postgresql":
            return getattr(cause, "sqlstate", None) in _POSTGRES
        case _:
            return any(words in str(cause) for words in _SQLITE)


def _is_without_data(connection: BaseDatabaseWrapper) -> bool:
    present = connection.introspection.table_names()
    with connection.cursor() as cursor:
        for table in _OF_PEOPLE:
            if table in present:
                quoted = connection.ops.quote_name(table)
                cursor.execute(f"SELECT 1 FROM {quoted} LIMIT 1")  # noqa: S608 - a name of ours
                if cursor.fetchone():
                    return False
    return True


def _removal(connection: BaseDatabaseWrapper) -> str:
    if connection.vendor == "sqlite":
        return f"Remove the file {connection.settings_dict['NAME']}."
    known = {
        *connection.introspection.django_table_names(),
        MigrationRecorder.Migration._meta.db_table,
    }
    present = sorted(known.intersection(connection.introspection.table_names()))
    tables = ", ".join(connection.ops.quote_name(table) for table in present)
    if connection.vendor == "mysql":
        statements = f"SET FOREIGN_KEY_CHECKS = 0; DROP TABLE {tables}; SET FOREIGN_KEY_CHECKS = 1;"
    else:
        statements = f"DROP TABLE {tables} CASCADE;"
    return f"Remove the tables:\n    {statements}"
