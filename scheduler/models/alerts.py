"""Alerts: what went wrong, from when to when, and who was told of it."""

from __future__ import annotations

from django.db import models
from django.db.models import UniqueConstraint
from django.utils.translation import gettext_lazy as _

from scheduler.alert_states import AlertEnd, AlertEvent, AlertKind, AlertState, MessageState
from scheduler.labels import label_of
from scheduler.models.fields import ExactText, StoredJSON, UtcNow, choices_of, one_of


class Alert(models.Model):
    """One episode: something is wrong from `opened_at` until `closed_at`.

    It outlives its job and its executions, so it keeps their ids without foreign keys.
    """

    kind = models.CharField(_("kind"), max_length=30, choices=choices_of(AlertKind))
    # What it is about: `job:7`, `queue:reports`, `beat`, `clock`.
    subject_key = ExactText(max_length=120)
    # kind:subject_key while it is not closed, else NULL. UNIQUE, so of any number of processes that
    # see the same trouble one opens the episode. Compared exactly: migration 0020.
    open_key = models.CharField(max_length=160, null=True, blank=True, unique=True, editable=False)
    job_id = models.BigIntegerField(_("job"), null=True, blank=True)
    job_name = models.CharField(
        _("job name"), max_length=255, blank=True, default="", db_default=""
    )
    queue = ExactText(_("queue"), max_length=100, blank=True, default="", db_default="")
    # The first and the last run that it tells of.
    execution_id = models.BigIntegerField(_("execution"), null=True, blank=True)
    last_execution_id = models.BigIntegerField(null=True, blank=True)
    count = models.IntegerField(_("how often"), default=1, db_default=1)
    opened_at = models.DateTimeField(_("opened"))
    last_seen_at = models.DateTimeField(_("last seen"))
    closed_at = models.DateTimeField(_("closed"), null=True, blank=True)
    state = models.CharField(
        _("state"),
        max_length=15,
        choices=choices_of(AlertState),
        default=AlertState.OPEN.value,
        db_default=AlertState.OPEN.value,
    )
    acknowledged_by = models.CharField(max_length=150, blank=True, default="", db_default="")
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    snoozed_until = models.DateTimeField(null=True, blank=True)
    snoozed_by = models.CharField(max_length=150, blank=True, default="", db_default="")
    close_reason = models.CharField(
        _("why closed"),
        max_length=20,
        choices=choices_of(AlertEnd),
        blank=True,
        default="",
        db_default="",
    )
    closed_by = models.CharField(max_length=150, blank=True, default="", db_default="")
    # The job's owner when it opened.
    owner = ExactText(_("owner"), max_length=150, blank=True, default="", db_default="")
    # Codes and numbers, by kind: states.AlertKind. Secrets in texts are replaced.
    facts = StoredJSON(default=dict, db_default={})

    class Meta:
        db_table = "jobu_alerts"
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        # Beat and workers make them; a person acknowledges, snoozes and closes them.
        default_permissions = ("view", "change")
        indexes = [
            # what is open, by kind; lists by state
            models.Index(fields=["state", "kind", "id"], name="alerts_by_state"),
            # the alerts of a job, newest first
            models.Index(fields=["job_id", "id"], name="alerts_of_job"),
            # retention
            models.Index(fields=["closed_at"], name="alerts_closed"),
        ]
        constraints = [one_of("state", AlertState, "alert_state_is_known")]

    def __str__(self) -> str:
        kind = label_of(AlertKind, self.kind)
        return f"#{self.pk} {kind} {self.job_name or self.subject_key}"


class AlertMessage(models.Model):
    """One message to one recipient over one channel: waiting, sent, or failed with its error."""

    # NULL: a test of a channel, or a digest.
    alert = models.ForeignKey(
        Alert,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="messages",
        db_index=False,
    )
    event = models.CharField(_("event"), max_length=10, choices=choices_of(AlertEvent))
    # An alert may be snoozed more than once, and after each snooze people are reminded.
    turn = models.IntegerField(default=0, db_default=0)
    channel = ExactText(_("channel"), max_length=100)
    # The name of an owner, or of the channel itself.
    recipient = ExactText(_("recipient"), max_length=150)
    state = models.CharField(
        _("state"),
        max_length=10,
        choices=choices_of(MessageState),
        default=MessageState.WAITING.value,
        db_default=MessageState.WAITING.value,
    )
    # Quiet hours hold it back until then.
    not_before = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(_("created"), db_default=UtcNow())
    sent_at = models.DateTimeField(_("sent"), null=True, blank=True)
    tries = models.IntegerField(_("tries"), default=0, db_default=0)
    error = models.TextField(_("error"), blank=True, default="")
    # The run that delivers it.
    execution_id = models.BigIntegerField(null=True, blank=True)
    # The message that tells it together with others.
    digest_of = models.BigIntegerField(null=True, blank=True)

    class Meta:
        db_table = "jobu_alert_messages"
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        default_permissions = ()
        indexes = [
            # what waits for a channel, and what was sent over it in the last hour
            models.Index(
                fields=["channel", "state", "created_at"], name="alert_messages_by_channel"
            ),
            # retention
            models.Index(fields=["created_at"], name="alert_messages_by_age"),
        ]
        constraints = [
            # also the index for the messages of an alert
            UniqueConstraint(
                fields=["alert", "event", "turn", "channel", "recipient"],
                name="each_is_told_once_a_turn",
            ),
            one_of("state", MessageState, "message_state_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.event} of alert #{self.alert_id} to {self.recipient} over {self.channel}"


class AlertCursor(models.Model):
    """How far the evaluation of one kind of rows has come. Its lock lets one beat evaluate."""

    name = ExactText(max_length=40, primary_key=True)
    at = models.DateTimeField(null=True)
    facts = StoredJSON(default=dict, db_default={})

    class Meta:
        db_table = "jobu_alert_cursor"
        default_permissions = ()

    def __str__(self) -> str:
        return self.name
