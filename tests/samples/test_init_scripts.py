"""The scripts in docker/init/ create the table and the user, and can run again."""

from __future__ import annotations

import psycopg
import psycopg.errors
import pymysql
import pytest

from tests.samples.servers import as_handler_user, mysql, run_mysql_init, run_postgres_init

COLUMNS = ["id", "name", "value", "created_at", "writer_handler"]
COLUMNS_SQL = """
select column_name from information_schema.columns
 where table_name = 'sample_data' and table_schema = {schema} order by ordinal_position
"""


def test_postgres_has_the_table_with_its_index(postgres_url: str):
    run_postgres_init(postgres_url)  # a second time

    with psycopg.connect(postgres_url) as connection:
        columns = connection.execute(COLUMNS_SQL.format(schema="current_schema()").encode())
        assert [name for (name,) in columns] == COLUMNS
        (indexes,) = connection.execute(
            "select array_agg(indexdef) from pg_indexes where tablename = 'sample_data'"
        ).fetchone() or ([],)
        assert any("(writer_handler)" in text for text in indexes)


def test_mysql_has_the_table_with_its_index(mysql_url: str):
    run_mysql_init(mysql_url)  # a second time

    with mysql(mysql_url) as connection, connection.cursor() as cursor:
        cursor.execute(COLUMNS_SQL.format(schema="database()"))
        assert [name for (name,) in cursor.fetchall()] == COLUMNS
        cursor.execute("show index from sample_data where column_name = 'writer_handler'")
        assert len(cursor.fetchall()) == 1


def test_a_row_needs_a_name(postgres_url: str, mysql_url: str):
    statement = "insert into sample_data (name) values (null)"
    with (
        psycopg.connect(postgres_url) as connection,
        pytest.raises(psycopg.errors.NotNullViolation),
    ):
        connection.execute(statement)
    with (
        mysql(mysql_url) as connection,
        connection.cursor() as cursor,
        pytest.raises(pymysql.IntegrityError),
    ):
        cursor.execute(statement)


def test_the_handlers_user_of_postgres_sees_the_samples_table_and_no_other(postgres_url: str):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("create table cron_jobs (id int)")

    with psycopg.connect(as_handler_user(postgres_url)) as connection:
        connection.execute("select count(*) from sample_data")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from cron_jobs")


def test_the_handlers_user_of_mysql_sees_the_samples_table_and_no_other(mysql_url: str):
    with mysql(mysql_url) as connection, connection.cursor() as cursor:
        cursor.execute("create table cron_jobs (id int)")

    with mysql(as_handler_user(mysql_url)) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from sample_data")
        with pytest.raises(pymysql.OperationalError, match="denied"):
            cursor.execute("select * from cron_jobs")
