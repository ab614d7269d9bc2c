"""The tables as they are in the database: columns, keys, indexes; not as the models mean them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState

from scheduler.models import CronJob
from tests.harness.scheduler_harness import SchedulerHarness

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

COLUMNS = {
    "cron_jobs": {
        "id", "name", "description", "cron_expression", "timezone", "handler_name",
        "handler_params", "is_enabled", "overlap_policy", "max_retry", "timeout_seconds",
        "next_run_at", "missed_from", "tick_seq", "schedule_error", "created_at", "updated_at",
    },
    "job_executions": {
        "id", "job_id", "handler_name", "scheduled_time", "status", "params", "param_source",
        "started_at", "finished_at", "attempt", "failures", "error_message", "result",
        "created_at", "lease_token", "available_at",
    },
}  # fmt: skip
REQUIRED = {
    "cron_jobs": {"name", "cron_expression", "handler_name"},
    "job_executions": {"handler_name", "scheduled_time", "status"},
}


@pytest.mark.parametrize("table", sorted(COLUMNS))
def test_columns_are_there_and_the_necessary_ones_take_no_null(
    system: SchedulerHarness, table: str
):
    with connection.cursor() as cursor:
        columns = connection.introspection.get_table_description(cursor, table)

    assert COLUMNS[table] - {column.name for column in columns} == set()
    assert {column.name for column in columns if column.null_ok} & REQUIRED[table] == set()


def test_keys_and_indexes_are_there(system: SchedulerHarness):
    with connection.cursor() as cursor:
        found = {
            table: list(connection.introspection.get_constraints(cursor, table).values())
            for table in COLUMNS
        }

    assert _unique("cron_jobs", found) >= {("name",)}
    assert _unique("job_executions", found) >= {("job_id", "scheduled_time")}
    assert any(item["primary_key"] and item["columns"] == ["id"] for item in found["cron_jobs"])
    # The index of a job's executions is the one of their slots.
    assert {"job_id", "handler_name", "status", "param_source", "created_at", "scheduled_time"} <= {
        item["columns"][0] for item in found["job_executions"] if item["columns"]
    }
    assert "is_enabled" in {item["columns"][0] for item in found["cron_jobs"] if item["columns"]}


def _unique(table: str, found: dict[str, list[dict[str, Any]]]) -> set[tuple[str, ...]]:
    return {tuple(item["columns"]) for item in found[table] if item["unique"]}


def test_params_are_json_once_on_every_database(system: SchedulerHarness):
    system.handler("echo", lambda self, params: None)
    job = system.job(handler_name="echo", handler_params={"a": {"b": [1, "x"]}})

    with connection.cursor() as cursor:
        cursor.execute("SELECT handler_params FROM cron_jobs WHERE id = %s", [job.pk])
        (stored,) = cursor.fetchone()

    # A text of JSON, or the driver's object: in neither case JSON inside of JSON.
    assert (json.loads(stored) if isinstance(stored, str) else stored) == {"a": {"b": [1, "x"]}}


def test_an_edit_moves_updated_at_and_leaves_created_at(system: SchedulerHarness):
    job = system.job()
    CronJob.objects.filter(pk=job.pk).update(
        created_at=system.clock.now(), updated_at=system.clock.now()
    )
    before = system.clock.now()
    system.clock.advance(90)

    system.control.update_job(job.pk, description="later")

    edited = CronJob.objects.get(pk=job.pk)
    assert (edited.created_at, edited.updated_at) == (before, system.clock.now())


class Elsewhere:
    """A router of a project with several databases, asked about one that is not jobu's."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return app_label != "scheduler"


def test_no_migration_touches_a_database_that_the_router_keeps_free(settings: Any):
    settings.DATABASE_ROUTERS = [f"{__name__}.Elsewhere"]
    loader = MigrationLoader(connection)
    ours = [key for key in loader.graph.leaf_nodes() if key[0] == "scheduler"]
    written: dict[str, list[str]] = {}
    state = ProjectState()

    for app, name in loader.graph.forwards_plan(ours[0]):
        migration = loader.graph.nodes[app, name]
        if app != "scheduler":
            state = migration.mutate_state(state)
            continue
        before = state.clone()
        with connection.schema_editor(collect_sql=True, atomic=False) as editor:
            state = migration.apply(state, editor, collect_sql=True)
            migration.unapply(before, editor, collect_sql=True)
        sql = [line for line in editor.collected_sql if not line.startswith("--")]
        written |= {name: sql} if sql else {}

    assert not written
