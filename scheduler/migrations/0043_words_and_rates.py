"""Help without raw Markdown, and rates of up to 10,000 starts."""

from django.db import migrations, models
from django.db.models import Q

NAME = "group_rate_count_in_range"


class Migration(migrations.Migration):
    atomic = False  # MySQL has no DDL in transactions
    dependencies = [("scheduler", "0042_stands_for")]
    operations = [
        migrations.RemoveConstraint(model_name="concurrencygroup", name=NAME),
        migrations.AddConstraint(
            model_name="concurrencygroup",
            constraint=models.CheckConstraint(
                condition=Q(rate_count__gte=1, rate_count__lte=10_000), name=NAME
            ),
        ),
        migrations.AlterField(
            model_name="cronjob",
            name="cron_expression",
            field=models.CharField(
                help_text="minute hour day month weekday; six fields with seconds first; or "
                "@daily and the like. Also “every 36h”, “every 10 days at 09:00”, "
                "“at 2026-12-24T18:00”, “RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=FR”; several lines: "
                "each of them. “@after”: the slots of its upstream jobs",
                max_length=1000,
                verbose_name="cron expression",
            ),
        ),
    ]
