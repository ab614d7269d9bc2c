"""The durations of a job's last runs as a picture: SVG that the server draws, without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.utils.translation import gettext as _

from scheduler.admin import formatting
from scheduler.admin.jobs import sparkline
from scheduler.labels import label_of
from scheduler.states import RunStatus
from scheduler.store.recent_runs import RecentRun

WIDTH: Final = 1000
HEIGHT: Final = 160
_EDGE: Final = 8
_FEWEST: Final = 2


def chart(outcomes: Sequence[RecentRun]) -> dict[str, Any] | None:
    """Returns points, line, median and 95th percentile, oldest left. None: too few runs ended."""
    timed = sparkline.timed(outcomes)
    if len(timed) < _FEWEST:
        return None
    seconds = [took for _outcome, took in timed]
    top = max(seconds) or 1.0
    places = [(_x(index, len(timed)), _y(took, top)) for index, took in enumerate(seconds)]
    median, p95 = (sparkline.quantile(seconds, part) for part in (0.5, 0.95))
    spans = {
        "median": formatting.span(median),
        "p95": formatting.span(p95),
        "longest": formatting.span(max(seconds)),
    }
    summary = _("Durations of the last %(count)s runs that ended: median %(median)s, 95 %% within "
                "%(p95)s, the longest %(longest)s")  # fmt: skip
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "line": " ".join(f"{x},{y}" for x, y in places),
        "points": [
            {"x": x, "y": y, "kind": outcome.status.lower(), "text": _words(outcome, took)}
            for (x, y), (outcome, took) in zip(places, timed, strict=True)
        ],
        "median_y": _y(median, top),
        "p95_y": _y(p95, top),
        "summary": summary % {"count": len(timed), **spans},
        **spans,
    }


def _x(index: int, count: int) -> int:
    return _EDGE + round((WIDTH - 2 * _EDGE) * index / (count - 1))


def _y(seconds: float, top: float) -> int:
    return HEIGHT - _EDGE - round((HEIGHT - 2 * _EDGE) * seconds / top)


def _words(outcome: RecentRun, took: float) -> str:
    return _("%(when)s: %(status)s, %(span)s") % {
        "when": formatting.exact(outcome.slot),
        "status": label_of(RunStatus, outcome.status),
        "span": formatting.span(took),
    }
