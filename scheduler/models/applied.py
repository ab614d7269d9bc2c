"""Which jobs are kept in files, and what the files said last."""

from __future__ import annotations

from django.db import models

from scheduler.models.fields import CollatedText, StoredJSON


class AppliedJob(models.Model):
    """The definition of a job as a file of jobs has set it last. See operations/job_files.

    Without a foreign key, as `JobGuard`: the row of a job that SQL has deleted disturbs nobody.
    """

    job_id = models.BigIntegerField(primary_key=True)
    # `file:` and the name of the file, or the name that a person has chosen.
    source = CollatedText(max_length=255)
    # The job's name in the file: a person may have renamed the job since.
    name = models.CharField(max_length=255)
    # The fields that the file decides, as the history keeps them: secrets are masked.
    definition = StoredJSON()
    applied_at = models.DateTimeField()
    applied_by = models.CharField(max_length=150)

    class Meta:
        db_table = "jobu_applied_jobs"
        verbose_name = "applied job"
        default_permissions = ()
        indexes = [
            # the jobs of one file
            models.Index(fields=["source"], name="applied_jobs_by_source"),
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.source}"
