"""MySQL and MariaDB compare idempotency keys exactly, as the other databases do.

By their default collation `order-A` and `order-a` are one key, and the second event would be lost.
"""

from django.db import migrations

# The first one that the server has: MySQL from 8.0.17 on, MariaDB, older MySQL. The last one still
# takes keys that differ in spaces at their end for one.
COLLATIONS = ("utf8mb4_0900_bin", "utf8mb4_nopad_bin", "utf8mb4_bin")
COLUMN = "ALTER TABLE job_executions MODIFY dedupe_key varchar(255)"


def compare_exactly(apps, schema_editor):
    connection = schema_editor.connection
    if connection.vendor != "mysql":
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT collation_name FROM information_schema.collations"
            " WHERE collation_name IN (%s, %s, %s)",
            COLLATIONS,
        )
        there = {name for (name,) in cursor.fetchall()}
    collation = next(name for name in COLLATIONS if name in there)
    schema_editor.execute(f"{COLUMN} CHARACTER SET utf8mb4 COLLATE {collation} NULL")


def compare_as_the_table_does(apps, schema_editor):
    if schema_editor.connection.vendor == "mysql":
        schema_editor.execute(f"{COLUMN} NULL")


class Migration(migrations.Migration):
    atomic = False  # MySQL has no DDL in transactions
    dependencies = [("scheduler", "0005_instants_in_range")]
    operations = [
        migrations.RunPython(compare_exactly, compare_as_the_table_does, atomic=False),
    ]
