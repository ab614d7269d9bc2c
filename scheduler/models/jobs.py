"""Jobs, their executions and all that belongs to them; and the processes that work on them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from django.db import models
from django.db.models import CheckConstraint, Q, UniqueConstraint
from django.db.models.functions import Now
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from scheduler.schedule import FIRST_INSTANT, LAST_INSTANT
from scheduler.states import (
    FINAL,
    AttemptOutcome,
    BackfillOrder,
    BackfillState,
    MisfirePolicy,
    OverlapPolicy,
    ParamSource,
    ProcessKind,
    RunStatus,
)


class UtcNow(Now):
    """The database's current instant in UTC, whatever zone an SQL client's session has."""

    def as_mysql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **extra)


UNREADABLE = "(not readable: nested too deep, or a number with too many digits)"


class StoredJSON(models.JSONField):
    """What SQL has typed may be right to the database and too much for Python's reader: such a
    value is UNREADABLE, and the row's neighbours on a page are not lost with it.
    """

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        try:
            return super().from_db_value(value, expression, connection)
        except (RecursionError, ValueError):
            return UNREADABLE

    def deconstruct(self) -> Any:
        # Nothing for the database, and so nothing for a migration.
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs


def _choices(values: Iterable[StrEnum]) -> list[tuple[str, Any]]:
    # As scheduler/labels.py.
    return [(value.value, pgettext_lazy(type(value).__name__, value.value)) for value in values]


def _one_of(field: str, values: type[StrEnum], name: str) -> CheckConstraint:
    return CheckConstraint(condition=Q(**{f"{field}__in": [v.value for v in values]}), name=name)


def _between(field: str, low: object, high: object, name: str) -> CheckConstraint:
    return CheckConstraint(condition=Q(**{f"{field}__gte": low, f"{field}__lte": high}), name=name)


# The whole ranges, for the constraints below and for validation.py.
LIMITS: dict[str, tuple[int, int]] = {
    "misfire_grace_seconds": (0, 31_536_000),
    "max_catchup": (0, 10_000),
    "max_retry": (0, 10),
    "retry_backoff_seconds": (0, 86_400),
    "retry_backoff_max_seconds": (0, 604_800),
    "timeout_seconds": (1, 86_400),
    "priority": (0, 9),
    "jitter_seconds": (0, 86_400),
}
# An SQL client may type `infinity`, the year 1 or, into SQLite, any text: none of them is a time
# that a schedule, or Python, could go on from.
INSTANTS = ("start_at", "end_at", "paused_until", "next_run_at", "missed_from")


class CronJob(models.Model):
    """A job: when it runs, what runs, and what happens when that goes wrong."""

    name = models.CharField(_("name"), max_length=255, unique=True)
    description = models.CharField(
        _("description"), max_length=500, blank=True, default="", db_default=""
    )
    cron_expression = models.CharField(
        _("cron expression"),
        max_length=100,
        help_text=_(
            "minute hour day month weekday; six fields with seconds first; or @daily and the like"
        ),
    )
    timezone = models.CharField(
        _("time zone"),
        max_length=64,
        blank=True,
        default="",
        db_default="",
        help_text=_("empty: the configured default"),
    )
    handler_name = models.CharField(_("handler"), max_length=255)
    handler_params = StoredJSON(_("parameters"), blank=True, default=dict, db_default={})
    is_enabled = models.BooleanField(_("enabled"), default=True, db_default=True)
    overlap_policy = models.CharField(
        _("overlap"),
        max_length=20,
        choices=_choices(OverlapPolicy),
        default=OverlapPolicy.ALLOW.value,
        db_default=OverlapPolicy.ALLOW.value,
        help_text=_("what happens when a run is due while another is running"),
    )
    misfire_policy = models.CharField(
        _("misfire"),
        max_length=20,
        choices=_choices(MisfirePolicy),
        default=MisfirePolicy.LATEST.value,
        db_default=MisfirePolicy.LATEST.value,
        help_text=_("which of the slots missed while everything was down are run later"),
    )
    misfire_grace_seconds = models.IntegerField(
        _("misfire grace"),
        default=60,
        db_default=60,
        help_text=_("seconds late that still count as on time"),
    )
    max_catchup = models.IntegerField(_("most slots to catch up"), default=100, db_default=100)
    max_retry = models.IntegerField(
        _("retries"), default=3, db_default=3, help_text=_("further tries after the first")
    )
    retry_backoff_seconds = models.IntegerField(_("first back-off"), default=30, db_default=30)
    retry_backoff_max_seconds = models.IntegerField(
        _("longest back-off"), default=3600, db_default=3600
    )
    timeout_seconds = models.IntegerField(_("timeout"), default=3600, db_default=3600)
    queue = models.CharField(
        _("queue"),
        max_length=100,
        blank=True,
        default="",
        db_default="",
        help_text=_("empty: the workers' default queue"),
    )
    priority = models.IntegerField(
        _("priority"), default=0, db_default=0, help_text=_("0 to 9, 9 first")
    )
    start_at = models.DateTimeField(_("not before"), null=True, blank=True)
    end_at = models.DateTimeField(_("not after"), null=True, blank=True)
    jitter_seconds = models.IntegerField(
        _("jitter"), default=0, db_default=0, help_text=_("spread the start over so many seconds")
    )
    calendar = models.CharField(
        _("calendar"),
        max_length=100,
        blank=True,
        default="",
        db_default="",
        help_text=_("name, name:skip, name:next or name:previous"),
    )
    pause_reason = models.CharField(
        _("pause reason"), max_length=500, blank=True, default="", db_default=""
    )
    paused_until = models.DateTimeField(_("paused until"), null=True, blank=True)
    # The watermark: every slot before it has its row or its recorded skip. NULL: beat computes it.
    next_run_at = models.DateTimeField(_("next run"), null=True, blank=True, editable=False)
    # While it is off: from here on it has missed its slots. NULL: it has not, or nobody knows.
    missed_from = models.DateTimeField(null=True, blank=True, editable=False)
    # Moves with every slot and every edit; a writer that brings an old one is refused.
    tick_seq = models.BigIntegerField(default=0, db_default=0, editable=False)
    schedule_error = models.CharField(
        _("schedule error"), max_length=1000, blank=True, default="", db_default="", editable=False
    )
    last_run_at = models.DateTimeField(_("last run"), null=True, blank=True, editable=False)
    last_status = models.CharField(
        _("last status"), max_length=20, blank=True, default="", db_default="", editable=False
    )
    created_at = models.DateTimeField(_("created"), db_default=UtcNow(), editable=False)
    updated_at = models.DateTimeField(_("updated"), db_default=UtcNow(), editable=False)

    class Meta:
        db_table = "cron_jobs"
        verbose_name = _("cron job")
        verbose_name_plural = _("cron jobs")
        ordering = ["name"]
        permissions = [
            ("run_cronjob", "Can run a job out of turn, and backfill it"),
            ("pause_cronjob", "Can pause, disable and enable jobs"),
            ("view_params", "Can see parameters and results"),
        ]
        indexes = [
            # "what is due", in the order of this index: one probe however many jobs there are
            models.Index(fields=["is_enabled", "next_run_at", "id"], name="cron_jobs_due"),
        ]
        constraints = [
            _one_of("overlap_policy", OverlapPolicy, "overlap_policy_is_known"),
            _one_of("misfire_policy", MisfirePolicy, "misfire_policy_is_known"),
            *(
                _between(field, low, high, f"{field}_in_range")
                for field, (low, high) in LIMITS.items()
            ),
            *(
                _between(field, FIRST_INSTANT, LAST_INSTANT, f"{field}_in_range")
                for field in INSTANTS
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def allow_overlap(self) -> bool:
        return self.overlap_policy == OverlapPolicy.ALLOW


#: What a person may set on a job. Everything else moves by itself.
EDITABLE = tuple(
    column.name
    for column in CronJob._meta.concrete_fields
    if column.editable and not column.primary_key
)


class JobExecution(models.Model):
    """What became of one slot, one manual run, one event or one backfilled slot."""

    # The database cascades (migration 0002): deleting a job with a million rows loads none of them.
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
    handler_name = models.CharField(_("handler"), max_length=255)
    scheduled_time = models.DateTimeField(
        _("scheduled"),
        help_text=_("whole seconds for slots; with microseconds for everything else"),
    )
    logical_time = models.DateTimeField(_("stands for slot"), null=True, blank=True)
    # Who asked for it: a user's name, empty for slots. A name, because history outlives accounts.
    requested_by = models.CharField(
        _("requested by"), max_length=150, blank=True, default="", db_default=""
    )
    # By the database's own means, as `job`: a backfill that is deleted leaves its runs.
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
    # Compared exactly, on MySQL, too: migration 0006 gives the column a binary collation.
    dedupe_key = models.CharField(
        _("idempotency key"), max_length=255, null=True, blank=True, unique=True
    )
    status = models.CharField(
        _("status"),
        max_length=20,
        choices=_choices(RunStatus),
        default=RunStatus.PENDING.value,
        db_default=RunStatus.PENDING.value,
    )
    params = StoredJSON(_("parameters"), default=dict, db_default={})
    param_source = models.CharField(
        _("source"),
        max_length=20,
        choices=_choices(ParamSource),
        default=ParamSource.CRON.value,
        db_default=ParamSource.CRON.value,
    )
    attempt = models.IntegerField(_("attempt"), default=0, db_default=0)  # claims so far
    failures = models.IntegerField(_("failures"), default=0, db_default=0)  # charged attempts
    max_retry = models.IntegerField(_("retries"), default=3, db_default=3)
    timeout_seconds = models.IntegerField(_("timeout"), default=3600, db_default=3600)
    queue = models.CharField(_("queue"), max_length=100, blank=True, default="", db_default="")
    priority = models.IntegerField(_("priority"), default=0, db_default=0)
    available_at = models.DateTimeField(_("available"), db_default=UtcNow())  # earliest claim
    # PENDING: publish (again) then.
    publish_at = models.DateTimeField(_("publish"), null=True, blank=True, db_default=UtcNow())
    publish_count = models.IntegerField(_("published"), default=0, db_default=0)
    lease_token = models.CharField(max_length=32, null=True, blank=True)
    lease_owner = models.CharField(_("worker"), max_length=255, null=True, blank=True)
    lease_expires_at = models.DateTimeField(_("lease ends"), null=True, blank=True)
    deadline_at = models.DateTimeField(_("deadline"), null=True, blank=True)
    # The job's id while a job that may not overlap runs: the database itself forbids a second run.
    running_key = models.BigIntegerField(_("running alone as"), null=True, blank=True)
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
            # take_to_publish, and "when is the next one due?"
            models.Index(fields=["status", "publish_at"], name="executions_to_publish"),
            # rescue_expired
            models.Index(fields=["status", "lease_expires_at"], name="executions_to_rescue"),
            # retention, last results, and the dashboard's last hours, which it answers by itself
            models.Index(
                fields=["finished_at", "status", "started_at", "job"], name="executions_ended"
            ),
            # lists and filters of admin and API
            models.Index(fields=["handler_name"], name="executions_handler"),
            models.Index(fields=["param_source"], name="executions_source"),
            models.Index(fields=["created_at"], name="executions_created"),
            models.Index(fields=["scheduled_time"], name="executions_scheduled"),
            # how far a backfill is
            models.Index(fields=["backfill", "status"], name="executions_backfill"),
        ]
        constraints = [
            UniqueConstraint(fields=["job", "scheduled_time"], name="one_execution_per_slot"),
            UniqueConstraint(fields=["running_key"], name="one_run_without_overlap"),
            _one_of("status", RunStatus, "status_is_known"),
            _one_of("param_source", ParamSource, "param_source_is_known"),
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
                        running_key__isnull=True,
                    )
                ),
            ),
            CheckConstraint(
                name="finished_exactly_when_final",
                condition=Q(status__in=sorted(FINAL), finished_at__isnull=False)
                | Q(
                    status__in=sorted({RunStatus.PENDING, RunStatus.RUNNING}),
                    finished_at__isnull=True,
                ),
            ),
            CheckConstraint(
                name="pending_is_looked_at_again",
                condition=~Q(status=RunStatus.PENDING.value) | Q(publish_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.pk} {self.job_name or self.handler_name}"


class Backfill(models.Model):
    """Runs for the slots of a range, a few at a time. Beat makes them; a person may stop it."""

    job = models.ForeignKey(
        CronJob,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="backfills",
        verbose_name=_("job"),
    )
    # Both ends belong to it.
    since = models.DateTimeField(_("since"))
    until = models.DateTimeField(_("until"))
    order = models.CharField(
        _("order"),
        max_length=20,
        choices=_choices(BackfillOrder),
        default=BackfillOrder.OLDEST_FIRST.value,
    )
    parallelism = models.IntegerField(
        _("at once"), default=1, help_text=_("how many of its runs may be unfinished at a time")
    )
    # A text that contains {slot} gets the slot there, in ISO 8601.
    params = StoredJSON(_("parameters"), default=dict)
    state = models.CharField(
        _("state"),
        max_length=20,
        choices=_choices(BackfillState),
        default=BackfillState.ACTIVE.value,
    )
    # The slot made last; NULL before the first.
    cursor = models.DateTimeField(_("made up to"), null=True, blank=True)
    total = models.IntegerField(_("slots"))
    made = models.IntegerField(_("made"), default=0)
    error = models.CharField(_("error"), max_length=1000, blank=True, default="")
    requested_by = models.CharField(_("requested by"), max_length=150, blank=True, default="")
    created_at = models.DateTimeField(_("created"), db_default=UtcNow(), editable=False)
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)

    class Meta:
        db_table = "backfills"
        verbose_name = _("backfill")
        verbose_name_plural = _("backfills")
        ordering = ["-id"]
        indexes = [
            # "is there one to go on with?"
            models.Index(fields=["state", "id"], name="backfills_active"),
        ]
        constraints = [
            _one_of("order", BackfillOrder, "backfill_order_is_known"),
            _one_of("state", BackfillState, "backfill_state_is_known"),
            _between("parallelism", 1, 100, "parallelism_in_range"),
            *(
                _between(field, FIRST_INSTANT, LAST_INSTANT, f"backfill_{field}_in_range")
                for field in ("since", "until", "cursor", "created_at", "ended_at")
            ),
        ]

    def __str__(self) -> str:
        return gettext("backfill #%(id)s") % {"id": self.pk}


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
    outcome = models.CharField(_("outcome"), max_length=20, choices=_choices(AttemptOutcome))
    error = models.TextField(_("error"), blank=True, default="")
    traceback = models.TextField(_("traceback"), blank=True, default="")

    class Meta:
        db_table = "job_attempts"
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        ordering = ["attempt"]
        constraints = [
            UniqueConstraint(fields=["execution", "attempt"], name="one_row_per_attempt"),
            _one_of("outcome", AttemptOutcome, "outcome_is_known"),
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


class SchedulerProcess(models.Model):
    """A beat or a worker process and its heartbeat: liveness for people and alerts, not for
    correctness.
    """

    name = models.CharField(_("name"), max_length=255, unique=True)
    kind = models.CharField(_("kind"), max_length=10, choices=_choices(ProcessKind))
    host = models.CharField(_("host"), max_length=255)
    pid = models.IntegerField(_("process id"))
    started_at = models.DateTimeField(_("started"))
    heartbeat_at = models.DateTimeField(_("heartbeat"))
    running = models.IntegerField(_("running"), default=0)  # runs in progress

    class Meta:
        db_table = "scheduler_process"
        verbose_name = _("process")
        verbose_name_plural = _("processes")

    def __str__(self) -> str:
        return self.name
