"""Freezes: times in which no slot of some jobs starts."""

from __future__ import annotations

from django.db import models
from django.db.models import CheckConstraint, F, Q
from django.utils.translation import gettext_lazy as _

from scheduler.models.fields import ExactText, StoredJSON, UtcNow, between, choices_of, one_of
from scheduler.schedule import FIRST_INSTANT, LAST_INSTANT
from scheduler.states import BlockedSlots


class JobFreeze(models.Model):
    """One freeze. What it means: schedule/freezes.py.

    `hours` empty: it holds from `since` to `until`. Otherwise in those hours of each week.
    """

    # Compared exactly: migration 0036.
    name = ExactText(_("name"), max_length=100, unique=True)
    reason = models.CharField(_("reason"), max_length=500)
    since = models.DateTimeField(_("since"), null=True, blank=True)
    until = models.DateTimeField(_("until"), null=True, blank=True)
    hours = models.CharField(
        _("hours of the week"),
        max_length=500,
        blank=True,
        default="",
        db_default="",
        help_text=_("such as Fri 18:00 - Mon 06:00, or Mon-Fri 22:00 - 06:00; one per line"),
    )
    timezone = models.CharField(
        _("time zone"),
        max_length=64,
        blank=True,
        default="",
        db_default="",
        help_text=_("of these hours; empty: the configured default"),
    )
    tags = StoredJSON(
        _("tags"), blank=True, default=list, db_default=[], help_text=_("empty: all jobs")
    )
    blocked_slots = models.CharField(
        _("blocked slots"),
        max_length=10,
        choices=choices_of(BlockedSlots),
        default=BlockedSlots.SKIP.value,
        db_default=BlockedSlots.SKIP.value,
    )
    is_enabled = models.BooleanField(_("enabled"), default=True, db_default=True)
    created_by = models.CharField(
        _("created by"), max_length=150, blank=True, default="", db_default="", editable=False
    )
    created_at = models.DateTimeField(_("created"), db_default=UtcNow(), editable=False)
    updated_at = models.DateTimeField(_("updated"), db_default=UtcNow(), editable=False)

    class Meta:
        db_table = "jobu_freezes"
        verbose_name = _("freeze")
        verbose_name_plural = _("freezes")
        ordering = ["name"]
        default_permissions = ("change",)
        permissions = [("run_in_freeze", "Can let runs start in spite of a freeze")]
        constraints = [
            one_of("blocked_slots", BlockedSlots, "freeze_blocked_slots_known"),
            CheckConstraint(
                name="freeze_ends",
                condition=~Q(hours="") | Q(since__isnull=False, until__isnull=False),
            ),
            CheckConstraint(
                name="freeze_ends_after_it_begins",
                condition=Q(since__isnull=True) | Q(until__isnull=True) | Q(until__gt=F("since")),
            ),
            *(
                between(field, FIRST_INSTANT, LAST_INSTANT, f"freeze_{field}_in_range")
                for field in ("since", "until")
            ),
        ]

    def __str__(self) -> str:
        return self.name
