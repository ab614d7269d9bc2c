"""SQLite, PostgreSQL, and a sync from SQLite to PostgreSQL.

sample1 sqlite_crud | sample2 postgres_crud | sample3 sync_sqlite_to_postgres
"""
