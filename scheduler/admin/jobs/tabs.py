"""The tabs of a job: its overview, its definition, and the lists that are about it."""

from __future__ import annotations

from typing import Any

from django.urls import NoReverseMatch
from django.utils.translation import gettext as _

from scheduler.admin.site import job_url, reverse
from scheduler.models import CronJob
from scheduler.operations.permissions import Action, may


def of(job: CronJob, chosen: str, person: Any) -> list[dict[str, Any]]:
    """Returns the tabs that the person may open; `chosen` is the one that is shown."""
    of_job = {"job__id__exact": str(job.pk)}
    found = [
        ("overview", _("Overview"), job_url(job.pk)),
        ("definition", _("Definition"), _address("cronjob_change", job.pk)),
    ]
    if may(person, Action.VIEW_EXECUTIONS):
        found.append(("runs", _("Runs"), _address("jobexecution_changelist", query=of_job)))
    found.append(("history", _("History"), _address("cronjob_history", job.pk)))
    found.append(("backfills", _("Backfills"), _address("backfill_changelist", query=of_job)))
    if may(person, Action.VIEW_ALERTS):
        found.append(("alerts", _("Alerts"), _address("alert_changelist", query={"q": job.name})))
    return [
        {"title": title, "url": url, "is_chosen": name == chosen}
        for name, title, url in found
        if url
    ]


def _address(name: str, *ids: int, query: dict[str, str] | None = None) -> str:
    """Returns an address; empty if the site does not have the page."""
    try:
        return reverse(f"admin:scheduler_{name}", args=ids, query=query)
    except NoReverseMatch:
        return ""
