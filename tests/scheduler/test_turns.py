"""The end of a run and the next claim of its process, in one transaction."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError, connection

from scheduler.models import JobExecution, JobGuard
from scheduler.states import AttemptOutcome, RunStatus
from scheduler.store import claims, endings
from scheduler.store.claims import ByIds, Floors, MostUrgent
from scheduler.store.runs import Lease
from scheduler.store.turns import end_and_claim
from scheduler.worker.overlap import decide
from tests.harness.scheduler_harness import START, SchedulerHarness, fresh, outcomes
from tests.scheduler.test_faults import Faults, lost_commits

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


def new_claim() -> claims.Claim:
    return claims.Claim(owner="child", lease_seconds=60, decide=decide)


def begun(row: JobExecution) -> Lease:
    (claimed,) = new_claim().take(ByIds([row.pk]), START).started
    return claimed.lease


def success(lease: Lease) -> endings.Ending:
    return endings.Ending(lease=lease, outcome=AttemptOutcome.SUCCESS, status=RunStatus.SUCCESS)


def any_run() -> MostUrgent:
    return MostUrgent([""], 1, Floors())


@pytest.mark.parametrize("key", [None, -7])
def test_the_next_run_of_the_same_guard_begins_where_the_last_one_ends(
    key: int | None, system: SchedulerHarness
):
    job = None if key else system.job(overlap_policy="skip")
    first, second = (system.execution(job, overlap_key=key) for _ in range(2))
    lease = begun(first)

    ended, taken = end_and_claim([success(lease)], new_claim(), any_run(), START)

    assert set(ended) == {lease.token}
    assert [claimed.row.id for claimed in taken.started] == [second.pk]
    assert (fresh(first).status, fresh(second).status) == (RunStatus.SUCCESS, RunStatus.RUNNING)
    assert JobGuard.objects.get().running_id == second.pk
    # And with nothing more to do, the guard is free; that of calls goes.
    last = taken.started[0].lease
    ended, taken = end_and_claim([success(last)], new_claim(), any_run(), START)
    assert set(ended) == {last.token}
    assert not taken.started
    assert list(JobGuard.objects.values_list("running_id", flat=True)) == ([] if key else [None])


def test_a_run_that_is_no_longer_ours_is_not_ended_and_the_claim_happens(system: SchedulerHarness):
    lost = begun(system.execution(system.job(overlap_policy="skip")))
    JobExecution.objects.update(lease_token="another")
    row = system.execution()
    ended, taken = end_and_claim([success(lost)], new_claim(), any_run(), START)
    assert (ended, [claimed.row.id for claimed in taken.started]) == (frozenset(), [row.pk])


def test_an_error_undoes_both_halves(system: SchedulerHarness):
    lease = begun(system.execution(system.job(overlap_policy="skip")))
    row = system.execution(system.job(overlap_policy="skip"))
    claim = new_claim()
    # The last statement of the transaction.
    guards = Faults(lambda statement: statement.startswith("UPDATE job_guard"), done=False)
    with connection.execute_wrapper(guards), pytest.raises(OperationalError):
        end_and_claim([success(lease)], claim, any_run(), START)
    assert guards.seen
    assert endings.ended([lease]) == frozenset()
    assert claim.taken_after_all(START) == claims.Claims()
    assert (fresh(row).status, fresh(row).attempt) == (RunStatus.PENDING, 0)
    assert JobExecution.objects.get(pk=lease.execution_id).status == RunStatus.RUNNING


def test_after_a_lost_answer_both_halves_are_found(
    system: SchedulerHarness, monkeypatch: pytest.MonkeyPatch
):
    lease = begun(system.execution(system.job(overlap_policy="skip")))
    row = system.execution(system.job(overlap_policy="skip"))
    claim = new_claim()
    with lost_commits(monkeypatch, after="lease_owner = "), pytest.raises(OperationalError):
        end_and_claim([success(lease)], claim, any_run(), START)
    connection.close()
    assert endings.ended([lease]) == {lease.token}
    (claimed,) = claim.taken_after_all(START).started
    assert (claimed.row.id, fresh(row).lease_token) == (row.pk, claimed.lease.token)


def test_a_turn_that_lost_a_race_is_repeated_and_written_once(system: SchedulerHarness):
    first, row = (
        system.execution(system.job(overlap_policy="skip")),
        system.execution(system.job(overlap_policy="skip")),
    )
    lease = begun(first)
    lost: list[str] = []

    def lose(execute: Any, statement: str, params: Any, many: bool, context: Any) -> Any:
        found = execute(statement, params, many, context)
        if statement.startswith("UPDATE job_guard") and not lost:
            lost.append(statement)
            raise OperationalError("database is locked")
        return found

    with connection.execute_wrapper(lose):
        ended, taken = end_and_claim([success(lease)], new_claim(), any_run(), START)
    assert lost
    assert set(ended) == {lease.token}
    (claimed,) = taken.started
    assert (fresh(row).attempt, fresh(row).lease_token) == (1, claimed.lease.token)
    assert outcomes(first) == ["SUCCESS"]
