"""The numbers at the top of the front page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.utils.translation import gettext as _

from scheduler.admin import formatting
from scheduler.admin.dashboard import limits, links, wording
from scheduler.admin.wording import WAITS_FOR
from scheduler.states import RunStatus, WaitsFor
from scheduler.store import statistics

#: As the list's filter calls what goes on: a run whose shards go on is not RUNNING.
GOES_ON: Final = "going_on"


@dataclass(frozen=True, kw_only=True)
class Card:
    """A number with a name.

    `parts`: (text, address) for each part of the number. `url` is empty if no single list shows
    all the counted rows.
    """

    title: str
    value: str
    meaning: str = "calm"
    url: str = ""
    parts: Sequence[tuple[str, str]] = ()


def execution_cards(now: datetime, waiting: statistics.Waiting) -> list[Card]:
    ended = statistics.ended_since(now - limits.DAY)
    plus = "+" if ended.is_capped else ""
    failed, timed_out = ended.of(RunStatus.FAILED), ended.of(RunStatus.TIMEOUT)
    return [
        Card(
            title=_("Running"),
            value=wording.count(statistics.running_count()),
            meaning="busy",
            url=links.runs(now=GOES_ON),
        ),
        Card(
            title=_("Waiting"),
            value=wording.count(waiting.all),
            url=links.runs(status__exact=RunStatus.PENDING),
            parts=_waiting_parts(now, waiting),
        ),
        Card(
            title=_("Failed in 24 h"),
            value=wording.number(failed + timed_out) + plus,
            meaning="bad" if failed + timed_out else "calm",
            parts=(
                (
                    _("%(count)s failed") % {"count": wording.number(failed) + plus},
                    links.runs(status__exact=RunStatus.FAILED, ended="24h"),
                ),
                (
                    _("%(count)s timed out") % {"count": wording.number(timed_out) + plus},
                    links.runs(status__exact=RunStatus.TIMEOUT, ended="24h"),
                ),
            ),
        ),
        Card(
            title=_("Succeeded in 24 h"),
            value=wording.number(ended.of(RunStatus.SUCCESS)) + plus,
            meaning="good",
            url=links.runs(status__exact=RunStatus.SUCCESS, ended="24h"),
        ),
    ]


def _waiting_parts(now: datetime, waiting: statistics.Waiting) -> list[tuple[str, str]]:
    """Returns how many wait for what, and for how long the oldest one waits for a worker."""
    parts = []
    for what, count in waiting.by.items():
        parts.append((f"{wording.count(count)} {WAITS_FOR[what]}", links.runs(now=what.value)))
        if what == WaitsFor.WORKER and waiting.oldest_at:
            wait = formatting.span(max(0.0, (now - waiting.oldest_at).total_seconds()))
            parts.append((_("the oldest for %s") % wait, links.runs(now=what.value)))
    return parts


def job_card(jobs: statistics.JobCounts) -> Card:
    parts = [
        (
            _("%(count)s paused") % {"count": wording.number(jobs.paused)},
            links.jobs(state="paused"),
        ),
        (
            _("%(count)s disabled") % {"count": wording.number(jobs.disabled)},
            links.jobs(state="disabled"),
        ),
        (
            _("%(count)s in error") % {"count": wording.number(jobs.broken)},
            links.jobs(state="error"),
        ),
    ]
    return Card(
        title=_("Enabled jobs"),
        value=wording.number(jobs.enabled),
        url=links.jobs(state="enabled"),
        parts=parts,
    )
