""" "Run now": from the COMMIT of whoever asks for a run until its handler starts."""

from __future__ import annotations

import json
from collections.abc import Iterator

from bench.asking import asking
from bench.crowd import planned_job
from bench.environment import real_jobu
from bench.peers import BARE, place
from bench.processes import run_python, until
from bench.rows import Goal, Row, percentile
from bench.worker.runs import CONFIG, starts
from tests.harness.system import System

PAUSE_SECONDS = 0.1
#: Runs that do not count: imports, connections.
WARM_UP = 3
_PEER_NAME = "Celery: apply_async until the task starts, threads"


def rows(database: str, times: int) -> Iterator[Row]:
    ours, peer = _ours(database, times), _peer(times)
    for percent, goal in ((50, Goal(at_most=10)), (99, None)):
        yield Row(
            row=f"run now: commit to the handler's start, p{percent}",
            database=database,
            unit="ms",
            ours=1000 * percentile(ours, percent),
            peer=1000 * percentile(peer, percent),
            peer_name=_PEER_NAME,
            goal=goal,
            less_is_better=True,
        )


def _ours(database: str, times: int) -> list[float]:
    with real_jobu(database, CONFIG) as jobu, asking(jobu.database_url) as ask:
        jobu.start_beat()
        jobu.start_worker(pool="threads", concurrency=100)
        job = planned_job(
            jobu, ask, name="pressed", expression="0 0 1 1 *", handler="bench_starts",
            overlap_policy="allow",
        )  # fmt: skip
        press(jobu, job, WARM_UP)
        until(lambda: len(starts(ask)) == WARM_UP, 60, "the first runs", details=jobu.logs)
        committed = press(jobu, job, times)
        until(lambda: len(starts(ask)) == WARM_UP + times, 60, "all runs", details=jobu.logs)
        begun = starts(ask)
    return [begun[number][1] - at for number, at in committed.items()]


def press(
    jobu: System, job: int, times: int, pause_seconds: float = PAUSE_SECONDS
) -> dict[int, float]:
    """Asks for runs through the door of a person: id -> instant of the COMMIT."""
    output = run_python(
        ["-m", "bench.worker.press", str(job), str(times), str(pause_seconds)], jobu.environment
    )
    answer = json.loads(output.splitlines()[-1])
    return {int(number): float(at) for number, at in answer.items()}


def _peer(times: int) -> list[float]:
    with place() as here, here.celery(BARE, "worker", "--pool=threads", "--concurrency=100"):
        for count in (WARM_UP, times):
            # apply_async has sent the message when it returns, so the time begins before the call.
            here.run(
                "-c",
                "import time\n"
                "from bench.peers.bare import starts\n"
                f"for _ in range({count}):\n"
                "    starts.apply_async([repr(time.time())], retry=False)\n"
                f"    time.sleep({PAUSE_SECONDS})",
            )
            until(lambda: here.left() == 0, 30, "the peer's starts")
        until(lambda: here.broker.llen("starts") == WARM_UP + times, 30, "the peer's last start")
        return [started - float(sent) for sent, started in here.starts()[WARM_UP:]]
