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
    zones = {zone.lower(): zone for zone in _zone_names()}
    cities = {zone.rpartition("/")[2]: zone for zone in zones}
    wanted = name[:64].lower().replace(" ", "_")
    near = nearest(wanted, zones, cutoff=0.7)
    if near is None and (city := nearest(wanted, cities, cutoff=0.8)):
        near = cities[city]
    return _("; did you mean %(name)s?") % {"name": zones[near]} if near else ""


@lru_cache(maxsize=1)
def _zone_names() -> tuple[str, ...]:
    return tuple(sorted(available_timezones() - _NOT_A_PLACE))
