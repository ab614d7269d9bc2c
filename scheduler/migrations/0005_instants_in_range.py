"""Instants of backfills, and missed_from, are ones that Python can hold, whoever writes them."""

import datetime

from django.db import migrations, models
from django.db.models import Q

FIRST = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
LAST = datetime.datetime(9900, 1, 1, tzinfo=datetime.UTC)

# SQLite adds a constraint by making the table anew, and with the old one go its triggers: those of
# 0002 stand on cron_jobs.
TRIGGERS = {
    "executions_go_with_their_job": "job_executions",
    "backfills_go_with_their_job": "backfills",
}


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


def in_range(model, field, name):
    condition = Q(**{f"{field}__gte": FIRST, f"{field}__lte": LAST})
    return migrations.AddConstraint(
        model_name=model, constraint=models.CheckConstraint(condition=condition, name=name)
    )


class Migration(migrations.Migration):
    dependencies = [("scheduler", "0004_executions_ended")]
    operations = [
        migrations.RunPython(drop_triggers, add_triggers),
        in_range("cronjob", "missed_from", "missed_from_in_range"),
        *(
            in_range("backfill", field, f"backfill_{field}_in_range")
            for field in ("since", "until", "cursor", "created_at", "ended_at")
        ),
        migrations.RunPython(add_triggers, drop_triggers),
    ]
