"""Every field of a job goes into a file and comes back, and is restored from the history."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from scheduler.conf import AlertSettings, CalendarSettings
from scheduler.models import CronJob
from scheduler.operations.actor import Actor
from scheduler.operations.control import Control
from scheduler.operations.definition import values_of
from scheduler.operations.groups import GroupControl
from scheduler.operations.job_files.written import COLUMNS, ENABLED
from scheduler.operations.versions import VersionOperations
from scheduler.states import Door
from tests.harness.scheduler_harness import SchedulerHarness
from tests.test_commands import own_registry, run, world

__all__ = ["own_registry", "world"]  # fixtures

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]

BOB = Actor(name="bob", door=Door.ADMIN)
#: A value for each field that a file may hold, and that is not its default.
EVERY: dict[str, Any] = {
    "description": "first line\nsecond: line # no comment",
    "cron_expression": "0 3 * * 1-5\n30 4 1 * *",
    "timezone": "America/St_Johns",
    "handler_name": "ok",
    "handler_params": {"tenant": "no", "on": "12:30", "list": [1, 1.0, None, "~"], "": {}},
    "is_enabled": False,
    "overlap_policy": "queue_one",
    "misfire_policy": "all",
    "misfire_grace_seconds": 77,
    "max_catchup": 3,
    "max_retry": 1,
    "retry_backoff_seconds": 7,
    "retry_backoff_max_seconds": 70,
    "timeout_seconds": 99,
    "queue": "reports.1",
    "priority": 9,
    "start_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "end_at": datetime(2099, 12, 31, 23, 59, 59, tzinfo=UTC),
    "jitter_seconds": 5,
    "max_running": 2,
    "concurrency_group": "gr: oup",
    "concurrency_key": "params.tenant",
    "shards": 4,
    "approval_seconds": 600,
    "calendar": "holidays",
    "owner": "no",
    "alert_rules": {"failed": True, "failed_in_a_row": 3, "channels": ["team"]},
    "tags": ["1", "b c", "no", "on: off"],
    "upstreams": ["a: first", "~", "no"],
    "upstream_seconds": 90,
}


@pytest.fixture
def full(world: SchedulerHarness) -> Control:
    """A site on which each of these values is valid."""
    channel = {"kind": "mail", "to": ["team@example.com"]}
    world.configure(
        alerts=AlertSettings.model_validate({"channels": {"team": channel}}),
        calendars={"holidays": CalendarSettings(dates=["2026-12-25"])},
    )
    control = Control(actor=BOB)
    GroupControl(actor=BOB).set_limits("gr: oup", max_running=3)
    return control


def make(control: Control) -> CronJob:
    for name in EVERY["upstreams"]:
        control.create_job(name=name, cron_expression="0 2 * * *", handler_name="ok")
    return control.create_job(name="- every: #1", **EVERY)


def test_the_list_above_has_every_field_and_no_default():
    assert set(EVERY) == set(COLUMNS)
    defaults = values_of(CronJob())
    assert [
        name for name in EVERY if EVERY[name] == defaults[name] and name != "handler_name"
    ] == []


def test_every_field_goes_out_and_comes_back_on_an_empty_database(full: Control, tmp_path: Any):
    made = make(full)
    wanted = values_of(made)
    path = tmp_path / "jobs.yaml"
    path.write_text(run("jobs", "export").out, encoding="utf-8")
    as_json = run("jobs", "export", "--json").out
    # The ones that wait for others first.
    for job in CronJob.objects.order_by("-id"):
        full.delete_job(job.pk)

    assert run("jobs", "apply", path, "--as", "ci").code == 0

    assert run("jobs", "export").out == path.read_text(encoding="utf-8")
    assert run("jobs", "export", "--json").out == as_json
    assert values_of(CronJob.objects.get(name="- every: #1")) == wanted
    again = run("jobs", "plan", path, "--json").json
    assert (again["same"], again["jobs"]) == (4, again["jobs"])
    assert run("jobs", "plan", path, "--detailed-exitcode").code == 0
    ticks = list(CronJob.objects.order_by("id").values_list("tick_seq", "updated_at"))
    assert run("jobs", "apply", path, "--as", "ci").code == 0
    assert list(CronJob.objects.order_by("id").values_list("tick_seq", "updated_at")) == ticks


def test_a_field_that_a_file_leaves_out_gets_its_default_back(full: Control, tmp_path: Any):
    make(full)
    path = tmp_path / "jobs.yaml"
    path.write_text("jobs: {'- every: #1': {cron: 0 3 * * *, handler: ok, enabled: true}}\n")

    plan = run("jobs", "plan", path, "--json").json
    assert run("jobs", "apply", path, "--as", "ci").code == 0

    (change,) = plan["jobs"]
    job = CronJob.objects.get(name="- every: #1")
    defaults = values_of(CronJob())
    same = {"cron_expression", "handler_name", "name"}
    assert {n: v for n, v in values_of(job).items() if n not in same} == {
        name: value for name, value in defaults.items() if name not in same
    }
    assert len(change["changes"]) >= len(EVERY) - len(same)


@pytest.mark.parametrize("field", [name for name in EVERY if name != ENABLED])
def test_each_field_is_restored_from_the_history(full: Control, field: str):
    job = make(full)
    before = values_of(job)
    versions = VersionOperations(actor=BOB)
    (created,) = entries(job)
    others = {"handler_name": "fail", "cron_expression": "@daily"}
    given: dict[str, Any] = {field: others.get(field, values_of(CronJob())[field])}
    full.update_job(job.pk, **given)
    job.refresh_from_db()
    changed = values_of(CronJob.objects.get(pk=job.pk))
    assert changed[field] != before[field]

    versions.restore(job.pk, versions.version(job.pk, entry_id=created))

    assert values_of(CronJob.objects.get(pk=job.pk)) == before


def entries(job: CronJob) -> list[int]:
    from scheduler.models import Activity

    return list(
        Activity.objects.filter(target_id=job.pk).order_by("id").values_list("id", flat=True)
    )
