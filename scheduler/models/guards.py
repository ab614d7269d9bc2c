"""Which run of a job that must not overlap goes on, and who has a place under a limit."""

from __future__ import annotations

from django.db import models
from django.db.models import CheckConstraint, Q
from django.utils.translation import gettext_lazy as _

from scheduler.models.fields import ExactText, UtcNow, between, choices_of, one_of
from scheduler.states import PlaceState

#: (lowest, highest) allowed value of a group's limits.
GROUP_LIMITS: dict[str, tuple[int, int]] = {
    "max_running": (1, 10_000),
    "max_running_per_key": (1, 10_000),
    "rate_count": (1, 10_000),  # each claim finds the N-th newest start
    "rate_seconds": (1, 86_400),
}


class JobGuard(models.Model):
    """One row per job whose runs must not overlap or are limited, per group of jobs with limits,
    and per key that calls without a job share.

    A claim locks it and decides; the end of the run clears it. The first claim makes the row. That
    of a job goes with the job, that of a key with the last run that waits for it.
    """

    # The job's id, or the key of calls (JobExecution.overlap_key), which is negative, or a large
    # number made of the group's name, or of the id of a job whose shards are limited while its runs
    # must not overlap (scheduler/concurrency.py).
    id = models.BigIntegerField(primary_key=True)
    # The execution that goes on. Compared with its row before it is believed: somebody may have
    # ended that one by SQL.
    running_id = models.BigIntegerField(null=True)
    # Of a limit: the key whose run went on last. Keys take turns.
    last_key = models.CharField(max_length=200, default="", db_default="")

    class Meta:
        db_table = "job_guard"
        default_permissions = ()

    def __str__(self) -> str:
        return f"guard {self.pk}"


class JobPlace(models.Model):
    """What a run has of the places under one limit: none yet, the next one, or its own.

    Written by who holds the guard. Without foreign keys: a row whose run is not what it says is not
    believed, and goes when somebody meets it (store/places.py).
    """

    guard_id = models.BigIntegerField()
    # Empty: the job's own limit.
    group_name = models.CharField(max_length=100, default="", db_default="")
    key_value = ExactText(max_length=200, default="", db_default="")
    execution_id = models.BigIntegerField()
    # The attempt that has the place. 0: none has it yet.
    attempt = models.IntegerField(default=0, db_default=0)
    state = models.CharField(max_length=10, choices=choices_of(PlaceState))
    # STARTED, ENDED: when the attempt began. NEXT: when it may begin. WAITS: since when.
    at = models.DateTimeField()

    class Meta:
        db_table = "job_places"
        default_permissions = ()
        constraints = [one_of("state", PlaceState, "place_state_is_known")]
        indexes = [
            # who has a place; who waits, by key and oldest first
            models.Index(
                fields=["state", "guard_id", "key_value", "execution_id"], name="places_by_key"
            ),
            # the starts of a rate
            models.Index(fields=["guard_id", "at"], name="places_by_start"),
            models.Index(fields=["execution_id"], name="places_by_run"),
        ]

    def __str__(self) -> str:
        return f"{self.state} of #{self.execution_id} under {self.guard_id}"


class ConcurrencyGroup(models.Model):
    """Limits that several jobs share. A job names it. Its name never changes."""

    # Compared exactly on all databases: migration 0034.
    name = ExactText(_("name"), max_length=100, unique=True)
    description = models.CharField(
        _("description"), max_length=500, blank=True, default="", db_default=""
    )
    max_running = models.IntegerField(_("most runs at once"), null=True, blank=True)
    max_running_per_key = models.IntegerField(
        _("most runs at once per key"),
        null=True,
        blank=True,
        help_text=_("of each value of the jobs' concurrency key"),
    )
    rate_count = models.IntegerField(_("most starts"), null=True, blank=True)
    rate_seconds = models.IntegerField(_("in so many seconds"), null=True, blank=True)
    rate_per_key = models.BooleanField(
        _("starts are counted per key"), default=False, db_default=False
    )
    # The configuration has it: beat writes it when it starts, and no door changes it.
    is_of_settings = models.BooleanField(default=False, db_default=False, editable=False)
    updated_at = models.DateTimeField(_("updated"), db_default=UtcNow(), editable=False)

    class Meta:
        db_table = "jobu_concurrency_groups"
        verbose_name = _("concurrency group")
        verbose_name_plural = _("concurrency groups")
        ordering = ["name"]
        default_permissions = ()
        permissions = [("change_concurrencygroup", "Can change the limits of groups")]
        constraints = [
            *(
                between(field, low, high, f"group_{field}_in_range")
                for field, (low, high) in GROUP_LIMITS.items()
            ),
            CheckConstraint(
                name="group_rate_is_whole",
                condition=Q(rate_count__isnull=True, rate_seconds__isnull=True)
                | Q(rate_count__isnull=False, rate_seconds__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.name
