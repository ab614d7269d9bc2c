"""What files of jobs have set."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("scheduler", "0022_source"),
    ]

    operations = [
        migrations.CreateModel(
            name="AppliedJob",
            fields=[
                ("job_id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("source", models.CharField(max_length=255)),
                ("name", models.CharField(max_length=255)),
                ("definition", models.JSONField()),
                ("applied_at", models.DateTimeField()),
                ("applied_by", models.CharField(max_length=150)),
            ],
            options={
                "verbose_name": "applied job",
                "db_table": "jobu_applied_jobs",
                "default_permissions": (),
                "indexes": [models.Index(fields=["source"], name="applied_jobs_by_source")],
            },
        ),
    ]
