"""The log of an execution: the last lines for the page, and the whole log for a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from django.db.models import Q
from django.utils.translation import gettext as _

from scheduler.admin.site import reverse
from scheduler.models import JobExecution, JobLog

LOG_LINES: Final = 200
LOG_CHUNK: Final = 2_000
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")


def level_of(text: str | None) -> str:
    """Returns the log level that a request names; empty if it is not a level."""
    return text if text in LEVELS else ""


def log_text(execution_id: int, level: str) -> Iterator[str]:
    """Yields the whole log as text, in chunks of lines."""
    lines = _lines(execution_id, level).order_by("attempt", "seq")
    place = Q()
    while chunk := list(lines.filter(place)[:LOG_CHUNK]):
        yield "".join(
            f"{line.at.isoformat()} {line.attempt} {line.level} {line.message}\n" for line in chunk
        )
        last = chunk[-1]
        place = Q(attempt__gt=last.attempt) | Q(attempt=last.attempt, seq__gt=last.seq)


def last_lines(execution: JobExecution, level: str) -> list[JobLog]:
    """Returns the newest lines, oldest first; one more than the page shows if older ones exist."""
    lines = _lines(execution.pk, level).order_by("-attempt", "-seq")
    return list(lines[: LOG_LINES + 1])[::-1]


def level_links(execution: JobExecution, level: str) -> list[dict[str, object]]:
    page = reverse("admin:scheduler_jobexecution_change", args=[execution.pk])
    return [
        {
            "title": _("all") if name == LEVELS[0] else name,
            "url": f"{page}?level={name}#log",
            "is_current": name == (level or LEVELS[0]),
        }
        for name in LEVELS
    ]


def _lines(execution_id: int, level: str) -> Any:
    lines = JobLog.objects.filter(execution_id=execution_id)
    if not level or level == LEVELS[0]:
        return lines
    return lines.filter(level__in=levels_from(level))


def levels_from(level: str) -> list[str]:
    """Returns this level and the worse ones."""
    return [*LEVELS[LEVELS.index(level) :], "CRITICAL"]
