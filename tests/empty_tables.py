"""Empties the tables after a test whose transactions were real.

Django's own flush empties every table, also the empty ones, and then writes all permissions again:
this takes most of the time of a short test.
"""

from __future__ import annotations

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import TransactionTestCase

# What `migrate` itself has written, and no test changes.
KEPT = frozenset({"django_migrations", "django_content_type", "auth_permission"})


def install() -> None:
    """Replaces the end of a test of pytest's mark `django_db(transaction=True)`."""
    setattr(TransactionTestCase, "_fixture_teardown", _empty_all)  # noqa: B010 - for mypy


def _empty_all(case: TransactionTestCase) -> None:
    for name in case._databases_names(include_mirrors=False):  # type: ignore[attr-defined]
        empty(connections[name])


def empty(connection: BaseDatabaseWrapper) -> None:
    quote = connection.ops.quote_name
    tables = [
        table
        for table in connection.introspection.django_table_names(include_views=False)
        if table not in KEPT
    ]
    questions = [f"SELECT '{table}', EXISTS (SELECT 1 FROM {quote(table)})" for table in tables]
    # Neither the check of a key nor the order of the tables matters, because all become empty.
    with connection.constraint_checks_disabled(), connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(questions))
        filled = [table for table, is_filled in cursor.fetchall() if is_filled]
        if filled:
            with transaction.atomic(using=connection.alias):
                for table in filled:
                    cursor.execute(f"DELETE FROM {quote(table)}")
