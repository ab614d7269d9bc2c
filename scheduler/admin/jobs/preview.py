"""The preview of a job's schedule: the expression in words, warnings, and the next runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.utils.dates import WEEKDAYS_ABBR
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from scheduler.admin import formatting
from scheduler.admin.site import render_to_string, reverse
from scheduler.conf import current
from scheduler.models import CronJob
from scheduler.operations.control import Control
from scheduler.operations.definition import count_from
from scheduler.operations.frozen import blocks_of
from scheduler.schedule import JobSchedule, ScheduleError, schedule_of
from scheduler.schedule.freezes import Block
from scheduler.schedule.warnings import warnings_about
from scheduler.schedule.words_of_kinds import words_of

NEXT_RUNS: Final = 20
_KEPT: Final = "_preview_block"


def preview(job: CronJob, now: datetime) -> dict[str, Any]:
    """Returns the context of preview.html. `job` may be invalid: half typed, or changed by SQL."""
    if not job.cron_expression:
        return {}
    count_from(job, now)
    words = words_of(job)
    try:
        slots = Control().preview(job, NEXT_RUNS)
        zone = ZoneInfo(formatting.zone_of(job))
        schedule = schedule_of(job, current())
    except ScheduleError as error:
        return {"words": words, "preview_error": str(error)}
    except (ValueError, OSError, OverflowError) as error:  # invalid zone or instant, written by SQL
        return {"words": words, "preview_error": str(error)}
    warnings = warnings_about(job, schedule, slots, now)
    blocks = blocks_of(job, schedule, slots, now, current())
    warnings += sorted({_of_freeze(block) for block in blocks.values()})
    if job.calendar:
        warnings.append(
            _("The calendar %(name)s moves or drops what falls on its days: see the next runs.")
            % {"name": job.calendar}
        )
    return {
        "words": words,
        "warnings": warnings,
        "next_runs": _table(slots, schedule, zone, now, blocks),
        "zone": zone.key,
    }


def preview_block(job: CronJob, now: datetime) -> SafeString:
    """Returns the preview as a part of the form of a job.

    The theme asks five times for what a page shows once, so the job of a request keeps it.
    """
    kept: SafeString | None = job.__dict__.get(_KEPT)
    if kept is None:
        url = reverse("admin:scheduler_cronjob_check")
        kept = job.__dict__[_KEPT] = format_html(
            '<div id="job-preview" aria-live="polite" data-check="{}">{}</div>',
            url if job.pk is None else f"{url}?job={job.pk}",
            render_to_string("scheduler/jobs/preview.html", preview(job, now)),
        )
    return kept


def moved_from(day: date) -> str:
    return _("moved from %(day)s") % {"day": f"{WEEKDAYS_ABBR[day.weekday()]} {day}"}


def _of_freeze(block: Block) -> str:
    facts = {"name": block.freeze.name, "reason": block.freeze.reason}
    return _("The freeze “%(name)s” blocks some of the next runs: %(reason)s") % facts


def frozen(block: Block) -> str:
    if block.held_until is None:
        return _("frozen by “%(freeze)s”") % {"freeze": block.freeze.name}
    return _("frozen by “%(freeze)s”, runs at %(until)s") % {
        "freeze": block.freeze.name,
        "until": formatting.exact(block.held_until),
    }


def _table(
    slots: Sequence[datetime],
    schedule: JobSchedule,
    zone: ZoneInfo,
    now: datetime,
    blocks: Mapping[datetime, Block],
) -> dict[str, Any]:
    rows: list[Sequence[object]] = []
    offset_before = now.astimezone(zone).utcoffset()
    for slot in slots:
        local = slot.astimezone(zone)
        changed = local.utcoffset() != offset_before
        offset_before = local.utcoffset()
        rows.append(
            (
                format_html(
                    '<span class="whitespace-nowrap">{}</span> {} {} {}',
                    f"{WEEKDAYS_ABBR[local.weekday()]} {local:%Y-%m-%d %H:%M:%S %Z}",
                    formatting.badge(_("clock change"), "warn") if changed else "",
                    formatting.badge(moved_from(day), "calm")
                    if (day := schedule.moved_from(slot))
                    else "",
                    formatting.badge(frozen(blocks[slot]), "warn") if slot in blocks else "",
                ),
                formatting.no_wrap(slot.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")),
                formatting.distance(slot, now),
            )
        )
    headers = [_("in %s") % zone.key, _("in UTC"), _("distance")]
    return {"headers": headers, "rows": rows}
