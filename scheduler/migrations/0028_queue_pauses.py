"""Queues from which no worker takes runs."""

from django.db import migrations, models

# As in 0006: the first one that the server has.
COLLATIONS = ("utf8mb4_0900_bin", "utf8mb4_nopad_bin", "utf8mb4_bin")


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
    schema_editor.execute(
        "ALTER TABLE jobu_queue_pauses MODIFY queue varchar(100)"
        f" CHARACTER SET utf8mb4 COLLATE {collation} NOT NULL"
    )


class Migration(migrations.Migration):
    atomic = False  # MySQL has no DDL in transactions
    dependencies = [("scheduler", "0027_kinds")]
    operations = [
        migrations.CreateModel(
            name="QueuePause",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("queue", models.CharField(max_length=100, unique=True, verbose_name="queue")),
                ("reason", models.CharField(max_length=500, verbose_name="reason")),
                ("until", models.DateTimeField(blank=True, null=True, verbose_name="until")),
                (
                    "who",
                    models.CharField(
                        blank=True, db_default="", default="", max_length=150, verbose_name="who"
                    ),
                ),
                ("at", models.DateTimeField(verbose_name="at")),
            ],
            options={
                "verbose_name": "pause of a queue",
                "verbose_name_plural": "pauses of queues",
                "db_table": "jobu_queue_pauses",
                "permissions": [("pause_queue", "Can pause and resume queues")],
                "default_permissions": (),
            },
        ),
        migrations.RunPython(compare_exactly, migrations.RunPython.noop, atomic=False),
    ]
