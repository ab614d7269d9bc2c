"""Formats of instants, spans, states and JSON on a page. Every function escapes its input."""

from __future__ import annotations

import json
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from django.utils.functional import lazy
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import get_current_timezone_name, localtime
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from scheduler.conf import current
from scheduler.labels import label_of
from scheduler.models import CronJob, JobExecution
from scheduler.operations.masking import mask
from scheduler.states import AttemptOutcome, RunStatus

NOTHING: Final = "-"
# Lazy, because each person may choose a different time zone.
SCREEN_ZONE: Final = lazy(get_current_timezone_name, str)()

# The theme's CSS classes of coloured labels, one colour per meaning.
_COLOURS: Final = {
    "good": "bg-green-100 text-green-700 dark:bg-green-500/20 dark:text-green-400",
    "bad": "bg-red-100 text-red-700 dark:bg-red-500/20 dark:text-red-400",
    "warn": "bg-orange-100 text-orange-700 dark:bg-orange-500/20 dark:text-orange-400",
    "busy": "bg-blue-100 text-blue-700 dark:bg-blue-500/20 dark:text-blue-400",
    "calm": "bg-base-500/8 text-base-700 dark:bg-base-500/20 dark:text-base-200",
}
_MEANINGS: Final = {
    RunStatus.PENDING.value: "calm",
    RunStatus.RUNNING.value: "busy",
    RunStatus.FANNED_OUT.value: "busy",
    RunStatus.SUCCESS.value: "good",
    RunStatus.FAILED.value: "bad",
    RunStatus.TIMEOUT.value: "bad",
    RunStatus.CANCELLED.value: "warn",
    RunStatus.SKIPPED.value: "warn",
    AttemptOutcome.LOST.value: "bad",
    AttemptOutcome.RELEASED.value: "calm",
}


def badge(text: object, meaning: str = "calm", title: object = "") -> SafeString:
    return format_html(
        '<span class="inline-block font-semibold h-6 leading-6 px-2 rounded-default text-[11px] '
        'uppercase whitespace-nowrap {}" title="{}">{}</span>',
        _COLOURS[meaning],
        title,
        text,
    )


def status(value: str) -> SafeString | str:
    """Returns a badge for a run's status or an attempt's outcome, with the code as its tooltip."""
    if not value:
        return NOTHING
    own = (AttemptOutcome.LOST, AttemptOutcome.RELEASED)
    text = label_of(AttemptOutcome if value in own else RunStatus, value)
    return badge(text, _MEANINGS.get(value, "calm"), "" if text == value else value)


def instant(value: datetime | None, now: datetime | None = None) -> SafeString | str:
    """Returns `2026-11-21 10:55:00 KST`, with UTC as a tooltip and the relative time below."""
    if value is None:
        return NOTHING
    below = format_html('<br><span class="text-xs">{}</span>', distance(value, now)) if now else ""
    return format_html(
        '<time class="whitespace-nowrap" datetime="{}" title="{} UTC">{}{}</time>',
        value.astimezone(UTC).isoformat(),
        value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f").rstrip("0").rstrip("."),
        exact(value),
        below,
    )


def slot(run: JobExecution, now: datetime | None = None) -> SafeString | str:
    """Returns the slot that a run stands for, or when it was asked for, and says so."""
    shown = instant(run.slot, now)
    if run.slot_at is not None:
        return shown
    return format_html('{}<br><span class="text-xs">{}</span>', shown, _("asked for"))


def exact(value: datetime, zone: tzinfo | None = None) -> str:
    """Returns `2026-11-21 10:55:00 KST` in `zone`, or in the current time zone."""
    return localtime(value, zone).strftime("%Y-%m-%d %H:%M:%S %Z")


def distance(value: datetime, now: datetime) -> str:
    """Returns a relative time such as `in 5 min` or `3 h 10 min ago`."""
    seconds = (value - now).total_seconds()
    if abs(seconds) < 1:
        return _("now")
    return (pgettext("from now", "in %s") if seconds > 0 else _("%s ago")) % span(abs(seconds))


def span(seconds: float) -> str:
    """Returns a duration in its two largest units."""
    if seconds < 10:
        return _("%s s") % f"{seconds:.2f}".rstrip("0").rstrip(".")
    whole = round(seconds)
    if whole < 60:
        return _("%s s") % whole
    # Only the needed units are translated: a list may contain a thousand spans.
    if whole < 3600:
        large, rest = _("%s min") % (whole // 60), whole % 60
        return f"{large} {_('%s s') % rest}" if rest else large
    if whole < 86400:
        large, rest = _("%s h") % (whole // 3600), whole % 3600 // 60
        return f"{large} {_('%s min') % rest}" if rest else large
    large, rest = _("%s d") % (whole // 86400), whole % 86400 // 3600
    return f"{large} {_('%s h') % rest}" if rest else large


def duration_between(started: datetime | None, ended: datetime | None) -> str:
    """Returns the text of a duration, or a dash if one of the instants is not known."""
    if started is None or ended is None:
        return NOTHING
    return span(max(0.0, (ended - started).total_seconds()))


def ticking(seconds: float) -> SafeString:
    """Returns a span that static/scheduler/live.js counts up. Without scripts it stays constant."""
    return format_html(
        '<span class="whitespace-nowrap" data-elapsed="{}" data-units="{}">{}</span>',
        f"{max(0.0, seconds):.1f}",
        "|".join((_("%s s"), _("%s min"), _("%s h"), _("%s d"))),
        span(max(0.0, seconds)),
    )


def as_json(value: Any) -> str:
    """Returns indented JSON with the secrets hidden."""
    return json.dumps(mask(value), indent=2, ensure_ascii=False, default=str)


def block(text: str) -> SafeString:
    """Returns preformatted text with wrapped lines in a box that scrolls."""
    return format_html(
        '<pre class="bg-base-50 border border-base-200 font-mono overflow-auto p-3 rounded-default '
        'text-xs whitespace-pre-wrap break-words dark:bg-base-800 dark:border-base-700" '
        'style="max-height: 32rem">{}</pre>',
        text,
    )


def no_wrap(text: str) -> SafeString:
    """Returns text that the browser keeps on one line."""
    return format_html('<span class="whitespace-nowrap">{}</span>', text)


def code(text: str) -> SafeString:
    return format_html('<code class="font-mono whitespace-nowrap">{}</code>', text)


def wrapped(text: str) -> SafeString:
    """Returns a text that may be long and without blanks, such as a path."""
    return format_html('<span class="break-words min-w-0">{}</span>', text)


def link(url: str, text: object) -> SafeString:
    return format_html(
        '<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', url, text
    )


def zone_of(job: CronJob) -> str:
    """Returns the name of the time zone of the job's schedule."""
    return job.timezone or current().default_timezone
