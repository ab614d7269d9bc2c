"""Failed sign-ins of a name from an address, counted for all web processes together."""


import scheduler.models.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('scheduler', '0010_event_digest'),
    ]

    operations = [
        migrations.CreateModel(
            name='SignInFailures',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key_hash', models.CharField(max_length=64, unique=True)),
                ('failures', models.IntegerField(db_default=0, default=0)),
                ('last_at', models.DateTimeField(db_default=scheduler.models.fields.UtcNow())),
            ],
            options={
                'db_table': 'sign_in_failures',
                'default_permissions': (),
                'indexes': [models.Index(fields=['last_at'], name='sign_ins_by_age')],
            },
        ),
    ]
