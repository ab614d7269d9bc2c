"""The digest of what an event asked for, beside its idempotency key. NULL in the rows before."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("scheduler", "0009_owner_and_tags")]
    operations = [
        migrations.AddField(
            model_name="jobexecution",
            name="dedupe_digest",
            field=models.CharField(blank=True, editable=False, max_length=64, null=True),
        ),
    ]
