"""Backfills."""

from __future__ import annotations

from django.db import models
from django.db.models import CheckConstraint, Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from scheduler.models.fields import StoredJSON, UtcNow, between, choices_of, one_of
from scheduler.models.jobs import CronJob
from scheduler.schedule import FIRST_INSTANT, LAST_INSTANT
from scheduler.states import BackfillOrder, BackfillState


class Backfill(models.Model):
    """Runs for the slots of a range, a few at a time. Beat makes them, a person can stop it."""

    job = models.ForeignKey(
        CronJob,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="backfills",
        verbose_name=_("job"),
    )
    # Slots from `since` to `until`, both included.
    since = models.DateTimeField(_("since"))
    until = models.DateTimeField(_("until"))
    order = models.CharField(
        _("order"),
        max_length=20,
        choices=choices_of(BackfillOrder),
        default=BackfillOrder.OLDEST_FIRST.value,
    )
    parallelism = models.IntegerField(
        _("at once"), default=1, help_text=_("how many of its runs may be unfinished at a time")
    )
    only_missing = models.BooleanField(
        _("only missing slots"),
        default=False,
        db_default=False,
        help_text=_("leave out slots that have succeeded, wait or run"),
    )
    ignores_overlap = models.BooleanField(
        _("beside other runs"),
        default=False,
        db_default=False,
        help_text=_("the job's overlap policy does not hold for its runs"),
    )
    per_minute = models.IntegerField(
        _("runs per minute"),
        null=True,
        blank=True,
        help_text=_("empty: as many as there is room for"),
    )
    # Backfills of a chain of jobs: the id of that of the first job. NULL: it stands alone.
    group_id = models.BigIntegerField(null=True, blank=True, editable=False)
    # In texts {slot} is replaced with the slot in ISO 8601.
    params = StoredJSON(_("parameters"), default=dict)
    state = models.CharField(
        _("state"),
        max_length=20,
        choices=choices_of(BackfillState),
        default=BackfillState.ACTIVE.value,
    )
    # The slot of the run that was made last. NULL: none was made.
    cursor = models.DateTimeField(_("made up to"), null=True, blank=True)
    total = models.IntegerField(_("slots"))
    made = models.IntegerField(_("made"), default=0)
    error = models.CharField(_("error"), max_length=1000, blank=True, default="")
    requested_by = models.CharField(_("requested by"), max_length=150, blank=True, default="")
    # A person has asked for it although a freeze holds: freezes do not stop it.
    despite_freeze = models.BooleanField(
        _("in spite of freezes"), default=False, db_default=False, editable=False
    )
    created_at = models.DateTimeField(_("created"), db_default=UtcNow(), editable=False)
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)

    class Meta:
        db_table = "jobu_backfills"
        verbose_name = _("backfill")
        verbose_name_plural = _("backfills")
        ordering = ["-id"]
        indexes = [
            # "is one active?"
            models.Index(fields=["state", "id"], name="backfills_active"),
            models.Index(fields=["group_id"], name="backfills_of_group"),
        ]
        constraints = [
            one_of("order", BackfillOrder, "backfill_order_is_known"),
            one_of("state", BackfillState, "backfill_state_is_known"),
            between("parallelism", 1, 100, "parallelism_in_range"),
            CheckConstraint(
                condition=Q(per_minute__isnull=True) | Q(per_minute__gte=1, per_minute__lte=6_000),
                name="backfill_per_minute_in_range",
            ),
            *(
                between(field, FIRST_INSTANT, LAST_INSTANT, f"backfill_{field}_in_range")
                for field in ("since", "until", "cursor", "created_at", "ended_at")
            ),
        ]

    def __str__(self) -> str:
        return gettext("backfill #%(id)s") % {"id": self.pk}
