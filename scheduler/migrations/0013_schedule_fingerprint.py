"""What a job's watermark was computed from, and the slots that are settled before it."""

import datetime

from django.db import migrations, models
from django.db.models import Q

FIRST = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
LAST = datetime.datetime(9900, 1, 1, tzinfo=datetime.UTC)

# SQLite adds a constraint by making cron_jobs anew, and the triggers on it are lost with the old
# table.
TRIGGERS = {
    "executions_go_with_their_job": "job_executions",
    "backfills_go_with_their_job": "backfills",
    "tags_go_with_their_job": "job_tags",
}
INSTANTS = ("last_slot_at", "last_nominal_at")


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


class Migration(migrations.Migration):
    dependencies = [("scheduler", "0012_exact_names")]
    operations = [
        migrations.RunPython(drop_triggers, add_triggers),
        migrations.AddField(
            model_name="cronjob",
            name="schedule_fingerprint",
            field=models.CharField(blank=True, editable=False, max_length=32, null=True),
        ),
        *(
            migrations.AddField(
                model_name="cronjob",
                name=name,
                field=models.DateTimeField(blank=True, editable=False, null=True),
            )
            for name in INSTANTS
        ),
        *(
            migrations.AddConstraint(
                model_name="cronjob",
                constraint=models.CheckConstraint(
                    condition=Q(**{f"{name}__gte": FIRST, f"{name}__lte": LAST}),
                    name=f"{name}_in_range",
                ),
            )
            for name in INSTANTS
        ),
        migrations.RunPython(add_triggers, drop_triggers),
    ]
