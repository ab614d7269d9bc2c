"""Many jobs due at the same instant, one beat, and one or two threads workers.

Counted from the slot: until all rows are recorded, until the first handler starts, until all runs
have ended. The peers get as many entries, due at one instant; counted is until their last message
is in Redis. They are stopped after `--cut` seconds: then the row says how many they had sent.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from bench.asking import asking, seconds_of
from bench.crowd import multiply, planned_job, text_with_number
from bench.environment import DATABASES, real_jobu
from bench.peers import DJANGO_BEAT, REDBEAT, Peer, place
from bench.processes import until
from bench.rows import Goal, Row, emit
from bench.worker.runs import CONFIG, last_end, start_threads_workers, starts

#: What the preparation may take, before the slot.
_AHEAD_SECONDS = 12
_LIMIT_SECONDS = 150.0


@dataclass(frozen=True, kw_only=True)
class Burst:
    """Seconds after the slot. None: not within the limit."""

    recorded: float | None
    first_start: float | None
    ended: float | None
    how_many_ended: int


@dataclass(frozen=True, kw_only=True)
class Sent:
    """Seconds after the instant until the last message was sent; None: cut off."""

    seconds: float | None
    how_many: int


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench burst", description=__doc__)
    parser.add_argument("--database", choices=list(DATABASES), default="postgres")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--cut", type=float, default=30.0, help="seconds after which peers stop")
    parser.add_argument("--without-peers", action="store_true")
    options = parser.parse_args(argv)
    one = burst(options.database, options.jobs, workers=1)
    two = burst(options.database, options.jobs, workers=2)
    redbeat = django_beat = None
    if not options.without_peers:
        redbeat = sent_by(REDBEAT, options.jobs, options.cut)
        django_beat = sent_by(DJANGO_BEAT, options.jobs, options.cut)
    emit(_rows(options.database, options.jobs, one, two, redbeat, django_beat))
    return 0


def _rows(
    database: str, jobs: int, one: Burst, two: Burst, redbeat: Sent | None, django: Sent | None
) -> Iterator[Row]:
    row = partial(Row, database=database, unit="s", less_is_better=True)
    name = f"{jobs:,} due at once"
    peer = redbeat.seconds if redbeat else None
    peer_name = _label(REDBEAT, redbeat, jobs)
    yield row(
        row=f"{name}: all rows recorded",
        ours=one.recorded,
        peer=django.seconds if django else None,
        peer_name=_label(DJANGO_BEAT, django, jobs),
        goal=Goal(at_most=1.0),
    )
    yield row(row=f"{name}: first handler starts", ours=one.first_start, goal=Goal(at_most=0.1))
    for workers, found, most in ((1, one, 12.0), (2, two, 6.0)):
        yield row(
            row=f"{name}: all ended, {workers} worker{'s' if workers > 1 else ''}",
            ours=found.ended,
            peer=peer,
            peer_name=peer_name,
            goal=Goal(at_most=most),
            note="" if found.ended else f"{found.how_many_ended:,} of {jobs:,} ended",
        )


def _label(peer: Peer, sent: Sent | None, jobs: int) -> str:
    if sent is None:
        return f"{peer.name}: not run" if peer.is_installed else peer.label
    if sent.seconds is None:
        return f"{peer.name}: cut off, sent {sent.how_many:,} of {jobs:,}"
    return f"{peer.name}: last message sent"


def burst(database: str, jobs: int, *, workers: int, beats: int = 1) -> Burst:
    with real_jobu(database, CONFIG) as jobu, asking(jobu.database_url) as ask:
        for _ in range(beats):
            jobu.start_beat()
        start_threads_workers(jobu, ask, workers)
        slot = int(time.time()) + _AHEAD_SECONDS
        at = time.gmtime(slot)
        first = planned_job(
            jobu, ask, name="due 0", handler="bench_starts",
            expression=f"{at.tm_sec} {at.tm_min} {at.tm_hour} * * *",
        )  # fmt: skip
        others = {"name": text_with_number(ask, "due ")}
        multiply(ask, "cron_jobs", first, jobs - 1, others)
        if time.time() > slot - 0.5:
            raise RuntimeError("the jobs were not there before their slot")
        time.sleep(slot - 0.1 - time.time())

        def next_slot() -> float:
            return seconds_of(ask.one("SELECT min(next_run_at) FROM cron_jobs"))

        recorded = ended = None
        try:
            until(lambda: next_slot() > slot, _LIMIT_SECONDS, "the rows", every=0.03)
            recorded = time.time() - slot
            left = "status IN ('PENDING', 'RUNNING')"
            end = slot + _LIMIT_SECONDS - time.time()
            until(lambda: not ask.count(left), end, "the runs", every=0.2)
            ended = last_end(ask) - slot
        except TimeoutError:
            pass  # the row says how many had ended
        begun = [start - slot for _, start in starts(ask).values()]
        return Burst(
            recorded=recorded,
            first_start=min(begun, default=None),
            ended=ended,
            how_many_ended=len(begun),
        )


def sent_by(peer: Peer, jobs: int, cut_seconds: float) -> Sent | None:
    """None: the peer is not installed."""
    if not peer.is_installed:
        return None
    is_redbeat = peer is REDBEAT
    with place(database=not is_redbeat) as here:
        # The time for its entries, and for the start of a beat that reads them all.
        slot = time.time() + (15 if is_redbeat else 30)
        if is_redbeat:
            here.run("-m", peer.app, "due", str(jobs), "86400", str(slot))
        else:
            here.run("-m", peer.app, str(jobs), str(slot))
        scheduler = "redbeat.RedBeatScheduler" if is_redbeat else "django"
        with here.celery(peer, "beat", "-S", scheduler, "--pidfile="):
            time.sleep(max(0.0, slot - time.time()))
            try:
                until(lambda: here.left() >= jobs, cut_seconds, "the peer's last message")
            except TimeoutError:
                return Sent(seconds=None, how_many=here.left())
            return Sent(seconds=time.time() - slot, how_many=jobs)
