"""Failures by their kind. Beat writes them (store/failures.py), not the worker that ends a run."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

#: The job of a day's row whose runs had none.
NO_JOB = 0


class FailureGroup(models.Model):
    """Runs that failed in the same way: same handler, same exception, same text but for numbers."""

    # Of failure_kinds.FailureKind.
    fingerprint = models.CharField(max_length=32, unique=True)
    handler_name = models.CharField(_("handler"), max_length=255)
    exception_class = models.CharField(max_length=255, blank=True, default="")
    text = models.CharField(_("error"), max_length=400, blank=True, default="")
    # The first line of the newest error, as it was.
    example = models.CharField(max_length=400, blank=True, default="")
    runs = models.BigIntegerField(_("failures"))
    first_at = models.DateTimeField(_("happened first"))
    last_at = models.DateTimeField(_("happened last"))
    last_execution_id = models.BigIntegerField()
    # False: a person has marked it as seen, and it has not happened since.
    is_open = models.BooleanField(default=True)
    seen_at = models.DateTimeField(null=True)
    seen_by = models.CharField(max_length=150, blank=True, default="")

    class Meta:
        db_table = "jobu_failure_groups"
        verbose_name = _("kind of failure")
        verbose_name_plural = _("kinds of failures")
        default_permissions = ()
        indexes = [
            # the page: the newest first, with or without those that were seen; retention
            models.Index(fields=["is_open", "last_at"], name="failure_groups_open"),
            models.Index(fields=["last_at"], name="failure_groups_newest"),
        ]

    @property
    def exception_name(self) -> str:
        """The class of the exception without its module."""
        return self.exception_class.rpartition(".")[2]

    def __str__(self) -> str:
        name = self.exception_name
        # Most errors begin with it.
        return f"{name}: {self.text}" if name and name not in self.text else self.text


class FailureDay(models.Model):
    """How many runs of one job failed in one way on one day, in the zone of the site."""

    group = models.ForeignKey(
        FailureGroup, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False
    )
    # No foreign key: NO_JOB is no job.
    job_id = models.BigIntegerField()
    day = models.DateField()
    runs = models.BigIntegerField()

    class Meta:
        db_table = "jobu_failure_days"
        default_permissions = ()
        constraints = [
            # and the trend of a group
            models.UniqueConstraint(
                fields=["group", "day", "job_id"], name="one_row_per_failure_day"
            )
        ]
        indexes = [
            # which kinds of failures some jobs had; retention
            models.Index(fields=["job_id", "day"], name="failure_days_of_job"),
            models.Index(fields=["day"], name="failure_days_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.runs} on {self.day}"


class FailedRun(models.Model):
    """Which kind of failure a failed run is. It goes when the run is retried, or with the run."""

    # The database itself deletes the row with its execution (migration 0032).
    execution = models.OneToOneField(
        "scheduler.JobExecution",
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        primary_key=True,
        related_name="failed_run",
    )
    group = models.ForeignKey(
        FailureGroup, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False
    )

    class Meta:
        db_table = "jobu_failed_runs"
        default_permissions = ()
        # the runs of a group, the newest first
        indexes = [models.Index(fields=["group", "execution"], name="failed_runs_of_group")]

    def __str__(self) -> str:
        return f"#{self.pk}"
