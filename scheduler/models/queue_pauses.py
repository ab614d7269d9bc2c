"""Queues from which no worker takes runs."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from scheduler.models.fields import ExactText


class QueuePause(models.Model):
    """One paused queue. Claims leave it out until `until`; what runs goes on.

    A row whose `until` is over means nothing, and the next pause of the queue replaces it.
    """

    # As executions name it: "" is the default queue. Compared exactly: migration 0028.
    queue = ExactText(_("queue"), max_length=100, unique=True)
    reason = models.CharField(_("reason"), max_length=500)
    until = models.DateTimeField(_("until"), null=True, blank=True)
    who = models.CharField(_("who"), max_length=150, blank=True, default="", db_default="")
    at = models.DateTimeField(_("at"))

    class Meta:
        db_table = "jobu_queue_pauses"
        verbose_name = _("pause of a queue")
        verbose_name_plural = _("pauses of queues")
        default_permissions = ()
        permissions = [("pause_queue", "Can pause and resume queues")]

    def __str__(self) -> str:
        return self.queue
