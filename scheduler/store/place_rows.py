"""The statements of places under limits (places.py). Whoever calls one has locked the guard."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import connection

from scheduler.concurrency import Refusal, Terms, guard_of_job, job_of_guard
from scheduler.models import JobPlace
from scheduler.states import OverlapPolicy, PlaceState, RunStatus
from scheduler.store.connection import (
    SKIP_LOCKED,
    execute,
    fetch_all,
    fetch_one,
    instant,
    marks,
    numbers,
    to_json,
)

#: The keys that are looked at for one release. The next one goes on behind them.
MOST_KEYS: Final = 200
# So many rows at most are deleted at once.
_AT_ONCE: Final = 1000


# --- limits ---------------------------------------------------------------------------------------

_JOBS: Final = """
SELECT id, max_running, overlap_policy, concurrency_group, concurrency_key
  FROM cron_jobs WHERE id IN ({ids})
"""
_GROUPS: Final = """
SELECT name, max_running, max_running_per_key, rate_count, rate_seconds, rate_per_key
  FROM jobu_concurrency_groups WHERE name IN ({names})
"""


def terms_of(groups: Mapping[int, str]) -> dict[int, Terms]:
    """By guard. `groups`: the name of each one's group, empty for the limit of a job itself.

    A limit that is not there any more limits nothing: nobody could ever let its runs go on.
    """
    found = dict.fromkeys(groups, Terms())
    if jobs := {job_of_guard(guard) for guard, group in groups.items() if not group}:
        for id_, most, policy, group, key in fetch_all(_JOBS.format(ids=numbers(jobs)), ()):
            # The policy decides which of the job's two guards limits.
            guard = guard_of_job(id_, may_overlap=policy == OverlapPolicy.ALLOW)
            if guard in found:
                is_of_key = bool(key) and not group
                found[guard] = Terms(
                    max_running=None if is_of_key else most,
                    max_running_per_key=most if is_of_key else None,
                )
    if names := sorted({name for name in groups.values() if name}):
        named = {
            name: Terms(
                max_running=most,
                max_running_per_key=of_key,
                rate_count=count,
                rate_seconds=seconds,
                rate_per_key=bool(per_key),
            )
            for name, most, of_key, count, seconds, per_key in fetch_all(
                _GROUPS.format(names=marks(names)), names
            )
        }
        found |= {guard: named[name] for guard, name in groups.items() if name in named}
    return found


# --- what goes on ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A place that a run has, or will have, with what its execution is."""

    id: int
    guard: int
    key: str
    execution_id: int
    attempt: int
    state: str
    at: datetime
    run_status: str | None
    run_attempt: int | None
    run_in_line: int | None


_ROWS: Final = f"""
SELECT p.id, p.guard_id, p.key_value, p.execution_id, p.attempt, p.state, p.at,
       e.status, e.attempt, e.in_line
  FROM job_places p LEFT JOIN job_executions e ON e.id = p.execution_id
 WHERE p.state IN ('{PlaceState.NEXT}', '{PlaceState.STARTED}') AND p.guard_id IN ({{guards}})
"""  # noqa: S608 - of constants
_STARTS: Final = f"""
SELECT at FROM job_places
 WHERE guard_id = {{guard}} AND at > %s {{more}}
   AND state IN ('{PlaceState.STARTED}', '{PlaceState.ENDED}')
 ORDER BY at DESC LIMIT %s OFFSET %s
"""  # noqa: S608 - of constants


def rows(guards: Collection[int]) -> list[Row]:
    """Who has a place, and who was let go on. Some rows may be of runs that are neither."""
    return [
        Row(
            id=id_, guard=guard, key=key, execution_id=execution_id, attempt=attempt, state=state,
            at=_given(at), run_status=status, run_attempt=run_attempt, run_in_line=in_line,
        )
        for id_, guard, key, execution_id, attempt, state, at, status, run_attempt, in_line
        in fetch_all(_ROWS.format(guards=numbers(guards)), ())
    ]  # fmt: skip


def starts(
    guard: int, key: str | None, *, since: datetime, skipped: int, limit: int
) -> list[datetime]:
    """The starts under a rate after `since`, newest first, behind the `skipped` newest ones.

    `key` None: of all keys.
    """
    more, values = ("", []) if key is None else ("AND key_value = %s", [key])
    statement = _STARTS.format(guard=guard, more=more)
    return [_given(at) for (at,) in fetch_all(statement, [since, *values, limit, skipped])]


def _given(value: Any) -> datetime:
    found = instant(value)
    assert found is not None
    return found


# --- changes --------------------------------------------------------------------------------------

_OF_WAITING: Final = f"""
SELECT id FROM job_places
 WHERE execution_id IN ({{executions}})
   AND state IN ('{PlaceState.WAITS}', '{PlaceState.NEXT}')
"""  # noqa: S608 - of constants
_OF_NEXT: Final = f"""
SELECT id FROM job_places WHERE execution_id IN ({{executions}}) AND state = '{PlaceState.NEXT}'
"""  # noqa: S608 - of constants
_RESERVED: Final = f"""
SELECT DISTINCT guard_id, group_name FROM job_places
 WHERE execution_id IN ({{executions}}) AND state = '{PlaceState.NEXT}'
"""  # noqa: S608 - of constants
_OF_OLD_STARTS: Final = f"""
SELECT id FROM job_places WHERE guard_id = {{guard}} AND at <= %s AND state = '{PlaceState.ENDED}'
 ORDER BY at LIMIT {_AT_ONCE}
"""  # noqa: S608 - of constants
# By their ids, and MySQL by the primary key: else it locks rows of other guards, which others hold.
_BY_ID: Final = {"mysql": "FORCE INDEX (PRIMARY)", "postgresql": "", "sqlite": ""}
_DELETE: Final = {
    "mysql": "DELETE p FROM job_places p FORCE INDEX (PRIMARY) WHERE p.id IN ({ids})",
    "postgresql": "DELETE FROM job_places WHERE id IN ({ids})",
    "sqlite": "DELETE FROM job_places WHERE id IN ({ids})",
}
_SET: Final = "UPDATE job_places {index} SET {columns} WHERE id IN ({ids})"


def add(new: Sequence[JobPlace]) -> None:
    if new:
        JobPlace.objects.bulk_create(new)


def forget_waiting(executions: Collection[int]) -> None:
    """What these runs had before they started, or before they went to another line."""
    if executions:
        found = fetch_all(_OF_WAITING.format(executions=numbers(executions)), ())
        delete([id_ for (id_,) in found])


def reserved_by(executions: Collection[int]) -> dict[int, str]:
    """The guards under which these runs were let go on, and the names of their groups."""
    if not executions:
        return {}
    return dict(fetch_all(_RESERVED.format(executions=numbers(executions)), ()))


def keep_start(ids: Collection[int]) -> None:
    """These have ended, and a rate counts their starts."""
    if ids:
        _set("state = %s", [PlaceState.ENDED], ids)


def set_key(id_: int, key: str) -> None:
    _set("key_value = %s", [key], [id_])


def prune_starts(guard: int, *, before: datetime) -> bool:
    """Forget starts that no rate counts any more. Returns whether there may be more of them."""
    old = [id_ for (id_,) in fetch_all(_OF_OLD_STARTS.format(guard=guard), [before])]
    delete(old)
    return len(old) == _AT_ONCE


def delete(ids: Collection[int]) -> None:
    if ids:
        execute(_DELETE[connection.vendor].format(ids=numbers(ids)), ())


def _set(columns: str, values: Sequence[Any], ids: Collection[int]) -> None:
    if not ids:
        return
    index = _BY_ID[connection.vendor]
    execute(_SET.format(index=index, columns=columns, ids=numbers(ids)), values)


# --- who waits ------------------------------------------------------------------------------------

_OLDEST: Final = f"""
SELECT key_value, execution_id, id FROM job_places
 WHERE state = '{PlaceState.WAITS}' AND guard_id = {{guard}} {{more}}
 ORDER BY key_value, execution_id LIMIT %s
"""  # noqa: S608 - of constants
_LAST_KEY: Final = "SELECT last_key FROM job_guard WHERE id = {guard}"
_IN_LINE: Final = """
SELECT id, queue FROM job_executions {index}
 WHERE id IN ({ids}) AND in_line = {guard} AND status = %s ORDER BY id {lock}
"""
_GO_ON: Final = """
UPDATE job_executions {index} SET in_line = NULL, available_at = %s {early}
 WHERE id IN ({ids}) AND status = %s
"""
_TURN: Final = "UPDATE job_guard SET last_key = %s WHERE id = {guard}"
# Each guard is the first one after the one before it. MySQL skips from group to group (heads.py).
_BY_PROBES: Final = f"""
WITH RECURSIVE guards (id) AS (
SELECT (SELECT MIN(guard_id) FROM job_places WHERE state = '{PlaceState.WAITS}')
 UNION ALL
SELECT (SELECT MIN(p.guard_id) FROM job_places p
         WHERE p.state = '{PlaceState.WAITS}' AND p.guard_id > guards.id)
  FROM guards WHERE guards.id IS NOT NULL
)
SELECT g.id, (SELECT p.group_name FROM job_places p
               WHERE p.state = '{PlaceState.WAITS}' AND p.guard_id = g.id LIMIT 1)
  FROM guards g WHERE g.id IS NOT NULL
"""  # noqa: S608 - of constants
_BY_GROUPS: Final = f"""
SELECT g.guard_id, (SELECT p.group_name FROM job_places p
                     WHERE p.state = '{PlaceState.WAITS}' AND p.guard_id = g.guard_id LIMIT 1)
  FROM (SELECT guard_id FROM job_places
         WHERE state >= '{PlaceState.WAITS}' AND state <= '{PlaceState.WAITS}'
         GROUP BY state, guard_id) g
"""  # noqa: S608 - of constants

Tickets = dict[int, int]
"""The row of each waiting run, by execution, the oldest first."""


def guards_awaited() -> dict[int, str]:
    """The guards behind which runs wait for a place, and the names of their groups."""
    statement = _BY_GROUPS if connection.vendor == "mysql" else _BY_PROBES
    return {guard: group or "" for guard, group in fetch_all(statement, ())}


def oldest_of(guard: int, key: str, limit: int) -> Tickets:
    """The oldest runs of this key that wait."""
    return _oldest(guard, "AND key_value = %s", [key], limit)[1]


def in_turn(guard: int, limit: int) -> Iterator[tuple[str, Tickets]]:
    """Each key with waiting runs once, from behind the one that went on last. By probes."""
    row = fetch_one(_LAST_KEY.format(guard=guard), ())
    after: str | None = str(row[0]) if row else ""
    seen: set[str] = set()
    is_second_half = False
    while len(seen) < MOST_KEYS:
        more, values = ("", []) if after is None else ("AND key_value > %s", [after])
        key, tickets = _oldest(guard, more, values, limit)
        if tickets and key not in seen:
            seen.add(key)
            yield key, tickets
            after = key
        elif tickets or is_second_half:
            return  # all round
        else:
            after, is_second_half = None, True


def _oldest(guard: int, more: str, values: Sequence[str], limit: int) -> tuple[str, Tickets]:
    """The first key and its oldest runs."""
    found = fetch_all(_OLDEST.format(guard=guard, more=more), [*values, limit])
    key = found[0][0] if found else ""
    return key, {execution_id: id_ for of, execution_id, id_ in found if of == key}


def lock_in_line(guard: int, ids: Collection[int]) -> dict[int, str]:
    """Those of these runs that are in line, locked, and their queues.

    Not those that another process holds: a claim decides for itself when it gets the guard.
    """
    statement = _IN_LINE.format(
        index=_BY_ID[connection.vendor],
        ids=numbers(ids),
        guard=guard,
        lock=SKIP_LOCKED[connection.vendor],
    )
    return dict(fetch_all(statement, [RunStatus.PENDING]))


def forget_absent(guard: int, tickets: Mapping[int, int]) -> set[int]:
    """Those of these runs that are no longer in line, because they were cancelled or are gone."""
    statement = _IN_LINE.format(index="", ids=numbers(tickets), guard=guard, lock="")
    there = {id_ for id_, _queue in fetch_all(statement, [RunStatus.PENDING])}
    absent = tickets.keys() - there
    delete([tickets[id_] for id_ in absent])
    return absent


def go_on(tickets: Mapping[int, int], *, at: datetime, why_later: Refusal | None) -> None:
    """These locked runs leave the line and may start at `at`. `why_later`: why not at once."""
    early, values = "", []
    if why_later is not None:
        early = ", reason_code = %s, reason_facts = %s"
        values = [why_later.code, to_json(why_later.facts)]
    index = _BY_ID[connection.vendor]
    statement = _GO_ON.format(index=index, early=early, ids=numbers(tickets))
    execute(statement, [at, *values, RunStatus.PENDING])
    # Also what they have of their jobs' own limits since they wait: it is kept from now on, too.
    # Whoever has locked those guards waits for these rows, and for no guard any more.
    others = fetch_all(_OF_NEXT.format(executions=numbers(tickets)), ())
    _set("at = %s", [at], [id_ for (id_,) in others])
    _set("state = %s, at = %s", [PlaceState.NEXT, at], tickets.values())


def remember_turn(guard: int, key: str) -> None:
    """The next turn begins behind this key."""
    execute(_TURN.format(guard=guard), [key])
