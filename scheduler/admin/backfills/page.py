"""The context of a backfill's page. The full page and its live fragment both use it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from scheduler.admin import formatting, live
from scheduler.admin.backfills.forms import ORDERS
from scheduler.admin.site import job_url, reverse
from scheduler.labels import label_of
from scheduler.models import Backfill
from scheduler.operations.backfills import Progress
from scheduler.operations.permissions import Action, may
from scheduler.states import UNFINISHED, BackfillState, RunStatus

_MEANINGS: Final = {
    BackfillState.ACTIVE.value: "busy",
    BackfillState.PAUSED.value: "warn",
    BackfillState.CANCELLED.value: "warn",
    BackfillState.DONE.value: "good",
}


def fragment(
    backfill: Backfill, progress: Progress, now: datetime, *, person: Any
) -> dict[str, Any]:
    runs_url = reverse("admin:scheduler_jobexecution_changelist")

    def runs_of(**query: Any) -> str:
        return f"{runs_url}?{urlencode({'backfill': backfill.pk, **query})}"

    ends = formatting.instant(progress.ends_at, now) if progress.ends_at else formatting.NOTHING
    return {
        "backfill": backfill,
        "state": state_badge(backfill),
        "percent": progress.percent,
        "bar": progress_bar(progress.percent),
        "ended": progress.ended,
        "counts": [
            (
                formatting.link(runs_of(status__exact=status.value), formatting.status(status)),
                number,
            )
            for status in RunStatus
            if (number := progress.counts.get(status))
        ],
        "runs_url": runs_of(),
        "facts": [
            (_("job"), job_link(backfill)),
            (_("first slot"), formatting.instant(backfill.since)),
            (_("last slot"), formatting.instant(backfill.until)),
            (_("order"), ORDERS.get(backfill.order, backfill.order)),
            (_("at once"), backfill.parallelism),
            *_choices(backfill),
            (_("made up to"), formatting.instant(backfill.cursor)),
            (_("requested by"), backfill.requested_by or formatting.NOTHING),
            (_("created"), formatting.instant(backfill.created_at, now)),
            (_("all made, or cancelled"), formatting.instant(backfill.ended_at, now)),
            (_("ends about"), ends),
        ],
        "params": formatting.block(formatting.as_json(backfill.params))
        if may(person, Action.VIEW_PARAMS)
        else "",
        "buttons": _buttons(backfill, progress, person),
    }


def _choices(backfill: Backfill) -> list[tuple[str, object]]:
    """Returns what a person has chosen besides the usual."""
    found: list[tuple[str, object]] = []
    if backfill.per_minute is not None:
        found.append((_("runs per minute"), backfill.per_minute))
    if backfill.only_missing:
        found.append((_("only missing slots"), _("yes")))
    if backfill.ignores_overlap:
        found.append((_("beside other runs"), _("yes")))
    if backfill.group_id is not None:
        rows = Backfill.objects.filter(group_id=backfill.group_id).select_related("job")
        links = [
            formatting.link(reverse("admin:scheduler_backfill_change", args=[row.pk]), row.job)
            for row in rows.order_by("id")
        ]
        found.append((_("chain"), format_html_join(" → ", "{}", ((each,) for each in links))))
    return found


def state_badge(backfill: Backfill) -> SafeString:
    text = label_of(BackfillState, backfill.state)
    if backfill.error:
        return formatting.badge(text, "bad", backfill.error)
    return formatting.badge(text, _MEANINGS.get(backfill.state, "calm"))


def job_link(backfill: Backfill) -> SafeString:
    url = job_url(backfill.job_id)
    return formatting.link(url, backfill.job)


def progress_bar(percent: int) -> SafeString:
    return format_html(
        '<div class="bg-base-100 h-2 my-1 rounded-default w-full dark:bg-base-800" '
        'style="min-width: 8rem" role="progressbar" aria-label="{}" aria-valuenow="{}" '
        'aria-valuemin="0" aria-valuemax="100">'
        '<div class="bg-primary-600 h-2 rounded-default" style="width: {}%"></div></div>',
        _("progress"),
        percent,
        percent,
    )


def is_over(backfill: Backfill, progress: Progress) -> bool:
    is_open = backfill.state in (BackfillState.ACTIVE, BackfillState.PAUSED)
    return not is_open and not _is_going_on(progress)


def mark_of(backfill: Backfill, progress: Progress) -> str:
    return live.mark_of(
        backfill.state, backfill.made, backfill.error, sorted(progress.counts.items())
    )


def _buttons(backfill: Backfill, progress: Progress, person: Any) -> list[dict[str, Any]]:
    """Returns the buttons of the verbs that are possible in the backfill's state."""
    is_open = backfill.state in (BackfillState.ACTIVE, BackfillState.PAUSED)
    possible: dict[str, tuple[Any, bool]] = {
        "resume": (_("Resume"), backfill.state == BackfillState.PAUSED),
        "pause": (_("Pause"), backfill.state == BackfillState.ACTIVE),
        "cancel": (_("Cancel"), is_open or _is_going_on(progress)),
    }
    found = [
        {
            "title": title,
            "url": reverse(f"admin:scheduler_backfill_{name}", args=[backfill.pk]),
            "variant": "danger" if name == "cancel" else "primary",
        }
        for name, (title, is_possible) in possible.items()
        if is_possible and may(person, Action.RUN_JOB)
    ]
    if not is_open and may(person, Action.DELETE_EXECUTION):
        url = reverse("admin:scheduler_backfill_delete", args=[backfill.pk])
        found.append({"title": _("Delete"), "url": url, "variant": "default"})
    return found


def _is_going_on(progress: Progress) -> bool:
    return any(progress.counts.get(status) for status in UNFINISHED)
