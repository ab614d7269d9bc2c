"""Switches of jobs between jobu and the system that they were imported from."""

from __future__ import annotations

from django.db import models

from scheduler.models.fields import CollatedText, one_of
from scheduler.states import OldSide, SwitchDirection, SwitchState


class JobSwitch(models.Model):
    """The last switch of a job. See scheduler/moving/switching.py.

    Written before anything is written in the old system, so that a switch that was interrupted goes
    on. Without a foreign key, as `JobGuard`: the row of a job that SQL has deleted disturbs nobody.
    """

    job_id = models.BigIntegerField(primary_key=True)
    direction = models.CharField(max_length=10)
    state = models.CharField(max_length=20)
    old_side = models.CharField(max_length=20)
    source = CollatedText(max_length=255)
    since = models.DateTimeField()
    # When the state changed.
    at = models.DateTimeField()
    who = models.CharField(max_length=150, blank=True, default="", db_default="")
    # Why the last step failed.
    error = models.CharField(max_length=500, blank=True, default="", db_default="")
    # To here: the last run there, and how many it had had then. Back: the last slot of ours.
    last_run_at = models.DateTimeField(null=True, blank=True)
    runs = models.BigIntegerField(null=True, blank=True)

    class Meta:
        db_table = "jobu_job_switches"
        verbose_name = "switch of a job"
        default_permissions = ()
        constraints = [
            one_of("direction", SwitchDirection, "switch_direction_known"),
            one_of("state", SwitchState, "switch_state_known"),
            one_of("old_side", OldSide, "switch_old_side_known"),
        ]
        indexes = [
            # those that have not ended
            models.Index(fields=["state", "at"], name="job_switches_by_state"),
        ]

    def __str__(self) -> str:
        return f"job {self.job_id} {self.direction}: {self.state}"

    @property
    def is_done(self) -> bool:
        return self.state == SwitchState.DONE
