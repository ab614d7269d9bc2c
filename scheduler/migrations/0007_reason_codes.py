"""Why an execution was skipped, held, cancelled or failed: a code and facts beside the text."""

from django.db import migrations, models

CODES = [
    "misfire",
    "missed",
    "overlap_running",
    "overlap_waiting",
    "overlap_newer",
    "overlap_held",
    "replaced",
    "cancelled_by_person",
    "backfill_cancelled",
    "handler_failed",
    "handler_not_found",
    "invalid_params",
    "database_not_configured",
    "timeout",
    "worker_lost",
    "outcome_not_stored",
    "worker_drained",
    "process_ended",
]

# SQLite adds a constraint by making the table anew, and the triggers of 0002 on it are lost with
# the old table. (name, table that loses rows, its column, table with the trigger)
TRIGGERS = [
    ("executions_go_with_their_job", "job_executions", "job_id", "cron_jobs"),
    ("attempts_go_with_their_execution", "job_attempts", "execution_id", "job_executions"),
    ("logs_go_with_their_execution", "job_logs", "execution_id", "job_executions"),
]


def drop_triggers(apps, schema_editor):
    if schema_editor.connection.vendor == "sqlite":
        for name, *_ in TRIGGERS:
            schema_editor.execute(f"DROP TRIGGER IF EXISTS {name}")


def add_triggers(apps, schema_editor):
    if schema_editor.connection.vendor == "sqlite":
        for name, table, column, parent in TRIGGERS:
            schema_editor.execute(
                f"CREATE TRIGGER {name} AFTER DELETE ON {parent} "  # noqa: S608 - from above
                f"BEGIN DELETE FROM {table} WHERE {column} = OLD.id; END"
            )


class Migration(migrations.Migration):
    dependencies = [("scheduler", "0006_exact_idempotency_keys")]
    operations = [
        migrations.RunPython(drop_triggers, add_triggers),
        migrations.AddField(
            model_name="jobexecution",
            name="reason_code",
            field=models.CharField(blank=True, editable=False, max_length=40, null=True),
        ),
        migrations.AddField(
            model_name="jobexecution",
            name="reason_facts",
            field=models.JSONField(blank=True, editable=False, null=True),
        ),
        migrations.AddConstraint(
            model_name="jobexecution",
            constraint=models.CheckConstraint(
                condition=models.Q(reason_code__in=CODES), name="reason_code_is_known"
            ),
        ),
        migrations.RunPython(add_triggers, drop_triggers),
    ]
