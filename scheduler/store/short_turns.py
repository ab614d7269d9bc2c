"""The turn of a child process as one statement, for PostgreSQL.

An end and the next claim take eight round trips as statements of their own (turns.py), and the
server plans each of them anew. As one statement that it has prepared, they take one. It is for the
common case: it ends a run that has no guard and no limit, for good, and begins one that has none.
Neither is a shard. All else is left to turns.py.

Its locks are those of turns.py: the run that ends, then one that nobody holds. It claims nothing
if it ends nothing. So a statement that reaches the server late, after this process has given it up
and written the end by itself, does nothing at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeGuard

from django.db import connection

from scheduler.states import FINAL, OverlapPolicy, RunStatus
from scheduler.store.candidates import (
    AGEING,
    COLUMNS,
    JOB_OF,
    Candidate,
    Choice,
    MostUrgent,
    candidate,
)
from scheduler.store.claims import Terms
from scheduler.store.connection import to_json
from scheduler.store.endings import Ending
from scheduler.store.heads import HIGHEST, IS_PENDING, LOWEST
from scheduler.store.prepared import can_prepare, fetch_often

# A packet of more waits for its own statement.
_MOST_LINES: Final = 100


@dataclass(frozen=True, kw_only=True)
class ShortTurn:
    """What one statement has done."""

    is_ended: bool
    """The end is written. False: the run is no longer of its lease, and nothing was written."""
    begun: Candidate | None
    may_be_more: bool
    """Nothing has begun here, but a claim in several steps may find a run."""


def is_possible(choice: Choice, ending: Ending) -> TypeGuard[MostUrgent]:
    """Whether `end_and_begin` may be tried with this choice and this end."""
    report = ending.report
    return (
        isinstance(choice, MostUrgent)
        and choice.places == 1
        and can_prepare()
        and not connection.in_atomic_block
        and connection.get_autocommit()
        and ending.status in FINAL
        and ending.status != RunStatus.CANCELLED
        and ending.lease.guard is None
        and not ending.lease.places
        and ending.lease.parent_id is None
        and not report.maybe_saved
        and len(report.lines) <= _MOST_LINES
    )


def end_and_begin(ending: Ending, terms: Terms, choice: MostUrgent, now: datetime) -> ShortTurn:
    """End this run and begin the most urgent one. One statement, which is its own transaction."""
    values = {"now": now, **_of_end(ending, now), **_of_claim(terms), **_of_choice(choice)}
    ((ended, has_front, has_begun, *row),) = fetch_often(TURN, values)
    return ShortTurn(
        is_ended=bool(ended),
        begun=candidate(row) if has_begun else None,
        may_be_more=bool(has_front and not has_begun),
    )


def _of_end(ending: Ending, now: datetime) -> dict[str, Any]:
    lease, report = ending.lease, ending.report
    percent, message = report.progress or (None, None)
    lines = [[line.seq, line.at.isoformat(), line.level, line.message] for line in report.lines]
    return {
        "ended": lease.execution_id,
        "token": lease.token,
        "status": ending.status.value,
        # The database's clock may have gone back since the attempt began.
        "ended_at": max(now, lease.started_at),
        "result": to_json(ending.result),
        "overran": ending.overran,
        "error_message": ending.error or None,
        "reason_code": ending.reason_code and ending.reason_code.value,
        "reason_facts": to_json(ending.reason_facts),
        "charged": int(ending.charged),
        "has_progress": report.progress is not None,
        "percent": percent,
        "message": None if message is None else message[:500],
        "worker": lease.owner,
        "attempt_started_at": lease.started_at,
        "outcome": ending.outcome.value,
        "error": ending.error,
        "traceback": ending.traceback,
        "exception_class": ending.exception_class or None,
        "lines": to_json(lines),
    }


def _of_claim(terms: Terms) -> dict[str, Any]:
    return {
        "token_prefix": terms.token_prefix,
        "owner": terms.owner,
        "lease_ends": terms.lease_ends,
        "margin_seconds": terms.deadline_margin_seconds,
    }


def _of_choice(choice: MostUrgent) -> dict[str, Any]:
    floors = [
        [queue, priority, at.isoformat(), id_]
        for each in choice.queues
        for (queue, priority), (at, id_) in choice.floors.of(each)
    ]
    return {"queues": to_json(choice.queues), "floors": to_json(floors)}


# --- the statement --------------------------------------------------------------------------------

_TYPES: Final = {
    "now": "timestamptz",
    "ended": "bigint",
    "token": "text",
    "status": "text",
    "ended_at": "timestamptz",
    "result": "jsonb",
    "overran": "boolean",
    "error_message": "text",
    "reason_code": "text",
    "reason_facts": "jsonb",
    "charged": "integer",
    "has_progress": "boolean",
    "percent": "double precision",
    "message": "text",
    "worker": "text",
    "attempt_started_at": "timestamptz",
    "outcome": "text",
    "error": "text",
    "traceback": "text",
    "exception_class": "text",
    "lines": "jsonb",
    "token_prefix": "text",
    "owner": "text",
    "lease_ends": "timestamptz",
    "margin_seconds": "integer",
    "queues": "jsonb",
    "floors": "jsonb",
}
# Only a row that is RUNNING has a token. The server must not look for it by its status.
_ENDED: Final = """
UPDATE job_executions
   SET status = :status, finished_at = :ended_at, result = :result, overran = :overran,
       error_message = :error_message, reason_code = :reason_code, reason_facts = :reason_facts,
       failures = failures + :charged,
       progress = CASE WHEN :has_progress THEN :percent ELSE progress END,
       progress_message = COALESCE(:message, progress_message),
       final_token = lease_token, lease_token = NULL, lease_expires_at = NULL, deadline_at = NULL
 WHERE id = :ended AND lease_token = :token
RETURNING id, attempt
"""
_ATTEMPT: Final = """
INSERT INTO job_attempts
       (execution_id, attempt, lease_token, worker, started_at, ended_at, outcome, error, traceback,
        exception_class)
SELECT id, attempt, :token, :worker, :attempt_started_at, :ended_at, :outcome, :error, :traceback,
       :exception_class
  FROM ended
"""
_LINES: Final = """
INSERT INTO job_logs (execution_id, attempt, seq, at, level, message)
SELECT ended.id, ended.attempt, (line ->> 0)::integer, (line ->> 1)::timestamptz, line ->> 2,
       line ->> 3
  FROM ended, jsonb_array_elements(:lines) line
"""
_URGENCY: Final = (
    f"LEAST({HIGHEST}, {{row}}.priority"
    f" + FLOOR(EXTRACT(EPOCH FROM :now - {{row}}.available_at) / {AGEING.total_seconds():.0f}))"
)
# The first run of each queue and priority, above the floor of this process (heads.py).
_HEADS: Final = f"""
SELECT q.queue, p.priority, floor.at AS floor_at, floor.id AS floor_id, first.available_at
  FROM jsonb_array_elements_text(:queues) q (queue)
 CROSS JOIN generate_series({LOWEST}, {HIGHEST}) p (priority)
  LEFT JOIN jsonb_array_elements(:floors) known
       ON known ->> 0 = q.queue AND (known ->> 1)::integer = p.priority
 CROSS JOIN LATERAL (
       SELECT COALESCE((known ->> 2)::timestamptz, '-infinity'), COALESCE((known ->> 3)::bigint, 0)
       ) floor (at, id)
 CROSS JOIN LATERAL (
       SELECT e.available_at FROM job_executions e
        WHERE {IS_PENDING} AND e.queue = q.queue AND e.priority = p.priority
          AND e.available_at <= :now AND (e.available_at, e.id) > (floor.at, floor.id)
        ORDER BY e.available_at, e.id LIMIT 1
       ) first
"""  # noqa: S608 - of constants
_FRONTS: Final = f"""
SELECT heads.*, {_URGENCY.format(row="heads")} AS urgency FROM ({_HEADS}) heads
 ORDER BY urgency DESC, available_at LIMIT 2
"""  # noqa: S608 - of constants
_ORDERED: Final = "SELECT * FROM fronts ORDER BY urgency DESC, available_at"
# The condition on `ended` is there for its order, too: no row is locked before that update.
_CHOSEN: Final = f"""
SELECT {COLUMNS}, cancel_requested_at, {JOB_OF["postgresql"]} AS job
  FROM job_executions e
 WHERE {IS_PENDING} AND available_at <= :now
   AND queue = (SELECT queue FROM front) AND priority = (SELECT priority FROM front)
   AND (available_at, id) > ((SELECT floor_at FROM front), (SELECT floor_id FROM front))
   AND (SELECT COUNT(*) FROM ended) = 1
 ORDER BY available_at, id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
"""  # noqa: S608 - of constants
# Neither a run that must not overlap or has a limit, nor one that must not run at all. And where
# others hold the first runs of its level, another level may have one that is more urgent.
_BEGUN: Final = f"""
UPDATE job_executions e
   SET status = '{RunStatus.RUNNING}', attempt = e.attempt + 1,
       lease_token = CONCAT(:token_prefix, e.id), lease_owner = :owner, started_at = :now,
       deadline_at = until.deadline, lease_expires_at = LEAST(:lease_ends, until.deadline),
       in_line = NULL, progress = NULL, progress_message = '', overran = FALSE,
       reason_code = NULL, reason_facts = NULL
  FROM chosen c
 CROSS JOIN LATERAL (
       SELECT :now + make_interval(secs => c.timeout_seconds + :margin_seconds)
       ) until (deadline)
  LEFT JOIN other ON TRUE
 WHERE e.id = c.id AND c.cancel_requested_at IS NULL AND c.parent_id IS NULL
   AND CASE WHEN c.job_id IS NULL THEN c.overlap_key IS NULL
            ELSE c.job::json ->> 0 = '{OverlapPolicy.ALLOW}'
                 AND c.job::json ->> 3 IS NULL AND c.job::json ->> 4 = '' END
   AND (other.urgency IS NULL
        OR {_URGENCY.format(row="c")} > other.urgency
        OR {_URGENCY.format(row="c")} = other.urgency AND c.available_at < other.available_at)
RETURNING e.id AS begun_id
"""  # noqa: S608 - of constants
_NAMED: Final = f"""
WITH ended AS ({_ENDED}),
attempt AS ({_ATTEMPT}),
line AS ({_LINES}),
fronts AS MATERIALIZED ({_FRONTS}),
front AS MATERIALIZED ({_ORDERED} LIMIT 1),
other AS MATERIALIZED ({_ORDERED} OFFSET 1),
chosen AS MATERIALIZED ({_CHOSEN}),
begun AS ({_BEGUN})
SELECT (SELECT COUNT(*) FROM ended), EXISTS (SELECT FROM fronts), begun_id IS NOT NULL,
       {COLUMNS}, cancel_requested_at, job
  FROM (SELECT) one LEFT JOIN chosen ON TRUE LEFT JOIN begun ON TRUE
"""  # noqa: S608 - of constants
TURN: Final = re.sub(
    r"(?<!:):([a-z_]+)", lambda found: f"%({found[1]})s::{_TYPES[found[1]]}", _NAMED
)
