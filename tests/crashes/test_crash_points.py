"""A beat or a worker kills itself at each named crash point, and no promise is broken.

Real beats and workers on a real broker, forked from one process (tests/harness/fork_server.py).
After each crash the test reads the tables as the dead process has left them. Then a healthy beat
and worker do the rest, and the checker of the soak finds every promise kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from bench.soak.history import History, instant
from scheduler import failpoints
from tests.crashes.crash_harness import WAIT_SECONDS, Place, open_place
from tests.harness.servers import MariaDB, Postgres, Redis
from tests.harness.waiting import wait_until

slow = pytest.mark.slow
# What a database makes of a transaction whose client has died shows at the last point before its
# commit and at the first behind it: these run on each database. The points before them are places
# in jobu's own code, and run on SQLite; with --slow, on each database as well.
IS_SLOW = os.environ.get("JOBU_TEST_SLOW") == "1"
on_sqlite = pytest.mark.database(*([] if IS_SLOW else ["sqlite"]))
pytestmark = [pytest.mark.processes, pytest.mark.database]


def points(names: Iterable[str], *, on_each_database: Iterable[str]) -> list[object]:
    return [
        name if name in on_each_database else pytest.param(name, marks=on_sqlite) for name in names
    ]


@pytest.fixture(scope="module")
def shared(
    job_server: Postgres | MariaDB | None,
    redis_server: Redis,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:
    with open_place(job_server, redis_server, tmp_path_factory.mktemp("crash")) as made:
        yield made


@pytest.fixture
def place(shared: Place) -> Iterator[Place]:
    shared.clear()
    yield shared
    shared.kill_all()


def outcomes(history: History) -> list[list[str]]:
    """Returns the outcomes of each execution's attempts. Fewer attempts come first."""
    return sorted(
        (
            [attempt.outcome for attempt in history.attempts if attempt.execution_id == row.id]
            for row in history.executions
        ),
        key=len,
    )


def statuses(history: History) -> list[str]:
    return [row.status for row in history.executions]


ONCE = ["SUCCESS"]
AGAIN = ["LOST", "SUCCESS"]


@dataclass(frozen=True)
class Left:
    """The state of three due jobs after the crash of a beat."""

    states: list[str]
    moved: bool
    messages: int = 0


NOTHING = Left([], moved=False)
RECORDED = ["PENDING"] * 3
OF_BEAT = {
    "record.locked": NOTHING,
    "record.inserted": NOTHING,
    "record.advanced": NOTHING,
    "record.committed": Left(RECORDED, moved=True),
    "wakeup.due": Left(RECORDED, moved=True),
    "wakeup.sent": Left(RECORDED, moved=True, messages=1),
    "wakeup.sent:2": Left(RECORDED, moved=True, messages=2),
}


@pytest.mark.parametrize(
    "point", points(OF_BEAT, on_each_database=("record.advanced", "record.committed"))
)
def test_a_beat_that_dies_leaves_a_whole_step_or_none_and_another_goes_on(
    place: Place, point: str
) -> None:
    for _ in range(3):
        place.insert_due_job()

    place.crash(place.beat(crash=point))

    left = OF_BEAT[point]
    assert (place.states(), place.watermarks_moved(), place.messages()) == (
        left.states,
        left.moved,
        left.messages,
    )
    history = place.recover(3)
    assert statuses(history) == ["SUCCESS"] * 3
    assert outcomes(history) == [ONCE] * 3
    assert place.begun() == {1: 3}


@dataclass(frozen=True)
class Lost:
    """The state of a run after the crash of its worker, and the outcomes that follow."""

    status: str
    attempt: int
    begun: tuple[int, ...]  # how many handlers may have begun before the crash
    ended: list[str]


OF_WORKER = {
    "claim.read": Lost("PENDING", 0, (0,), ONCE),
    "claim.written": Lost("PENDING", 0, (0,), ONCE),
    "claim.committed": Lost("RUNNING", 1, (0,), AGAIN),
    "run.started": Lost("RUNNING", 1, (0, 1), AGAIN),
    "run.ended": Lost("RUNNING", 1, (1,), AGAIN),
    "end.updated": Lost("RUNNING", 1, (1,), AGAIN),
    "end.recorded": Lost("RUNNING", 1, (1,), AGAIN),
    "end.committed": Lost("SUCCESS", 1, (1,), ONCE),
}


@pytest.mark.parametrize(
    "point",
    points(
        OF_WORKER,
        on_each_database=("claim.written", "claim.committed", "end.recorded", "end.committed"),
    ),
)
def test_a_run_whose_worker_dies_is_run_again_exactly_when_its_outcome_was_not_committed(
    place: Place, point: str
) -> None:
    for _ in range(2):
        place.insert_due_job()
    place.beat()

    place.crash(place.worker("doomed", crash=point))

    lost = OF_WORKER[point]
    met, spared = sorted(place.rows(), key=lambda row: -row["attempt"])
    assert (met["status"], met["attempt"]) == (lost.status, lost.attempt)
    assert (spared["status"], spared["attempt"]) == ("PENDING", 0)
    assert place.begun()[1] in lost.begun
    history = place.recover(2, beat=False)
    assert statuses(history) == ["SUCCESS"] * 2
    assert outcomes(history) == [ONCE, lost.ended]


OF_RETRY = {
    "end.updated": Lost("RUNNING", 1, (1,), AGAIN),
    "end.recorded": Lost("RUNNING", 1, (1,), AGAIN),
    "end.committed": Lost("PENDING", 1, (1,), ["FAILED", "SUCCESS"]),
}


@pytest.mark.parametrize(
    "point",
    # What is rolled back does not depend on the outcome: one point is enough in a quick run.
    [
        pytest.param("end.updated", marks=slow),
        pytest.param("end.recorded", marks=slow),
        "end.committed",
    ],
)
def test_a_failed_run_whose_worker_dies_is_tried_again_once(place: Place, point: str) -> None:
    place.insert_due_job(handler_params={"failures": 1})
    place.beat()

    place.crash(place.worker("doomed", crash=point))

    lost = OF_RETRY[point]
    (row,) = place.rows()
    assert (row["status"], row["attempt"]) == (lost.status, lost.attempt)
    history = place.recover(1, beat=False)
    assert outcomes(history) == [lost.ended]
    assert place.begun() == {1: 1, 2: 1}


@pytest.mark.parametrize(
    "point", points(["rescue.found", "rescue.ended"], on_each_database=("rescue.ended",))
)
def test_a_beat_that_dies_in_a_rescue_leaves_it_done_or_to_the_next_one(
    place: Place, point: str
) -> None:
    place.insert_due_job()
    beat = place.beat(crash=point)
    place.crash(place.worker("doomed", crash="run.ended"))

    place.crash(beat)

    (row,) = place.rows()
    assert row["status"] == {"rescue.found": "RUNNING", "rescue.ended": "PENDING"}[point]
    history = place.recover(1)
    assert outcomes(history) == [AGAIN]


def insert_job_that_waits_for_its_run_before(place: Place) -> None:
    place.insert_due_job(
        slots=2,
        overlap_policy="queue_one",
        handler_params={"gated": True},
        timeout_seconds=3 * WAIT_SECONDS,
    )


def test_a_worker_that_dies_after_it_put_a_run_back_has_lost_nothing(place: Place) -> None:
    insert_job_that_waits_for_its_run_before(place)
    place.beat()
    place.worker("busy")
    wait_until(lambda: place.begun()[1] == 1, WAIT_SECONDS, "the first run", details=place.log)

    place.crash(place.worker("doomed", crash="overlap.held"))
    place.open_gate(1)

    # The first run wakes the waiting one when it ends.
    history = place.recover(2, beat=False)
    assert outcomes(history) == [ONCE, ONCE]


OF_SHARDS = {
    "shards.inserted": ("RUNNING", 0),  # its three shards are not there
    "shards.parent_ended": ("FANNED_OUT", 3),  # the last shard runs, and so does its parent
}


@pytest.mark.parametrize("point", OF_SHARDS)
def test_a_worker_that_dies_divides_a_run_or_ends_it_once_or_not_at_all(
    place: Place, point: str
) -> None:
    place.insert_due_job(shards=3)
    place.beat()

    place.crash(place.worker("doomed", crash=point))

    parent = next(row for row in place.rows() if row["parent_id"] is None)
    assert (parent["status"], len(place.rows()) - 1) == OF_SHARDS[point]
    place.worker("healthy")
    wait_until(
        lambda: place.states() == ["SUCCESS"] * 4, WAIT_SECONDS, "all shards", details=place.log
    )
    shards = sorted(row["shard"] for row in place.rows() if row["parent_id"] is not None)
    assert shards == [0, 1, 2]


@slow
def test_a_run_that_nobody_wakes_wakes_up_by_itself(place: Place) -> None:
    insert_job_that_waits_for_its_run_before(place)
    place.beat()
    doomed = place.worker("doomed", crash="end.committed")
    wait_until(lambda: place.begun()[1] == 1, WAIT_SECONDS, "the first run", details=place.log)
    place.worker("other")
    wait_until(
        lambda: place.logged("execution.held"),
        WAIT_SECONDS,
        "the second run to be put back",
        details=place.log,
    )

    place.open_gate(1)
    place.crash(doomed)

    history = place.recover(2, beat=False, worker=False)
    assert outcomes(history) == [ONCE, ONCE]


@pytest.mark.parametrize(
    "point",
    points(
        ["backfill.locked", "backfill.inserted", "backfill.committed"],
        on_each_database=("backfill.inserted", "backfill.committed"),
    ),
)
def test_a_beat_that_dies_in_a_backfill_makes_each_of_its_runs_once(
    place: Place, point: str
) -> None:
    place.insert_due_job()
    (job,) = place.system.sql("SELECT * FROM cron_jobs")
    today = instant(job["next_run_at"])
    days = [today - timedelta(days=back) for back in (3, 2, 1)]
    quote = "`" if place.system.database_url.startswith("mysql") else '"'
    place.system.sql(
        f"INSERT INTO jobu_backfills (job_id, since, until, {quote}order{quote}, parallelism,"
        " params, state, total, made, error, requested_by)"
        " VALUES (%s, %s, %s, 'oldest_first', 2, %s, 'active', 3, 0, '', 'ann')",
        job["id"],
        days[0].strftime("%Y-%m-%d %H:%M:%S"),
        days[-1].strftime("%Y-%m-%d %H:%M:%S"),
        json.dumps({}),
    )

    place.crash(place.beat(crash=point))

    made = [row for row in place.rows() if row["param_source"] == "backfill"]
    assert len(made) == (2 if point == "backfill.committed" else 0)
    history = place.recover(4)
    assert statuses(history) == ["SUCCESS"]  # the slot of the job itself
    made = [row for row in place.rows() if row["param_source"] == "backfill"]
    assert [(instant(row["logical_time"]), row["status"]) for row in made] == [
        (day, "SUCCESS") for day in days
    ]
    assert place.begun() == {1: 4}


@on_sqlite
def test_every_crash_point_has_its_test() -> None:
    tested = {
        *OF_BEAT,
        *OF_WORKER,
        *OF_RETRY,
        *OF_SHARDS,
        "rescue.found",
        "rescue.ended",
        "overlap.held",
    }
    tested |= {"backfill.locked", "backfill.inserted", "backfill.committed"}
    # tests/test_alert_processes.py, tests/moving/ and tests/scheduler/test_dependencies.py
    elsewhere = ("alerts.", "switch.", "waits.")
    others = {point for point in failpoints.POINTS if not point.startswith(elsewhere)}
    assert {point.partition(":")[0] for point in tested} == others


@on_sqlite
def test_what_is_not_a_crash_point_cannot_be_armed() -> None:
    with pytest.raises(ValueError, match=r"no crash point 'lunch'; there are record\.locked"):
        failpoints.arm("lunch")
    with pytest.raises(ValueError, match="counted from 1"):
        failpoints.arm("run.started", visit=0)


@on_sqlite
def test_no_environment_variable_arms_a_process_with_jobus_own_settings(place: Place) -> None:
    shown = place.system.manage(
        "shell",
        "-v0",
        "-c",
        "from scheduler import failpoints; print(failpoints._armed)",
        JOBU_CRASH_POINT="record.locked",
        JOBU_TESTING="1",
    )
    assert shown.split()[-1] == "None"
