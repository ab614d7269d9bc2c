"""The part of time that the page shows, as its address says it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.http import HttpRequest
from django.utils.timezone import localtime, make_aware
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from scheduler.schedule import FIRST_INSTANT, LAST_INSTANT

HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Zoom:
    name: str
    title: object
    span: timedelta
    step: timedelta
    """The window begins at a multiple of it, so that the picture does not move with each second."""


#: From wide to narrow.
ZOOMS: Final = (
    Zoom(name="week", title=gettext_lazy("Week"), span=timedelta(days=7), step=6 * HOUR),
    Zoom(name="day", title=gettext_lazy("Day"), span=timedelta(days=1), step=HOUR),
    Zoom(name="6h", title=gettext_lazy("6 hours"), span=6 * HOUR, step=HOUR / 4),
    Zoom(name="1h", title=gettext_lazy("Hour"), span=HOUR, step=HOUR / 12),
)
_DEFAULT: Final = ZOOMS[1]
#: So much of the window lies before now, if the reader names no time.
_PAST: Final = 2 / 3


@dataclass(frozen=True, kw_only=True)
class Window:
    zoom: Zoom
    since: datetime
    is_chosen: bool = False
    """The reader has named the time; else it is around now."""
    problem: str = ""
    """Why the time in the address was ignored."""

    @property
    def until(self) -> datetime:
        return self.since + self.zoom.span

    def query(self, *, by: float = 0.0, zoom: Zoom | None = None) -> dict[str, str]:
        """The address of this window, moved `by` so many of its spans, or as wide as `zoom`."""
        wide = zoom or self.zoom
        query = {} if wide == _DEFAULT else {"zoom": wide.name}
        if not self.is_chosen and not by:
            return query
        middle = self.since + self.zoom.span * (0.5 + by)
        start = middle - wide.span / 2
        if FIRST_INSTANT <= start <= LAST_INSTANT:
            query["at"] = _down(start, wide.step).strftime("%Y-%m-%dT%H:%MZ")
        return query


def window_of(request: HttpRequest, now: datetime) -> Window:
    """The window that the address names; around now if it names none or a wrong one."""
    wanted = request.GET.get("zoom", "")
    zoom = next((each for each in ZOOMS if each.name == wanted), _DEFAULT)
    around_now = _down(now - zoom.span * _PAST, zoom.step)
    text = request.GET.get("at", "").strip()
    if not text:
        return Window(zoom=zoom, since=around_now)
    since = _instant(text)
    if since is None:
        problem = _("%s is not a time such as 2026-01-31T10:00; it was ignored.") % text[:50]
        return Window(zoom=zoom, since=around_now, problem=problem)
    return Window(zoom=zoom, since=since, is_chosen=True)


def _instant(text: str) -> datetime | None:
    """Without an offset it is a time of the reader's zone. None: it is none, or out of range."""
    try:
        found = datetime.fromisoformat(text)
        aware = found if found.tzinfo else make_aware(found)
        return aware.astimezone(UTC) if FIRST_INSTANT <= aware <= LAST_INSTANT else None
    except (ValueError, OverflowError):
        return None


def _down(instant: datetime, step: timedelta) -> datetime:
    """To a multiple of `step` on the reader's wall clock: some zones are half an hour apart."""
    local = localtime(instant)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    return instant - (local.replace(tzinfo=None) - midnight) % step
