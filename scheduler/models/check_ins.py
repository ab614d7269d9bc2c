"""What is reported of attempts to services that watch for silence: healthchecks, Sentry Crons."""

from __future__ import annotations

from django.db import models
from django.db.models import UniqueConstraint

from scheduler.alert_states import CheckInPhase, MessageState
from scheduler.models.fields import UtcNow, one_of


class CheckInJob(models.Model):
    """A job that reports its attempts. So beat finds these few among a million of jobs."""

    job_id = models.BigIntegerField(primary_key=True)

    class Meta:
        db_table = "jobu_check_in_jobs"
        default_permissions = ()

    def __str__(self) -> str:
        return f"job {self.job_id}"


class CheckInPing(models.Model):
    """One report of one attempt to one service: that it began, or how it ended."""

    job_id = models.BigIntegerField()
    execution_id = models.BigIntegerField()
    attempt = models.IntegerField()
    # What the service knows the attempt by: its lease token.
    attempt_key = models.CharField(max_length=32)
    # Which of the job's services: a hash, so that an edit of the list moves nothing.
    service_key = models.CharField(max_length=16)
    phase = models.CharField(max_length=10)  # states.CheckInPhase
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    state = models.CharField(
        max_length=10, default=MessageState.WAITING.value, db_default=MessageState.WAITING.value
    )
    next_at = models.DateTimeField()
    tries = models.IntegerField(default=0, db_default=0)
    error = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(db_default=UtcNow())

    class Meta:
        db_table = "jobu_check_ins"
        default_permissions = ()
        indexes = [
            # what is to be sent now
            models.Index(fields=["state", "next_at"], name="check_ins_to_send"),
            # retention
            models.Index(fields=["created_at"], name="check_ins_by_age"),
        ]
        constraints = [
            UniqueConstraint(
                fields=["attempt_key", "service_key", "phase"], name="each_is_reported_once"
            ),
            one_of("phase", CheckInPhase, "check_in_phase_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.phase} of attempt {self.attempt} of #{self.execution_id}"
