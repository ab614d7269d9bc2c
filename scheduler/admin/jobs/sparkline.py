"""The last outcomes of a job as a strip of boxes, and the durations of its runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timezone import get_current_timezone
from django.utils.translation import gettext as _

from scheduler.admin import formatting
from scheduler.admin.site import reverse
from scheduler.labels import label
from scheduler.states import RunStatus
from scheduler.store.recent_runs import RecentRun

STRIP_LENGTH: Final = 30

# Only these runs measure how long the job takes. A person decides when a cancelled run ends.
_TIMED: Final = {
    RunStatus.SUCCESS.value,
    RunStatus.FAILED.value,
    RunStatus.TIMEOUT.value,
}


def strip(outcomes: Sequence[RecentRun], *, linked: bool) -> SafeString | str:
    """Returns one box per outcome, oldest first, each with a text for screen readers."""
    if not outcomes:
        return formatting.NOTHING
    # The address and the format are computed once: a list shows 1500 boxes.
    before, after = "", ""
    if linked:
        address = reverse("admin:scheduler_jobexecution_change", args=[0])
        before, after = address.rsplit("0", 1)
    boxes = format_html_join(
        "",
        _LINKED_BOX if linked else _BOX,
        (
            {
                "url": f"{before}{outcome.execution_id}{after}",
                "text": text,
                "kind": outcome.status.lower(),
            }
            for outcome, text in zip(outcomes, _words(outcomes), strict=True)
        ),
    )
    return format_html('<ul class="job-strip" aria-label="{}">{}</ul>', _("last runs"), boxes)


_INSIDE: Final = (
    '<span class="job-box job-box-{kind}"></span><span class="job-unseen">{text}</span>'
)
_BOX: Final = f'<li><span title="{{text}}">{_INSIDE}</span></li>'
_LINKED_BOX: Final = f'<li><a href="{{url}}" title="{{text}}">{_INSIDE}</a></li>'


def _words(outcomes: Sequence[RecentRun]) -> Iterator[str]:
    # Language and time zone are looked up once: that costs more than making the texts.
    plain, timed = _("%(status)s, slot %(slot)s"), _("%(text)s, took %(span)s")
    by_hand = _("%(status)s, asked for at %(slot)s")
    zone = get_current_timezone()
    labels = {status.value: label(status) for status in RunStatus}
    for outcome in outcomes:
        values = {
            "status": labels[outcome.status],
            "slot": formatting.exact(outcome.slot, zone),
        }
        text = (plain if outcome.has_slot else by_hand) % values
        if outcome.took_seconds is not None:
            text = timed % {"text": text, "span": formatting.span(outcome.took_seconds)}
        yield text


def timed(outcomes: Sequence[RecentRun]) -> list[tuple[RecentRun, float]]:
    """Returns the runs that measure how long the job takes, with their seconds."""
    return [
        (outcome, seconds)
        for outcome in outcomes
        if outcome.status in _TIMED and (seconds := outcome.took_seconds) is not None
    ]


def quantile(values: Sequence[float], part: float) -> float:
    """Returns the value that `part` of the values do not exceed.

    Nearest rank: it is a measured value, not an interpolated one.
    """
    return sorted(values)[math.ceil(part * len(values)) - 1]


def durations(outcomes: Sequence[RecentRun]) -> SafeString | str:
    """Returns mean and 95th percentile of the runs on the strip that were not cancelled."""
    took = [seconds for _outcome, seconds in timed(outcomes)]
    if not took:
        return formatting.NOTHING
    p95 = quantile(took, 0.95)
    return format_html(
        '<span class="whitespace-nowrap" title="{}">{}<br>'
        '<span class="text-xs">p95 {}</span></span>',
        _("mean, and below it what 95 %% of the last %(count)s runs did not exceed")
        % {"count": len(took)},
        formatting.span(sum(took) / len(took)),
        formatting.span(p95),
    )
