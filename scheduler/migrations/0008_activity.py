"""Who did what, in a table of our own: it outlives the rows and the accounts that it names."""

import scheduler.models.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('scheduler', '0007_reason_codes'),
    ]

    operations = [
        migrations.CreateModel(
            name='Activity',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(db_default=scheduler.models.fields.UtcNow(), editable=False, verbose_name='at')),
                ('actor', models.CharField(max_length=150, verbose_name='who')),
                ('user_id', models.CharField(blank=True, max_length=64, null=True)),
                ('door', models.CharField(max_length=10, verbose_name='through')),
                ('verb', models.CharField(max_length=20, verbose_name='what')),
                ('target_kind', models.CharField(max_length=20)),
                ('target_id', models.BigIntegerField(blank=True, null=True)),
                ('target_name', models.CharField(blank=True, db_default='', default='', max_length=255)),
                ('facts', models.JSONField(db_default={}, default=dict)),
            ],
            options={
                'verbose_name': 'activity',
                'verbose_name_plural': 'activities',
                'db_table': 'jobu_activity',
                'default_permissions': (),
                'indexes': [models.Index(fields=['at'], name='activity_by_age'), models.Index(fields=['target_kind', 'target_id', 'id'], name='activity_of_target')],
            },
        ),
    ]
