"""How often a kind of failure happened per day, as a small picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

_HEIGHT: Final = 24
_WIDTH: Final = 120


def trend(by_day: Mapping[date, int], days: Sequence[date]) -> SafeString:
    """Returns a bar per day, the oldest first. Its text says the same."""
    most = max([by_day.get(day, 0) for day in days], default=0)
    step = _WIDTH / len(days)
    bars = format_html_join(
        "",
        '<rect x="{}" y="{}" width="{}" height="{}"><title>{}: {}</title></rect>',
        (
            (
                f"{number * step:.2f}",
                f"{_HEIGHT - height:.2f}",
                f"{max(step - 1, 0.5):.2f}",
                f"{height:.2f}",
                day.isoformat(),
                runs,
            )
            for number, day in enumerate(days)
            if (runs := by_day.get(day, 0))
            # One failure beside a thousand is still seen.
            for height in [max(1.5, _HEIGHT * runs / most)]
        ),
    )
    return format_html(
        '<svg class="failure-trend" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>',
        _WIDTH,
        _HEIGHT,
        _words(by_day, days, most),
        bars,
    )


def _words(by_day: Mapping[date, int], days: Sequence[date], most: int) -> str:
    if not most:
        return _("no failure from %(first)s to %(last)s") % {"first": days[0], "last": days[-1]}
    worst = next(day for day in days if by_day.get(day, 0) == most)
    return _("per day from %(first)s to %(last)s, most on %(day)s: %(count)s") % {
        "first": days[0],
        "last": days[-1],
        "day": worst,
        "count": most,
    }
