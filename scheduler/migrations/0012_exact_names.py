"""MySQL and MariaDB compare names exactly, as the other databases do.

By their default collation `REPORT` finds `report`, and any two emoji are one name.
"""

from django.db import migrations

# As in 0006: the first one that the server has.
COLLATIONS = ("utf8mb4_0900_bin", "utf8mb4_nopad_bin", "utf8mb4_bin")
COLUMNS = {
    "cron_jobs": (
        "name varchar(255) {collation} NOT NULL",
        "handler_name varchar(255) {collation} NOT NULL",
        "queue varchar(100) {collation} NOT NULL DEFAULT ''",
        "owner varchar(150) {collation} NOT NULL DEFAULT ''",
    ),
    "scheduler_process": ("name varchar(255) {collation} NOT NULL",),
}


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
    _modify(schema_editor, f"CHARACTER SET utf8mb4 COLLATE {collation}")


def compare_as_the_table_does(apps, schema_editor):
    if schema_editor.connection.vendor == "mysql":
        _modify(schema_editor, "")


def _modify(schema_editor, collation):
    for table, columns in COLUMNS.items():
        changes = ", ".join(f"MODIFY {column.format(collation=collation)}" for column in columns)
        schema_editor.execute(f"ALTER TABLE {table} {changes}")


class Migration(migrations.Migration):
    atomic = False  # MySQL has no DDL in transactions
    dependencies = [("scheduler", "0011_sign_in_failures")]
    operations = [
        migrations.RunPython(compare_exactly, compare_as_the_table_does, atomic=False),
    ]
