"""The checker notices a protocol that is broken on purpose, and names the broken promise.

Each mutation (bench/soak/sabotage/mutations.py) removes one protection, in the test's processes
only: first at the one instant that matters, then, with --slow, in a whole soak.
"""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main as bench
from bench.soak import command
from bench.soak.checker import check
from bench.soak.jobs import SoakJob
from bench.soak.sabotage.mutations import MUTATIONS
from tests.crashes.crash_harness import WAIT_SECONDS, Place, open_place
from tests.harness.servers import MariaDB, Postgres, Redis
from tests.harness.waiting import wait_until

pytestmark = [pytest.mark.processes, pytest.mark.database]
# The protocol as it is, on each database. That the checker names what is broken in it: once.
only_sqlite = pytest.mark.database("sqlite")


@pytest.fixture(scope="module")
def shared(
    job_server: Postgres | MariaDB | None,
    redis_server: Redis,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:
    with open_place(job_server, redis_server, tmp_path_factory.mktemp("mutated")) as made:
        yield made


@pytest.fixture
def place(shared: Place) -> Iterator[Place]:
    shared.clear()
    yield shared
    shared.kill_all()


def found(place: Place, executions: int, *, ends_processes: bool = True) -> set[str]:
    history = place.finish(executions, ends_processes=ends_processes)
    return {broken.what for broken in check(history)}


@pytest.mark.parametrize(
    ("mutation", "broken"),
    [("", set()), pytest.param("no-fence", {"unfenced"}, marks=only_sqlite)],
)
def test_without_the_fence_a_worker_that_was_declared_lost_writes_the_outcome(
    place: Place, mutation: str, broken: set[str]
) -> None:
    place.insert_due_job(handler_params={"gated": True}, timeout_seconds=3 * WAIT_SECONDS)
    place.beat()
    lost = place.worker("lost", mutation=mutation)
    wait_until(lambda: place.begun()[1] == 1, WAIT_SECONDS, "attempt 1", details=place.log)

    lost.send_signal(signal.SIGSTOP)
    place.worker("other", mutation=mutation)
    wait_until(lambda: place.begun()[2] == 1, WAIT_SECONDS, "attempt 2", details=place.log)
    place.open_gate(1)
    lost.send_signal(signal.SIGCONT)
    wait_until(
        lambda: place.ended()[1] == 1 or place.logged("execution.stale"),
        WAIT_SECONDS,
        "attempt 1 to end",
        details=place.log,
    )
    place.open_gate(2)

    assert found(place, 1) == broken


@pytest.mark.parametrize(
    ("mutation", "broken"),
    [("", set()), pytest.param("watermark-first", {"missing"}, marks=only_sqlite)],
)
def test_a_watermark_that_moves_before_the_slots_are_there_loses_them(
    place: Place, mutation: str, broken: set[str]
) -> None:
    for _ in range(2):
        place.insert_due_job()
    place.crash(place.beat(crash="record.committed", mutation=mutation))
    place.insert_due_job()

    place.beat(mutation=mutation)
    place.worker("healthy")

    assert found(place, 1 if mutation else 3) == broken


@only_sqlite
def test_a_wake_up_that_is_sent_before_the_commit_costs_nothing_but_time(place: Place) -> None:
    place.worker("waiting")
    place.beat(mutation="wakeup-first")
    for _ in range(3):
        place.insert_due_job()
        assert found(place, len(place.jobs)) == set()


@pytest.mark.parametrize("mutation", ["", pytest.param("claim-assumed", marks=only_sqlite)])
def test_a_claim_that_is_taken_for_committed_begins_twice(place: Place, mutation: str) -> None:
    place.insert_due_job()
    place.beat()
    place.worker("cut off", broken="claim.written", mutation=mutation)

    broken = found(place, 1, ends_processes=False)
    assert ("started_twice" in broken) == bool(mutation)
    assert bool(broken) == bool(mutation)


@pytest.mark.parametrize("mutation", ["", pytest.param("verdict-first", marks=only_sqlite)])
def test_a_verdict_that_counts_before_its_commit_is_lost_and_the_run_begins_again(
    place: Place, mutation: str
) -> None:
    place.insert_due_job()
    place.beat()
    place.worker("cut off", broken="end.updated", mutation=mutation)

    expected = {"lost_alive"} if mutation else set()
    assert found(place, 1, ends_processes=False) == expected


#: No promise needs a wake-up, so no soak can find that it comes too early.
HARMLESS = {"wakeup-first"}
#: Only the answer to one COMMIT, lost at the right moment, shows them: the two tests above.
SINGLE_INSTANTS = {"claim-assumed", "verdict-first"}
SOAKED: dict[str, tuple[str, str, dict[str, Any]]] = {
    # The finding that the soak must name, the faults that cause it, and what the jobs need for it.
    "no-fence": ("unfenced", "stop-worker", {}),
    "watermark-first": ("missing", "kill-beat,crash-beat", {}),
    "no-limits": ("limit", "none", {"max_running": 1}),
    "first-shard-ends": ("parent_early", "none", {"shards": 3}),
}


@only_sqlite
def test_every_mutation_is_soaked() -> None:
    assert set(SOAKED) == set(MUTATIONS) - HARMLESS - SINGLE_INSTANTS


@pytest.mark.slow
@pytest.mark.parametrize("mutation", SOAKED)
def test_a_soak_of_a_broken_protocol_fails_and_names_the_promise(
    mutation: str,
    job_database: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    what, faults, values = SOAKED[mutation]
    most = values.get("max_running")
    # Runs take some seconds, so that a paused worker always has some, and so that their next
    # attempts still run when it resumes.
    jobs = [
        SoakJob(
            name=f"job {number}",
            cron_expression="*/2 * * * * *",
            columns={
                "handler_params": {"seconds": 3},
                "timeout_seconds": 30,
                "max_running": most,
            },
            longest_seconds=4,
            limits=() if most is None else ((f"job {number}", most),),
            shards=values.get("shards"),
        )
        for number in range(4)
    ]
    monkeypatch.setattr(command, "make_jobs", lambda *_, **__: jobs)

    arguments = f"--mutation {mutation} --minutes 0.6 --faults {faults} --every 4".split()
    code = bench(["soak", "--database", job_database, *arguments])

    *complaints, where, line = capsys.readouterr().out.splitlines()
    kept = Path(where.removeprefix("logs, ledger and faults: "))
    assert (kept / "broken.txt").read_text().startswith(complaints[0].removeprefix("BROKEN "))
    shutil.rmtree(kept)
    assert code == 1
    assert json.loads(line)["broken"][what] > 0
    assert any(complaint.startswith(f"BROKEN {what} (promise ") for complaint in complaints)
