"""The settings of channels, owners and check-ins: who is told, and how.

`AlertChannels` is a part of the section `alerts`; scheduler/conf.py adds the rules. What is refused
here is refused when a process starts, with the path of the key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import time
from importlib.util import find_spec
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError as DjangoValidationError
from django.core.validators import validate_email
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from dbpools.nearest import nearest
from scheduler.network_addresses import url_problem
from scheduler.setting_types import Count, Seconds, Section, TimezoneName

#: Shorter ones are guessed.
SHORTEST_SECRET: Final = 16
APPRISE_MISSING: Final = "needs the library apprise: pip install 'jobu-scheduler[alerts]'"
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OWN_HEADERS = frozenset(
    {"host", "content-type", "content-length", "transfer-encoding", "connection", "user-agent",
     "jobu-timestamp", "jobu-signature", "idempotency-key"}
)  # fmt: skip
_QUEUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_SLUG = re.compile(r"[a-z0-9_-]{1,50}")
_SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_DSN_PATH = re.compile(r"(/[A-Za-z0-9_.-]+)*/\d+")


def address_problem(address: str) -> str | None:
    """Returns why `address` is no mail address, or None."""
    try:
        validate_email(address)
    except DjangoValidationError:
        return f"{address!r} is not a mail address such as team@example.com"
    return None


def _address(address: str) -> str:
    if problem := address_problem(address):
        raise ValueError(problem)
    return address


MailAddress = Annotated[str, AfterValidator(_address)]


class _Channel(Section):
    """What all kinds of channels have in common."""

    model_config = ConfigDict(hide_input_in_errors=True)

    min_interval_seconds: float = Field(
        0,
        ge=0,
        le=86_400,
        description="after a message, further ones wait for so long and come as one digest",
    )
    max_per_hour: Count = Field(
        60, description="to each recipient; further messages come as digests, every five minutes"
    )


class MailChannel(_Channel):
    """Mail through Django's EMAIL_* settings."""

    kind: Literal["mail"] = Field(description="Django's mail, to `to` or to the owner")
    to: tuple[MailAddress, ...] = Field(
        min_length=1, description="who gets what has no owner with an address"
    )
    sender: str = Field(
        "",
        validation_alias=AliasChoices("from", "sender"),
        serialization_alias="from",
        description="the sender; empty: DEFAULT_FROM_EMAIL",
    )

    @field_validator("sender")
    @classmethod
    def _is_sender(cls, value: str) -> str:
        # `Name <address>` as well as the address alone.
        found = re.fullmatch(r"[^<>\r\n]*<([^<>]+)>", value)
        if value:
            _address(found[1] if found else value)
        return value


class WebhookChannel(_Channel):
    """A signed POST of JSON (docs/alert-channels.md)."""

    kind: Literal["webhook"] = Field(description="a signed POST of JSON")
    # Services put a token into the path, so it is not shown.
    url: SecretStr = Field(description="where it is posted to")
    secret: SecretStr = Field(
        description=f"signs each message; at least {SHORTEST_SECRET} characters"
    )
    headers: dict[str, SecretStr] = Field({}, description="further headers")
    allow_private: bool = Field(
        False, description="true: the receiver may have a private or local address"
    )
    allow_http: bool = Field(False, description="true: the URL may be http://")

    @field_validator("secret")
    @classmethod
    def _is_long(cls, value: SecretStr) -> SecretStr:
        length = len(value.get_secret_value())
        if length < SHORTEST_SECRET:
            raise ValueError(
                f"has {length} characters and is too short to sign with: at least"
                f" {SHORTEST_SECRET}, such as the output of `openssl rand -hex 32`"
            )
        return value

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, text in value.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of a header")
            if name.lower() in _OWN_HEADERS:
                raise ValueError(f"{name!r} is set by jobu")
            shown = text.get_secret_value()
            if not shown.isascii() or not shown.isprintable():
                raise ValueError(f"the value of {name!r} has line breaks or other than ASCII")
        return value

    @model_validator(mode="after")
    def _is_reachable(self) -> WebhookChannel:
        _refuse_url(
            self.url.get_secret_value(),
            allow_private=self.allow_private,
            allow_http=self.allow_http,
        )
        return self


class AppriseChannel(_Channel):
    """One of the services of the library apprise."""

    kind: Literal["apprise"] = Field(description="a service of the library apprise")
    url: SecretStr = Field(description="as apprise writes it, such as slack://token/#channel")

    @field_validator("url")
    @classmethod
    def _is_known(cls, value: SecretStr) -> SecretStr:
        if find_spec("apprise") is None:
            raise ValueError(APPRISE_MISSING)
        from apprise import Apprise

        if Apprise.instantiate(value.get_secret_value(), suppress_exceptions=True) is None:
            raise ValueError("is not a URL that apprise knows")
        return value


Channel = Annotated[
    MailChannel | WebhookChannel | AppriseChannel,
    Field(discriminator="kind"),
]


class QuietHours(BaseModel):
    """A span of each day, in the owner's zone. It may go over midnight."""

    model_config = ConfigDict(frozen=True)

    begin: time
    end: time


def parse_quiet_hours(text: str) -> QuietHours:
    """Returns the span of a text such as 22:00-07:00. Raises ValueError."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ValueError("must be two times such as 22:00-07:00")
    hours = QuietHours(
        begin=time(int(found[1]), int(found[2])), end=time(int(found[3]), int(found[4]))
    )
    if hours.begin == hours.end:
        raise ValueError("the two times must differ")
    return hours


def _quiet_hours(value: Any) -> Any:
    return parse_quiet_hours(value) if isinstance(value, str) else value


class Owner(Section):
    """Somebody who answers for jobs, and is not a user of the site, or wants to be told so."""

    address: MailAddress | None = Field(
        None, description="channels of kind mail write to it; none: to the channel's own `to`"
    )
    timezone: TimezoneName | None = Field(None, description="of the times in texts")
    language: Literal["en", "ko"] | None = Field(None, description="of the texts")
    channels: tuple[str, ...] = Field((), description="names of channels; none: default_channels")
    quiet_hours: QuietHours | None = Field(
        None, description="such as 22:00-07:00: messages wait until their end"
    )

    _read_hours = field_validator("quiet_hours", mode="before")(_quiet_hours)


class DeadMan(Section):
    """Pings for an outside service that alarms when they stop."""

    url: SecretStr = Field(description="is asked for by GET while beat ticks")
    every_seconds: Seconds = Field(
        60, ge=10, description="the time between two pings, of all beats"
    )
    allow_private: bool = Field(False, description="as in a webhook")
    allow_http: bool = Field(False, description="as in a webhook")

    @model_validator(mode="after")
    def _is_reachable(self) -> DeadMan:
        _refuse_url(
            self.url.get_secret_value(),
            allow_private=self.allow_private,
            allow_http=self.allow_http,
        )
        return self


class CheckInLimits(Section):
    """Where the check-ins of jobs may go. Who edits a job types their URLs."""

    allow_private: bool = Field(False, description="true: private and local addresses, too")
    allow_http: bool = Field(False, description="true: http://, too")


class AlertChannels(Section):
    """Who is told, and how."""

    channels: dict[str, Channel] = Field({}, description="how people are told, by name")
    default_channels: tuple[str, ...] = Field(
        (), description="who is told where neither a rule nor the owner names a channel"
    )
    owners: dict[str, Owner] = Field(
        {}, description="who answers for jobs, by the text in a job's `owner`"
    )
    queue: str = Field(
        "jobu_alerts",
        description="queue of the messages; workers of the default queue take it, too",
    )
    link_base: str = Field(
        "", description="address of the pages, for links: https://jobs.example.com/admin"
    )
    check_ins: CheckInLimits = Field(
        CheckInLimits(), description="where the check-ins of jobs may go"
    )
    dead_man: DeadMan | None = Field(None, description="pings for an outside dead-man switch")

    @field_validator("queue")
    @classmethod
    def _is_queue(cls, value: str) -> str:
        if not _QUEUE.fullmatch(value):
            raise ValueError("must be letters, digits and . _ -, at most 100")
        return value

    @field_validator("link_base")
    @classmethod
    def _is_base(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query):
            raise ValueError("must be an address such as https://jobs.example.com")
        return value.rstrip("/")

    def page_url(self, path: str) -> str:
        """The address of one of our pages for people elsewhere. Empty without `link_base`."""
        return f"{self.link_base}/scheduler/{path}" if self.link_base else ""

    @model_validator(mode="after")
    def _names_are_known(self) -> AlertChannels:
        named = [("default_channels", self.default_channels)]
        named += [
            (f"owners.{name}.channels", owner.channels) for name, owner in self.owners.items()
        ]
        for place, names in named:
            if problem := unknown_channels(names, self.channels):
                raise ValueError(f"{place}: {problem}")
        return self


def unknown_channels(names: Iterable[str], known: Iterable[str]) -> str | None:
    """Returns what is wrong with names of channels, or None."""
    existing = list(known)
    for name in names:
        if name not in existing:
            hint = nearest(name, existing)
            return f"there is no channel {name!r}" + (f", did you mean {hint!r}?" if hint else "")
    return None


# --- check-ins of jobs ----------------------------------------------------------------------------


class HealthchecksCheckIn(Section):
    """healthchecks.io and what speaks like it: the URL of a check, without /start or /fail."""

    kind: Literal["healthchecks"]
    url: str

    @field_validator("url")
    @classmethod
    def _is_plain(cls, value: str) -> str:
        _refuse_url(value, allow_private=True, allow_http=True)  # settings decide when it is sent
        if urlsplit(value).query or urlsplit(value).fragment:
            raise ValueError("must be the address of the check alone, without ? and #")
        return value.rstrip("/")

    def problem(self, limits: CheckInLimits) -> str | None:
        """Returns why the settings do not let reports go there, or None."""
        return url_problem(
            self.url, allow_private=limits.allow_private, allow_http=limits.allow_http
        )


class SentryCheckIn(Section):
    """A monitor of Sentry Crons. It is made, and kept in step with the job's schedule."""

    kind: Literal["sentry"]
    dsn: str
    slug: str
    environment: str = "production"

    @field_validator("dsn")
    @classmethod
    def _is_dsn(cls, value: str) -> str:
        parts = urlsplit(value)
        _refuse_url(_without_key(value), allow_private=True, allow_http=True)
        if not parts.username or parts.password or not _DSN_PATH.fullmatch(parts.path):
            raise ValueError("must be a DSN such as https://key@o1.ingest.sentry.io/2")
        return value

    @field_validator("slug")
    @classmethod
    def _is_slug(cls, value: str) -> str:
        if not _SLUG.fullmatch(value):
            raise ValueError("must be small letters, digits, _ and -, at most 50")
        return value

    @field_validator("environment")
    @classmethod
    def _is_environment(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", value) or value == "None":
            raise ValueError("must be letters, digits and . _ -, at most 64")
        return value

    def problem(self, limits: CheckInLimits) -> str | None:
        """Returns why the settings do not let reports go there, or None."""
        return url_problem(
            _without_key(self.dsn),
            allow_private=limits.allow_private,
            allow_http=limits.allow_http,
        )


def _without_key(dsn: str) -> str:
    key = urlsplit(dsn).username
    return dsn.replace(f"{key}@", "", 1) if key else dsn


CheckIn = Annotated[HealthchecksCheckIn | SentryCheckIn, Field(discriminator="kind")]
#: A job has no more.
MOST_CHECK_INS: Final = 5


def _refuse_url(url: str, *, allow_private: bool, allow_http: bool) -> None:
    if problem := url_problem(url, allow_private=allow_private, allow_http=allow_http):
        raise ValueError(problem)
