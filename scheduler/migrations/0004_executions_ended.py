"""The index on finished_at answers the dashboard's questions about the last hours by itself."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("scheduler", "0003_missed_from")]
    operations = [
        migrations.AddIndex(
            model_name="jobexecution",
            index=models.Index(
                fields=["finished_at", "status", "started_at", "job"], name="executions_ended"
            ),
        ),
        migrations.RemoveIndex(model_name="jobexecution", name="executions_finished"),
    ]
