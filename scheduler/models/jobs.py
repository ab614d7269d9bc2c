"""Jobs: when they run, what runs, and what happens when that goes wrong."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from handlers.fan_out import MAX_SHARDS
from scheduler.models.fields import (
    ExactText,
    StoredJSON,
    TextList,
    UtcNow,
    between,
    choices_of,
    one_of,
)
from scheduler.schedule import FIRST_INSTANT, LAST_INSTANT
from scheduler.schedule.kinds import MAX_LENGTH
from scheduler.states import MisfirePolicy, OverlapPolicy

# (lowest, highest) allowed value, for the constraints below and for validation.py.
LIMITS: dict[str, tuple[int, int]] = {
    "misfire_grace_seconds": (0, 31_536_000),
    "max_catchup": (0, 10_000),
    "max_retry": (0, 10),
    "retry_backoff_seconds": (0, 86_400),
    "retry_backoff_max_seconds": (0, 604_800),
    "timeout_seconds": (1, 86_400),
    "priority": (0, 9),
    "jitter_seconds": (0, 86_400),
    "max_running": (1, 10_000),
    "shards": (2, MAX_SHARDS),
    "upstream_seconds": (1, 2_592_000),
    "approval_seconds": (0, 2_592_000),
}
# Instants with a constraint. An SQL client may write `infinity`, the year 1 or, in SQLite, any
# text: no schedule can be computed from those.
INSTANTS = (
    "start_at",
    "end_at",
    "paused_until",
    "next_run_at",
    "missed_from",
    "last_slot_at",
    "last_nominal_at",
)


class CronJob(models.Model):
    """A job: when it runs, what runs, and what happens when that goes wrong."""

    # Texts that are found by equality are ExactText: see migration 0010.
    name = ExactText(_("name"), max_length=255, unique=True)
    description = models.CharField(
        _("description"), max_length=500, blank=True, default="", db_default=""
    )
    cron_expression = models.CharField(
        _("cron expression"),
        max_length=MAX_LENGTH,
        help_text=_(
            "minute hour day month weekday; six fields with seconds first; or @daily and the like. "
            "Also “every 36h”, “every 10 days at 09:00”, “at 2026-12-24T18:00”, "
            "“RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=FR”; several lines: each of them. "
            "“@after”: the slots of its upstream jobs"
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
    handler_name = ExactText(_("handler"), max_length=255)
    handler_params = StoredJSON(_("parameters"), blank=True, default=dict, db_default={})
    is_enabled = models.BooleanField(_("enabled"), default=True, db_default=True)
    overlap_policy = models.CharField(
        _("overlap"),
        max_length=20,
        choices=choices_of(OverlapPolicy),
        default=OverlapPolicy.ALLOW.value,
        db_default=OverlapPolicy.ALLOW.value,
        help_text=_("what happens when a run is due while another is running"),
    )
    misfire_policy = models.CharField(
        _("misfire"),
        max_length=20,
        choices=choices_of(MisfirePolicy),
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
    queue = ExactText(
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
    max_running = models.IntegerField(
        _("most runs at once"),
        null=True,
        blank=True,
        help_text=_("empty: the overlap policy alone decides"),
    )
    # The name of a ConcurrencyGroup. Compared exactly, on MySQL, too: migration 0034.
    concurrency_group = ExactText(
        _("concurrency group"),
        max_length=100,
        blank=True,
        default="",
        db_default="",
        help_text=_("its limits count the runs of all its jobs"),
    )
    concurrency_key = models.CharField(
        _("concurrency key"),
        max_length=200,
        blank=True,
        default="",
        db_default="",
        help_text=_("such as params.tenant: each value has limits of its own"),
    )
    shards = models.IntegerField(
        _("shards"),
        null=True,
        blank=True,
        default=None,
        help_text=_("a run is divided into so many, which run side by side; empty: it is not"),
    )
    approval_seconds = models.IntegerField(
        _("approval within"),
        default=0,
        db_default=0,
        help_text=_(
            "seconds in which a person approves each run, or else it is skipped; 0: no approval"
        ),
    )
    calendar = models.CharField(
        _("calendar"),
        max_length=100,
        blank=True,
        default="",
        db_default="",
        help_text=_("name, name:skip, name:next or name:previous"),
    )
    owner = ExactText(
        _("owner"),
        max_length=150,
        blank=True,
        default="",
        db_default="",
        help_text=_("who answers for it: a user's name, or a team's"),
    )
    alert_rules = StoredJSON(
        _("alert rules"),
        blank=True,
        default=dict,
        db_default={},
        help_text=_(
            'who is told of what, such as {"failed": true, "channels": ["mail"]}; '
            "empty: the rules of its tags and of the settings"
        ),
    )
    tags = TextList(_("tags"), rows="tag_rows", column="tag")
    upstreams = TextList(
        _("upstream jobs"), rows="upstream_rows", column="name", refers_to="upstream"
    )
    upstream_seconds = models.IntegerField(
        _("wait for upstream jobs"),
        default=86_400,
        db_default=86_400,
        help_text=_("seconds in which they must succeed; then the slot is skipped"),
    )
    pause_reason = models.CharField(
        _("pause reason"), max_length=500, blank=True, default="", db_default=""
    )
    paused_until = models.DateTimeField(_("paused until"), null=True, blank=True)
    # The watermark: each slot before it has a row or a recorded skip. NULL: beat computes it.
    next_run_at = models.DateTimeField(_("next run"), null=True, blank=True, editable=False)
    # What the watermark was computed from, and the slots that are settled before it: see
    # schedule/watermark.py. NULL: nobody has compared the job yet.
    schedule_fingerprint = models.CharField(max_length=32, null=True, blank=True, editable=False)
    last_slot_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_nominal_at = models.DateTimeField(null=True, blank=True, editable=False)
    # While the job is off: since when it misses slots. NULL: it misses none, or it is not known.
    missed_from = models.DateTimeField(null=True, blank=True, editable=False)
    # Grows with each slot and each edit. A writer that read an older value is refused.
    tick_seq = models.BigIntegerField(default=0, db_default=0, editable=False)
    schedule_error = models.CharField(
        _("schedule error"), max_length=1000, blank=True, default="", db_default="", editable=False
    )
    last_run_at = models.DateTimeField(_("last run"), null=True, blank=True, editable=False)
    last_status = models.CharField(
        _("last status"), max_length=20, blank=True, default="", db_default="", editable=False
    )
    # True: its slots are recorded as skipped, because another system runs them still.
    is_shadow = models.BooleanField(_("shadow"), default=False, db_default=False, editable=False)
    # Where an import or a file of jobs has made it, `kind:where:entry`. "": a person has.
    source = ExactText(max_length=255, default="", db_default="", editable=False)
    created_at = models.DateTimeField(_("created"), db_default=UtcNow(), editable=False)
    updated_at = models.DateTimeField(_("updated"), db_default=UtcNow(), editable=False)

    #: Jobs by name that are read together with this one, and may not be saved yet.
    namesakes: Mapping[str, CronJob] = {}

    class Meta:
        db_table = "cron_jobs"
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        ordering = ["name"]
        permissions = [
            ("run_cronjob", "Can run a job out of turn, and backfill it"),
            ("pause_cronjob", "Can pause, disable and enable jobs"),
            ("view_params", "Can see parameters and results"),
        ]
        indexes = [
            # "what is due?", in the order of this index: one probe, however many jobs there are
            models.Index(fields=["is_enabled", "next_run_at", "id"], name="cron_jobs_due"),
            # "whose pause is over?", each two seconds. Few jobs are in it; on MySQL all are
            # (migration 0044)
            models.Index(
                fields=["is_enabled", "paused_until"],
                name="cron_jobs_paused",
                condition=Q(paused_until__isnull=False),
            ),
            # the second run of an import, and of a file of jobs
            models.Index(fields=["source"], name="cron_jobs_by_source"),
            # the jobs of a group
            models.Index(fields=["concurrency_group", "id"], name="cron_jobs_by_group"),
        ]
        constraints = [
            one_of("overlap_policy", OverlapPolicy, "overlap_policy_is_known"),
            one_of("misfire_policy", MisfirePolicy, "misfire_policy_is_known"),
            *(
                between(field, low, high, f"{field}_in_range")
                for field, (low, high) in LIMITS.items()
            ),
            *(
                between(field, FIRST_INSTANT, LAST_INSTANT, f"{field}_in_range")
                for field in INSTANTS
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def allow_overlap(self) -> bool:
        return self.overlap_policy == OverlapPolicy.ALLOW

    @property
    def followed(self) -> tuple[CronJob, ...]:
        """The upstream jobs that exist, by name. Read once for the same names."""
        names = self.upstreams if isinstance(self.upstreams, list) else []
        known = vars(self).get("_followed")
        if known is None or known[0] != names:
            # Those of the same file of jobs may not be saved yet.
            given = [self.namesakes[name] for name in names if name in self.namesakes]
            others = sorted(set(names) - {job.name for job in given})
            rows = CronJob.objects.filter(name__in=others) if others else ()
            jobs = sorted([*given, *rows], key=lambda job: job.name)
            known = vars(self)["_followed"] = (list(names), tuple(jobs))
        found: tuple[CronJob, ...] = known[1]
        return found

    @followed.setter
    def followed(self, jobs: tuple[CronJob, ...]) -> None:
        """Somebody has read them for many jobs at once."""
        self.upstreams = [job.name for job in jobs]
        vars(self)["_followed"] = (self.upstreams, jobs)


class JobTag(models.Model):
    """One tag of one job."""

    # The database cascades (migration 0009), as for executions.
    job = models.ForeignKey(
        CronJob,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="tag_rows",
    )
    # Compared exactly, on MySQL, too: migration 0009 gives the column a binary collation.
    tag = ExactText(_("tag"), max_length=100)

    class Meta:
        db_table = "job_tags"
        verbose_name = _("tag")
        verbose_name_plural = _("tags")
        default_permissions = ()
        constraints = [
            # also the index for "the tags of these jobs"
            models.UniqueConstraint(fields=["job", "tag"], name="one_row_per_job_and_tag"),
        ]
        indexes = [
            # rules and filters by tag
            models.Index(fields=["tag", "job"], name="job_tags_by_tag"),
        ]

    def __str__(self) -> str:
        return self.tag


class JobUpstream(models.Model):
    """A job waits for the success of another one, its upstream, for the same slot."""

    # The database cascades (migration 0038), from both jobs.
    job = models.ForeignKey(
        CronJob,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="upstream_rows",
    )
    upstream = models.ForeignKey(
        CronJob,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="downstream_rows",
    )

    class Meta:
        db_table = "job_upstreams"
        verbose_name = _("upstream job")
        verbose_name_plural = _("upstream jobs")
        default_permissions = ()
        constraints = [
            # also the index for "the upstream jobs of these jobs"
            models.UniqueConstraint(
                fields=["job", "upstream"], name="one_row_per_job_and_upstream"
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.job_id} after #{self.upstream_id}"


#: Lists of texts of a job, each in a table of its own.
LISTS = {name: value for name, value in vars(CronJob).items() if isinstance(value, TextList)}
#: What a person may set on a job. Everything else moves by itself.
EDITABLE = (
    *(
        column.name
        for column in CronJob._meta.concrete_fields
        if column.editable and not column.primary_key
    ),
    *LISTS,
)
#: Where a search for a text looks.
SEARCHED = ("name", "handler_name", "description", "owner", "tag_rows__tag")
