"""A name of another system as the name of a job: short enough, visible, and always the same."""

from __future__ import annotations

import hashlib
from functools import cache
from zoneinfo import available_timezones

from scheduler.operations import validation


def job_name(name: str) -> str:
    """Returns the name as it is, if a job may have it; otherwise one that stands for it alone.

    A name that must change ends in a digest of the whole one, so two long names stay two.
    """
    if name_problem(name) is None:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    seen = "".join(each for each in name if validation.new_name_problem(f"a{each}a") is None)
    kept = seen.strip()[: validation.NAME_LENGTH - len(digest) - 1].strip()
    return f"{kept}~{digest}" if kept else digest


def name_problem(name: str) -> str | None:
    """Returns why no job may have this name, or None."""
    problem = validation.text_problem(name, validation.NAME_LENGTH, required=True)
    return problem or validation.new_name_problem(name)


def source_key(kind: str, key: str) -> str:
    """Returns the text of `cron_jobs.source`, at most 255 characters."""
    text = f"{kind}:{key}"
    if len(text) <= 255:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{text[: 255 - len(digest) - 1]}~{digest}"


def is_zone(name: object) -> bool:
    """Whether this is the name of a time zone. Each entry of a source asks."""
    return name in _zones()


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())  # it reads the whole directory
