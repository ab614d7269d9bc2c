"""SQLite in a project whose settings do not say how transactions begin."""

from __future__ import annotations

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from scheduler.limits import own_transaction


@pytest.mark.database("sqlite")
@pytest.mark.django_db(transaction=True)
def test_our_transactions_begin_with_the_lock_and_those_of_the_project_as_before(
    monkeypatch: pytest.MonkeyPatch,
):
    connection.ensure_connection()
    monkeypatch.setattr(connections[DEFAULT_DB_ALIAS], "transaction_mode", None)

    with CaptureQueriesContext(connection) as captured:
        with own_transaction():
            pass
        with transaction.atomic():
            pass

    begins = [query["sql"] for query in captured if query["sql"].startswith("BEGIN")]
    assert begins == ["BEGIN IMMEDIATE", "BEGIN"]
