"""/api/jobs: a divided execution and its shards."""

from __future__ import annotations

import pytest

from scheduler.models import CronJob, JobExecution
from scheduler.states import RunStatus
from tests.admin.test_admin import make_run
from tests.api.conftest import Program, error_of, ok
from tests.api.test_executions import ids_of

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def divided(job: CronJob) -> tuple[JobExecution, list[JobExecution]]:
    parent = make_run(job, RunStatus.FANNED_OUT, shard_count=3)
    shards = [
        make_run(None, status, parent_id=parent.pk, shard=number, shard_count=3)
        for number, status in enumerate((RunStatus.SUCCESS, RunStatus.PENDING, RunStatus.PENDING))
    ]
    return parent, shards


def test_shards_are_listed_beside_their_parent_and_not_among_the_executions(
    api: Program, job: CronJob
):
    parent, shards = divided(job)

    assert ids_of(api.get("/jobs")) == [parent.pk]
    assert ids_of(api.get(f"/jobs?handler={parent.handler_name}")) == [parent.pk]
    counts = {"SUCCESS": 1, "PENDING": 2}
    one = ok(api.get(f"/jobs/{parent.pk}"))
    assert (one["shard_count"], one["shards"]) == (3, counts)
    first = ok(api.get(f"/jobs/{parent.pk}/shards?size=2"))
    assert [item["id"] for item in first["items"]] == [shard.pk for shard in shards[:2]]
    assert (first["counts"], first["next_from"]) == (counts, 2)
    rest = ok(api.get(f"/jobs/{parent.pk}/shards?from=2"))
    assert [(item["parent_id"], item["shard"]) for item in rest["items"]] == [(parent.pk, 2)]
    assert rest["next_from"] is None
    assert error_of(api.get("/jobs/999999999/shards"), 404)["code"] == "JOB_NOT_FOUND"


def test_the_number_of_shards_is_set_changed_and_taken_back(api: Program, job: CronJob):
    for number in (5, None):
        ok(api.put(f"/crons/{job.pk}", {"shards": number}))
        assert ok(api.get(f"/crons/{job.pk}"))["shards"] == number
    for wrong in (1, 10_001, "5"):
        fields = error_of(api.put(f"/crons/{job.pk}", {"shards": wrong}), 400)["fields"]
        assert set(fields) == {"shards"}
