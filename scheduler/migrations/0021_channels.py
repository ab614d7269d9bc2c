"""Reports of attempts to services that watch for silence, and the jobs that send them."""

import scheduler.models.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('scheduler', '0020_alerts'),
    ]

    operations = [
        migrations.CreateModel(
            name='CheckInJob',
            fields=[
                ('job_id', models.BigIntegerField(primary_key=True, serialize=False)),
            ],
            options={
                'db_table': 'jobu_check_in_jobs',
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='CheckInPing',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('job_id', models.BigIntegerField()),
                ('execution_id', models.BigIntegerField()),
                ('attempt', models.IntegerField()),
                ('attempt_key', models.CharField(max_length=32)),
                ('service_key', models.CharField(max_length=16)),
                ('phase', models.CharField(max_length=10)),
                ('started_at', models.DateTimeField()),
                ('ended_at', models.DateTimeField(null=True)),
                ('state', models.CharField(db_default='waiting', default='waiting', max_length=10)),
                ('next_at', models.DateTimeField()),
                ('tries', models.IntegerField(db_default=0, default=0)),
                ('error', models.TextField(blank=True, default='')),
                ('created_at', models.DateTimeField(db_default=scheduler.models.fields.UtcNow())),
            ],
            options={
                'db_table': 'jobu_check_ins',
                'default_permissions': (),
                'indexes': [models.Index(fields=['state', 'next_at'], name='check_ins_to_send'), models.Index(fields=['created_at'], name='check_ins_by_age')],
                'constraints': [models.UniqueConstraint(fields=('attempt_key', 'service_key', 'phase'), name='each_is_reported_once'), models.CheckConstraint(condition=models.Q(('phase__in', ['start', 'success', 'fail'])), name='check_in_phase_is_known')],
            },
        ),
    ]
