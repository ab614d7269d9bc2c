"""Indexes that a claim and an end need not write.

Two become partial where the database knows that: a run that has not ended is not in the index of
what has ended, and only the runs of backfills are in that of backfills. PostgreSQL also loses the
indexes for `LIKE` that Django makes for unique texts: nobody looks for the beginning of a key.
"""

from django.db import migrations, models
from django.db.models import Q

# Django's names: (index, table, column)
FOR_LIKE = [
    ("job_executions_dedupe_key_da695f22_like", "job_executions", "dedupe_key"),
    ("job_attempts_lease_token_5b5c608d_like", "job_attempts", "lease_token"),
]


def drop_for_like(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for name, _, _ in FOR_LIKE:
            schema_editor.execute(f"DROP INDEX IF EXISTS {name}")


def make_for_like(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for name, table, column in FOR_LIKE:
            schema_editor.execute(f"CREATE INDEX {name} ON {table} ({column} varchar_pattern_ops)")


class NotOnMySQL:
    """MySQL and MariaDB have no partial indexes: there the index stays as it is."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor != "mysql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor != "mysql":
            super().database_backwards(app_label, schema_editor, from_state, to_state)


class RemoveIndex(NotOnMySQL, migrations.RemoveIndex):
    pass


class AddIndex(NotOnMySQL, migrations.AddIndex):
    pass


class Migration(migrations.Migration):
    dependencies = [("scheduler", "0025_counters")]
    operations = [
        RemoveIndex(model_name="jobexecution", name="executions_ended"),
        AddIndex(
            model_name="jobexecution",
            index=models.Index(
                condition=Q(finished_at__isnull=False),
                fields=["finished_at", "status", "started_at", "job"],
                name="executions_ended",
            ),
        ),
        RemoveIndex(model_name="jobexecution", name="executions_backfill"),
        AddIndex(
            model_name="jobexecution",
            index=models.Index(
                condition=Q(backfill__isnull=False),
                fields=["backfill", "status"],
                name="executions_backfill",
            ),
        ),
        migrations.RunPython(drop_for_like, make_for_like),
    ]
