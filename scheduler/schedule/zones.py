"""Time zones by name. A name that is not known is refused with the nearest one that is."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from django.utils.translation import gettext as _

from dbpools.nearest import nearest
from scheduler.schedule.errors import UnknownTimezoneError, quote

# Zones under "right/" count leap seconds; "posix/" repeats the plain names.
_ZONE_NAME: Final = re.compile(r"(?!right/|posix/)[A-Za-z][A-Za-z0-9_+/-]{0,63}", re.ASCII)
# The host's own settings. They mean something else on every host.
_NOT_A_PLACE: Final = {"localtime", "posixrules", "Factory"}
# `America/New_York` and `Japan`, but not `EST5EDT`, `W-SU`, `Etc/GMT-9` and `Brazil/West`.
_IS_PLACE: Final = re.compile(r"(?!Etc/|.*/(?:East|West|North|South)$)([A-Za-z]+/|[A-Z][a-z]+$)")
# A fixed distance from UTC as people write it. `Etc/GMT+9`, whose sign is reversed, is none.
_OFFSET: Final = re.compile(
    r"(?:Etc/UTC|UTC|GMT|UCT|Z)?\s*(?P<sign>[+-])\s*(?P<hours>\d{1,2})(?::?(?P<minutes>\d{2}))?",
    re.ASCII | re.IGNORECASE,
)
# What people write and no zone is called: abbreviations that mean one place, and big cities. Not
# here: CST, IST, BST and the like, which mean several places, hours apart.
_SPOKEN: Final = {
    "kst": "Asia/Seoul",
    "jst": "Asia/Tokyo",
    "hkt": "Asia/Hong_Kong",
    "sgt": "Asia/Singapore",
    "cest": "Europe/Paris",
    "mesz": "Europe/Berlin",
    "mez": "Europe/Berlin",
    "eest": "Europe/Athens",
    "msk": "Europe/Moscow",
    "edt": "America/New_York",
    "pst": "America/Los_Angeles",
    "pdt": "America/Los_Angeles",
    "mdt": "America/Denver",
    "akst": "America/Anchorage",
    "akdt": "America/Anchorage",
    "aest": "Australia/Brisbane",
    "aedt": "Australia/Sydney",
    "acst": "Australia/Darwin",
    "acdt": "Australia/Adelaide",
    "awst": "Australia/Perth",
    "nzst": "Pacific/Auckland",
    "nzdt": "Pacific/Auckland",
    "korea": "Asia/Seoul",
    "busan": "Asia/Seoul",
    "osaka": "Asia/Tokyo",
    "beijing": "Asia/Shanghai",
    "china": "Asia/Shanghai",
    "hanoi": "Asia/Ho_Chi_Minh",
    "delhi": "Asia/Kolkata",
    "new_delhi": "Asia/Kolkata",
    "mumbai": "Asia/Kolkata",
    "bangalore": "Asia/Kolkata",
    "india": "Asia/Kolkata",
    "abu_dhabi": "Asia/Dubai",
    "germany": "Europe/Berlin",
    "munich": "Europe/Berlin",
    "frankfurt": "Europe/Berlin",
    "hamburg": "Europe/Berlin",
    "france": "Europe/Paris",
    "geneva": "Europe/Zurich",
    "milan": "Europe/Rome",
    "barcelona": "Europe/Madrid",
    "boston": "America/New_York",
    "washington": "America/New_York",
    "miami": "America/New_York",
    "atlanta": "America/New_York",
    "dallas": "America/Chicago",
    "houston": "America/Chicago",
    "san_francisco": "America/Los_Angeles",
    "portland": "America/Los_Angeles",
    "st_petersburg": "Europe/Moscow",
    "singapur": "Asia/Singapore",
    "sidney": "Australia/Sydney",
    "seattle": "America/Los_Angeles",
}


def load_zone(name: str) -> ZoneInfo:
    """Returns the IANA zone `name`. Raises UnknownTimezoneError."""
    if _ZONE_NAME.fullmatch(name) and name not in _NOT_A_PLACE:
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            pass  # no such file; a file that is not a zone; a folder such as "Europe"
    unknown = _("%(name)s is not a known IANA time zone") % {"name": quote(name)}
    raise UnknownTimezoneError(unknown + _suggestion(name))


def _suggestion(name: str) -> str:
    """Returns what was probably meant; empty if that is not clear.

    A guess that is hours away is worse than none: it is saved, and the job runs at a wrong time.
    """
    typed = name[:64].strip()
    if explained := _explained_offset(typed):
        return explained
    near = _place(typed)
    return _("; did you mean %(name)s?") % {"name": near} if near else ""


def _explained_offset(typed: str) -> str:
    """Returns how the zone database writes a fixed distance from UTC, such as UTC+9."""
    offset = _OFFSET.fullmatch(typed)
    if offset is None:
        return ""
    sign, hours, minutes = offset["sign"], int(offset["hours"]), int(offset["minutes"] or 0)
    if not hours and not minutes:
        return _("; did you mean %(name)s?") % {"name": "UTC"}
    zone = f"Etc/GMT{'-' if sign == '+' else '+'}{hours}"
    if minutes or zone not in _zone_names():
        return _("; name a place, such as Asia/Seoul")
    facts = {"zone": zone, "offset": f"UTC{sign}{hours}"}
    text = _(
        "; %(offset)s is named %(zone)s (there the sign is the other way round), but a place such "
        "as Asia/Seoul also knows its summer time"
    )
    return text % facts


def _place(typed: str) -> str | None:
    """Returns the zone that `typed` misspells: the same letters, or a place with a close name."""
    wanted = re.sub(r"[\s_]+", "_", typed).lower()
    zones = {zone.lower(): zone for zone in _zone_names()}
    region, _slash, city = wanted.rpartition("/")
    known = _SPOKEN.get(city)
    if found := zones.get(wanted) or known:
        return found
    # Fixed distances (EST, GMT+0, Etc/GMT-9) resemble others that are hours away.
    places = [zone for zone, name in zones.items() if _IS_PLACE.match(name)]
    cities = {zone.rpartition("/")[2]: zone for zone in places}
    if city in cities:
        return zones[cities[city]]
    if re.fullmatch(r"[A-Z]{2,5}([+-]?\d+)?([A-Z]{2,5})?", typed):
        return None  # an abbreviation: no letter of it tells the place
    there = {zone.rpartition("/")[2]: zone for zone in places if zone.rpartition("/")[0] == region}
    near = nearest(city, there, cutoff=0.8)
    if near:
        return zones[there[near]]
    # In the whole world, names as close as Oakland and Auckland are often different places.
    near = nearest(city, cities, cutoff=0.85)
    return zones[cities[near]] if near else None


@lru_cache(maxsize=1)
def _zone_names() -> tuple[str, ...]:
    return tuple(sorted(available_timezones() - _NOT_A_PLACE))
