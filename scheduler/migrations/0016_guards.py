"""Which run of a job goes on stands in a table of its own, and who waits for it in a column.

`running_key`, a unique column of the executions, made claims of MariaDB deadlock.
"""

from django.db import migrations, models
from django.db.models import F, Q


def fill(apps, schema_editor):
    executions = apps.get_model("scheduler", "JobExecution").objects
    guards = apps.get_model("scheduler", "JobGuard").objects
    running = executions.filter(running_key__isnull=False).values_list("running_key", "id")
    guards.bulk_create([guards.model(id=key, running_id=id_) for key, id_ in running])
    held = executions.filter(status="PENDING", reason_code="overlap_held")
    held.filter(job_id__isnull=False).update(in_line=F("job_id"))
    held.filter(job_id__isnull=True).update(in_line=F("overlap_key"))


def empty(apps, schema_editor):
    executions = apps.get_model("scheduler", "JobExecution").objects
    guards = apps.get_model("scheduler", "JobGuard").objects
    for key, id_ in guards.filter(running_id__isnull=False).values_list("id", "running_id"):
        executions.filter(id=id_, status="RUNNING").update(running_key=key)


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


LEASED = ("lease_token", "lease_expires_at", "deadline_at")


def leased():
    """RUNNING rows have a lease, all others have none."""
    running = Q(status="RUNNING", **{f"{name}__isnull": False for name in LEASED})
    others = ~Q(status="RUNNING") & Q(**{f"{name}__isnull": True for name in LEASED})
    return models.CheckConstraint(condition=running | others, name="running_exactly_while_leased")


class Migration(migrations.Migration):
    dependencies = [("scheduler", "0015_names_of_our_own")]
    operations = [
        migrations.RunPython(drop_triggers, add_triggers),
        migrations.CreateModel(
            name="JobGuard",
            fields=[
                ("id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("running_id", models.BigIntegerField(null=True)),
            ],
            options={"db_table": "job_guard", "default_permissions": ()},
        ),
        migrations.RemoveIndex(model_name="jobexecution", name="executions_in_line"),
        migrations.AddField(
            model_name="jobexecution",
            name="in_line",
            field=models.BigIntegerField(blank=True, editable=False, null=True),
        ),
        migrations.RunPython(fill, empty),
        migrations.RemoveConstraint(model_name="jobexecution", name="running_exactly_while_leased"),
        migrations.RemoveConstraint(model_name="jobexecution", name="one_run_without_overlap"),
        migrations.RemoveField(model_name="jobexecution", name="running_key"),
        migrations.AddConstraint(model_name="jobexecution", constraint=leased()),
        migrations.AddConstraint(
            model_name="jobexecution",
            constraint=models.CheckConstraint(
                condition=Q(status="PENDING") | Q(in_line__isnull=True),
                name="in_line_only_while_pending",
            ),
        ),
        migrations.AddIndex(
            model_name="jobexecution",
            index=models.Index(
                condition=Q(in_line__isnull=False),
                fields=["in_line", "id"],
                name="executions_in_line",
            ),
        ),
        migrations.RunPython(add_triggers, drop_triggers),
    ]
