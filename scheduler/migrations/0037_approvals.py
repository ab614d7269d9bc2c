"""Runs that a person approves before they start."""

from importlib import import_module

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Q

freezes = import_module("scheduler.migrations.0036_freezes")
KINDS_OF_ALERTS = [
    *("failed", "failed_in_a_row", "not_started", "too_long", "switched_off", "missed", "skipped"),
    *("awaits_approval", "no_beat", "no_worker", "claiming_stands", "publishing_stands", "clock"),
    *("retention_behind", "disk", "database", "switch_stands"),
]
NAME = "approvals_go_with_their_execution"
LONGEST = 2_592_000


def add_cascade(apps, schema_editor):
    # As in 0002: the database deletes the row with its execution.
    if schema_editor.connection.vendor == "sqlite":
        schema_editor.execute(
            f"CREATE TRIGGER {NAME} AFTER DELETE ON job_executions "
            "BEGIN DELETE FROM jobu_run_approvals WHERE execution_id = OLD.id; END"
        )
    else:
        schema_editor.execute(
            f"ALTER TABLE jobu_run_approvals ADD CONSTRAINT {NAME} "
            "FOREIGN KEY (execution_id) REFERENCES job_executions (id) ON DELETE CASCADE"
        )


def drop_cascade(apps, schema_editor):
    vendor = schema_editor.connection.vendor
    if vendor == "sqlite":
        schema_editor.execute(f"DROP TRIGGER {NAME}")
    elif vendor == "mysql":
        schema_editor.execute(f"ALTER TABLE jobu_run_approvals DROP FOREIGN KEY {NAME}")
    else:
        schema_editor.execute(f"ALTER TABLE jobu_run_approvals DROP CONSTRAINT {NAME}")


class Migration(migrations.Migration):
    atomic = False  # MySQL has no DDL in transactions
    dependencies = [("scheduler", "0036_freezes")]
    operations = [
        migrations.RunPython(freezes.drop_triggers, freezes.add_triggers, atomic=False),
        migrations.AddField(
            model_name="cronjob",
            name="approval_seconds",
            field=models.IntegerField(
                db_default=0,
                default=0,
                help_text=(
                    "seconds in which a person approves each run, or else it is skipped; 0: no "
                    "approval"
                ),
                verbose_name="approval within",
            ),
        ),
        migrations.AddConstraint(
            model_name="cronjob",
            constraint=models.CheckConstraint(
                condition=Q(approval_seconds__gte=0, approval_seconds__lte=LONGEST),
                name="approval_seconds_in_range",
            ),
        ),
        migrations.RunPython(freezes.add_triggers, freezes.drop_triggers, atomic=False),
        migrations.CreateModel(
            name="RunApproval",
            fields=[
                (
                    "execution",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="approval",
                        serialize=False,
                        to="scheduler.jobexecution",
                    ),
                ),
                ("state", models.CharField(max_length=10)),
                ("starts_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                (
                    "decided_by",
                    models.CharField(blank=True, db_default="", default="", max_length=150),
                ),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("note", models.CharField(blank=True, db_default="", default="", max_length=500)),
                ("digest", models.CharField(blank=True, db_default="", default="", max_length=64)),
            ],
            options={
                "db_table": "jobu_run_approvals",
                "default_permissions": (),
                "permissions": [
                    ("approve_execution", "Can approve and reject runs that wait for it")
                ],
                "indexes": [
                    models.Index(fields=["state", "expires_at"], name="approvals_waiting")
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(state__in=["waiting", "approved", "rejected", "expired"]),
                        name="approval_state_is_known",
                    )
                ],
            },
        ),
        migrations.RunPython(add_cascade, drop_cascade, atomic=False),
        # Only what Django knows of the column: no statement.
        migrations.AlterField(
            model_name="alert",
            name="kind",
            field=models.CharField(
                choices=[(kind, kind) for kind in KINDS_OF_ALERTS],
                max_length=30,
                verbose_name="kind",
            ),
        ),
    ]
