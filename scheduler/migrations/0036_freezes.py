"""Freezes: times in which no slot of some jobs starts; and the reasons of runs that people approve."""

from datetime import UTC, datetime
from importlib import import_module

from django.db import migrations, models
from django.db.models import F, Q

from scheduler.models.fields import UtcNow

codes = import_module("scheduler.migrations.0017_claim_index").CODES
NEW = [
    "shadow", "frozen", "frozen_held", "awaits_approval", "not_approved", "rejected",
    "limit_reached", "rate_reached",
]  # fmt: skip
# As in 0006: the first one that the server has.
COLLATIONS = ("utf8mb4_0900_bin", "utf8mb4_nopad_bin", "utf8mb4_bin")
FIRST = datetime(1970, 1, 1, tzinfo=UTC)
LAST = datetime(9900, 1, 1, tzinfo=UTC)
ASIDE = "jobu_triggers_set_aside"


def drop_triggers(apps, schema_editor):
    """SQLite changes a constraint by making the table anew, and loses the triggers on it.

    They are kept in a table, so that a migration that was broken off can be repeated.
    """
    connection = schema_editor.connection
    if connection.vendor != "sqlite":
        return
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {ASIDE} (name TEXT PRIMARY KEY, statement TEXT)")
        cursor.execute(
            f"INSERT OR REPLACE INTO {ASIDE} "  # noqa: S608 - of a constant
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        )
        cursor.execute(f"SELECT name FROM {ASIDE}")  # noqa: S608
        for (name,) in cursor.fetchall():
            cursor.execute(f'DROP TRIGGER IF EXISTS "{name}"')


def add_triggers(apps, schema_editor):
    connection = schema_editor.connection
    if connection.vendor != "sqlite":
        return
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT name, statement FROM {ASIDE}")  # noqa: S608 - of a constant
        for name, statement in cursor.fetchall():
            cursor.execute(f'DROP TRIGGER IF EXISTS "{name}"')
            cursor.execute(statement)
        cursor.execute(f"DROP TABLE {ASIDE}")


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
    schema_editor.execute(
        "ALTER TABLE jobu_freezes MODIFY name varchar(100)"
        f" CHARACTER SET utf8mb4 COLLATE {collation} NOT NULL"
    )


class Migration(migrations.Migration):
    atomic = False  # MySQL has no DDL in transactions
    dependencies = [("scheduler", "0034_limits")]
    operations = [
        migrations.CreateModel(
            name="JobFreeze",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=100, unique=True, verbose_name="name")),
                ("reason", models.CharField(max_length=500, verbose_name="reason")),
                ("since", models.DateTimeField(blank=True, null=True, verbose_name="since")),
                ("until", models.DateTimeField(blank=True, null=True, verbose_name="until")),
                (
                    "hours",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text=(
                            "such as Fri 18:00 - Mon 06:00, or Mon-Fri 22:00 - 06:00; one per line"
                        ),
                        max_length=500,
                        verbose_name="hours of the week",
                    ),
                ),
                (
                    "timezone",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        help_text="of these hours; empty: the configured default",
                        max_length=64,
                        verbose_name="time zone",
                    ),
                ),
                (
                    "tags",
                    models.JSONField(
                        blank=True,
                        db_default=[],
                        default=list,
                        help_text="empty: all jobs",
                        verbose_name="tags",
                    ),
                ),
                (
                    "blocked_slots",
                    models.CharField(
                        choices=[("skip", "skip"), ("latest", "latest")],
                        db_default="skip",
                        default="skip",
                        max_length=10,
                        verbose_name="blocked slots",
                    ),
                ),
                (
                    "is_enabled",
                    models.BooleanField(db_default=True, default=True, verbose_name="enabled"),
                ),
                (
                    "created_by",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default="",
                        editable=False,
                        max_length=150,
                        verbose_name="created by",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=UtcNow(),
                        editable=False,
                        verbose_name="created",
                    ),
                ),
                (
                    "updated_at",
                    models.DateTimeField(
                        db_default=UtcNow(),
                        editable=False,
                        verbose_name="updated",
                    ),
                ),
            ],
            options={
                "verbose_name": "freeze",
                "verbose_name_plural": "freezes",
                "db_table": "jobu_freezes",
                "ordering": ["name"],
                "default_permissions": ("change",),
                "permissions": [("run_in_freeze", "Can let runs start in spite of a freeze")],
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(blocked_slots__in=["skip", "latest"]),
                        name="freeze_blocked_slots_known",
                    ),
                    models.CheckConstraint(
                        condition=~Q(hours="") | Q(since__isnull=False, until__isnull=False),
                        name="freeze_ends",
                    ),
                    models.CheckConstraint(
                        condition=Q(since__isnull=True)
                        | Q(until__isnull=True)
                        | Q(until__gt=F("since")),
                        name="freeze_ends_after_it_begins",
                    ),
                    models.CheckConstraint(
                        condition=Q(since__gte=FIRST, since__lte=LAST),
                        name="freeze_since_in_range",
                    ),
                    models.CheckConstraint(
                        condition=Q(until__gte=FIRST, until__lte=LAST),
                        name="freeze_until_in_range",
                    ),
                ],
            },
        ),
        migrations.RunPython(compare_exactly, migrations.RunPython.noop, atomic=False),
        migrations.RunPython(drop_triggers, add_triggers, atomic=False),
        migrations.AddField(
            model_name="backfill",
            name="despite_freeze",
            field=models.BooleanField(
                db_default=False,
                default=False,
                editable=False,
                verbose_name="in spite of freezes",
            ),
        ),
        migrations.RemoveConstraint(model_name="jobexecution", name="reason_code_is_known"),
        migrations.AddConstraint(
            model_name="jobexecution",
            constraint=models.CheckConstraint(
                condition=Q(reason_code__in=[*codes[:2], *NEW, *codes[2:]]),
                name="reason_code_is_known",
            ),
        ),
        migrations.RunPython(add_triggers, drop_triggers, atomic=False),
    ]
