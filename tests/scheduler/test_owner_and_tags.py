"""The owner and the tags of a job, through the store, the history and every door."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection

from scheduler.models import Activity, CronJob, JobTag
from scheduler.operations.control import InvalidJob
from scheduler.operations.history import changes_of
from scheduler.operations.search import search_of
from scheduler.states import ActivityVerb
from tests.harness.scheduler_harness import SchedulerHarness

pytestmark = [pytest.mark.database, pytest.mark.django_db]

GOOD = {"cron_expression": "0 * * * *", "handler_name": "ok"}


def tags_in_the_table(job: CronJob) -> list[str]:
    return sorted(JobTag.objects.filter(job_id=job.pk).values_list("tag", flat=True))


def test_tags_are_rows_sorted_and_each_once(system: SchedulerHarness):
    job = system.control.create_job(name="a", owner="alice", tags=["월말", "pay", "pay"], **GOOD)

    assert CronJob.objects.get(pk=job.pk).tags == ["pay", "월말"]
    assert tags_in_the_table(job) == ["pay", "월말"]
    assert CronJob.objects.get(pk=job.pk).owner == "alice"


def test_an_update_writes_only_what_differs_and_the_history_keeps_both(system: SchedulerHarness):
    job = system.control.create_job(name="a", tags=["old", "stays"], **GOOD)
    kept = JobTag.objects.get(job=job, tag="stays").pk

    system.control.update_job(job.pk, tags=["stays", "new"], owner="bob")

    assert tags_in_the_table(job) == ["new", "stays"]
    assert JobTag.objects.get(job=job, tag="stays").pk == kept
    entry = Activity.objects.get(verb=ActivityVerb.CHANGED)
    changes = {each.field: (each.old, each.new) for each in changes_of(entry, sees_params=True)}
    assert len(changes) == 2
    assert any("old" in old and "new" in new for old, new in changes.values())


def test_a_list_that_is_not_named_stays(system: SchedulerHarness):
    job = system.control.create_job(name="a", tags=["pay"], **GOOD)

    system.control.update_job(job.pk, description="new")

    assert tags_in_the_table(job) == ["pay"]


def test_an_edit_that_changes_only_the_order_is_no_edit(system: SchedulerHarness):
    job = system.control.create_job(name="a", tags=["a", "b"], **GOOD)

    system.control.update_job(job.pk, tags=["b", "a"])

    assert CronJob.objects.get(pk=job.pk).tick_seq == job.tick_seq


def test_tags_compare_exactly(system: SchedulerHarness):
    job = system.control.create_job(name="a", tags=["Pay", "pay", "pây"], **GOOD)

    assert tags_in_the_table(job) == sorted(["Pay", "pay", "pây"])
    assert list(JobTag.objects.filter(tag="PAY")) == []


def test_a_clone_has_the_tags_and_a_deleted_job_leaves_none(system: SchedulerHarness):
    job = system.control.create_job(name="a", tags=["pay"], **GOOD)
    clone = system.control.clone_job(job.pk, name="b")
    assert tags_in_the_table(clone) == ["pay"]

    system.control.delete_job(clone.pk)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM cron_jobs WHERE id = %s", [job.pk])

    assert JobTag.objects.count() == 0
    deleted = Activity.objects.get(verb=ActivityVerb.DELETED)
    assert json.loads(json.dumps(deleted.facts))["before"]["tags"] == ["pay"]


@pytest.mark.parametrize(
    "tags",
    ["pay", ["a,b"], [" pay"], [""], [7], ["x" * 101], ["\x00"], [f"t{n}" for n in range(51)]],
    ids=repr,
)
def test_what_is_no_list_of_tags_is_refused_and_changes_nothing(
    tags: Any, system: SchedulerHarness
):
    job = system.control.create_job(name="a", tags=["pay"], **GOOD)

    with pytest.raises(InvalidJob) as caught:
        system.control.update_job(job.pk, tags=tags)

    assert set(caught.value.problems) == {"tags"}
    assert tags_in_the_table(job) == ["pay"]


def test_a_search_looks_at_owner_and_tags(system: SchedulerHarness):
    system.control.create_job(name="a", owner="alice", tags=["payroll", "monthly"], **GOOD)
    system.control.create_job(name="b", owner="bob", tags=[], **GOOD)

    def found(text: str) -> list[str]:
        rows = CronJob.objects.filter(search_of(text)).distinct().order_by("name")
        return [job.name for job in rows]

    assert found("payr") == ["a"]
    assert found("BOB") == ["b"]
    assert found("o") == ["a", "b"]
    assert found("nobody") == []
