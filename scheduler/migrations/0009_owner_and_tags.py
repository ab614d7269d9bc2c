"""Who answers for a job, and its tags."""

from django.db import migrations, models

# SQLite adds the column by making cron_jobs anew, and the triggers on it are lost with the old table.
TRIGGERS = {
    "executions_go_with_their_job": "job_executions",
    "backfills_go_with_their_job": "backfills",
}
TAGS = ("tags_go_with_their_job", "job_tags")
# As in 0006: the first one that the server has.
COLLATIONS = ("utf8mb4_0900_bin", "utf8mb4_nopad_bin", "utf8mb4_bin")


def drop_triggers(apps, schema_editor):
    if schema_editor.connection.vendor == "sqlite":
        for name in TRIGGERS:
            schema_editor.execute(f"DROP TRIGGER IF EXISTS {name}")


def add_triggers(apps, schema_editor):
    if schema_editor.connection.vendor == "sqlite":
        for name, table in TRIGGERS.items():
            _add_trigger(schema_editor, name, table)


def _add_trigger(schema_editor, name, table):
    schema_editor.execute(
        f"CREATE TRIGGER {name} AFTER DELETE ON cron_jobs "  # noqa: S608 - from above
        f"BEGIN DELETE FROM {table} WHERE job_id = OLD.id; END"
    )


def add_cascade(apps, schema_editor):
    name, table = TAGS
    if schema_editor.connection.vendor == "sqlite":
        _add_trigger(schema_editor, name, table)
    else:
        schema_editor.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT {name} "
            "FOREIGN KEY (job_id) REFERENCES cron_jobs (id) ON DELETE CASCADE"
        )


def drop_cascade(apps, schema_editor):
    name, table = TAGS
    drop = {
        "sqlite": f"DROP TRIGGER {name}",
        "mysql": f"ALTER TABLE {table} DROP FOREIGN KEY {name}",
    }
    schema_editor.execute(
        drop.get(
            schema_editor.connection.vendor, f"ALTER TABLE {table} DROP CONSTRAINT {name}"
        )
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
        "ALTER TABLE job_tags MODIFY tag varchar(100)"
        f" CHARACTER SET utf8mb4 COLLATE {collation} NOT NULL"
    )


class Migration(migrations.Migration):
    atomic = False  # MySQL has no DDL in transactions
    dependencies = [("scheduler", "0008_activity")]
    operations = [
        migrations.RunPython(drop_triggers, add_triggers, atomic=False),
        migrations.AddField(
            model_name="cronjob",
            name="owner",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="who answers for it: a user's name, or a team's",
                max_length=150,
                verbose_name="owner",
            ),
        ),
        migrations.RunPython(add_triggers, drop_triggers, atomic=False),
        migrations.CreateModel(
            name="JobTag",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("tag", models.CharField(max_length=100, verbose_name="tag")),
                (
                    "job",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=models.deletion.DO_NOTHING,
                        related_name="tag_rows",
                        to="scheduler.cronjob",
                    ),
                ),
            ],
            options={
                "verbose_name": "tag",
                "verbose_name_plural": "tags",
                "db_table": "job_tags",
                "default_permissions": (),
                "indexes": [models.Index(fields=["tag", "job"], name="job_tags_by_tag")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("job", "tag"), name="one_row_per_job_and_tag"
                    )
                ],
            },
        ),
        migrations.RunPython(compare_exactly, migrations.RunPython.noop, atomic=False),
        migrations.RunPython(add_cascade, drop_cascade, atomic=False),
    ]
