"""The list of jobs: its columns, and the data that one query loads for all rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import F
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from scheduler.admin import formatting
from scheduler.admin.jobs import slot, sparkline
from scheduler.admin.listing import TimedChangeList
from scheduler.admin.site import job_url
from scheduler.admin.unfold_compat import ModelAdmin
from scheduler.conf import current
from scheduler.labels import label
from scheduler.models import CronJob
from scheduler.models.job_state import state_of
from scheduler.operations.control import Control
from scheduler.operations.frozen import freezes_of_jobs
from scheduler.operations.liveness import is_overdue
from scheduler.operations.permissions import Action, may
from scheduler.schedule.freezes import Freezes, holding
from scheduler.schedule.words_of_kinds import words_of
from scheduler.states import JobState
from scheduler.store.recent_runs import recent_runs
from scheduler.store.upstreams import read_followed


class JobChangeList(TimedChangeList):
    """Sets `outcomes`, `freezes`, `shows_links`, `useless_actions` on each row, for all at once."""

    slot_answers: Sequence[slot.Found] = ()

    def url_for_result(self, result: Any) -> str:
        return job_url(result.pk)

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = list(self.result_list)
        read_followed(rows)
        found = recent_runs([row.pk for row in rows], sparkline.STRIP_LENGTH)
        shows_links = may(request.user, Action.VIEW_EXECUTIONS)
        asked = getattr(request, "asked_time", None)
        if asked is not None and rows:
            self.slot_answers = slot.answers_for(rows, asked, rows[0].seen_at)
        known = freezes_of_jobs([row.pk for row in rows], Control().clock.now(), current())
        for row in rows:
            row.outcomes = found.get(row.pk, [])
            row.shows_links = shows_links
            row.freezes = known.of(row.pk)
            row.useless_actions = {
                f"{self.model_admin.admin_site.name}:scheduler_cronjob_{verb}"
                for verb in useless_verbs(row)
            }


class JobColumns(ModelAdmin):
    """The columns of the list of jobs. JobChangeList sets `seen_at` on the rows."""

    @admin.display(description=_("state"), ordering="is_enabled")
    def state(self, job: CronJob) -> SafeString:
        return state_badge(job)

    @admin.display(description=_("schedule"), ordering="cron_expression")
    def schedule(self, job: CronJob) -> SafeString:
        return format_html(
            '<span title="{}">{}<br><span class="text-xs">{}</span></span>',
            words_of(job),
            formatting.code(job.cron_expression),
            formatting.zone_of(job),
        )

    @admin.display(description=_("next run"), ordering=F("next_run_at").asc(nulls_last=True))
    def next_run(self, job: CronJob) -> SafeString | str:
        return next_run(job, job.seen_at, job.freezes)  # type: ignore[attr-defined]

    @admin.display(description=_("last result"), ordering="last_run_at")
    def last_result(self, job: CronJob) -> SafeString | str:
        return last_result(job, job.seen_at)  # type: ignore[attr-defined]

    @admin.display(description=_("last runs"))
    def strip(self, job: CronJob) -> SafeString | str:
        return sparkline.strip(job.outcomes, linked=job.shows_links)  # type: ignore[attr-defined]

    @admin.display(description=_("took"))
    def durations(self, job: CronJob) -> SafeString | str:
        return sparkline.durations(job.outcomes)  # type: ignore[attr-defined]


def useless_verbs(job: CronJob) -> frozenset[str]:
    """Returns the verbs that the state of the job leaves nothing to do for."""
    if job.is_enabled:
        return frozenset({"enable", "resume"})
    # What was paused is resumed, and what was switched off is enabled: the same act.
    other = "enable" if state_of(job) == JobState.PAUSED else "resume"
    return frozenset({"disable", "pause", other})


def state_badge(job: CronJob) -> SafeString:
    state = state_of(job)
    meaning, title = {
        JobState.ENABLED: ("good", ""),
        JobState.ERROR: ("bad", job.schedule_error),
        JobState.PAUSED: ("warn", job.pause_reason),
        JobState.DISABLED: ("calm", ""),
    }[state]
    return formatting.badge(label(state), meaning, title)


def next_run(job: CronJob, now: datetime, freezes: Freezes) -> SafeString | str:
    """Returns when its next slot is, and whether one of its `freezes` will block that."""
    if not job.is_enabled:
        if state_of(job) != JobState.PAUSED or job.paused_until is None:
            return formatting.NOTHING
        until = gettext("paused until %(when)s") % {"when": formatting.exact(job.paused_until)}
        return format_html(
            '<span>{}<br><span class="text-xs">{}</span></span>',
            until,
            formatting.distance(job.paused_until, now),
        )
    if job.next_run_at is None:
        return formatting.badge(
            gettext("beat will say"), "calm", gettext("New or just edited: beat computes it.")
        )
    if is_overdue(job.next_run_at, now):
        return format_html(
            "{} {}",
            formatting.instant(job.next_run_at, now),
            formatting.badge(gettext("overdue"), "bad"),
        )
    if freeze := holding(freezes, job.next_run_at):
        return format_html(
            "{} {}",
            formatting.instant(job.next_run_at, now),
            formatting.badge(gettext("frozen"), "warn", f"{freeze.name}: {freeze.reason}"),
        )
    return formatting.instant(job.next_run_at, now)


def last_result(job: CronJob, now: datetime) -> SafeString | str:
    if job.last_run_at is None:
        return formatting.NOTHING
    return format_html(
        '{}<br><span class="text-xs" title="{}">{}</span>',
        formatting.status(job.last_status),
        formatting.exact(job.last_run_at),
        formatting.distance(job.last_run_at, now),
    )
