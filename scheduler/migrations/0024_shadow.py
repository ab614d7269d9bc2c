"""Shadows: jobs whose slots are recorded and do not run."""

from importlib import import_module

from django.db import migrations, models
from django.db.models import Q

guards = import_module("scheduler.migrations.0016_guards")
source = import_module("scheduler.migrations.0022_source")
codes = import_module("scheduler.migrations.0017_claim_index").CODES


def drop_triggers(apps, schema_editor):
    guards.drop_triggers(apps, schema_editor)
    source.drop_triggers(apps, schema_editor)


def add_triggers(apps, schema_editor):
    drop_triggers(apps, schema_editor)  # one of them is in both lists
    source.add_triggers(apps, schema_editor)
    if schema_editor.connection.vendor == "sqlite":
        for name, table, column, parent in guards.TRIGGERS:
            if name not in source.TRIGGERS:
                schema_editor.execute(
                    f"CREATE TRIGGER {name} AFTER DELETE ON {parent} "  # noqa: S608 - from 0016
                    f"BEGIN DELETE FROM {table} WHERE {column} = OLD.id; END"
                )


class Migration(migrations.Migration):
    atomic = False  # MySQL has no DDL in transactions
    dependencies = [("scheduler", "0023_applied")]
    operations = [
        migrations.RunPython(drop_triggers, add_triggers, atomic=False),
        migrations.AddField(
            model_name="cronjob",
            name="is_shadow",
            field=models.BooleanField(
                db_default=False, default=False, editable=False, verbose_name="shadow"
            ),
        ),
        migrations.RemoveConstraint(model_name="jobexecution", name="reason_code_is_known"),
        migrations.AddConstraint(
            model_name="jobexecution",
            constraint=models.CheckConstraint(
                condition=Q(reason_code__in=[*codes[:2], "shadow", *codes[2:]]),
                name="reason_code_is_known",
            ),
        ),
        migrations.RunPython(add_triggers, drop_triggers, atomic=False),
    ]
