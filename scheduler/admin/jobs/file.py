"""The list of jobs as a CSV file: its columns."""

from __future__ import annotations

from django.utils.translation import gettext as _

from scheduler.admin import formatting
from scheduler.admin.csv_export import Row, as_json, instant
from scheduler.labels import label, label_of
from scheduler.models import CronJob
from scheduler.models.job_state import state_of
from scheduler.states import RunStatus


def head(*, sees_params: bool) -> Row:
    columns = [
        _("number"), _("name"), _("state"), _("schedule"), _("time zone"), _("handler"),
        _("next run"), _("last result"), _("last run"), _("queue"), _("priority"), _("owner"),
        _("tags"), _("description"),
    ]  # fmt: skip
    return [*columns, _("parameters")] if sees_params else columns


def cells(job: CronJob, *, sees_params: bool) -> Row:
    found: list[object] = [
        job.pk,
        job.name,
        label(state_of(job)),
        job.cron_expression,
        formatting.zone_of(job),
        job.handler_name,
        instant(job.next_run_at),
        label_of(RunStatus, job.last_status),
        instant(job.last_run_at),
        job.queue,
        job.priority,
        job.owner,
        ", ".join(job.tags),
        job.description,
    ]
    return [*found, as_json(job.handler_params)] if sees_params else found
