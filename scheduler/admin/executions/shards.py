"""The shards of a divided execution on its page, and where a shard belongs."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from scheduler.admin import formatting
from scheduler.admin.site import reverse
from scheduler.models import JobExecution
from scheduler.states import FINAL, GOING_ON, RunStatus
from scheduler.store.shards import counts_of

#: So many shards are in the table of the page. The list has all of them.
SHOWN: Final = 100
_COLUMNS: Final = ("id", "shard", "status", "attempt", "started_at", "finished_at")


def place(execution: JobExecution) -> SafeString | str:
    """Returns which part of which execution a shard is, linked. Empty for other executions."""
    if execution.parent_id is None or execution.shard is None:
        return ""
    numbers = {"shard": execution.shard, "count": execution.shard_count or "?"}
    return format_html(
        "{} {}",
        _("%(shard)s (0 is the first) of %(count)s of execution") % numbers,
        formatting.link(_page(execution.parent_id), f"#{execution.parent_id}"),
    )


def table(execution: JobExecution, now: datetime) -> dict[str, Any] | None:
    """Returns what the page shows of the shards. None: the execution is not divided."""
    if execution.parent_id is not None or execution.shard_count is None:
        return None
    counts = counts_of(execution.pk)
    ended = sum(counts.get(status, 0) for status in FINAL)
    rows = JobExecution.objects.filter(parent_id=execution.pk).only(*_COLUMNS).order_by("shard")
    return {
        "rows": [_row(shard, now) for shard in rows[:SHOWN]],
        "counts": [
            (formatting.status(status), counts[status]) for status in RunStatus if status in counts
        ],
        "count": execution.shard_count,
        "ended": ended,
        "percent": round(100 * ended / max(1, execution.shard_count)),
        "list_url": reverse(
            "admin:scheduler_jobexecution_changelist", query={"shards_of": execution.pk}
        ),
        "is_cut": execution.shard_count > SHOWN,
        "shown": SHOWN,
    }


def _row(shard: JobExecution, now: datetime) -> dict[str, object]:
    took: object = formatting.NOTHING
    if shard.started_at is not None and shard.status in GOING_ON:
        took = formatting.ticking((now - shard.started_at).total_seconds())
    elif shard.started_at is not None and shard.finished_at is not None:
        took = formatting.duration_between(shard.started_at, shard.finished_at)
    return {
        "number": shard.shard,
        "link": formatting.link(_page(shard.pk), f"#{shard.pk}"),
        "status": formatting.status(shard.status),
        "attempts": shard.attempt,
        "took": took,
    }


def _page(execution_id: int) -> str:
    return reverse("admin:scheduler_jobexecution_change", args=[execution_id])
