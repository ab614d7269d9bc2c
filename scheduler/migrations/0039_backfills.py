"""Backfills of missing slots only, at a rate, over a chain of jobs, beside the job's other runs."""

from importlib import import_module

from django.db import migrations, models
from django.db.models import Q


freezes = import_module("scheduler.migrations.0036_freezes")


class Migration(migrations.Migration):
    atomic = False  # MySQL has no DDL in transactions
    dependencies = [("scheduler", "0038_dependencies")]
    operations = [
        migrations.RunPython(freezes.drop_triggers, freezes.add_triggers, atomic=False),
        migrations.AddField(
            model_name="backfill",
            name="only_missing",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="leave out slots that have succeeded, wait or run",
                verbose_name="only missing slots",
            ),
        ),
        migrations.AddField(
            model_name="backfill",
            name="ignores_overlap",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="the job's overlap policy does not hold for its runs",
                verbose_name="beside other runs",
            ),
        ),
        migrations.AddField(
            model_name="backfill",
            name="per_minute",
            field=models.IntegerField(
                blank=True,
                help_text="empty: as many as there is room for",
                null=True,
                verbose_name="runs per minute",
            ),
        ),
        migrations.AddField(
            model_name="backfill",
            name="group_id",
            field=models.BigIntegerField(blank=True, editable=False, null=True),
        ),
        migrations.AddIndex(
            model_name="backfill",
            index=models.Index(fields=["group_id"], name="backfills_of_group"),
        ),
        migrations.AddConstraint(
            model_name="backfill",
            constraint=models.CheckConstraint(
                condition=Q(per_minute__isnull=True) | Q(per_minute__gte=1, per_minute__lte=6_000),
                name="backfill_per_minute_in_range",
            ),
        ),
        migrations.RunPython(freezes.add_triggers, freezes.drop_triggers, atomic=False),
    ]
