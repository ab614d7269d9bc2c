"""Tokens of the API, failed sign-ins, people's preferences and the filters that they keep."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from scheduler.models.fields import CollatedText, UtcNow


class ApiToken(models.Model):
    """A key to the REST API. It acts as its user, with at most that user's permissions.

    Only the SHA-256 of the key is stored. The key itself is shown once, when it is made. It is 256
    random bits, so a slow hash would not protect it better than a fast one.
    """

    name = CollatedText(_("name"), max_length=100, help_text=_("what uses it, and where"))
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="jobu_api_tokens",
        verbose_name=_("acts as"),
    )
    # The first characters of the key, for people to recognise it.
    prefix = models.CharField(_("begins with"), max_length=16)
    key_hash = models.CharField(max_length=64, unique=True)
    # A subset of ApiToken.SCOPES, as a JSON array.
    scopes = models.JSONField(_("scopes"), default=list)
    expires_at = models.DateTimeField(
        _("expires"), null=True, blank=True, help_text=_("empty: never")
    )
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True)
    # Written at most once a minute.
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"), db_default=UtcNow(), editable=False)

    #: What a token may do. read: see; operate: run, retry, cancel, pause, backfill, events; write:
    #: create, change, delete.
    SCOPES = ("read", "operate", "write")

    class Meta:
        db_table = "jobu_api_tokens"
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")
        ordering = ["name"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}...)"


class SignInFailures(models.Model):
    """How often one name has failed to sign in from one address since it last succeeded."""

    # SHA-256 of both. People type passwords into the field of the name, too.
    key_hash = models.CharField(max_length=64, unique=True)
    failures = models.IntegerField(default=0, db_default=0)
    last_at = models.DateTimeField(db_default=UtcNow())

    class Meta:
        db_table = "sign_in_failures"
        default_permissions = ()
        indexes = [models.Index(fields=["last_at"], name="sign_ins_by_age")]

    def __str__(self) -> str:
        return f"{self.failures} since {self.last_at}"


class Preference(models.Model):
    """How a user wants to see times and texts. No row or an empty value: as configured."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="jobu_preference",
        verbose_name=_("user"),
    )
    timezone = models.CharField(_("time zone"), max_length=64, blank=True, default="")
    language = models.CharField(_("language"), max_length=10, blank=True, default="")

    class Meta:
        db_table = "jobu_user_preferences"
        verbose_name = _("preference")
        verbose_name_plural = _("preferences")

    def __str__(self) -> str:
        return str(self.user)


class SavedFilter(models.Model):
    """The filter of a list, as one user has kept it under a name."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="jobu_saved_filters",
        verbose_name=_("user"),
    )
    page = models.CharField(max_length=20)
    name = models.CharField(_("name"), max_length=100)
    # The query of the address. What of it a later release no longer knows is left out.
    query = models.TextField()

    class Meta:
        db_table = "jobu_saved_filters"
        verbose_name = _("saved filter")
        verbose_name_plural = _("saved filters")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["user", "page", "name"], name="saved_filter_named_once")
        ]

    def __str__(self) -> str:
        return self.name
