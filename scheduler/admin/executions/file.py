"""The list of executions as a CSV file: its columns."""

from __future__ import annotations

from django.utils.translation import gettext as _

from scheduler.admin.csv_export import Row, as_json, instant
from scheduler.admin.explain_words import in_a_line
from scheduler.labels import label_of
from scheduler.models import JobExecution
from scheduler.states import ParamSource, RunStatus


def head(*, sees_params: bool) -> Row:
    columns = [
        _("number"), _("job"), _("handler"), _("slot"), _("status"), _("source"),
        _("requested by"), _("started"), _("ended"), _("took (s)"), _("attempts"), _("failures"),
        _("queue"), _("worker"), _("error"),
    ]  # fmt: skip
    return [*columns, _("parameters")] if sees_params else columns


def cells(run: JobExecution, *, sees_params: bool) -> Row:
    found: list[object] = [
        run.pk,
        run.job_name,
        run.handler_name,
        instant(run.slot),
        label_of(RunStatus, run.status),
        label_of(ParamSource, run.param_source),
        run.requested_by,
        instant(run.started_at),
        instant(run.finished_at),
        _took(run),
        run.attempt,
        run.failures,
        run.queue,
        run.lease_owner or "",
        in_a_line(run),
    ]
    return [*found, as_json(run.params)] if sees_params else found


def _took(run: JobExecution) -> object:
    if run.started_at is None or run.finished_at is None:
        return ""
    return round(max(0.0, (run.finished_at - run.started_at).total_seconds()), 3)
