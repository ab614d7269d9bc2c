"""Sentences that explain: escaped, with instants and links."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils.html import conditional_escape
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from scheduler.admin import formatting
from scheduler.admin.site import reverse
from scheduler.failure_kinds import first_line
from scheduler.models import JobExecution
from scheduler.operations import waiting_words
from scheduler.operations.skip_words import why_not_run

Sentences = list[SafeString]


def reason_of(skipped: JobExecution) -> str:
    facts = skipped.reason_facts if isinstance(skipped.reason_facts, Mapping) else {}
    known = why_not_run(skipped.reason_code or "", facts, formatting.exact)
    return known or skipped.error_message or _("no reason is recorded")


def in_a_line(run: JobExecution) -> str:
    """Returns why a run waits or did not start, in the reader's language; else of its error, which
    is text of a handler, the first line. `run` has `seen_at` and `error_start`, as in lists.
    """
    seen_at: datetime = run.seen_at  # type: ignore[attr-defined]
    known = waiting_words.in_a_line(run, seen_at, formatting.exact)
    return known or first_line(run.error_start or "")  # type: ignore[attr-defined]


def say(text: str, **facts: Any) -> SafeString:
    """Returns a translated sentence with its facts, escaped."""
    escaped = {name: conditional_escape(fact) for name, fact in facts.items()}
    return SafeString(conditional_escape(text) % escaped)


def when(instant: datetime, now: datetime) -> str:
    return f"{formatting.exact(instant)} ({formatting.distance(instant, now)})"


def link_to(execution_id: int, text: str) -> SafeString:
    return formatting.link(
        reverse("admin:scheduler_jobexecution_change", args=[execution_id]), text
    )
