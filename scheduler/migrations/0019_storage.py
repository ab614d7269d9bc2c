"""How PostgreSQL keeps the tables that change all the time. Nothing to do on the other databases.

A guard is updated at each claim and each end, and has no index but its key: where its page has
room, the new version stays in it, and no index is written. Claims and ends of executions change
columns that indexes hold, so room would save nothing there. What they leave behind is cleaned up
after two in a hundred rows have changed, not after twenty: the index of what waits is read at its
front, where the dead entries are.
"""

from django.db import migrations

STORAGE = {
    "job_guard": {"fillfactor": "50"},
    "job_executions": {
        "autovacuum_vacuum_scale_factor": "0.02",
        "autovacuum_analyze_scale_factor": "0.05",
    },
    "cron_jobs": {"autovacuum_vacuum_scale_factor": "0.05", "fillfactor": "90"},
}


def keep_room(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for table, options in STORAGE.items():
            values = ", ".join(f"{name} = {value}" for name, value in options.items())
            schema_editor.execute(f"ALTER TABLE {table} SET ({values})")


def as_before(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for table, options in STORAGE.items():
            schema_editor.execute(f"ALTER TABLE {table} RESET ({', '.join(options)})")


class Migration(migrations.Migration):
    dependencies = [("scheduler", "0018_no_messages")]
    operations = [migrations.RunPython(keep_room, as_before)]
