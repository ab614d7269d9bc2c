"""Runs that a person approves before they start, and who has decided."""

from __future__ import annotations

from django.db import models

from scheduler.models.fields import one_of
from scheduler.states import ApprovalState


class RunApproval(models.Model):
    """The approval of one run. There is none for a run that needs none."""

    # The database itself deletes the row with its execution (migration 0037).
    execution = models.OneToOneField(
        "scheduler.JobExecution",
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        primary_key=True,
        related_name="approval",
    )
    state = models.CharField(max_length=10)
    # When the run may start once it is approved, and until when a person can decide.
    starts_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    decided_by = models.CharField(max_length=150, blank=True, default="", db_default="")
    decided_at = models.DateTimeField(null=True, blank=True)
    note = models.CharField(max_length=500, blank=True, default="", db_default="")
    # Of the parameters that the person has seen.
    digest = models.CharField(max_length=64, blank=True, default="", db_default="")

    class Meta:
        db_table = "jobu_run_approvals"
        default_permissions = ()
        permissions = [("approve_execution", "Can approve and reject runs that wait for it")]
        # those whose time is over
        indexes = [models.Index(fields=["state", "expires_at"], name="approvals_waiting")]
        constraints = [one_of("state", ApprovalState, "approval_state_is_known")]

    def __str__(self) -> str:
        return f"#{self.pk} {self.state}"
