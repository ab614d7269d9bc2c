"""Addresses that the numbers and names of the front page link to."""

from __future__ import annotations

from scheduler.admin.site import job_url, reverse


def runs(**query: str) -> str:
    return reverse("admin:scheduler_jobexecution_changelist", query=query)


def jobs(**query: str) -> str:
    return reverse("admin:scheduler_cronjob_changelist", query=query)


def run(execution_id: int) -> str:
    return reverse("admin:scheduler_jobexecution_change", args=[execution_id])


def job(job_id: int) -> str:
    return job_url(job_id)
