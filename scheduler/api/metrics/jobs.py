"""Series of each enabled job, for as many jobs as the settings allow."""

from __future__ import annotations

from collections.abc import Iterator

from scheduler.api.metrics.text import Family, counter, gauge, labels, seconds
from scheduler.states import FINAL
from scheduler.store import job_figures


def families(max_jobs: int) -> Iterator[Family]:
    jobs = job_figures.of_jobs(max_jobs)
    omitted = job_figures.enabled_count() - len(jobs) if len(jobs) == max_jobs else 0
    yield gauge(
        "jobu_metrics_jobs_omitted",
        "Enabled jobs without series of their own: there are more than metrics.max_jobs.",
        max(0, omitted),
    )
    yield from _instants(jobs)
    failures = gauge(
        "jobu_job_failures_in_a_row", "Runs of the job that failed since its last success."
    )
    runs = counter("jobu_job_runs_total", "Runs of the job that have ended.")
    duration = Family(
        "histogram", "jobu_job_duration_seconds", "How long the last attempt of a run took."
    )
    lateness = Family(
        "histogram",
        "jobu_job_lateness_seconds",
        "From the slot, or when it could start, to the start of a run that needed one attempt.",
    )
    for job in jobs:
        label, ended = labels(job=job.name), job.ended
        failures.add(ended.failures_in_a_row, label)
        for status, of_status in _STATUSES.items():
            runs.add(ended.runs.get(status, 0), f"{label},{of_status}")
        if any(ended.duration.counts):
            duration.add_histogram(ended.duration, label)
        if any(ended.lateness.counts):
            lateness.add_histogram(ended.lateness, label)
    yield from (failures, runs, duration, lateness)


_STATUSES = {status: labels(status=status) for status in sorted(FINAL)}


def _instants(jobs: list[job_figures.JobFigures]) -> Iterator[Family]:
    created = gauge("jobu_job_created_timestamp_seconds", "When the job was made.")
    next_run = gauge("jobu_job_next_run_timestamp_seconds", "The next slot of the job.")
    last_end = gauge("jobu_job_last_end_timestamp_seconds", "When a run of the job ended last.")
    last_success = gauge(
        "jobu_job_last_success_timestamp_seconds",
        "When a run of the job ended well last. Missing: none has since runs are counted.",
    )
    for job in jobs:
        label = labels(job=job.name)
        for family, at in (
            (created, job.created_at),
            (next_run, job.next_run_at),
            (last_end, job.ended.last_end_at),
            (last_success, job.ended.last_success_at),
        ):
            if at is not None:
                family.add(seconds(at), label)
    yield from (created, next_run, last_end, last_success)
