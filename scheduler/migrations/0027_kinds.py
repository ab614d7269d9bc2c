"""`cron_expression` holds other kinds of schedule, too, and several lines: up to 1,000 characters."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("scheduler", "0025_counters")]
    operations = [
        migrations.AlterField(
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
