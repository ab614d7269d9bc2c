"""Tables and reverse names that another app of the same project may well have get our prefix.

The servers keep foreign keys, indexes and sequences with a renamed table. SQLite also rewrites the
trigger that deletes the backfills of a deleted job.
"""

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("scheduler", "0014_calls_of_tasks"),
    ]
    operations = [
        migrations.AlterModelTable(name="backfill", table="jobu_backfills"),
        migrations.AlterModelTable(name="apitoken", table="jobu_api_tokens"),
        migrations.AlterModelTable(name="preference", table="jobu_user_preferences"),
        migrations.AlterField(
            model_name="apitoken",
            name="user",
            field=models.ForeignKey(
                on_delete=models.deletion.CASCADE,
                related_name="jobu_api_tokens",
                to=settings.AUTH_USER_MODEL,
                verbose_name="acts as",
            ),
        ),
        migrations.AlterField(
            model_name="preference",
            name="user",
            field=models.OneToOneField(
                on_delete=models.deletion.CASCADE,
                primary_key=True,
                related_name="jobu_preference",
                serialize=False,
                to=settings.AUTH_USER_MODEL,
                verbose_name="user",
            ),
        ),
    ]
