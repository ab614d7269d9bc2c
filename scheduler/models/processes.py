"""Processes of the scheduler."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from scheduler.models.fields import ExactText, StoredJSON, choices_of
from scheduler.states import ProcessKind


class SchedulerProcess(models.Model):
    """A beat or a worker process and its heartbeat. For people and alerts; no run depends on it."""

    name = ExactText(_("name"), max_length=255, unique=True)
    kind = models.CharField(_("kind"), max_length=10, choices=choices_of(ProcessKind))
    host = models.CharField(_("host"), max_length=255)
    pid = models.IntegerField(_("process id"))
    started_at = models.DateTimeField(_("started"))
    heartbeat_at = models.DateTimeField(_("heartbeat"))
    running = models.IntegerField(_("running"), default=0)  # runs in progress
    # Of a worker: what it has counted since its start (worker/figures.py). NULL: nothing yet.
    figures = StoredJSON(null=True, blank=True, editable=False)
    # The queues of jobs that a worker claims from, "" for the default one. NULL: not known. Empty
    # while it is drained.
    queues = StoredJSON(null=True, blank=True, editable=False)
    # How many runs a worker may have at once.
    places = models.IntegerField(_("places"), null=True, blank=True)
    # Since when a person wants this worker to take no runs. The worker reads it with its heartbeat.
    drained_at = models.DateTimeField(_("drained"), null=True, blank=True)
    drained_by = models.CharField(
        _("drained by"), max_length=150, blank=True, default="", db_default=""
    )

    class Meta:
        db_table = "scheduler_process"
        verbose_name = _("process")
        verbose_name_plural = _("processes")
        permissions = [("drain_schedulerprocess", "Can drain workers")]

    def __str__(self) -> str:
        return self.name
