"""Where an import, or a file of jobs, has made a job."""

from django.db import migrations, models

# SQLite adds the column by making cron_jobs anew, and the triggers on it are lost with the old
# table.
TRIGGERS = {
    "executions_go_with_their_job": "job_executions",
    "backfills_go_with_their_job": "jobu_backfills",
    "tags_go_with_their_job": "job_tags",
}
# As in 0006: the first one that the server has.
COLLATIONS = ("utf8mb4_0900_bin", "utf8mb4_nopad_bin", "utf8mb4_bin")


def drop_triggers(apps, schema_editor):
    if schema_editor.connection.vendor == "sqlite":
        for name in TRIGGERS:
            schema_editor.execute(f"DROP TRIGGER IF EXISTS {name}")


def add_triggers(apps, schema_editor):
    if schema_editor.connection.vendor == "sqlite":
        for name, table in TRIGGERS.items():
            schema_editor.execute(
                f"CREATE TRIGGER {name} AFTER DELETE ON cron_jobs "  # noqa: S608 - from above
                f"BEGIN DELETE FROM {table} WHERE job_id = OLD.id; END"
            )


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
        "ALTER TABLE cron_jobs MODIFY source varchar(255)"
        f" CHARACTER SET utf8mb4 COLLATE {collation} NOT NULL DEFAULT ''"
    )


class Migration(migrations.Migration):
    atomic = False  # MySQL has no DDL in transactions
    dependencies = [("scheduler", "0021_channels")]
    operations = [
        migrations.RunPython(drop_triggers, add_triggers, atomic=False),
        migrations.AddField(
            model_name="cronjob",
            name="source",
            field=models.CharField(db_default="", default="", editable=False, max_length=255),
        ),
        migrations.RunPython(add_triggers, drop_triggers, atomic=False),
        migrations.RunPython(compare_exactly, migrations.RunPython.noop, atomic=False),
        migrations.AddIndex(
            model_name="cronjob",
            index=models.Index(fields=["source"], name="cron_jobs_by_source"),
        ),
    ]
