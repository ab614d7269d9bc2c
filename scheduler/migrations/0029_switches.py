"""Switches of jobs between jobu and the system that they were imported from."""

from django.db import migrations, models
from django.db.models import Q


KINDS_OF_ALERTS = [
    "failed",
    "failed_in_a_row",
    "not_started",
    "too_long",
    "switched_off",
    "missed",
    "skipped",
    "no_beat",
    "no_worker",
    "claiming_stands",
    "publishing_stands",
    "clock",
    "retention_behind",
    "disk",
    "database",
    "switch_stands",
]


class Migration(migrations.Migration):
    dependencies = [("scheduler", "0028_queue_pauses")]
    operations = [
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
        migrations.CreateModel(
            name="JobSwitch",
            fields=[
                ("job_id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("direction", models.CharField(max_length=10)),
                ("state", models.CharField(max_length=20)),
                ("old_side", models.CharField(max_length=20)),
                ("source", models.CharField(max_length=255)),
                ("since", models.DateTimeField()),
                ("at", models.DateTimeField()),
                (
                    "who",
                    models.CharField(blank=True, db_default="", default="", max_length=150),
                ),
                (
                    "error",
                    models.CharField(blank=True, db_default="", default="", max_length=500),
                ),
                ("last_run_at", models.DateTimeField(blank=True, null=True)),
                ("runs", models.BigIntegerField(blank=True, null=True)),
            ],
            options={
                "verbose_name": "switch of a job",
                "db_table": "jobu_job_switches",
                "default_permissions": (),
                "indexes": [
                    models.Index(fields=["state", "at"], name="job_switches_by_state"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(direction__in=["here", "back"]), name="switch_direction_known"
                    ),
                    models.CheckConstraint(
                        condition=Q(
                            state__in=[
                                "started", "asked", "read", "off_there", "off_here", "done",
                            ]
                        ),
                        name="switch_state_known",
                    ),
                    models.CheckConstraint(
                        condition=Q(old_side__in=["written", "by_hand"]),
                        name="switch_old_side_known",
                    ),
                ],
            },
        ),
    ]
