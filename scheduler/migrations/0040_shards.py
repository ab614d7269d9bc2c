"""Shards: runs that are parts of another one, their parent.

The database deletes the shards of a run with it. Only shards are in the index that finds them, but
for MySQL and MariaDB, which have no partial indexes.
"""

from importlib import import_module

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Q

from scheduler.migrations._operations import is_here

freezes = import_module("scheduler.migrations.0036_freezes")

CASCADE = "shards_go_with_their_parent"
UNIQUE = "one_execution_per_shard"
# PostgreSQL: runs that a worker runs, and now also those whose shards go on.
RUNNING, GOING_ON = "executions_running", "executions_going_on"

FINAL = ["CANCELLED", "FAILED", "SKIPPED", "SUCCESS", "TIMEOUT"]
STATES = ["PENDING", "RUNNING", "FANNED_OUT", "SUCCESS", "FAILED", "TIMEOUT", "CANCELLED", "SKIPPED"]
CODES = [
    "misfire", "missed", "shadow", "frozen", "frozen_held", "awaits_approval", "not_approved",
    "rejected", "overlap_running", "overlap_waiting", "overlap_newer", "overlap_held", "replaced",
    "limit_reached", "rate_reached", "upstream_awaited", "upstream_missing",
    "cancelled_by_person", "backfill_cancelled", "job_deleted", "parent_ended", "shards_failed",
    "shards_cancelled", "waits_for_parent", "handler_failed", "handler_not_found",
    "invalid_params", "database_not_configured", "timeout", "worker_lost", "invalid_shards",
    "outcome_not_stored", "worker_drained", "process_ended",
]  # fmt: skip


def add_cascade(apps, schema_editor):
    vendor = schema_editor.connection.vendor
    if vendor == "sqlite":
        schema_editor.execute(
            f"CREATE TRIGGER {CASCADE} AFTER DELETE ON job_executions "
            "BEGIN DELETE FROM job_executions WHERE parent_id = OLD.id; END"
        )
        return
    constraint = (
        f"ALTER TABLE job_executions ADD CONSTRAINT {CASCADE} "
        "FOREIGN KEY (parent_id) REFERENCES job_executions (id) ON DELETE CASCADE"
    )
    if vendor == "postgresql":
        # In two steps, so that nobody waits while the rows are read.
        schema_editor.execute(f"{constraint} NOT VALID")
        schema_editor.execute(f"ALTER TABLE job_executions VALIDATE CONSTRAINT {CASCADE}")
    else:
        schema_editor.execute(constraint)


def drop_cascade(apps, schema_editor):
    vendor = schema_editor.connection.vendor
    if vendor == "sqlite":
        schema_editor.execute(f"DROP TRIGGER IF EXISTS {CASCADE}")
    else:
        what = "FOREIGN KEY" if vendor == "mysql" else "CONSTRAINT"
        schema_editor.execute(f"ALTER TABLE job_executions DROP {what} {CASCADE}")


def put_index(schema_editor, new, old, condition):
    """Elsewhere the index that begins with the status has them all."""
    if schema_editor.connection.vendor == "postgresql":
        # One that a failed try has left is not valid.
        schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {new}")
        schema_editor.execute(
            f"CREATE INDEX CONCURRENTLY {new} ON job_executions (lease_expires_at)"
            f" WHERE {condition}"
        )
        schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {old}")


def add_index(apps, schema_editor):
    put_index(schema_editor, GOING_ON, RUNNING, "status IN ('FANNED_OUT', 'RUNNING')")


def drop_index(apps, schema_editor):
    put_index(schema_editor, RUNNING, GOING_ON, "status = 'RUNNING'")


class AddUnique(migrations.AddConstraint):
    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        if not is_here(self, app_label, schema_editor, to_state):
            return
        vendor = schema_editor.connection.vendor
        if vendor == "postgresql":
            schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {UNIQUE}")
            schema_editor.execute(
                f"CREATE UNIQUE INDEX CONCURRENTLY {UNIQUE} ON job_executions (parent_id, shard)"
                " WHERE parent_id IS NOT NULL"
            )
        elif vendor == "mysql":
            schema_editor.execute(
                f"ALTER TABLE job_executions ADD UNIQUE INDEX {UNIQUE} (parent_id, shard)"
            )
        else:
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        if not is_here(self, app_label, schema_editor, from_state):
            return
        if schema_editor.connection.vendor == "mysql":
            schema_editor.execute(f"ALTER TABLE job_executions DROP INDEX {UNIQUE}")
        else:
            super().database_backwards(app_label, schema_editor, from_state, to_state)


def changed(name, condition):
    """The operations that put another condition in the place of a constraint."""
    return [
        migrations.RemoveConstraint(model_name="jobexecution", name=name),
        migrations.AddConstraint(
            model_name="jobexecution",
            constraint=models.CheckConstraint(condition=condition, name=name),
        ),
    ]


class Migration(migrations.Migration):
    atomic = False  # CONCURRENTLY; MySQL has no DDL in transactions
    dependencies = [("scheduler", "0039_backfills")]
    operations = [
        migrations.RunPython(freezes.drop_triggers, freezes.add_triggers, atomic=False),
        migrations.AddField(
            model_name="cronjob",
            name="shards",
            field=models.IntegerField(
                blank=True,
                default=None,
                help_text=(
                    "a run is divided into so many, which run side by side; empty: it is not"
                ),
                null=True,
                verbose_name="shards",
            ),
        ),
        migrations.AddConstraint(
            model_name="cronjob",
            constraint=models.CheckConstraint(
                condition=Q(shards__gte=2, shards__lte=10_000), name="shards_in_range"
            ),
        ),
        migrations.AddField(
            model_name="jobexecution",
            name="parent",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="shards",
                to="scheduler.jobexecution",
                verbose_name="shard of",
            ),
        ),
        migrations.AddField(
            model_name="jobexecution",
            name="shard",
            field=models.IntegerField(blank=True, null=True, verbose_name="shard"),
        ),
        migrations.AddField(
            model_name="jobexecution",
            name="shard_count",
            field=models.IntegerField(blank=True, null=True, verbose_name="shards"),
        ),
        # Only what Django knows of the column: no statement.
        migrations.AlterField(
            model_name="jobexecution",
            name="status",
            field=models.CharField(
                choices=[(state, state) for state in STATES],
                db_default="PENDING",
                default="PENDING",
                max_length=20,
                verbose_name="status",
            ),
        ),
        *changed("status_is_known", Q(status__in=STATES)),
        *changed(
            "reason_code_is_known",
            Q(
                reason_code__in=CODES
            ),
        ),
        *changed(
            "finished_exactly_when_final",
            Q(status__in=FINAL, finished_at__isnull=False)
            | Q(status__in=["FANNED_OUT", "PENDING", "RUNNING"], finished_at__isnull=True),
        ),
        AddUnique(
            model_name="jobexecution",
            constraint=models.UniqueConstraint(
                condition=Q(parent__isnull=False), fields=("parent", "shard"), name=UNIQUE
            ),
        ),
        migrations.RunPython(freezes.add_triggers, freezes.drop_triggers, atomic=False),
        migrations.RunPython(add_cascade, drop_cascade, atomic=False),
        migrations.RunPython(add_index, drop_index, atomic=False),
    ]
