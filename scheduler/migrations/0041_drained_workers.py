"""Workers that a person has drained, and how many runs each may have at once."""

from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False  # MySQL has no DDL in transactions
    dependencies = [("scheduler", "0040_shards")]
    operations = [
        migrations.AddField(
            "schedulerprocess",
            "places",
            models.IntegerField(blank=True, null=True, verbose_name="places"),
        ),
        migrations.AddField(
            "schedulerprocess",
            "drained_at",
            models.DateTimeField(blank=True, null=True, verbose_name="drained"),
        ),
        migrations.AddField(
            "schedulerprocess",
            "drained_by",
            models.CharField(
                blank=True, db_default="", default="", max_length=150, verbose_name="drained by"
            ),
        ),
        migrations.AlterModelOptions(
            "schedulerprocess",
            options={
                "permissions": [("drain_schedulerprocess", "Can drain workers")],
                "verbose_name": "process",
                "verbose_name_plural": "processes",
            },
        ),
    ]
