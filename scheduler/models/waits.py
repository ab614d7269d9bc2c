"""What runs wait for before they may be claimed."""

from __future__ import annotations

from django.db import models


class JobWait(models.Model):
    """A run waits for the success of an upstream job's slot. Without such rows it waits no more.

    Written in the transaction that makes the run, and deleted in the one that lets it go on. The
    run is PENDING meanwhile, with the reason `upstream_awaited`, and cannot be claimed.
    """

    execution_id = models.BigIntegerField()
    upstream_id = models.BigIntegerField()
    slot = models.DateTimeField()
    # The success must come by then. NULL: there is no limit, the backfill decides.
    until = models.DateTimeField(null=True, blank=True)
    # The run starts no earlier: its jitter, or the end of the freeze that holds it.
    not_before = models.DateTimeField()
    # Wait for the run that this backfill of the upstream job makes for the slot. NULL: for any.
    backfill_id = models.BigIntegerField(null=True, blank=True)

    class Meta:
        db_table = "job_waits"
        default_permissions = ()
        constraints = [
            # also the index for "what does this run wait for?"
            models.UniqueConstraint(
                fields=["execution_id", "upstream_id"], name="one_wait_per_run_and_upstream"
            ),
        ]
        indexes = [
            # "whom does the end of this upstream job release?"
            models.Index(fields=["upstream_id", "slot"], name="job_waits_by_upstream"),
        ]

    def __str__(self) -> str:
        return f"#{self.execution_id} waits for job #{self.upstream_id}"
