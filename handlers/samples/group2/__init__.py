"""MySQL or MariaDB, a sync from PostgreSQL to it, and a report on all three engines.

sample4 mysql_crud | sample5 sync_postgres_to_mysql | sample6 multi_db_report
"""
