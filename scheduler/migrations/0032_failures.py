"""Failed runs by their kind, and the filters that people keep."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

NAME = "failed_runs_go_with_their_execution"


def add_cascade(apps, schema_editor):
    # As in 0002: the database deletes the row with its execution.
    if schema_editor.connection.vendor == "sqlite":
        schema_editor.execute(
            f"CREATE TRIGGER {NAME} AFTER DELETE ON job_executions "
            "BEGIN DELETE FROM jobu_failed_runs WHERE execution_id = OLD.id; END"
        )
    else:
        schema_editor.execute(
            f"ALTER TABLE jobu_failed_runs ADD CONSTRAINT {NAME} "
            "FOREIGN KEY (execution_id) REFERENCES job_executions (id) ON DELETE CASCADE"
        )


def drop_cascade(apps, schema_editor):
    vendor = schema_editor.connection.vendor
    if vendor == "sqlite":
        schema_editor.execute(f"DROP TRIGGER {NAME}")
    elif vendor == "mysql":
        schema_editor.execute(f"ALTER TABLE jobu_failed_runs DROP FOREIGN KEY {NAME}")
    else:
        schema_editor.execute(f"ALTER TABLE jobu_failed_runs DROP CONSTRAINT {NAME}")


class Migration(migrations.Migration):
    atomic = False  # MySQL has no DDL in transactions
    dependencies = [
        ("scheduler", "0031_slot_of_run"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]
    operations = [
        migrations.AddField("counting", "failures_before", models.DateTimeField(null=True)),
        migrations.CreateModel(
            name="FailureGroup",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("fingerprint", models.CharField(max_length=32, unique=True)),
                ("handler_name", models.CharField(max_length=255, verbose_name="handler")),
                ("exception_class", models.CharField(blank=True, default="", max_length=255)),
                (
                    "text",
                    models.CharField(blank=True, default="", max_length=400, verbose_name="error"),
                ),
                ("example", models.CharField(blank=True, default="", max_length=400)),
                ("runs", models.BigIntegerField(verbose_name="failures")),
                ("first_at", models.DateTimeField(verbose_name="happened first")),
                ("last_at", models.DateTimeField(verbose_name="happened last")),
                ("last_execution_id", models.BigIntegerField()),
                ("is_open", models.BooleanField(default=True)),
                ("seen_at", models.DateTimeField(null=True)),
                ("seen_by", models.CharField(blank=True, default="", max_length=150)),
            ],
            options={
                "verbose_name": "kind of failure",
                "verbose_name_plural": "kinds of failures",
                "db_table": "jobu_failure_groups",
                "default_permissions": (),
                "indexes": [
                    models.Index(fields=["is_open", "last_at"], name="failure_groups_open"),
                    models.Index(fields=["last_at"], name="failure_groups_newest"),
                ],
            },
        ),
        migrations.CreateModel(
            name="FailureDay",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("job_id", models.BigIntegerField()),
                ("day", models.DateField()),
                ("runs", models.BigIntegerField()),
                (
                    "group",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        to="scheduler.failuregroup",
                    ),
                ),
            ],
            options={
                "db_table": "jobu_failure_days",
                "default_permissions": (),
                "indexes": [
                    models.Index(fields=["job_id", "day"], name="failure_days_of_job"),
                    models.Index(fields=["day"], name="failure_days_by_age"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("group", "day", "job_id"), name="one_row_per_failure_day"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="FailedRun",
            fields=[
                (
                    "execution",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="failed_run",
                        serialize=False,
                        to="scheduler.jobexecution",
                    ),
                ),
                (
                    "group",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        to="scheduler.failuregroup",
                    ),
                ),
            ],
            options={
                "db_table": "jobu_failed_runs",
                "default_permissions": (),
                "indexes": [
                    models.Index(fields=["group", "execution"], name="failed_runs_of_group")
                ],
            },
        ),
        migrations.CreateModel(
            name="SavedFilter",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("page", models.CharField(max_length=20)),
                ("name", models.CharField(max_length=100, verbose_name="name")),
                ("query", models.TextField()),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="jobu_saved_filters",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
            ],
            options={
                "verbose_name": "saved filter",
                "verbose_name_plural": "saved filters",
                "db_table": "jobu_saved_filters",
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("user", "page", "name"), name="saved_filter_named_once"
                    )
                ],
            },
        ),
        migrations.RunPython(add_cascade, drop_cascade, atomic=False),
    ]
