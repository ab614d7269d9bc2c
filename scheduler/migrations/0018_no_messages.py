"""Workers find runs in the table by themselves: no row says when its message is sent.

Waiting runs stay runnable, because `available_at` says all that a claim needs. Processes of the
version before still write these columns, so they are stopped first (docs/production.md).
"""

from importlib import import_module

from django.db import migrations

guards = import_module("scheduler.migrations.0016_guards")


class Migration(migrations.Migration):
    dependencies = [("scheduler", "0017_claim_index")]
    operations = [
        migrations.RunPython(guards.drop_triggers, guards.add_triggers),
        migrations.RemoveConstraint(model_name="jobexecution", name="pending_is_looked_at_again"),
        migrations.RemoveIndex(model_name="jobexecution", name="executions_to_publish"),
        migrations.RemoveField(model_name="jobexecution", name="publish_at"),
        migrations.RemoveField(model_name="jobexecution", name="publish_count"),
        migrations.RunPython(guards.add_triggers, guards.drop_triggers),
    ]
