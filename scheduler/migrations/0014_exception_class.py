"""The class of the exception that ended an attempt, by its path. NULL in the rows before."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("scheduler", "0012_exact_names")]
    operations = [
        migrations.AddField(
            model_name="jobattempt",
            name="exception_class",
            # NULL, so that SQLite adds a column and does not copy the table, on which triggers are.
            field=models.CharField(blank=True, editable=False, max_length=255, null=True),
        ),
    ]
