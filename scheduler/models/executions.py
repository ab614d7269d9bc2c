"""Executions, their attempts and their log lines. docs/architecture.md explains each column."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import CheckConstraint, Q, UniqueConstraint
from django.utils.translation import gettext_lazy as _

from scheduler.models.fields import (
    CollatedText,
    ExactText,
    StoredJSON,
    UtcNow,
    choices_of,
    one_of,
)
from scheduler.models.jobs import LIMITS, CronJob
from scheduler.models.slot_of_run import SlotOfRun, has_slot, slot_of_run
from scheduler.states import (
    FINAL,
    UNFINISHED,
    AttemptOutcome,
    ParamSource,
    ReasonCode,
    RunStatus,
)

LOWEST_PRIORITY, HIGHEST_PRIORITY = LIMITS["priority"]


class JobExecution(models.Model):
    """What became of one slot, manual run, event or backfilled slot."""

    # The database cascades (migration 0002): deleting a job does not load its executions.
    job = models.ForeignKey(
        CronJob,
        null=True,
        blank=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="executions",
        verbose_name=_("job"),
        db_index=False,
    )
    job_name = models.CharField(
        _("job name"), max_length=255, blank=True, default="", db_default=""
    )
    handler_name = CollatedText(_("handler"), max_length=255)
    scheduled_time = models.DateTimeField(
        _("scheduled"),
        help_text=_("whole seconds for slots; with microseconds for everything else"),
    )
    logical_time = models.DateTimeField(_("stands for slot"), null=True, blank=True)
    # Who asked for it: a user's name, empty for slots. A name, because the account may be deleted.
    requested_by = models.CharField(
        _("requested by"), max_length=150, blank=True, default="", db_default=""
    )
    # Like `job`, without a constraint: when a backfill is deleted, its runs stay.
    backfill = models.ForeignKey(
        "Backfill",
        null=True,
        blank=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="executions",
        verbose_name=_("backfill"),
        db_index=False,
    )
    # Of a shard: the run that it is a part of, and which part. The database deletes it with that
    # (migration 0040). A shard has no `job`: the job's runs are its parents.
    parent = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="shards",
        verbose_name=_("shard of"),
        db_index=False,
    )
    shard = models.IntegerField(_("shard"), null=True, blank=True)  # 0 is the first
    # How many shards there are: on each of them, and on their parent once it has some.
    shard_count = models.IntegerField(_("shards"), null=True, blank=True)
    # Compared exactly on all databases: migration 0006 gives MySQL's column a binary collation.
    dedupe_key = models.CharField(
        _("idempotency key"), max_length=255, null=True, blank=True, unique=True
    )
    # Of what the event asked for (operations/event_digest.py): the key of another event is refused.
    dedupe_digest = models.CharField(max_length=64, null=True, blank=True, editable=False)
    status = models.CharField(
        _("status"),
        max_length=20,
        choices=choices_of(RunStatus),
        default=RunStatus.PENDING.value,
        db_default=RunStatus.PENDING.value,
    )
    params = StoredJSON(_("parameters"), default=dict, db_default={})
    param_source = models.CharField(
        _("source"),
        max_length=20,
        choices=choices_of(ParamSource),
        default=ParamSource.CRON.value,
        db_default=ParamSource.CRON.value,
    )
    attempt = models.IntegerField(_("attempt"), default=0, db_default=0)  # claims so far
    failures = models.IntegerField(_("failures"), default=0, db_default=0)  # charged attempts
    max_retry = models.IntegerField(_("retries"), default=3, db_default=3)
    timeout_seconds = models.IntegerField(_("timeout"), default=3600, db_default=3600)
    # Compared exactly on all databases: migration 0017.
    queue = ExactText(_("queue"), max_length=100, blank=True, default="", db_default="")
    priority = models.IntegerField(_("priority"), default=0, db_default=0)
    available_at = models.DateTimeField(_("available"), db_default=UtcNow())  # earliest claim
    lease_token = models.CharField(max_length=32, null=True, blank=True)
    lease_owner = models.CharField(_("worker"), max_length=255, null=True, blank=True)
    lease_expires_at = models.DateTimeField(_("lease ends"), null=True, blank=True)
    deadline_at = models.DateTimeField(_("deadline"), null=True, blank=True)
    # Runs without a job that must not overlap share it: a negative hash, so it is no job's id.
    overlap_key = models.BigIntegerField(null=True, blank=True, editable=False)
    # While PENDING: the guard (models/guards.py) behind which it waits for another run's end.
    in_line = models.BigIntegerField(null=True, blank=True, editable=False)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    cancel_requested_at = models.DateTimeField(_("cancel requested"), null=True, blank=True)
    progress = models.FloatField(_("progress"), null=True, blank=True)
    progress_message = models.CharField(
        _("progress message"), max_length=500, blank=True, default="", db_default=""
    )
    overran = models.BooleanField(_("overran"), default=False, db_default=False)
    final_token = models.CharField(max_length=32, null=True, blank=True)
    result = StoredJSON(_("result"), null=True, blank=True)
    error_message = models.TextField(_("error"), null=True, blank=True)
    # Why it was skipped, held, cancelled or failed, for programs: states.ReasonCode, or NULL.
    reason_code = models.CharField(max_length=40, null=True, blank=True, editable=False)
    reason_facts = StoredJSON(null=True, blank=True, editable=False)
    # The spans of the run (store/traces.py). NULL: it was asked for outside of one.
    trace_context = models.TextField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("created"), db_default=UtcNow())

    class Meta:
        db_table = "job_executions"
        verbose_name = _("execution")
        verbose_name_plural = _("executions")
        permissions = [
            ("cancel_jobexecution", "Can cancel executions"),
            ("retry_jobexecution", "Can retry executions"),
        ]
        indexes = [
            # rescue_expired. PostgreSQL has smaller ones instead of this one, `executions_source`
            # and `executions_created`: migration 0033
            models.Index(fields=["status", "lease_expires_at"], name="executions_to_rescue"),
            # retention, last results, and the dashboard's last hours, which it answers by itself.
            # On MySQL it holds all rows (migration 0026), as executions_backfill does
            models.Index(
                fields=["finished_at", "status", "started_at", "job"],
                name="executions_ended",
                condition=Q(finished_at__isnull=False),
            ),
            # lists and filters of admin and API
            models.Index(fields=["handler_name"], name="executions_handler"),
            models.Index(fields=["param_source"], name="executions_source"),
            models.Index(fields=["created_at"], name="executions_created"),
            models.Index(fields=["scheduled_time"], name="executions_scheduled"),
            # runs that wait for a slot: those that were asked for later. On MySQL it holds all rows
            # (migration 0042)
            models.Index(
                fields=["logical_time"],
                name="executions_stand_for",
                condition=Q(logical_time__isnull=False),
            ),
            # lists filtered by the slot: a column on MySQL (migration 0031)
            models.Index(SlotOfRun(), "id", name="executions_by_slot"),
            # claims and heads: what waits, by queue and priority, oldest first. On MySQL it holds
            # all rows, and migration 0017 puts `status` in front
            models.Index(
                fields=["queue", "priority", "available_at", "id"],
                name="executions_to_claim",
                condition=Q(status=RunStatus.PENDING.value),
            ),
            # who waits behind a guard. On MySQL it holds all rows: Django leaves out the condition
            models.Index(
                fields=["in_line", "id"],
                name="executions_in_line",
                condition=Q(in_line__isnull=False),
            ),
            # how far a backfill has come
            models.Index(
                fields=["backfill", "status"],
                name="executions_backfill",
                condition=Q(backfill__isnull=False),
            ),
        ]
        constraints = [
            UniqueConstraint(fields=["job", "scheduled_time"], name="one_execution_per_slot"),
            # Also the index of the shards of a run. MySQL has no partial ones: migration 0040
            UniqueConstraint(
                fields=["parent", "shard"],
                name="one_execution_per_shard",
                condition=Q(parent__isnull=False),
            ),
            one_of("status", RunStatus, "status_is_known"),
            one_of("param_source", ParamSource, "param_source_is_known"),
            one_of("reason_code", ReasonCode, "reason_code_is_known"),
            CheckConstraint(
                name="running_exactly_while_leased",
                condition=Q(
                    status=RunStatus.RUNNING.value,
                    lease_token__isnull=False,
                    lease_expires_at__isnull=False,
                    deadline_at__isnull=False,
                )
                | (
                    ~Q(status=RunStatus.RUNNING.value)
                    & Q(
                        lease_token__isnull=True,
                        lease_expires_at__isnull=True,
                        deadline_at__isnull=True,
                    )
                ),
            ),
            CheckConstraint(
                name="finished_exactly_when_final",
                condition=Q(status__in=sorted(FINAL), finished_at__isnull=False)
                | Q(
                    status__in=sorted(UNFINISHED),
                    finished_at__isnull=True,
                ),
            ),
            CheckConstraint(
                name="in_line_only_while_pending",
                condition=Q(status=RunStatus.PENDING.value) | Q(in_line__isnull=True),
            ),
            CheckConstraint(
                name="execution_priority_in_range",
                condition=Q(priority__gte=LOWEST_PRIORITY, priority__lte=HIGHEST_PRIORITY),
            ),
        ]

    @property
    def slot(self) -> datetime:
        """The slot that it stands for, or when it was asked for."""
        return slot_of_run(logical_time=self.logical_time, scheduled_time=self.scheduled_time)

    @property
    def slot_at(self) -> datetime | None:
        """The slot that it stands for. None: a person or an event asked for it."""
        source = self.param_source
        return self.slot if has_slot(logical_time=self.logical_time, param_source=source) else None

    def __str__(self) -> str:
        return f"#{self.pk} {self.job_name or self.handler_name}"


class JobAttempt(models.Model):
    """One ended attempt of an execution, written in the transaction that ended it."""

    execution = models.ForeignKey(
        JobExecution,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="attempts",
        db_index=False,
    )
    attempt = models.IntegerField(_("attempt"))
    lease_token = models.CharField(max_length=32, unique=True)
    worker = models.CharField(_("worker"), max_length=255, blank=True, default="")
    started_at = models.DateTimeField(_("started"))
    ended_at = models.DateTimeField(_("ended"))
    outcome = models.CharField(_("outcome"), max_length=20, choices=choices_of(AttemptOutcome))
    error = models.TextField(_("error"), blank=True, default="")
    traceback = models.TextField(_("traceback"), blank=True, default="")
    # The path of the exception's class, such as shop.errors.NoStock; NULL where none was raised.
    exception_class = models.CharField(max_length=255, null=True, blank=True, editable=False)

    class Meta:
        db_table = "job_attempts"
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        ordering = ["attempt"]
        constraints = [
            UniqueConstraint(fields=["execution", "attempt"], name="one_row_per_attempt"),
            one_of("outcome", AttemptOutcome, "outcome_is_known"),
        ]

    def __str__(self) -> str:
        return f"attempt {self.attempt} of #{self.execution_id}"


class JobLog(models.Model):
    """One line that a handler logged for its run."""

    execution = models.ForeignKey(
        JobExecution,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="logs",
        db_index=False,
    )
    attempt = models.IntegerField(_("attempt"))
    seq = models.IntegerField(_("line"))
    at = models.DateTimeField(_("at"))
    level = models.CharField(_("level"), max_length=10)
    message = models.TextField(_("message"))

    class Meta:
        db_table = "job_logs"
        verbose_name = _("log line")
        verbose_name_plural = _("log lines")
        ordering = ["attempt", "seq"]
        constraints = [
            UniqueConstraint(fields=["execution", "attempt", "seq"], name="one_row_per_log_line"),
        ]

    def __str__(self) -> str:
        return f"{self.level} {self.message[:60]}"
