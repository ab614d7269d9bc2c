"""Limits of runs that go on at once: of jobs, of groups of jobs, and of keys within these."""

from importlib import import_module

from django.db import migrations, models
from django.db.models import Q

from scheduler.models.fields import UtcNow

shadow = import_module("scheduler.migrations.0024_shadow")
failures = import_module("scheduler.migrations.0032_failures")

# As in 0006: the first one that the server has.
COLLATIONS = ("utf8mb4_0900_bin", "utf8mb4_nopad_bin", "utf8mb4_bin")
EXACT = {
    "cron_jobs": "concurrency_group varchar(100) {collation} NOT NULL DEFAULT ''",
    "job_places": "key_value varchar(200) {collation} NOT NULL DEFAULT ''",
    "jobu_concurrency_groups": "name varchar(100) {collation} NOT NULL",
}
PLACE_STATES = ["WAITS", "NEXT", "STARTED", "ENDED"]
LIMITS = {
    "max_running": (1, 10_000),
    "max_running_per_key": (1, 10_000),
    "rate_count": (1, 1_000),
    "rate_seconds": (1, 86_400),
}


# SQLite makes a table anew, and the triggers on it are lost with the old table.
def drop_triggers(apps, schema_editor):
    shadow.drop_triggers(apps, schema_editor)
    if schema_editor.connection.vendor == "sqlite":
        schema_editor.execute(f"DROP TRIGGER IF EXISTS {failures.NAME}")


def add_triggers(apps, schema_editor):
    drop_triggers(apps, schema_editor)
    shadow.add_triggers(apps, schema_editor)
    if schema_editor.connection.vendor == "sqlite":
        failures.add_cascade(apps, schema_editor)


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
    for table, column in EXACT.items():
        text = column.format(collation=f"CHARACTER SET utf8mb4 COLLATE {collation}")
        schema_editor.execute(f"ALTER TABLE {table} MODIFY {text}")


def number(name):
    low, high = LIMITS[name]
    return models.CheckConstraint(
        condition=Q(**{f"{name}__gte": low, f"{name}__lte": high}), name=f"group_{name}_in_range"
    )


class Migration(migrations.Migration):
    atomic = False  # MySQL has no DDL in transactions
    dependencies = [("scheduler", "0033_fewer_indexes")]
    operations = [
        migrations.CreateModel(
            name="ConcurrencyGroup",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=100, unique=True, verbose_name="name")),
                (
                    "description",
                    models.CharField(
                        blank=True, db_default="", default="", max_length=500,
                        verbose_name="description",
                    ),
                ),
                (
                    "max_running",
                    models.IntegerField(blank=True, null=True, verbose_name="most runs at once"),
                ),
                (
                    "max_running_per_key",
                    models.IntegerField(
                        blank=True,
                        help_text="of each value of the jobs' concurrency key",
                        null=True,
                        verbose_name="most runs at once per key",
                    ),
                ),
                (
                    "rate_count",
                    models.IntegerField(blank=True, null=True, verbose_name="most starts"),
                ),
                (
                    "rate_seconds",
                    models.IntegerField(blank=True, null=True, verbose_name="in so many seconds"),
                ),
                (
                    "rate_per_key",
                    models.BooleanField(
                        db_default=False, default=False, verbose_name="starts are counted per key"
                    ),
                ),
                (
                    "is_of_settings",
                    models.BooleanField(db_default=False, default=False, editable=False),
                ),
                (
                    "updated_at",
                    models.DateTimeField(
                        db_default=UtcNow(), editable=False, verbose_name="updated"
                    ),
                ),
            ],
            options={
                "verbose_name": "concurrency group",
                "verbose_name_plural": "concurrency groups",
                "db_table": "jobu_concurrency_groups",
                "ordering": ["name"],
                "default_permissions": (),
                "permissions": [
                    ("change_concurrencygroup", "Can change the limits of groups")
                ],
                "constraints": [
                    *(number(name) for name in LIMITS),
                    models.CheckConstraint(
                        condition=Q(rate_count__isnull=True, rate_seconds__isnull=True)
                        | Q(rate_count__isnull=False, rate_seconds__isnull=False),
                        name="group_rate_is_whole",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="JobPlace",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("guard_id", models.BigIntegerField()),
                ("group_name", models.CharField(db_default="", default="", max_length=100)),
                ("key_value", models.CharField(db_default="", default="", max_length=200)),
                ("execution_id", models.BigIntegerField()),
                ("attempt", models.IntegerField(db_default=0, default=0)),
                (
                    "state",
                    models.CharField(
                        choices=[(state, state) for state in PLACE_STATES], max_length=10
                    ),
                ),
                ("at", models.DateTimeField()),
            ],
            options={
                "db_table": "job_places",
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(state__in=PLACE_STATES), name="place_state_is_known"
                    )
                ],
                "indexes": [
                    models.Index(
                        fields=["state", "guard_id", "key_value", "execution_id"],
                        name="places_by_key",
                    ),
                    models.Index(fields=["guard_id", "at"], name="places_by_start"),
                    models.Index(fields=["execution_id"], name="places_by_run"),
                ],
            },
        ),
        migrations.AddField(
            model_name="jobguard",
            name="last_key",
            field=models.CharField(db_default="", default="", max_length=200),
        ),
        migrations.RunPython(drop_triggers, add_triggers, atomic=False),
        migrations.AddField(
            model_name="cronjob",
            name="max_running",
            field=models.IntegerField(
                blank=True,
                help_text="empty: the overlap policy alone decides",
                null=True,
                verbose_name="most runs at once",
            ),
        ),
        migrations.AddField(
            model_name="cronjob",
            name="concurrency_group",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="its limits count the runs of all its jobs",
                max_length=100,
                verbose_name="concurrency group",
            ),
        ),
        migrations.AddField(
            model_name="cronjob",
            name="concurrency_key",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="such as params.tenant: each value has limits of its own",
                max_length=200,
                verbose_name="concurrency key",
            ),
        ),
        migrations.AddConstraint(
            model_name="cronjob",
            constraint=models.CheckConstraint(
                condition=Q(max_running__gte=1, max_running__lte=10_000),
                name="max_running_in_range",
            ),
        ),
        # The codes of 0024, and two more.
        migrations.RemoveConstraint(model_name="jobexecution", name="reason_code_is_known"),
        migrations.AddConstraint(
            model_name="jobexecution",
            constraint=models.CheckConstraint(
                condition=Q(
                    reason_code__in=[
                        *shadow.codes[:2],
                        "shadow",
                        *shadow.codes[2:7],
                        "limit_reached",
                        "rate_reached",
                        *shadow.codes[7:],
                    ]
                ),
                name="reason_code_is_known",
            ),
        ),
        migrations.RunPython(add_triggers, drop_triggers, atomic=False),
        migrations.RunPython(compare_exactly, migrations.RunPython.noop, atomic=False),
        migrations.AddIndex(
            model_name="cronjob",
            index=models.Index(fields=["concurrency_group", "id"], name="cron_jobs_by_group"),
        ),
    ]
