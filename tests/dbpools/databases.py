"""Empty databases on the servers of the tests. PostgreSQL's are emptied and used again."""

import psycopg

from tests.harness.servers import MariaDB, Postgres


class DatabaseSupply:
    """The databases of one server.

    PostgreSQL takes several times as long to make and drop a database as to empty one. MySQL drops
    a database as fast as its tables.
    """

    def __init__(self, server: Postgres | MariaDB) -> None:
        self.server = server
        self._spare: list[str] = []

    def take(self) -> str:
        """Returns the URL of an empty database."""
        return self._spare.pop() if self._spare else self.server.create_database("dbpools")

    def give_back(self, url: str) -> None:
        """Ends every session on the database and removes everything in it."""
        if isinstance(self.server, MariaDB):
            self.server.drop_database(url)
            return
        with psycopg.connect(url, connect_timeout=5, autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
            connection.execute("drop schema public cascade")
            connection.execute("create schema public")
        self._spare.append(url)
