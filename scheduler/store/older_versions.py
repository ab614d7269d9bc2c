"""What the tables of an older version cannot hold: asked before migrations are taken back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from django.db.backends.base.base import BaseDatabaseWrapper

from scheduler.states import ReasonCode, RunStatus


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """Rows that an older version does not know, and what is to be done about them before."""

    count: int
    what: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class _Question:
    migration: str
    """Without it these rows cannot be there."""
    where: str
    """Of job_executions."""
    what: str
    remedy: str


# The reasons that each migration has added.
REASONS: Final = {
    "0034_limits": (ReasonCode.LIMIT_REACHED, ReasonCode.RATE_REACHED),
    "0036_freezes": (
        ReasonCode.FROZEN,
        ReasonCode.FROZEN_HELD,
        ReasonCode.AWAITS_APPROVAL,
        ReasonCode.NOT_APPROVED,
        ReasonCode.REJECTED,
    ),
    "0038_dependencies": (ReasonCode.UPSTREAM_AWAITED, ReasonCode.UPSTREAM_MISSING),
    "0040_shards": (
        ReasonCode.PARENT_ENDED,
        ReasonCode.SHARDS_FAILED,
        ReasonCode.SHARDS_CANCELLED,
        ReasonCode.WAITS_FOR_PARENT,
        ReasonCode.INVALID_SHARDS,
    ),
}
_PENDING: Final = f"status = '{RunStatus.PENDING}'"
_CANCEL: Final = "let them end, or cancel them"
_WAITING: Final = {
    "0034_limits": (
        f"reason_code IN ('{ReasonCode.LIMIT_REACHED}', '{ReasonCode.RATE_REACHED}')",
        "wait for a place under a limit",
    ),
    "0036_freezes": (f"reason_code = '{ReasonCode.FROZEN_HELD}'", "are held by a freeze"),
    "0037_approvals": (f"reason_code = '{ReasonCode.AWAITS_APPROVAL}'", "wait for an approval"),
    "0038_dependencies": (
        f"reason_code = '{ReasonCode.UPSTREAM_AWAITED}'",
        "wait for upstream jobs",
    ),
}
_FORGET: Final = (
    "when none of them waits: UPDATE job_executions SET reason_code = NULL, reason_facts = NULL"
    " WHERE {where}"
)
_QUESTIONS: Final = (
    _Question(
        migration="0040_shards",
        where=f"status = '{RunStatus.FANNED_OUT}'",
        what="runs are FANNED_OUT",
        remedy=_CANCEL,
    ),
    _Question(
        migration="0040_shards",
        where="parent_id IS NOT NULL",
        what="runs are shards",
        remedy="when they have ended: DELETE FROM job_executions WHERE parent_id IS NOT NULL",
    ),
    *(
        _Question(
            migration=migration,
            where=f"{_PENDING} AND {where}",
            what=f"runs {what}",
            remedy=_CANCEL,
        )
        for migration, (where, what) in _WAITING.items()
    ),
)


def unknown_without(migrations: Collection[str], connection: BaseDatabaseWrapper) -> list[Unknown]:
    """Returns what is in the tables that cannot stay there without these migrations."""
    questions = [each for each in _QUESTIONS if each.migration in migrations]
    codes = sorted(code.value for name in migrations for code in REASONS.get(name, ()))
    if codes:
        where = f"reason_code IN ({', '.join(map(repr, codes))})"
        questions.append(
            _Question(
                migration="",
                where=where,
                what="runs have a reason that the older version does not know",
                remedy=_FORGET.format(where=where),
            )
        )
    found: list[Unknown] = []
    with connection.cursor() as cursor:
        for each in questions:
            cursor.execute(f"SELECT COUNT(*) FROM job_executions WHERE {each.where}")  # noqa: S608
            [count] = cursor.fetchone()
            if count:
                found.append(Unknown(count=count, what=each.what, remedy=each.remedy))
    return found
