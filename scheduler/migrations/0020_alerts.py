"""Alerts, the messages about them, the rules of a job, and the queues that a worker serves."""

import django.db.models.deletion
import scheduler.models.fields
from django.db import migrations, models

# SQLite may add a column by making cron_jobs anew, and the triggers on it are lost with the old
# table.
TRIGGERS = {
    "executions_go_with_their_job": "job_executions",
    "backfills_go_with_their_job": "jobu_backfills",
    "tags_go_with_their_job": "job_tags",
}
# As in 0006: the first one that the server has.
COLLATIONS = ("utf8mb4_0900_bin", "utf8mb4_nopad_bin", "utf8mb4_bin")
COLUMNS = {
    "jobu_alerts": (
        "subject_key varchar(120) {collation} NOT NULL",
        "open_key varchar(160) {collation} NULL",
        "queue varchar(100) {collation} NOT NULL DEFAULT ''",
        "owner varchar(150) {collation} NOT NULL DEFAULT ''",
    ),
    "jobu_alert_messages": (
        "channel varchar(100) {collation} NOT NULL",
        "recipient varchar(150) {collation} NOT NULL",
    ),
    "jobu_alert_cursor": ("name varchar(40) {collation} NOT NULL",),
}


def drop_triggers(apps, schema_editor):
    if schema_editor.connection.vendor == "sqlite":
        for name in TRIGGERS:
            schema_editor.execute(f"DROP TRIGGER IF EXISTS {name}")


def add_triggers(apps, schema_editor):
    if schema_editor.connection.vendor == "sqlite":
        for name, table in TRIGGERS.items():
            schema_editor.execute(
                f"CREATE TRIGGER {name} AFTER DELETE ON cron_jobs "  # noqa: S608 - from above
                f"BEGIN DELETE FROM {table} WHERE job_id = OLD.id; END"
            )


def compare_exactly(apps, schema_editor):
    connection = schema_editor.connection
    if connection.vendor != "mysql":
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT collation_name FROM information_schema.collations"
            " WHERE collation_name IN (%s, %s, %s)",
            COLLATIONS,
        )
        there = {name for (name,) in cursor.fetchall()}
    collation = next(name for name in COLLATIONS if name in there)
    exactly = f"CHARACTER SET utf8mb4 COLLATE {collation}"
    for table, columns in COLUMNS.items():
        changes = ", ".join(f"MODIFY {column.format(collation=exactly)}" for column in columns)
        schema_editor.execute(f"ALTER TABLE {table} {changes}")


class Migration(migrations.Migration):
    atomic = False  # MySQL has no DDL in transactions
    dependencies = [("scheduler", "0019_storage")]
    operations = [
        migrations.RunPython(drop_triggers, add_triggers, atomic=False),
        migrations.AddField(
            model_name='cronjob',
            name='alert_rules',
            field=models.JSONField(blank=True, db_default={}, default=dict, help_text='who is told of what, such as {"failed": true, "channels": ["mail"]}; empty: the rules of its tags and of the settings', verbose_name='alert rules'),
        ),
        migrations.RunPython(add_triggers, drop_triggers, atomic=False),
        migrations.CreateModel(
            name='AlertCursor',
            fields=[
                ('name', models.CharField(max_length=40, primary_key=True, serialize=False)),
                ('at', models.DateTimeField(null=True)),
                ('facts', models.JSONField(db_default={}, default=dict)),
            ],
            options={
                'db_table': 'jobu_alert_cursor',
                'default_permissions': (),
            },
        ),
        migrations.AddField(
            model_name='schedulerprocess',
            name='queues',
            field=models.JSONField(blank=True, editable=False, null=True),
        ),
        migrations.CreateModel(
            name='Alert',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('failed', 'failed'), ('failed_in_a_row', 'failed_in_a_row'), ('not_started', 'not_started'), ('too_long', 'too_long'), ('switched_off', 'switched_off'), ('missed', 'missed'), ('skipped', 'skipped'), ('no_beat', 'no_beat'), ('no_worker', 'no_worker'), ('claiming_stands', 'claiming_stands'), ('publishing_stands', 'publishing_stands'), ('clock', 'clock'), ('retention_behind', 'retention_behind'), ('disk', 'disk'), ('database', 'database')], max_length=30, verbose_name='kind')),
                ('subject_key', models.CharField(max_length=120)),
                ('open_key', models.CharField(blank=True, editable=False, max_length=160, null=True, unique=True)),
                ('job_id', models.BigIntegerField(blank=True, null=True, verbose_name='job')),
                ('job_name', models.CharField(blank=True, db_default='', default='', max_length=255, verbose_name='job name')),
                ('queue', models.CharField(blank=True, db_default='', default='', max_length=100, verbose_name='queue')),
                ('execution_id', models.BigIntegerField(blank=True, null=True, verbose_name='execution')),
                ('last_execution_id', models.BigIntegerField(blank=True, null=True)),
                ('count', models.IntegerField(db_default=1, default=1, verbose_name='how often')),
                ('opened_at', models.DateTimeField(verbose_name='opened')),
                ('last_seen_at', models.DateTimeField(verbose_name='last seen')),
                ('closed_at', models.DateTimeField(blank=True, null=True, verbose_name='closed')),
                ('state', models.CharField(choices=[('open', 'open'), ('acknowledged', 'acknowledged'), ('snoozed', 'snoozed'), ('closed', 'closed')], db_default='open', default='open', max_length=15, verbose_name='state')),
                ('acknowledged_by', models.CharField(blank=True, db_default='', default='', max_length=150)),
                ('acknowledged_at', models.DateTimeField(blank=True, null=True)),
                ('snoozed_until', models.DateTimeField(blank=True, null=True)),
                ('snoozed_by', models.CharField(blank=True, db_default='', default='', max_length=150)),
                ('close_reason', models.CharField(blank=True, choices=[('recovered', 'recovered'), ('condition_gone', 'condition_gone'), ('by_person', 'by_person'), ('job_deleted', 'job_deleted')], db_default='', default='', max_length=20, verbose_name='why closed')),
                ('closed_by', models.CharField(blank=True, db_default='', default='', max_length=150)),
                ('owner', models.CharField(blank=True, db_default='', default='', max_length=150, verbose_name='owner')),
                ('facts', models.JSONField(db_default={}, default=dict)),
            ],
            options={
                'verbose_name': 'alert',
                'verbose_name_plural': 'alerts',
                'db_table': 'jobu_alerts',
                'default_permissions': ('view', 'change'),
                'indexes': [models.Index(fields=['state', 'kind', 'id'], name='alerts_by_state'), models.Index(fields=['job_id', 'id'], name='alerts_of_job'), models.Index(fields=['closed_at'], name='alerts_closed')],
                'constraints': [models.CheckConstraint(condition=models.Q(('state__in', ['open', 'acknowledged', 'snoozed', 'closed'])), name='alert_state_is_known')],
            },
        ),
        migrations.CreateModel(
            name='AlertMessage',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('event', models.CharField(choices=[('opened', 'opened'), ('reminded', 'reminded'), ('closed', 'closed'), ('test', 'test'), ('digest', 'digest')], max_length=10, verbose_name='event')),
                ('channel', models.CharField(max_length=100, verbose_name='channel')),
                ('recipient', models.CharField(max_length=150, verbose_name='recipient')),
                ('state', models.CharField(choices=[('waiting', 'waiting'), ('sent', 'sent'), ('failed', 'failed'), ('dropped', 'dropped')], db_default='waiting', default='waiting', max_length=10, verbose_name='state')),
                ('not_before', models.DateTimeField(blank=True, null=True)),
                ('created_at', models.DateTimeField(db_default=scheduler.models.fields.UtcNow(), verbose_name='created')),
                ('sent_at', models.DateTimeField(blank=True, null=True, verbose_name='sent')),
                ('tries', models.IntegerField(db_default=0, default=0, verbose_name='tries')),
                ('error', models.TextField(blank=True, default='', verbose_name='error')),
                ('execution_id', models.BigIntegerField(blank=True, null=True)),
                ('digest_of', models.BigIntegerField(blank=True, null=True)),
                ('alert', models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='messages', to='scheduler.alert')),
            ],
            options={
                'verbose_name': 'message',
                'verbose_name_plural': 'messages',
                'db_table': 'jobu_alert_messages',
                'default_permissions': (),
                'indexes': [models.Index(fields=['channel', 'state', 'created_at'], name='alert_messages_by_channel'), models.Index(fields=['created_at'], name='alert_messages_by_age')],
                'constraints': [models.UniqueConstraint(fields=('alert', 'event', 'channel', 'recipient'), name='each_is_told_once'), models.CheckConstraint(condition=models.Q(('state__in', ['waiting', 'sent', 'failed', 'dropped'])), name='message_state_is_known')],
            },
        ),
        migrations.RunPython(compare_exactly, migrations.RunPython.noop, atomic=False),
    ]
