"""An index on the slot that a run stands for: lists are filtered and ordered by it.

On PostgreSQL it is made while rows are written. On MySQL and MariaDB, which has no indexes on
expressions, it is on a column that the server computes when it reads a row.
"""

from django.db import migrations, models

from scheduler.migrations._operations import is_here
from scheduler.models.slot_of_run import SlotOfRun

NAME = "executions_by_slot"


class AddIndex(migrations.AddIndex):
    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        if not is_here(self, app_label, schema_editor, to_state):
            return
        vendor = schema_editor.connection.vendor
        if vendor == "mysql":
            schema_editor.execute(
                "ALTER TABLE job_executions ADD COLUMN slot_at datetime(6)"
                " AS (COALESCE(logical_time, scheduled_time)) VIRTUAL,"
                f" ADD INDEX {NAME} (slot_at, id)"
            )
        elif vendor == "postgresql":
            # One that was left behind when an earlier try was interrupted.
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}")
            model = to_state.apps.get_model(app_label, self.model_name)
            schema_editor.add_index(model, self.index, concurrently=True)
        else:
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        if not is_here(self, app_label, schema_editor, from_state):
            return
        vendor = schema_editor.connection.vendor
        if vendor == "mysql":
            schema_editor.execute(
                f"ALTER TABLE job_executions DROP INDEX {NAME}, DROP COLUMN slot_at"
            )
        elif vendor == "postgresql":
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}")
        else:
            super().database_backwards(app_label, schema_editor, from_state, to_state)


class Migration(migrations.Migration):
    atomic = False  # PostgreSQL makes an index beside writers only outside of a transaction
    dependencies = [("scheduler", "0030_reminders")]
    operations = [
        AddIndex(
            model_name="jobexecution",
            index=models.Index(SlotOfRun(), "id", name=NAME),
        ),
    ]
