"""An index on the ends of pauses: beat asks each two seconds whether one is over.

Without it SQLite walked all jobs, and servers all that are off. Few jobs have such an end: on
PostgreSQL and SQLite only these are in it.
"""

from django.db import migrations, models
from django.db.models import Q

from scheduler.migrations._operations import AddIndex


class Migration(migrations.Migration):
    atomic = False  # PostgreSQL makes an index beside writers only outside of a transaction
    dependencies = [("scheduler", "0043_words_and_rates")]
    operations = [
        AddIndex(
            model_name="cronjob",
            index=models.Index(
                condition=Q(paused_until__isnull=False),
                fields=["is_enabled", "paused_until"],
                name="cron_jobs_paused",
            ),
        ),
    ]
