"""The checker of a soak finds every mistake, and a short soak breaks no promise."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bench.__main__ import main as bench
from bench.soak import command
from bench.soak.checker import check
from bench.soak.command import soak
from bench.soak.counting import counted_from
from bench.soak.delays import Bounds
from bench.soak.figures import figures
from bench.soak.findings import PROMISES, Broken
from bench.soak.history import (
    Attempt,
    Change,
    Counted,
    Decision,
    Execution,
    Fault,
    History,
    Job,
    LedgerLine,
)
from bench.soak.jobs import SoakJob, make_jobs
from bench.soak.options import CONFIG, FAULTS, Options
from bench.soak.slots import expected_slots
from scheduler.conf import SchedulerSettings
from scheduler.models import CronJob
from scheduler.operations.validation import job_problems
from scheduler.states import TRANSITIONS
from tests.harness.oracles import Expression
from tests.harness.system import ROOT

NOON = datetime(2026, 1, 12, 12, 0, 0, tzinfo=UTC)
BOUNDS = Bounds(row=5, start=5, recovery=10, reaction={"restart-database": 8.0, "kill-worker": 4.0})


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def token(execution_id: int, attempt: int) -> str:
    return f"token {execution_id}.{attempt}"


def run(execution_id: int, slot: float, *, outcomes: tuple[str, ...] = ("SUCCESS",)) -> History:
    """Returns a correct history: an execution of job 1 and its attempts, one every 2 s."""
    attempts, ledger, changes = (
        [],
        [],
        [Change(execution_id=execution_id, before=None, after="PENDING")],
    )
    for number, outcome in enumerate(outcomes, start=1):
        begin, end = at(slot + 2 * number - 1), at(slot + 2 * number)
        attempts.append(
            Attempt(
                execution_id=execution_id,
                attempt=number,
                token=token(execution_id, number),
                worker=f"worker{number}@soak:100",
                started_at=begin,
                ended_at=end,
                outcome=outcome,
            )
        )
        ledger.append(line(execution_id, number, "begin", slot))
        if outcome == "SUCCESS":
            ledger.append(line(execution_id, number, "end", slot))
        changes += [
            Change(execution_id=execution_id, before="PENDING", after="RUNNING"),
            Change(
                execution_id=execution_id,
                before="RUNNING",
                after="SUCCESS" if outcome == "SUCCESS" else "PENDING",
            ),
        ]
    return History(
        jobs=[],
        executions=[
            Execution(
                id=execution_id,
                job_id=1,
                slot=at(slot),
                status="SUCCESS",
                attempt=len(outcomes),
                failures=sum(outcome in ("LOST", "FAILED", "TIMEOUT") for outcome in outcomes),
                max_retry=3,
                created_at=at(slot + 0.1),
                available_at=at(slot),
                started_at=attempts[-1].started_at,
                finished_at=attempts[-1].ended_at,
                final_token=token(execution_id, len(outcomes)),
            )
        ],
        attempts=attempts,
        ledger=ledger,
        changes=changes,
    )


def line(execution_id: int, attempt: int, what: str, slot: float) -> LedgerLine:
    return LedgerLine(
        execution_id=execution_id,
        attempt=attempt,
        job_id=1,
        slot=at(slot),
        token=token(execution_id, attempt),
        what=what,
        at=at(slot + 2 * attempt),
    )


def history(*parts: History, **changes: Any) -> History:
    """Returns the history of a job with a slot every ten seconds, from 12:00:00 to 12:00:30."""
    job = Job(
        id=1,
        name="ten",
        cron_expression="*/10 * * * * *",
        timezone="UTC",
        watermarks=(at(0), at(10), at(20), at(30)),
    )
    killed = Fault(kind="kill-worker", target="worker1@soak:", began_at=at(11), ended_at=at(12))
    whole = History(
        jobs=[job],
        faults=[killed],
        executions=[row for part in parts for row in part.executions],
        attempts=[attempt for part in parts for attempt in part.attempts],
        ledger=[entry for part in parts for entry in part.ledger],
        changes=[change for part in parts for change in part.changes],
        until=at(29),
    )
    return replace(whole, **changes)


def right() -> History:
    return history(run(1, 0), run(2, 10, outcomes=("LOST", "FAILED", "SUCCESS")), run(3, 20))


def changed(whole: History, execution_id: int, **values: Any) -> History:
    rows = [replace(row, **values) if row.id == execution_id else row for row in whole.executions]
    return replace(whole, executions=rows)


def with_job(whole: History, **values: Any) -> History:
    return replace(whole, jobs=[replace(whole.jobs[0], **values)])


def test_correct_history_is_accepted() -> None:
    assert check(right(), BOUNDS) == []
    assert check(replace(right(), counted=counted_from(right().executions)), BOUNDS) == []
    assert expected_slots(right().jobs[0], right()) == [at(0), at(10), at(20)]


def skipped_row(count: int, slot: float) -> History:
    """Returns one row for the slots from 12:00:00 to `slot`, which counts `count` slots."""
    row = replace(
        run(9, slot).executions[0],
        status="SKIPPED",
        attempt=0,
        final_token=None,
        started_at=None,
        created_at=at(21),
        reason_code="misfire",
        reason_facts={
            "first": "2026-01-12T12:00:00Z",
            "last": f"2026-01-12T12:00:{slot:02.0f}Z",
            "count": count,
        },
    )
    return History(
        jobs=[], executions=[row], changes=[Change(execution_id=9, before=None, after="SKIPPED")]
    )


def test_slots_recorded_as_missed_do_not_count_as_lost() -> None:
    assert check(history(skipped_row(2, 10), run(3, 20)), BOUNDS) == []


def test_skip_row_with_a_wrong_count_is_found() -> None:
    assert names(check(history(skipped_row(3, 10), run(3, 20)), BOUNDS)) == {"miscounted"}


def names(found: list[Broken]) -> set[str]:
    return {broken.what for broken in found}


def zombie(whole: History) -> History:
    """Attempt 2 was declared lost, and wrote the outcome while attempt 3 ran."""
    return replace(
        changed(whole, 2, final_token=token(2, 1)),
        ledger=[*whole.ledger, line(2, 1, "end", 10)],
    )


def overlapping(whole: History) -> History:
    """Execution 3 began as soon as execution 1 had, and before that one ended."""
    new, begins, ends = (change for change in whole.changes if change.execution_id == 3)
    first, *rest = [change for change in whole.changes if change.execution_id != 3]
    order = [new, first, rest[0], begins, *rest[1:], ends]
    return with_job(replace(whole, changes=order), overlap_policy="skip")


def unfinished(whole: History) -> History:
    """The only attempt of execution 3 has not ended."""
    return replace(
        changed(whole, 3, status="RUNNING", final_token=None),
        attempts=[attempt for attempt in whole.attempts if attempt.execution_id != 3],
        ledger=[entry for entry in whole.ledger if entry.execution_id != 3],
        changes=whole.changes[:-1],
    )


def divided(*, shards: int = 2) -> History:
    """Returns a correct history: plan() has divided execution 1 into shards 11, 12 and so on, and
    has returned nothing for the others.
    """
    base = run(1, 0)
    ids = range(11, 11 + shards)
    parts = [run(id_, 0) for id_ in ids]
    rows = [
        replace(row, job_id=None, parent_id=1, shard=id_ - 11, shard_count=shards)
        for id_, part in zip(ids, parts, strict=True)
        for row in part.executions
    ]
    lines = [
        replace(entry, job_name="ten", shard=id_ - 11)
        for id_, part in zip(ids, parts, strict=True)
        for entry in part.ledger
    ]
    changes = [
        *base.changes[:-1],
        Change(execution_id=1, before="RUNNING", after="FANNED_OUT"),
        *(change for part in parts for change in part.changes),
        Change(execution_id=1, before="FANNED_OUT", after="SUCCESS"),
    ]
    whole = history(run(2, 10), run(3, 20))
    return with_job(
        replace(
            whole,
            executions=[replace(base.executions[0], shard_count=shards), *rows, *whole.executions],
            attempts=[*base.attempts, *(a for part in parts for a in part.attempts),
                      *whole.attempts],
            ledger=[*lines, *(replace(entry, what="plan") for entry in whole.ledger
                              if entry.what == "begin"), *planned(shards, 1), *planned(0, 2, 3)],
            changes=[*changes, *whole.changes],
        ),
        shards=0,
    )  # fmt: skip


def planned(count: int, *ids: int) -> list[LedgerLine]:
    """Returns the lines of a plan() that has returned so many shards, in executions 1, 2 or 3."""
    return [line(id_, 1, f"planned {count}", 10 * id_ - 10) for id_ in ids]


def without_row(whole: History, execution_id: int) -> History:
    """SQL, or a bug, has removed the execution with all that is known of it."""
    return replace(
        whole,
        executions=[row for row in whole.executions if row.id != execution_id],
        attempts=[each for each in whole.attempts if each.execution_id != execution_id],
        ledger=[each for each in whole.ledger if each.execution_id != execution_id],
        changes=[each for each in whole.changes if each.execution_id != execution_id],
    )


def doubled_shard(whole: History) -> History:
    """Shard 0 was inserted twice, and ran as execution 11 and as 13."""
    copy = run(13, 0)
    row = replace(whole.executions[1], id=13, final_token=token(13, 1))
    lines = [replace(entry, job_name="ten", shard=0) for entry in copy.ledger]
    before = whole.changes.index(Change(execution_id=1, before="FANNED_OUT", after="SUCCESS"))
    return replace(
        whole,
        executions=[*whole.executions, row],
        attempts=[*whole.attempts, *copy.attempts],
        ledger=[*whole.ledger, *lines],
        changes=[*whole.changes[:before], *copy.changes, *whole.changes[before:]],
    )


def ended_early(whole: History) -> History:
    """The parent ended before its last shard."""
    end = Change(execution_id=1, before="FANNED_OUT", after="SUCCESS")
    rest = [change for change in whole.changes if change != end]
    last = Change(execution_id=12, before="RUNNING", after="SUCCESS")
    rest.insert(rest.index(last), end)
    return replace(whole, changes=rest)


def shards_at_once(whole: History) -> History:
    """Shard 1 began while shard 0 ran."""
    of_last = [change for change in whole.changes if change.execution_id == 12]
    rest = [change for change in whole.changes if change.execution_id != 12]
    end = rest.index(Change(execution_id=11, before="RUNNING", after="SUCCESS"))
    return replace(whole, changes=[*rest[:end], *of_last[:2], rest[end], of_last[2],
                                   *rest[end + 1 :]])  # fmt: skip


def next_run_beside_shards(whole: History) -> History:
    """Execution 2 ran while the shards of execution 1 went on."""
    of_next = [change for change in whole.changes if change.execution_id == 2]
    rest = [change for change in whole.changes if change.execution_id != 2]
    return with_job(replace(whole, changes=[*rest[:3], *of_next, *rest[3:]]),
                    overlap_policy="queue_one")  # fmt: skip


def approved(*decisions: tuple[int, str, float]) -> History:
    """A job whose runs need an approval, with what the soak has said: execution, what, when."""
    said = [
        Decision(execution_id=id_, what=what, at=at(seconds)) for id_, what, seconds in decisions
    ]
    return with_job(
        replace(history(run(1, 0), run(2, 10), run(3, 20)), decisions=said), needs_approval=True
    )


BOTH = [(1, "approving", 0.5), (1, "approved", 0.6), (2, "approving", 10.5), (2, "approved", 10.6)]
APPROVED = [*BOTH, (3, "approving", 20.5), (3, "approved", 20.6)]


def not_run(whole: History, execution_id: int, reason: str) -> History:
    """The execution was skipped, and never ran."""
    rest = without_row(whole, execution_id)
    (row,) = (row for row in whole.executions if row.id == execution_id)
    skipped = replace(row, status="SKIPPED", attempt=0, started_at=None, final_token=None,
                      reason_code=reason)  # fmt: skip
    return replace(
        rest,
        executions=[*rest.executions, skipped],
        changes=[
            *rest.changes,
            Change(execution_id=execution_id, before=None, after="PENDING"),
            Change(execution_id=execution_id, before="PENDING", after="SKIPPED"),
        ],
    )


def passed_over() -> History:
    """Fifty runs of a job with a limit. The first one began after all others."""
    runs = [run(number, number) for number in range(1, 51)]
    whole = history(*runs)
    late = [
        replace(each, started_at=at(99), ended_at=at(100)) if each.execution_id == 1 else each
        for each in whole.attempts
    ]
    job = replace(
        whole.jobs[0],
        cron_expression="* * * * * *",
        limits=(("dwh", 100),),
        watermarks=(at(1), at(51)),
    )
    return replace(whole, jobs=[job], attempts=late, until=at(50))


def test_correct_divided_and_approved_runs_are_accepted() -> None:
    assert check(divided(), BOUNDS) == []
    assert check(with_job(divided(), overlap_policy="skip", limits=(("dwh", 1),)), BOUNDS) == []
    assert check(approved(*APPROVED), BOUNDS) == []
    assert check(not_run(approved(*BOTH), 3, "not_approved"), BOUNDS) == []
    assert check(not_run(approved(*BOTH, (3, "rejected", 21)), 3, "rejected"), BOUNDS) == []


WRONG: dict[str, tuple[str, Callable[[History], History]]] = {
    "a slot without a row": ("missing", lambda h: history(run(1, 0), run(3, 20))),
    "a job that was never scheduled": ("missing", lambda h: with_job(history(), watermarks=())),
    "a job that stood still": ("missing", lambda h: replace(h, until=at(31))),
    "a row that is no slot": (
        "extra",
        lambda h: history(*[run(n, 10 * n - 10) for n in (1, 2, 3)], run(4, 5)),
    ),
    "a row beyond the watermark": (
        "extra",
        lambda h: history(*[run(n, 10 * n - 10) for n in (1, 2, 3, 4)]),
    ),
    "two rows for a slot": (
        "duplicate",
        lambda h: history(*[run(n, 10 * n - 10) for n in (1, 2, 3)], run(4, 20)),
    ),
    "a slot that was deleted and run again": (
        "duplicate",
        lambda h: replace(h, ledger=[*h.ledger, line(7, 1, "begin", 20)]),
    ),
    "a watermark that went back": (
        "watermark",
        lambda h: with_job(h, watermarks=(at(0), at(20), at(10), at(30))),
    ),
    "a row that is not final": ("not_final", unfinished),
    "an attempt that began twice": (
        "started_twice",
        lambda h: replace(h, ledger=[*h.ledger, line(3, 1, "begin", 20)]),
    ),
    "a second attempt beside the first": (
        "unjustified_repeat",
        lambda h: replace(h, ledger=[*h.ledger, line(3, 2, "begin", 20)]),
    ),
    "an outcome written by a lost attempt": ("unfenced", zombie),
    "an outcome that no handler produced": (
        "unfenced",
        lambda h: replace(
            h,
            ledger=[entry for entry in h.ledger if (entry.execution_id, entry.what) != (3, "end")],
        ),
    ),
    "a failure of a run that ended well": (
        "outcome_lost",
        lambda h: replace(h, ledger=[*h.ledger, line(2, 2, "end", 20)]),
    ),
    "a run that was taken from a healthy worker": ("lost_alive", lambda h: replace(h, faults=[])),
    "a final row that runs again": (
        "illegal_change",
        lambda h: replace(
            h, changes=[*h.changes, Change(execution_id=1, before="SUCCESS", after="PENDING")]
        ),
    ),
    "an end that metrics counted twice": (
        "miscounted_ends",
        lambda h: replace(
            h,
            counted={
                **counted_from(h.executions),
                1: Counted(
                    ended={"SUCCESS": 4},
                    durations=4,
                    latenesses=2,
                ),
            },
        ),
    ),
    "an end that metrics did not count": ("miscounted_ends", lambda h: replace(h, counted={})),
    "a failure that nobody counted": ("miscounted_failures", lambda h: changed(h, 2, failures=1)),
    "more failures than retries": ("miscounted_failures", lambda h: changed(h, 2, max_retry=0)),
    "two runs of a job that must not overlap": ("overlap", overlapping),
    "more runs at once than a limit allows": (
        "limit",
        lambda h: with_job(overlapping(h), overlap_policy="allow", limits=(("dwh", 1),)),
    ),
    "more handlers at once than a limit allows, although the rows are right": (
        "limit",
        lambda h: with_job(
            replace(
                h,
                attempts=[
                    replace(each, ended_at=at(99)) if each.execution_id == 1 else each
                    for each in h.attempts
                ],
                ledger=[
                    *h.ledger,
                    replace(line(1, 1, "out", 0), at=at(40)),
                    replace(line(3, 1, "out", 20), at=at(30)),
                ],
            ),
            limits=(("dwh", 1),),
        ),
    ),
    "a run in a freeze": (
        "frozen",
        lambda h: with_job(replace(h, freezes=[(at(0), at(60))]), is_frozen=True),
    ),
    "more starts than a rate allows": ("limit", lambda h: with_job(h, rate=("mail", 1, 60))),
    "a row made before its time": ("time", lambda h: changed(h, 3, created_at=at(18))),
    "a run that did not wait for its upstream job": ("too_early", lambda h: with_job(h, after=1)),
    "a shard that was lost": ("lost_shard", lambda h: without_row(divided(), 12)),
    "a run with fewer shards than its plan() returned": (
        "lost_shard",
        lambda h: replace(
            divided(),
            ledger=[
                replace(entry, what="planned 3") if entry.what == "planned 2" else entry
                for entry in divided().ledger
            ],
        ),
    ),
    "a run that its job divides and that has no shards": (
        "lost_shard",
        lambda h: with_job(divided(), shards=2),
    ),
    "a shard that was made twice": ("duplicate", lambda h: doubled_shard(divided())),
    "a shard that ran twice under one lease": (
        "started_twice",
        lambda h: replace(
            divided(),
            ledger=[
                *divided().ledger,
                replace(line(12, 1, "begin", 0), job_name="ten", shard=1),
            ],
        ),
    ),
    "a shard of a run that has none": (
        "extra",
        lambda h: changed(
            replace(divided(), ledger=[*divided().ledger, *planned(0, 1)]), 1, shard_count=None
        ),
    ),
    "a parent that ended before its last shard": (
        "parent_early",
        lambda h: ended_early(divided()),
    ),
    "a parent that ended long after its last shard": (
        "parent_early",
        lambda h: changed(divided(), 1, finished_at=at(9)),
    ),
    "a parent that is not what its shards are": (
        "verdict",
        lambda h: replace(
            changed(divided(), 1, status="FAILED"),
            changes=[
                replace(change, after="FAILED") if change.before == "FANNED_OUT" else change
                for change in divided().changes
            ],
        ),
    ),
    "a divided run that did the work itself": (
        "undivided",
        lambda h: replace(divided(), ledger=[*divided().ledger, line(1, 1, "begin", 0)]),
    ),
    "more shards at once than a limit allows": (
        "limit",
        lambda h: with_job(shards_at_once(divided()), limits=(("dwh", 1),)),
    ),
    "shards of more keys than fit into a limit": (
        "limit",
        lambda h: with_job(
            changed(shards_at_once(divided()), 12, key="a"),
            limits=(("dwh {key}", 1), ("dwh", 1)),
        ),
    ),
    "a run beside the shards of the one before": (
        "overlap",
        lambda h: next_run_beside_shards(divided()),
    ),
    "a run that started without an approval": ("unapproved", lambda h: approved(*BOTH)),
    "a run that started before its approval": (
        "unapproved",
        lambda h: approved(*BOTH, (3, "approving", 23), (3, "approved", 23)),
    ),
    "a run that was rejected and started": (
        "unapproved",
        lambda h: approved(*BOTH, (3, "approving", 20.5), (3, "rejected", 20.6)),
    ),
    "a run that was approved and skipped": (
        "starved",
        lambda h: not_run(approved(*APPROVED), 3, "not_approved"),
    ),
    "a run that waited for a place while later ones began": (
        "starved",
        lambda h: passed_over(),
    ),
    "a process that died of itself": ("process_ended", lambda h: replace(h, deaths=["beat1"])),
    "a wait that was given up": ("gave_up", lambda h: replace(h, gave_up=["waited 9 s"])),
    "a row that came late": ("slow", lambda h: changed(h, 3, created_at=at(25.5))),
}


@pytest.mark.parametrize("what", WRONG)
def test_each_broken_promise_is_found_and_named(what: str) -> None:
    name, spoil = WRONG[what]
    assert names(check(spoil(right()), BOUNDS)) == {name}


def test_every_finding_has_a_wrong_history() -> None:
    assert {name for name, _ in WRONG.values()} | {"miscounted"} == set(PROMISES)


def test_a_run_that_has_waited_in_vain_for_what_succeeded_is_found() -> None:
    whole = with_job(changed(right(), 3, reason_code="upstream_missing"), after=1)
    assert "starved" in names(check(whole, BOUNDS))


def recovered_after(seconds: float, *faults: Fault) -> History:
    """A fault kills the worker of execution 2 at 12:00:11. It begins again `seconds` later."""
    whole = right()
    attempts = [
        replace(attempt, started_at=at(11 + seconds), ended_at=at(12 + seconds))
        if (attempt.execution_id, attempt.attempt) == (2, 2)
        else attempt
        for attempt in whole.attempts
    ]
    return replace(whole, attempts=attempts, faults=[*whole.faults, *faults])


def test_a_recovery_is_compared_with_its_bound() -> None:
    assert check(recovered_after(9.5), BOUNDS) == []
    assert names(check(recovered_after(10.5), BOUNDS)) == {"slow"}
    assert figures(recovered_after(9.5), BOUNDS)["longest_recovery_seconds"] == 9.5


def test_a_further_fault_extends_the_bound_by_its_duration() -> None:
    outage = Fault(kind="restart-database", target="", began_at=at(13), ended_at=at(15))

    assert check(recovered_after(19.5, outage), BOUNDS) == []  # 10 + 2 + 8
    assert names(check(recovered_after(20.5, outage), BOUNDS)) == {"slow"}


def test_the_checker_knows_the_same_transitions_as_the_code() -> None:
    """The table is repeated on purpose. Only a user's retry is missing, which no soak makes."""
    from bench.soak.checker import LEGAL

    by_people = {(status, "PENDING") for status in TRANSITIONS if status and status != "PENDING"}
    ours = {(before, after) for before, to in TRANSITIONS.items() for after in to}
    assert {(b, str(a)) for b, a in ours} - by_people | {("RUNNING", "PENDING")} == LEGAL


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(5))
def test_the_jobs_of_a_soak_are_valid_and_the_oracle_can_read_them(seed: int) -> None:
    jobs = make_jobs(200, random.Random(seed), lease_seconds=4)

    assert len({job.name for job in jobs}) == 200
    assert [job.row for job in jobs] == [
        job.row for job in make_jobs(200, random.Random(seed), lease_seconds=4)
    ]
    groups = CONFIG["scheduler"]["concurrency_groups"]
    settings = SchedulerSettings(min_cron_interval_seconds=1, concurrency_groups=groups)
    for job in jobs:
        values = {
            **job.row, "handler_name": "sample", "handler_params": {}, "concurrency_key": "",
        }  # fmt: skip
        assert not job_problems(CronJob(**values), now=NOON, settings=settings), job
        Expression(job.cron_expression)


def test_the_settings_of_a_soak_keep_the_proportions_of_production() -> None:
    worker = CONFIG["worker"]
    assert worker["heartbeat_seconds"] <= worker["lease_seconds"] / 4


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--faults", "kill-beat,earthquake"], "no fault earthquake; there are kill-beat"),
        (["--database", "oracle"], "invalid choice: 'oracle'"),
        (["--minutes", "0"], "--minutes must be more than 0"),
    ],
)
def test_impossible_options_of_a_soak_are_refused(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        bench(["soak", *arguments])

    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.processes
@pytest.mark.database
@pytest.mark.slow
def test_soak_of_half_a_minute_with_every_fault_finds_no_broken_promise(job_database: str) -> None:
    report = soak(Options(database=job_database, minutes=0.5, every=4, seed=2))

    assert report.broken == [], report.place
    assert report.line["slots_expected"] > 100


@pytest.mark.processes
def test_quiet_soak_prints_one_line_and_leaves_no_files(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [SoakJob(name=f"job {number}", cron_expression="* * * * * *") for number in range(3)]
    monkeypatch.setattr(command, "make_jobs", lambda *_, **__: jobs)

    code = bench(
        ["soak", "--workers", "1", "--minutes", "0.05", "--beats", "1", "--faults", "none"]
    )

    (printed,) = capsys.readouterr().out.splitlines()
    line = json.loads(printed)
    assert (code, line["kept"], line["broken"]) == (0, True, {})
    assert line["rows"] == line["slots_expected"] > 0


# --- docs/reliability.md --------------------------------------------------------------------------

PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_the_page_names_tests_that_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)
    assert len(named) > 15
    for path, test in named:
        source = (ROOT / path).read_text(encoding="utf-8")
        assert f"def {test}(" in source if test else source, f"{path}::{test}"


def test_the_page_lists_every_fault_and_every_finding() -> None:
    words = set(re.findall(r"`([\w-]+)`", PAGE))
    assert set(FAULTS) <= words
    assert set(PROMISES) <= words


def test_documented_bounds_use_the_real_defaults() -> None:
    documented = dict(re.findall(r"`(\w+_seconds)` \((\d+)\)", PAGE))
    assert len(documented) >= 6
    defaults = SchedulerSettings()
    assert {name: float(value) for name, value in documented.items()} == {
        name: float(getattr(defaults, name)) for name in documented
    }
