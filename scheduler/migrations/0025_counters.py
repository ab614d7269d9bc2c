"""Counters of what has ended, what workers count of themselves, and the traces of runs."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("scheduler", "0024_shadow")]
    operations = [
        migrations.CreateModel(
            name="JobCounters",
            fields=[
                ("job_id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("ended", models.JSONField(default=dict)),
                ("duration", models.JSONField(default=dict)),
                ("lateness", models.JSONField(default=dict)),
                ("failures_in_a_row", models.IntegerField(default=0)),
                ("last_end_at", models.DateTimeField(null=True)),
                ("last_success_at", models.DateTimeField(null=True)),
            ],
            options={"db_table": "jobu_job_counters", "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="Counting",
            fields=[
                ("id", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("counted_until", models.DateTimeField()),
            ],
            options={"db_table": "jobu_counting", "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="CountedEnds",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("after", models.DateTimeField()),
                ("until", models.DateTimeField()),
                ("runs", models.IntegerField()),
                ("id_sum", models.BigIntegerField()),
                ("ids", models.BinaryField()),
            ],
            options={
                "db_table": "jobu_counted_ends",
                "default_permissions": (),
                "indexes": [models.Index(fields=["until"], name="counted_ends_by_age")],
            },
        ),
        migrations.AddField(
            model_name="schedulerprocess",
            name="figures",
            field=models.JSONField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="jobexecution",
            name="trace_context",
            field=models.TextField(blank=True, editable=False, null=True),
        ),
    ]
