"""Who is told: the owner of a job, as the settings or the users know them, else the channel."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from django.conf import settings

from scheduler.alert_settings import AlertChannels, Owner, QuietHours, address_problem
from scheduler.conf import current
from scheduler.setting_types import known_timezone
from scheduler.store.alert_messages import Person, persons

#: The languages of jobu's texts.
_TRANSLATED = ("en", "ko")


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Somebody who reads messages. `name`: empty for "whoever reads this channel".

    `address`: None: the channel's own. `channels`: empty: the default ones.
    """

    zone: ZoneInfo
    language: str
    name: str = ""
    address: str | None = None
    channels: tuple[str, ...] = ()
    quiet_hours: QuietHours | None = None


def readers(names: Collection[str]) -> Mapping[str, Reader]:
    """Returns the owners of these names that the settings or the users know.

    What the settings leave open of an owner is as the user of that name has chosen it.
    """
    wanted = {name for name in names if name}
    if not wanted:
        return {}
    configured, users = current().alerts.owners, persons(wanted)
    return {
        name: _reader(name, configured.get(name, Owner()), users.get(name))
        for name in sorted(wanted)
        if name in configured or name in users
    }


def anybody() -> Reader:
    """Who reads a channel that no owner is told over: the defaults of the project."""
    return Reader(zone=ZoneInfo(current().default_timezone), language=_language(""))


def reader_of(recipient: str) -> Reader:
    """The reader of a stored message."""
    return readers([recipient]).get(recipient) or anybody()


def channels_for(
    named: Collection[str], owner: Reader | None, alerts: AlertChannels
) -> tuple[str, ...]:
    """Returns the channels of an alert: those of its rules, else its owner's, else the default.

    A name that the settings no longer have is left out.
    """
    chosen = tuple(named) or (owner.channels if owner else ()) or alerts.default_channels
    return tuple(name for name in dict.fromkeys(chosen) if name in alerts.channels)


def _reader(name: str, owner: Owner, user: Person | None) -> Reader:
    default = anybody()
    address = owner.address or (user.address if user else "")
    return Reader(
        name=name,
        address=address if address and address_problem(address) is None else None,
        zone=_zone(owner.timezone or (user.timezone if user else "")) or default.zone,
        language=owner.language or _language(user.language if user else ""),
        channels=owner.channels,
        quiet_hours=owner.quiet_hours,
    )


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(known_timezone(name)) if name else None
    except ValueError:
        return None  # stored on another host


def _language(chosen: str) -> str:
    wanted = (chosen or settings.LANGUAGE_CODE).partition("-")[0]
    return wanted if wanted in _TRANSLATED else "en"
