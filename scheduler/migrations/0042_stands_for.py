"""An index on the slot that a backfilled or replayed run stands for: runs that wait for it ask.

Few runs have one. On PostgreSQL and SQLite only these are in it; on MySQL and MariaDB the others lie
one after the other at its beginning. On PostgreSQL it is made while others write.
"""

from django.db import migrations, models
from django.db.models import Q

from scheduler.migrations._operations import AddIndex


class Migration(migrations.Migration):
    atomic = False  # CONCURRENTLY
    dependencies = [("scheduler", "0041_drained_workers")]
    operations = [
        AddIndex(
            model_name="jobexecution",
            index=models.Index(
                condition=Q(logical_time__isnull=False),
                fields=["logical_time"],
                name="executions_stand_for",
            ),
        ),
    ]
