"""On PostgreSQL: indexes that nearly no run is in, so that a claim and an end need not write them.

Each write of a run writes all indexes that it is in. Four become partial: runs that go on, runs
that did not end well, runs that no schedule has made, and runs with a key. That of `created_at`
becomes one of block ranges. And jobs lose the index for `LIKE` that Django makes for a unique text:
each slot writes all indexes of its job, and nobody looks for the beginning of a name. Elsewhere partial indexes are used only where the query repeats the
condition word by word (SQLite), or do not exist (MySQL, MariaDB): they keep theirs.

They are made and dropped while others write. If one of these steps fails, run it again.
"""

from django.db import migrations

# name -> what it is on
NEW = {
    "executions_made": "USING brin (created_at) WITH (autosummarize = on)",
    "executions_running": "(lease_expires_at) WHERE status = 'RUNNING'",
    "executions_unwell": (
        "(status, id) WHERE status IN ('CANCELLED', 'FAILED', 'SKIPPED', 'TIMEOUT')"
    ),
    "executions_not_cron": "(param_source, id) WHERE param_source <> 'cron'",
}
OLD = {
    "executions_to_rescue": "(status, lease_expires_at)",
    "executions_source": "(param_source)",
    "executions_created": "(created_at)",
}
# Django's name.
NAME_LIKE = "cron_jobs_name_bd61611c_like"
# In place of the constraint of the model, which all runs are in.
KEY = "executions_dedupe_key"


def is_postgres(schema_editor):
    return schema_editor.connection.vendor == "postgresql"


def make(schema_editor, name, what, unique=""):
    # One that a failed try has left is not valid.
    schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
    schema_editor.execute(
        f"CREATE {unique} INDEX CONCURRENTLY {name} ON job_executions {what}"
    )


def drop(schema_editor, name):
    schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


def key_constraints(schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.conname FROM pg_constraint c"
            " JOIN pg_attribute a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]"
            " WHERE c.conrelid = 'job_executions'::regclass AND c.contype = 'u'"
            " AND a.attname = 'dedupe_key'"
        )
        return [name for (name,) in cursor.fetchall()]


def forwards(apps, schema_editor):
    if not is_postgres(schema_editor):
        return
    for new, what in NEW.items():
        make(schema_editor, new, what)
    make(schema_editor, KEY, "(dedupe_key) WHERE dedupe_key IS NOT NULL", "UNIQUE")
    for constraint in key_constraints(schema_editor):
        schema_editor.execute(f'ALTER TABLE job_executions DROP CONSTRAINT "{constraint}"')
    for old in (*OLD, NAME_LIKE):
        drop(schema_editor, old)


def backwards(apps, schema_editor):
    if not is_postgres(schema_editor):
        return
    for old, what in OLD.items():
        make(schema_editor, old, what)
    make(schema_editor, "job_executions_dedupe_key_key", "(dedupe_key)", "UNIQUE")
    schema_editor.execute(
        "ALTER TABLE job_executions ADD CONSTRAINT job_executions_dedupe_key_key"
        " UNIQUE USING INDEX job_executions_dedupe_key_key"
    )
    schema_editor.execute(
        f"CREATE INDEX CONCURRENTLY {NAME_LIKE} ON cron_jobs (name varchar_pattern_ops)"
    )
    for new in (*NEW, KEY):
        drop(schema_editor, new)


class Migration(migrations.Migration):
    atomic = False  # CONCURRENTLY
    dependencies = [("scheduler", "0032_failures")]
    operations = [migrations.RunPython(forwards, backwards, atomic=False)]
