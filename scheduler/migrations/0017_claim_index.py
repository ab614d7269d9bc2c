"""The index of the claim: what waits, by queue and priority. It needs priorities from 0 to 9.

On MySQL and MariaDB the queue is compared exactly, as the other databases do: by the collation of
the table, `Mail` and `mail` would be one queue to the index.
"""

from django.db import migrations, models
from django.db.models import Q

from scheduler.migrations._operations import is_here

LOWEST, HIGHEST = 0, 9
_IDS_AT_ONCE = 10_000

# As in 0006: the first one that the server has.
COLLATIONS = ("utf8mb4_0900_bin", "utf8mb4_nopad_bin", "utf8mb4_bin")
COLUMN = "ALTER TABLE job_executions MODIFY queue varchar(100) {collation} NOT NULL DEFAULT ''"


def compare_exactly(apps, schema_editor):
    connection = schema_editor.connection
    if connection.vendor != "mysql":
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT collation_name FROM information_schema.collations"
            " WHERE collation_name IN (%s, %s, %s)",
            COLLATIONS,
        )
        there = {name for (name,) in cursor.fetchall()}
    collation = next(name for name in COLLATIONS if name in there)
    schema_editor.execute(COLUMN.format(collation=f"CHARACTER SET utf8mb4 COLLATE {collation}"))


def compare_as_the_table_does(apps, schema_editor):
    if schema_editor.connection.vendor == "mysql":
        schema_editor.execute(COLUMN.format(collation=""))


def clamp(apps, schema_editor):
    """Only SQL has ever written another priority. In order of ids, so each row is read once."""
    executions = apps.get_model("scheduler", "JobExecution").objects
    for outside, nearest in (
        (Q(priority__lt=LOWEST), LOWEST),
        (Q(priority__gt=HIGHEST), HIGHEST),
    ):
        last = 0
        while True:
            found = executions.filter(outside, id__gt=last).order_by("id")
            ids = list(found.values_list("id", flat=True)[:_IDS_AT_ONCE])
            if not ids:
                break
            executions.filter(outside, id__gt=last, id__lte=ids[-1]).update(priority=nearest)
            last = ids[-1]


# SQLite changes a constraint by making the table anew, and the triggers on it are lost with the old
# table. (name, table that loses rows, its column, table with the trigger)
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
    "job_deleted",
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


class AddIndexOfPending(migrations.AddIndex):
    """MySQL has no partial indexes. There the status is a column of the index, in front.

    Not so on PostgreSQL: it leaves out of the search what the index's condition says already, and
    would read all entries.
    """

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        if not is_here(self, app_label, schema_editor, to_state):
            return
        if schema_editor.connection.vendor == "mysql":
            columns = ", ".join(("status", *self.index.fields))
            schema_editor.execute(f"CREATE INDEX {self.index.name} ON job_executions ({columns})")
        else:
            super().database_forwards(app_label, schema_editor, from_state, to_state)


class Migration(migrations.Migration):
    dependencies = [("scheduler", "0016_guards")]
    operations = [
        migrations.RunPython(drop_triggers, add_triggers),
        migrations.RunPython(compare_exactly, compare_as_the_table_does, atomic=False),
        migrations.RunPython(clamp, migrations.RunPython.noop, atomic=False),
        AddIndexOfPending(
            model_name="jobexecution",
            index=models.Index(
                condition=Q(status="PENDING"),
                fields=["queue", "priority", "available_at", "id"],
                name="executions_to_claim",
            ),
        ),
        # The table that SQLite makes anew below gets its indexes in this order. It prefers the newest
        # of several, and otherwise sorts all that is PENDING to find the next one to publish.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveIndex(model_name="jobexecution", name="executions_to_publish"),
                migrations.AddIndex(
                    model_name="jobexecution",
                    index=models.Index(
                        fields=["status", "publish_at"], name="executions_to_publish"
                    ),
                ),
            ]
        ),
        migrations.RemoveConstraint(model_name="jobexecution", name="reason_code_is_known"),
        migrations.AddConstraint(
            model_name="jobexecution",
            constraint=models.CheckConstraint(
                condition=Q(reason_code__in=CODES), name="reason_code_is_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="jobexecution",
            constraint=models.CheckConstraint(
                condition=Q(priority__gte=LOWEST, priority__lte=HIGHEST),
                name="execution_priority_in_range",
            ),
        ),
        migrations.RunPython(add_triggers, drop_triggers),
    ]
