"""What our connections may wait for and keep, and that nobody else's connection is limited."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, Error, connection, connections, transaction

from scheduler.limits import limit_connection, unlimit_connection
from scheduler.transient import in_transaction

pytestmark = [
    pytest.mark.database("postgres", "mysql"),  # SQLite has no such settings
    pytest.mark.django_db(transaction=True),
]

NAMES = {
    "postgresql": ["lock_timeout", "idle_in_transaction_session_timeout"],
    "mysql": ["innodb_lock_wait_timeout", "lock_wait_timeout", "idle_transaction_timeout"],
}
OURS = {"postgresql": ["5s", "10s"], "mysql": ["5", "5", "10"]}


def settings() -> list[str]:
    """The values that hold on this thread's connection now."""
    name = "current_setting('{}')" if connection.vendor == "postgresql" else "@@session.{}"
    found = []
    with connection.cursor() as cursor:
        for each in NAMES[connection.vendor]:
            cursor.execute("SELECT " + name.format(each))
            found.append(str(cursor.fetchone()[0]))
    return found


def in_a_thread(work: Callable[[], Any]) -> Any:
    """Runs it in a thread, which has a connection of its own as a thread of a process has."""

    def then_close() -> Any:
        try:
            return work()
        finally:
            unlimit_connection()
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(then_close).result(30)


def test_a_connection_of_ours_has_limits_also_after_it_was_replaced():
    def work() -> list[list[str]]:
        limit_connection()
        first = settings()
        connection.close()
        return [first, settings()]

    assert in_a_thread(work) == [OURS[connection.vendor]] * 2


def test_our_statements_are_not_compiled(job_database: str):
    """They probe indexes, whatever the planner expects, and to compile one takes longer."""
    if job_database != "postgres":
        return

    def jit() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SHOW jit")
            return str(cursor.fetchone()[0])

    def work() -> list[str]:
        before = jit()
        limit_connection(in_constant_use=True, plans_freely=True)
        ours = jit()
        unlimit_connection()
        return [before, ours, jit()]

    before, ours, after = in_a_thread(work)
    assert (ours, after) == ("off", before)


def test_a_connection_that_breaks_while_it_gets_its_limits_is_replaced():
    """The server ends just then. Each further message of that thread failed on what was left."""

    def server_ends(execute: Any, statement: str, *rest: Any) -> Any:
        if "lock" in statement and not ended:
            ended.append(statement)
            connection.connection.close()
        return execute(statement, *rest)

    def work() -> list[str]:
        limit_connection()
        with connection.execute_wrapper(server_ends):
            with pytest.raises(Error):
                connection.ensure_connection()
            limit_connection()
            return settings()

    ended: list[str] = []
    assert in_a_thread(work) == OURS[connection.vendor]
    assert len(ended) == 1


def test_a_connection_that_broke_before_it_gets_its_limits_is_replaced():
    def work() -> list[str]:
        connection.ensure_connection()
        connection.connection.close()
        limit_connection()
        return settings()

    assert in_a_thread(work) == OURS[connection.vendor]


def test_a_connection_that_a_task_of_the_project_uses_has_its_own_settings_again():
    def work() -> list[list[str]]:
        before = settings()
        limit_connection()
        limited = settings()
        unlimit_connection()
        return [before, limited, settings()]

    before, limited, after = in_a_thread(work)
    assert limited == OURS[connection.vendor]
    assert after == before != limited


def test_only_our_transaction_limits_the_connection_of_a_page_or_a_handler(job_database: str):
    def work() -> list[list[str]]:
        before = settings()
        with transaction.atomic():
            theirs = settings()
            inside = in_transaction(settings)  # theirs goes on after it
        return [before, theirs, inside, in_transaction(settings), settings()]

    before, theirs, inside, ours, after = in_a_thread(work)
    assert before == theirs == inside == after
    if job_database == "postgres":
        # A handler may be idle in its transaction for as long as it likes.
        assert before == ["0", "0"]
        assert ours == OURS["postgresql"]


@pytest.mark.database("mysql")  # PostgreSQL knows idle transactions
def test_mysql_ends_a_session_of_beat_that_is_idle():
    def work() -> list[int]:
        found = []
        # The server of the tests may be MariaDB. The wrapper ends with this thread.
        vars(connections[DEFAULT_DB_ALIAS])["mysql_is_mariadb"] = False
        for limit in (lambda: limit_connection(in_constant_use=True), unlimit_connection):
            limit()
            with connection.cursor() as cursor:
                cursor.execute("SELECT @@session.wait_timeout")
                found.append(cursor.fetchone()[0])
        return found

    limited, restored = in_a_thread(work)
    assert limited == 10 < restored
