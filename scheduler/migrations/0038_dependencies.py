"""Jobs that wait for others: their upstream jobs, and the runs that wait."""

from importlib import import_module

from django.db import migrations, models
from django.db.models import Q

shadow = import_module("scheduler.migrations.0024_shadow")
freezes = import_module("scheduler.migrations.0036_freezes")

# Trigger of SQLite, or constraint -> the column of job_upstreams that it follows.
CASCADES = {
    "upstreams_go_with_their_job": "job_id",
    "upstreams_go_with_the_upstream": "upstream_id",
}
WAITS = "waits_go_with_their_execution"
CODES = [
    *shadow.codes[:2],
    *freezes.NEW,
    *shadow.codes[2:7],
    "upstream_awaited",
    "upstream_missing",
    *shadow.codes[7:],
]


def add_cascades(apps, schema_editor):
    for name, column in CASCADES.items():
        _cascade(schema_editor, name, "job_upstreams", column, "cron_jobs")
    _cascade(schema_editor, WAITS, "job_waits", "execution_id", "job_executions")


def drop_cascades(apps, schema_editor):
    vendor = schema_editor.connection.vendor
    of = {**dict.fromkeys(CASCADES, "job_upstreams"), WAITS: "job_waits"}
    for name, table in of.items():
        if vendor == "sqlite":
            schema_editor.execute(f"DROP TRIGGER IF EXISTS {name}")
        else:
            kind = "FOREIGN KEY" if vendor == "mysql" else "CONSTRAINT"
            schema_editor.execute(f"ALTER TABLE {table} DROP {kind} {name}")


def _cascade(schema_editor, name, table, column, parent):
    if schema_editor.connection.vendor == "sqlite":
        schema_editor.execute(
            f"CREATE TRIGGER {name} AFTER DELETE ON {parent} "  # noqa: S608 - from above
            f"BEGIN DELETE FROM {table} WHERE {column} = OLD.id; END"
        )
    else:
        schema_editor.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT {name} "
            f"FOREIGN KEY ({column}) REFERENCES {parent} (id) ON DELETE CASCADE"
        )


class Migration(migrations.Migration):
    atomic = False  # MySQL has no DDL in transactions
    dependencies = [("scheduler", "0037_approvals")]
    operations = [
        migrations.RunPython(freezes.drop_triggers, freezes.add_triggers, atomic=False),
        migrations.AddField(
            model_name="cronjob",
            name="upstream_seconds",
            field=models.IntegerField(
                db_default=86400,
                default=86400,
                help_text="seconds in which they must succeed; then the slot is skipped",
                verbose_name="wait for upstream jobs",
            ),
        ),
        migrations.AddConstraint(
            model_name="cronjob",
            constraint=models.CheckConstraint(
                condition=Q(upstream_seconds__gte=1, upstream_seconds__lte=2_592_000),
                name="upstream_seconds_in_range",
            ),
        ),
        migrations.AlterField(
            model_name="cronjob",
            name="cron_expression",
            field=models.CharField(
                help_text="minute hour day month weekday; six fields with seconds first; or "
                "@daily and the like. Also `every 36h`, `every 10 days at 09:00`, "
                "`at 2026-12-24T18:00`, `RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=FR`; several lines: "
                "each of them. `@after`: the slots of its upstream jobs",
                max_length=1000,
                verbose_name="cron expression",
            ),
        ),
        migrations.RemoveConstraint(model_name="jobexecution", name="reason_code_is_known"),
        migrations.AddConstraint(
            model_name="jobexecution",
            constraint=models.CheckConstraint(
                condition=Q(reason_code__in=CODES), name="reason_code_is_known"
            ),
        ),
        migrations.RunPython(freezes.add_triggers, freezes.drop_triggers, atomic=False),
        migrations.CreateModel(
            name="JobUpstream",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "job",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=models.deletion.DO_NOTHING,
                        related_name="upstream_rows",
                        to="scheduler.cronjob",
                    ),
                ),
                (
                    "upstream",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=models.deletion.DO_NOTHING,
                        related_name="downstream_rows",
                        to="scheduler.cronjob",
                    ),
                ),
            ],
            options={
                "verbose_name": "upstream job",
                "verbose_name_plural": "upstream jobs",
                "db_table": "job_upstreams",
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("job", "upstream"), name="one_row_per_job_and_upstream"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="JobWait",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("execution_id", models.BigIntegerField()),
                ("upstream_id", models.BigIntegerField()),
                ("slot", models.DateTimeField()),
                ("until", models.DateTimeField(blank=True, null=True)),
                ("not_before", models.DateTimeField()),
                ("backfill_id", models.BigIntegerField(blank=True, null=True)),
            ],
            options={
                "db_table": "job_waits",
                "default_permissions": (),
                "indexes": [
                    models.Index(fields=["upstream_id", "slot"], name="job_waits_by_upstream"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("execution_id", "upstream_id"),
                        name="one_wait_per_run_and_upstream",
                    )
                ],
            },
        ),
        migrations.RunPython(add_cascades, drop_cascades, atomic=False),
    ]
