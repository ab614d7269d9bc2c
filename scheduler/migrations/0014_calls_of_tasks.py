"""For calls of tasks: the class of the exception that ended an attempt, by its path, and the key
that calls share which must not overlap. Both are NULL in the rows before.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("scheduler", "0013_schedule_fingerprint")]
    operations = [
        migrations.AddField(
            model_name="jobattempt",
            name="exception_class",
            # NULL, so that SQLite adds a column and does not copy the table, on which triggers are.
            field=models.CharField(blank=True, editable=False, max_length=255, null=True),
        ),
        migrations.AddField(
            model_name="jobexecution",
            name="overlap_key",
            field=models.BigIntegerField(blank=True, editable=False, null=True),
        ),
        migrations.AddIndex(
            model_name="jobexecution",
            index=models.Index(
                condition=models.Q(("overlap_key__isnull", False), ("status", "PENDING")),
                fields=["overlap_key", "id"],
                name="executions_in_line",
            ),
        ),
    ]
