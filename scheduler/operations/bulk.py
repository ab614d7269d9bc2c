"""One action on many rows, in steps of about a second, until all are done or somebody stops it.

The entry in the history keeps the work: which rows wait, how many are done and why others were
refused. A step locks it, takes rows from it and acts on them in the same transaction. So each row
is taken once, whoever asks for a step, how often, and whatever process dies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.utils.translation import gettext

from scheduler.models import Activity
from scheduler.operations.base import Operations
from scheduler.operations.errors import REFUSALS, NotPossible, refusal
from scheduler.states import ActivityVerb, TargetKind
from scheduler.store import activity
from scheduler.transient import in_transaction

LIMIT: Final = 100_000
STEP_ROWS: Final = 500
STEP_SECONDS: Final = 0.8
# One transaction of a step. It holds its rows, and on SQLite the file, no longer than this.
_GROUP_ROWS: Final = 100
_GROUP_SECONDS: Final = 0.2

_REASONS: Final = 20
_EXAMPLES: Final = 3
# The entries of a person in which an earlier answer to the same question is looked for.
_SEARCHED: Final = 20

#: Acts on all of some rows in the transaction of the caller. Returns why rows were refused, by id.
Act = Callable[[Sequence[int]], Mapping[int, str]]


def one_by_one(act: Callable[[int], object]) -> Act:
    """Returns an Act that calls `act`, one operation that changes nothing when it refuses."""

    def act_on(ids: Sequence[int]) -> Mapping[int, str]:
        refused = {}
        for row_id in ids:
            try:
                act(row_id)
            except REFUSALS as error:
                refused[row_id] = refusal(error, is_general=True)
        return refused

    return act_on


def too_many() -> str:
    return gettext("At most %s at once. Narrow the filter, or choose fewer.") % LIMIT


@dataclass(frozen=True, kw_only=True)
class Refused:
    """Rows that were refused for one reason, with the ids of the first few."""

    reason: str
    count: int
    examples: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Bulk:
    """How far one action on many rows is."""

    id: int
    kind: TargetKind
    action: str
    answers: Mapping[str, Any]
    total: int
    done: int
    refused: Sequence[Refused]
    left: int
    is_stopped: bool

    @property
    def is_over(self) -> bool:
        return self.left == 0 or self.is_stopped

    @property
    def refused_count(self) -> int:
        return sum(each.count for each in self.refused)


@dataclass(frozen=True, kw_only=True)
class BulkOperations(Operations):
    """Actions on many rows, for one actor, who sees only his own."""

    def begin(
        self,
        *,
        kind: TargetKind,
        action: str,
        ids: Iterable[int],
        answers: Mapping[str, Any],
        question: str,
    ) -> Bulk:
        """Fixes the rows and records the work. It acts on no row yet.

        `question` names the page that asked: a second answer to it returns the work of the first.
        """
        chosen = sorted(set(ids))
        if len(chosen) > LIMIT:
            raise NotPossible(too_many())

        def work() -> Activity:
            if question and self.actor.user_id is not None:
                activity.lock_person(self.actor.user_id)
                for entry in activity.newest_bulks(kind, self.actor.user_id)[:_SEARCHED]:
                    if entry.facts.get("question") == question:
                        return entry
            facts = {
                "action": action,
                "answers": dict(answers),
                "question": question,
                "total": len(chosen),
                "done": 0,
                "refused": [],
                "waiting": list(_packed(chosen)),
                "stopped": False,
            }
            return self._remember(ActivityVerb.BULK, kind, None, "", self.clock.now(), facts)

        return _bulk_of(in_transaction(work))

    def find(self, bulk_id: int) -> Bulk | None:
        """Returns the work, or None if this actor has begun no such work."""
        entry = Activity.objects.filter(pk=bulk_id, verb=ActivityVerb.BULK.value).first()
        return _bulk_of(entry) if entry is not None and self._is_own(entry) else None

    def step(self, bulk_id: int, act: Act, *, at_once: int = 1) -> Bulk:
        """Calls `act` with up to `at_once` ids after the other, for about a second.

        Returns how far it is now. Refusals are counted. Any error of `act` ends the step: what the
        groups before have done stays done.
        """
        started = self.clock.monotonic()
        most = STEP_ROWS * at_once
        taken, bulk = self._group(bulk_id, act, _GROUP_ROWS, at_once)
        while not bulk.is_over and taken < most and self.clock.monotonic() - started < STEP_SECONDS:
            more, bulk = self._group(bulk_id, act, min(_GROUP_ROWS, most - taken), at_once)
            taken += more
        return bulk

    def stop(self, bulk_id: int) -> Bulk:
        """Leaves the rows alone that wait. What is done stays done."""

        def work() -> Bulk:
            entry = self._locked(bulk_id)
            bulk = _bulk_of(entry)
            if not bulk.is_over:
                return _save(entry, {**entry.facts, "stopped": True, "waiting": []})
            return bulk

        return in_transaction(work)

    def _group(self, bulk_id: int, act: Act, most: int, at_once: int) -> tuple[int, Bulk]:
        def work() -> tuple[int, Bulk]:
            entry = self._locked(bulk_id)
            started = self.clock.monotonic()
            facts = dict(entry.facts)
            waiting, taken = _first_ids(facts), 0
            reasons = _Reasons(facts["refused"])
            while taken < min(most, len(waiting)):
                if taken and self.clock.monotonic() - started >= _GROUP_SECONDS:
                    break
                ids = waiting[taken : taken + at_once]
                taken += len(ids)
                refused = act(ids)
                for row_id, reason in refused.items():
                    reasons.add(row_id, reason)
                facts["done"] += len(ids) - len(refused)
            if not taken:
                return 0, _bulk_of(entry)
            facts["refused"] = reasons.facts
            facts["waiting"] = [*_packed(waiting[taken:]), *facts["waiting"][1:]]
            return taken, _save(entry, facts)

        return in_transaction(work)

    def _locked(self, bulk_id: int) -> Activity:
        entry = activity.lock(bulk_id)
        if entry is None or entry.verb != ActivityVerb.BULK or not self._is_own(entry):
            raise Activity.DoesNotExist
        return entry

    def _is_own(self, entry: Activity) -> bool:
        return (entry.actor, entry.user_id) == (self.actor.name[:150], self.actor.user_id)


class _Reasons:
    """Counts refusals by their reason. Reasons beyond _REASONS are counted together."""

    def __init__(self, facts: Sequence[Sequence[Any]]) -> None:
        self.facts = [list(each) for each in facts]

    def add(self, row_id: int, reason: str) -> None:
        found = next((each for each in self.facts if each[0] == reason), None)
        if found is None and len(self.facts) >= _REASONS:
            found = self.facts[-1]
            found[0] = gettext("other reasons")
        if found is None:
            found = [reason, 0, []]
            self.facts.append(found)
        found[1] += 1
        if len(found[2]) < _EXAMPLES:
            found[2].append(row_id)


def _bulk_of(entry: Activity) -> Bulk:
    facts = entry.facts
    refused = [
        Refused(reason=reason, count=count, examples=examples)
        for reason, count, examples in facts["refused"]
    ]
    total, done = facts["total"], facts["done"]
    return Bulk(
        id=entry.pk,
        kind=TargetKind(entry.target_kind),
        action=facts["action"],
        answers=facts["answers"],
        total=total,
        done=done,
        refused=refused,
        left=total - done - sum(each.count for each in refused),
        is_stopped=facts["stopped"],
    )


def _save(entry: Activity, facts: Mapping[str, Any]) -> Bulk:
    activity.set_facts(entry.pk, facts)
    entry.facts = dict(facts)
    return _bulk_of(entry)


# --- the ids that wait, as texts such as "1-300,305" of at most STEP_ROWS ids ---------------------


def _packed(ids: Sequence[int]) -> Iterator[str]:
    for start in range(0, len(ids), STEP_ROWS):
        yield ",".join(
            str(first) if first == last else f"{first}-{last}"
            for first, last in _ranges(ids[start : start + STEP_ROWS])
        )


def _ranges(ids: Sequence[int]) -> Iterator[tuple[int, int]]:
    first = last = ids[0]
    for each in ids[1:]:
        if each != last + 1:
            yield first, last
            first = each
        last = each
    yield first, last


def _first_ids(facts: Mapping[str, Any]) -> list[int]:
    if not facts["waiting"]:
        return []
    found: list[int] = []
    for part in facts["waiting"][0].split(","):
        first, _dash, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return found
