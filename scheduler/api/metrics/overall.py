"""Whether jobu works: processes, clock, what waits, what has ended."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from scheduler.api.metrics.text import Family, counter, gauge, labels
from scheduler.operations import liveness
from scheduler.states import FINAL, JobState
from scheduler.store import job_figures, statistics

WINDOW: Final = timedelta(minutes=5)


def families(now: datetime) -> Iterator[Family]:
    seen = liveness.liveness(now)
    yield gauge("jobu_executions_pending", "Executions that wait.", seen.pending)
    yield gauge("jobu_executions_running", "Executions that run.", seen.running)
    yield _ended_recently(now)
    yield from _ended()
    yield gauge(
        "jobu_oldest_waiting_seconds",
        "How long the run waits that a worker could have begun first; 0: none waits.",
        seen.oldest_waiting_seconds or 0,
    )
    if seen.beat_age_seconds is not None:
        yield gauge(
            "jobu_beat_age_seconds", "Since any beat's newest heartbeat.", seen.beat_age_seconds
        )
    yield gauge("jobu_beats", "Beats with a recent heartbeat.", seen.beats_alive)
    yield gauge("jobu_workers", "Workers with a recent heartbeat.", seen.workers_alive)
    yield gauge(
        "jobu_clock_offset_seconds",
        "The database's clock minus this host's. More than 5 or less than -5 is an alarm.",
        seen.clock_offset_seconds,
    )
    yield gauge(
        "jobu_clock_behind_seconds",
        "How far the database's clock stands before its own latest time. More than 5: no job "
        "starts by its schedule until it gets there.",
        seen.clock_behind_seconds,
    )
    yield _jobs(now)


def _ended_recently(now: datetime) -> Family:
    family = gauge(
        "jobu_executions_ended_recently",
        f"Executions that ended in the last {WINDOW.total_seconds():.0f} seconds.",
    )
    ended = statistics.ended_since(now - WINDOW)
    for status in sorted(FINAL):
        family.add(ended.of(status), labels(status=status))
    return family


def _ended() -> Iterator[Family]:
    ended = job_figures.of_all()
    runs = counter("jobu_runs_total", "Runs that have ended, of all jobs and without a job.")
    for status in sorted(FINAL):
        runs.add(ended.runs.get(status, 0), labels(status=status))
    duration = Family(
        "histogram", "jobu_run_duration_seconds", "How long the last attempt of a run took."
    )
    duration.add_histogram(ended.duration)
    lateness = Family(
        "histogram",
        "jobu_run_lateness_seconds",
        "From the slot, or when it could start, to the start of a run that needed one attempt.",
    )
    lateness.add_histogram(ended.lateness)
    yield from (runs, duration, lateness)


def _jobs(now: datetime) -> Family:
    family = gauge("jobu_jobs", "Jobs by state.")
    counts = statistics.job_counts(overdue_before=now - liveness.OVERDUE_AFTER)
    family.add(counts.enabled, labels(state=JobState.ENABLED))
    family.add(counts.disabled, labels(state=JobState.DISABLED))
    family.add(counts.paused, labels(state=JobState.PAUSED))
    family.add(counts.broken, labels(state=JobState.ERROR))
    return family
