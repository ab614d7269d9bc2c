"""How many runs have ended: counters that only grow, for metrics. They outlive the runs."""

from __future__ import annotations

from django.db import models

from scheduler.models.fields import StoredJSON

#: The row that counts all runs, those without a job and those of deleted jobs too.
ALL_JOBS = 0


class JobCounters(models.Model):
    """What has ended of one job, or of all (`ALL_JOBS`). Written by beat (store/counters.py)."""

    # No foreign key: ALL_JOBS is no job. Beat deletes the rows of deleted jobs.
    job_id = models.BigIntegerField(primary_key=True)
    ended = StoredJSON(default=dict)  # status -> how many runs
    # Upper bound in seconds, or +Inf -> how many runs; "sum" -> seconds together.
    duration = StoredJSON(default=dict)
    lateness = StoredJSON(default=dict)
    failures_in_a_row = models.IntegerField(default=0)
    last_end_at = models.DateTimeField(null=True)
    last_success_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "jobu_job_counters"
        default_permissions = ()

    def __str__(self) -> str:
        return f"counters of #{self.pk}"


class Counting(models.Model):
    """How far the ends are counted. One row; a beat locks it while it counts."""

    id = models.SmallIntegerField(primary_key=True)
    counted_until = models.DateTimeField()
    # Failures that ended before it are not grouped yet. NULL: not begun (store/counters.py).
    failures_before = models.DateTimeField(null=True)

    class Meta:
        db_table = "jobu_counting"
        default_permissions = ()

    def __str__(self) -> str:
        return f"counted until {self.counted_until}"


class CountedEnds(models.Model):
    """The runs of one step of the counting, until no more ends can be written into its span."""

    after = models.DateTimeField()  # the span of `finished_at`: (after, until]
    until = models.DateTimeField()
    runs = models.IntegerField()
    id_sum = models.BigIntegerField()
    ids = models.BinaryField()

    class Meta:
        db_table = "jobu_counted_ends"
        default_permissions = ()
        # which spans are old enough
        indexes = [models.Index(fields=["until"], name="counted_ends_by_age")]

    def __str__(self) -> str:
        return f"{self.runs} ends until {self.until}"
