"""An index on the slot that a backfilled or replayed run stands for: runs that wait for it ask.

Few runs have one. On PostgreSQL and SQLite only these are in it; on MySQL and MariaDB the others lie
one after the other at its beginning. On PostgreSQL it is made while others write.
"""

from django.db import migrations, models
from django.db.models import Q

NAME = "executions_stand_for"


class AddIndex(migrations.AddIndex):
    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        vendor = schema_editor.connection.vendor
        if vendor == "mysql":  # it has no partial indexes, and Django would make none
            schema_editor.execute(f"ALTER TABLE job_executions ADD INDEX {NAME} (logical_time)")
        elif vendor == "postgresql":
            # One that was left behind when an earlier try was interrupted.
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}")
            model = to_state.apps.get_model(app_label, self.model_name)
            schema_editor.add_index(model, self.index, concurrently=True)
        else:
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        vendor = schema_editor.connection.vendor
        if vendor == "mysql":
            schema_editor.execute(f"ALTER TABLE job_executions DROP INDEX {NAME}")
        elif vendor == "postgresql":
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}")
        else:
            super().database_backwards(app_label, schema_editor, from_state, to_state)


class Migration(migrations.Migration):
    atomic = False  # CONCURRENTLY
    dependencies = [("scheduler", "0041_drained_workers")]
    operations = [
        AddIndex(
            model_name="jobexecution",
            index=models.Index(
                condition=Q(logical_time__isnull=False), fields=["logical_time"], name=NAME
            ),
        ),
    ]
