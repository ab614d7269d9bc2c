"""Who did what."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from scheduler.models.fields import CollatedText, StoredJSON, UtcNow


class Activity(models.Model):
    """One act of a person or of jobu, written in the transaction of the act itself.

    It outlives what it is about and who did it: both are kept as id and name, without foreign keys.
    """

    at = models.DateTimeField(_("at"), db_default=UtcNow(), editable=False)
    actor = CollatedText(_("who"), max_length=150)
    # The primary key of the user, as text; NULL when no user of this site is behind it.
    user_id = models.CharField(max_length=64, null=True, blank=True)
    door = models.CharField(_("through"), max_length=10)  # states.Door
    verb = models.CharField(_("what"), max_length=20)  # states.ActivityVerb
    target_kind = models.CharField(max_length=20)  # states.TargetKind
    # NULL: it is about no single row.
    target_id = models.BigIntegerField(null=True, blank=True)
    target_name = models.CharField(max_length=255, blank=True, default="", db_default="")
    # What each verb writes here: docs/architecture.md. Secrets are masked.
    facts = StoredJSON(default=dict, db_default={})

    class Meta:
        db_table = "jobu_activity"
        verbose_name = _("activity")
        verbose_name_plural = _("activities")
        # Who may see the target may see its entries; nobody edits them.
        default_permissions = ()
        indexes = [
            # retention
            models.Index(fields=["at"], name="activity_by_age"),
            # the history of one row, newest first
            models.Index(fields=["target_kind", "target_id", "id"], name="activity_of_target"),
        ]

    def __str__(self) -> str:
        return f"{self.actor} {self.verb} {self.target_kind} {self.target_name or self.target_id}"
