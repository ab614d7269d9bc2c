"""Which run of a job that must not overlap goes on."""

from __future__ import annotations

from django.db import models


class JobGuard(models.Model):
    """One row per job whose runs must not overlap, and per key that calls without a job share.

    A claim locks it and decides; the end of the run clears it. The first claim makes the row. That
    of a job goes with the job, that of a key with the last run that waits for it.
    """

    # The job's id, or the key of calls (JobExecution.overlap_key), which is negative.
    id = models.BigIntegerField(primary_key=True)
    # The execution that goes on. Compared with its row before it is believed: somebody may have
    # ended that one by SQL.
    running_id = models.BigIntegerField(null=True)

    class Meta:
        db_table = "job_guard"
        default_permissions = ()

    def __str__(self) -> str:
        return f"guard {self.pk}"
