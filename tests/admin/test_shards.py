"""The pages of a divided execution and of its shards."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from scheduler.models import CronJob, JobExecution
from scheduler.states import ReasonCode, RunStatus
from scheduler.store.connection import database_now
from tests.admin.test_admin import RUNS, admin, job, make_run
from tests.api.test_shards import divided

__all__ = ["admin", "job"]  # fixtures
pytestmark = pytest.mark.django_db


def test_the_page_of_a_parent_shows_its_shards_and_they_link_up(admin: Client, job: CronJob):
    parent, shards = divided(job)
    page = admin.get(reverse(f"{RUNS}_change", args=[parent.pk])).content.decode()
    assert "1 of 3 have ended" in page
    for shard in shards:
        assert reverse(f"{RUNS}_change", args=[shard.pk]) in page
    of_shard = admin.get(reverse(f"{RUNS}_change", args=[shards[2].pk])).content.decode()
    assert reverse(f"{RUNS}_change", args=[parent.pk]) in of_shard
    assert reverse(f"{RUNS}_replay", args=[shards[2].pk]) not in of_shard


def test_the_page_of_a_parent_says_which_shards_failed(admin: Client, job: CronJob):
    parent, shards = divided(job)
    facts = {"count": 3, "failed": 2, "missing": 0, "first": shards[1].pk}
    JobExecution.objects.filter(pk=parent.pk).update(
        status=RunStatus.FAILED,
        finished_at=database_now(),
        reason_code=ReasonCode.SHARDS_FAILED,
        reason_facts=facts,
    )
    page = admin.get(reverse(f"{RUNS}_change", args=[parent.pk])).content.decode()
    assert "2 of its 3 shards failed." in page
    assert "missing" not in page


def test_the_list_shows_shards_to_those_who_ask(admin: Client, job: CronJob):
    parent, shards = divided(job)
    other = make_run(job, RunStatus.SUCCESS)

    def listed(query: str = "") -> set[int]:
        answer = admin.get(reverse(f"{RUNS}_changelist") + query)
        return {row.pk for row in answer.context["cl"].result_list}

    assert listed() == {parent.pk, other.pk}
    assert listed(f"?shards_of={parent.pk}") == {shard.pk for shard in shards}
    assert listed(f"?q={shards[1].pk}") == {shards[1].pk}
