"""`cron_expression` holds other kinds of schedule, too, and several lines: up to 1,000 characters."""

from django.db import migrations, models


class Widen(migrations.AlterField):
    """SQLite checks no length. It would make the table anew, and lose the triggers on it."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor != "sqlite":
            super().database_forwards(app_label, schema_editor, from_state, to_state)


class Migration(migrations.Migration):
    dependencies = [("scheduler", "0026_indexes")]
    operations = [
        Widen(
            model_name="cronjob",
            name="cron_expression",
            field=models.CharField(
                help_text="minute hour day month weekday; six fields with seconds first; or @daily "
                "and the like. Also `every 36h`, `every 10 days at 09:00`, `at 2026-12-24T18:00`, "
                "`RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=FR`; several lines: each of them",
                max_length=1000,
                verbose_name="cron expression",
            ),
        ),
    ]
