"""One action on many rows: in steps, each row once, and only the rows that were chosen."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User

from scheduler.models import Activity, JobExecution
from scheduler.operations.actor import Actor
from scheduler.operations.bulk import LIMIT, STEP_ROWS, Bulk, BulkOperations, one_by_one
from scheduler.operations.control import NotPossible
from scheduler.operations.history import describe, facts_of
from scheduler.states import Door, RunStatus, TargetKind
from scheduler.store import executions
from scheduler.store.connection import database_now

pytestmark = [pytest.mark.database, pytest.mark.django_db]


@pytest.fixture
def actor() -> Actor:
    user = User.objects.create_user("alice")
    return Actor(name="alice", user_id=str(user.pk), door=Door.ADMIN)


@pytest.fixture
def bulk(actor: Actor) -> BulkOperations:
    return BulkOperations(actor=actor)


def failed_runs(count: int) -> list[int]:
    now = database_now()
    rows = [
        JobExecution(
            handler_name="sample",
            scheduled_time=now - timedelta(microseconds=number),
            status=RunStatus.FAILED,
            started_at=now,
            finished_at=now,
            params={},
        )
        for number in range(count)
    ]
    JobExecution.objects.bulk_create(rows, batch_size=1000)
    return list(JobExecution.objects.order_by("id").values_list("id", flat=True))


def begun(bulk: BulkOperations, ids: list[int], **given: Any) -> Bulk:
    return bulk.begin(
        **{
            "kind": TargetKind.EXECUTION,
            "action": "retry",
            "ids": ids,
            "answers": {},
            "question": "q",
            **given,
        }
    )


def test_five_thousand_rows_are_done_in_bounded_steps(bulk: BulkOperations):
    done: list[int] = []
    work, steps = begun(bulk, list(range(1, 10_001, 2))), 0

    def act(row_id: int) -> None:
        if row_id % 1000 == 1:
            raise NotPossible(f"not {row_id}", general="not a good number")
        done.append(row_id)

    while not work.is_over:
        before = work.left
        work = bulk.step(work.id, one_by_one(act))
        assert 0 < before - work.left <= STEP_ROWS
        steps += 1

    assert steps >= 10
    assert done == [row_id for row_id in range(1, 10_001, 2) if row_id % 1000 != 1]
    assert (work.total, work.done, work.refused_count) == (5000, 4990, 10)
    assert [(each.reason, each.examples) for each in work.refused] == [
        ("not a good number", [1, 1001, 2001])
    ]


def test_a_step_is_asked_twice_and_no_row_is_done_twice(bulk: BulkOperations):
    done: list[int] = []
    work = begun(bulk, [5, 6, 7, 20])

    for _ in range(3):
        bulk.step(work.id, one_by_one(done.append))

    assert done == [5, 6, 7, 20]
    assert bulk.step(work.id, one_by_one(done.append)).is_over


def test_a_fault_of_one_row_keeps_what_the_groups_before_have_done(bulk: BulkOperations):
    ids = failed_runs(130)
    work = begun(bulk, ids)
    now = database_now()

    def breaks(execution_id: int) -> None:
        executions.retry(execution_id, now=now)
        if execution_id == ids[120]:
            raise ZeroDivisionError

    def all_steps() -> None:
        for _ in ids:  # on a slow machine a step takes fewer rows
            bulk.step(work.id, one_by_one(breaks))

    with pytest.raises(ZeroDivisionError):
        all_steps()

    found = bulk.find(work.id)
    assert found is not None
    assert 0 < found.done <= 120
    assert JobExecution.objects.filter(status=RunStatus.PENDING).count() == found.done


def test_a_second_answer_to_one_question_begins_nothing(bulk: BulkOperations):
    first = begun(bulk, [1, 2], answers={"reason": "r"})

    assert begun(bulk, [1, 2]).id == first.id
    assert begun(bulk, [1, 2], question="another").id != first.id


def test_a_stopped_action_leaves_the_rest_alone_and_the_history_says_so(bulk: BulkOperations):
    done: list[int] = []
    work = begun(bulk, list(range(1, 1201)))

    bulk.step(work.id, one_by_one(done.append))
    stopped = bulk.stop(work.id)
    again = bulk.step(work.id, one_by_one(done.append))

    assert again == stopped
    assert (stopped.is_over, stopped.done, stopped.left) == (True, len(done), 1200 - len(done))
    entry = Activity.objects.get(verb="bulk")
    assert describe(entry, str) == f"Retry, 1200 rows: {len(done)} done, 0 refused"
    assert "waiting" not in facts_of(entry, sees_params=True)


def test_nobody_works_on_what_another_person_has_begun(bulk: BulkOperations):
    work = begun(bulk, [1])
    other = BulkOperations(actor=Actor(name="bob", user_id="0", door=Door.ADMIN))

    assert other.find(work.id) is None
    with pytest.raises(Activity.DoesNotExist):
        other.step(work.id, one_by_one(lambda _row_id: pytest.fail("it worked")))


def test_reasons_beyond_the_first_twenty_are_counted_together(bulk: BulkOperations):
    def refuse(row_id: int) -> None:
        raise NotPossible(f"reason {row_id}")

    work = bulk.step(begun(bulk, list(range(1, 31))).id, one_by_one(refuse))

    assert (len(work.refused), work.refused_count) == (20, 30)
    assert work.refused[-1].reason == "other reasons"


def test_more_rows_than_the_limit_are_refused(bulk: BulkOperations):
    with pytest.raises(NotPossible, match="At most 100000 at once"):
        begun(bulk, list(range(LIMIT + 1)))
