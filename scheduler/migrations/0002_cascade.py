"""Deleting a job or an execution deletes what belongs to it, in the database itself.

Django's own cascade loads every row first; and a DELETE typed into an SQL client knows nothing of it.
"""

from django.db import migrations

# (table, column, referenced table, constraint)
CASCADES = [
    ("job_executions", "job_id", "cron_jobs", "executions_go_with_their_job"),
    ("job_attempts", "execution_id", "job_executions", "attempts_go_with_their_execution"),
    ("job_logs", "execution_id", "job_executions", "logs_go_with_their_execution"),
    ("backfills", "job_id", "cron_jobs", "backfills_go_with_their_job"),
]


def add_cascades(apps, schema_editor):
    sqlite = schema_editor.connection.vendor == "sqlite"
    for table, column, parent, name in CASCADES:
        if sqlite:  # has no ALTER TABLE ADD CONSTRAINT
            schema_editor.execute(
                f"CREATE TRIGGER {name} AFTER DELETE ON {parent} "
                f"BEGIN DELETE FROM {table} WHERE {column} = OLD.id; END"
            )
        else:
            schema_editor.execute(
                f"ALTER TABLE {table} ADD CONSTRAINT {name} "
                f"FOREIGN KEY ({column}) REFERENCES {parent} (id) ON DELETE CASCADE"
            )


def drop_cascades(apps, schema_editor):
    vendor = schema_editor.connection.vendor
    for table, _column, _parent, name in CASCADES:
        if vendor == "sqlite":
            schema_editor.execute(f"DROP TRIGGER {name}")
        elif vendor == "mysql":
            schema_editor.execute(f"ALTER TABLE {table} DROP FOREIGN KEY {name}")
        else:
            schema_editor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")


class Migration(migrations.Migration):
    atomic = False  # MySQL has no DDL in transactions
    dependencies = [("scheduler", "0001_initial")]
    operations = [migrations.RunPython(add_cascades, drop_cascades, atomic=False)]
