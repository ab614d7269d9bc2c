"""Places under limits: who has one, who takes the next one, and who waits in line for one.

A limit (scheduler/concurrency.py) has a guard, as jobs have whose runs must not overlap. Whoever
has locked it (overlap.py) may read and write its rows of job_places: a claim, the end of a run,
beat, an edit. A row is believed only if its execution is what it says. So what SQL or a crash
leaves behind changes no count, and goes when it is met.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from scheduler.concurrency import (
    KEEPS,
    Next,
    Place,
    Refusal,
    Room,
    Starts,
    StartsOf,
    Terms,
    in_turn,
)
from scheduler.models import JobExecution, JobPlace
from scheduler.schedule import LAST_INSTANT
from scheduler.states import PlaceState, RunStatus
from scheduler.store import overlap, place_rows
from scheduler.store.place_rows import Row, Tickets
from scheduler.transient import in_transaction

__all__ = [
    "Rooms",
    "forget_starts",
    "guards_awaited",
    "of_runs",
    "release",
    "release_awaited",
    "reserved_by",
    "settle",
    "take_over",
]

guards_awaited = place_rows.guards_awaited

#: A process whose clock is behind still counts the starts that another one counts no more.
_CLOCKS_DIFFER: Final = timedelta(seconds=10)
#: Of queues without a worker more and more runs would be known as late.
_LATEST: Final = 12 * KEEPS
#: So many of the starts under a rate are read. The newer ones are only counted.
_STARTS_READ: Final = 1_000
#: So many more waiting runs at most are looked at in a step, where the first ones wait no more.
_FURTHEST: Final = 1000


class Rooms:
    """What goes on under some limits, and the changes of one transaction, written at its end."""

    def __init__(self, places: Iterable[Place], now: datetime) -> None:
        """Reads the limits and what goes on. The guards of the places are locked."""
        self._groups = {place.guard: place.group for place in places}
        self._now = now
        self._rooms = {
            guard: Room(terms=terms, starts=self._starts_of(guard, terms))
            for guard, terms in place_rows.terms_of(self._groups).items()
        }
        self._stale: list[Row] = []
        self._new: list[JobPlace] = []
        self._moved: set[int] = set()
        self._began: set[int] = set()
        # The keys for which something has changed, by guard.
        self._keys: dict[int, set[str]] = defaultdict(set)
        # Where a look at the keys that wait was cut off, by guard.
        self._cut_off: dict[int, str] = {}
        self.queues_to_wake: set[str] = set()
        """Of the runs that were let go on and may start now."""
        for row in place_rows.rows(self._groups):
            self._take_in(row)

    def refusal(self, places: Sequence[Place], execution_id: int) -> tuple[Place, Refusal] | None:
        """Under which limit a run must wait, and why. None: it may start."""
        for place in places:
            refusal = self._rooms[place.guard].refusal(place, execution_id, self._now)
            if refusal is not None:
                return place, refusal
        return None

    def start(self, places: Sequence[Place], execution_id: int, attempt: int) -> None:
        self.leave(places, execution_id)
        for place in places:
            self._rooms[place.guard].begin(place, self._now)
            self._began.add(place.guard)
            self._add(place, execution_id, PlaceState.STARTED, attempt)

    def wait(self, places: Sequence[Place], execution_id: int, behind: Place) -> None:
        """The run waits for one of its places. It keeps those that it needs before that one."""
        self.leave(places, execution_id)
        for place in places:
            if place == behind:
                self._add(place, execution_id, PlaceState.WAITS)
                return
            self._rooms[place.guard].next[execution_id] = Next(key=place.key, at=self._now)
            self._add(place, execution_id, PlaceState.NEXT)

    def leave(self, places: Sequence[Place], execution_id: int) -> None:
        """The run needs no place now: it waits for something else, or does not run."""
        self._moved.add(execution_id)
        for place in places:
            self._rooms[place.guard].next.pop(execution_id, None)
            self._rooms[place.guard].late.discard(execution_id)
            self._keys[place.guard].add(place.key)

    def settle(self, *, all_keys: bool = False) -> None:
        """Write the changes, and let as many waiting runs go on as there are places.

        `all_keys`: also of keys for which nothing has changed here.
        """
        self._write()
        for guard, room in sorted(self._rooms.items()):
            self._let_go_on(guard, room, all_keys=all_keys)

    def have_room(self) -> set[int]:
        """The guards under which waiting runs might go on."""
        return {guard for guard, room in self._rooms.items() if room.places(self._now)}

    # --- what goes on -----------------------------------------------------------------------------

    def _take_in(self, row: Row) -> None:
        room = self._rooms[row.guard]
        if row.state == PlaceState.NEXT and self._keeps(row):
            room.next[row.execution_id] = Next(key=row.key, at=row.at)
        elif row.state == PlaceState.NEXT and self._is_late(row):
            room.late.add(row.execution_id)
        elif row.state == PlaceState.STARTED and (
            (row.run_status, row.run_attempt) == (RunStatus.RUNNING, row.attempt)
        ):
            room.running[row.key] += 1
        else:
            self._stale.append(row)
            self._keys[row.guard].add(row.key)

    def _keeps(self, row: Row) -> bool:
        """Whether a run that was let go on has its place still."""
        if row.run_status != RunStatus.PENDING or row.run_in_line == row.guard:
            return False
        # One that waits for another place keeps this one: else runs would go from line to line.
        return row.run_in_line is not None or row.at > self._now - KEEPS

    def _is_late(self, row: Row) -> bool:
        """Whether the workers are so busy, or away, that a run has lost its place but no turn."""
        is_free = row.run_status == RunStatus.PENDING and row.run_in_line is None
        return is_free and row.at > self._now - _LATEST

    def _starts_of(self, guard: int, terms: Terms) -> StartsOf:
        known: dict[str | None, Starts] = {}

        def starts(key: str | None, others: int) -> Starts:
            count, seconds = terms.rate_count, terms.rate_seconds
            if count is None or seconds is None:
                return Starts()
            if key not in known or 0 < known[key].skipped >= count - others:
                # All are counted, but only those around the N-th one are read and sorted.
                skipped = max(0, count - max(_STARTS_READ, 2 * others))
                since = self._now - timedelta(seconds=seconds)
                found = place_rows.starts(
                    guard, key, since=since, skipped=skipped, limit=count - skipped
                )
                known[key] = Starts(skipped=skipped, at=found)
            return known[key]

        return starts

    # --- changes ----------------------------------------------------------------------------------

    def _add(self, place: Place, execution_id: int, state: PlaceState, attempt: int = 0) -> None:
        self._new.append(_place(place, execution_id, state, attempt, self._now))

    def _write(self) -> None:
        kept = {
            row.id
            for row in self._stale
            if row.state == PlaceState.STARTED and self._rooms[row.guard].terms.has_rate
        }
        place_rows.keep_start(kept)
        place_rows.delete({row.id for row in self._stale} - kept)
        place_rows.forget_waiting(self._moved)
        place_rows.add(self._new)
        for guard in sorted(self._began):
            if (seconds := self._rooms[guard].terms.rate_seconds) is not None:
                span = timedelta(seconds=seconds) + _CLOCKS_DIFFER
                place_rows.prune_starts(guard, before=self._now - span)

    # --- who goes on ------------------------------------------------------------------------------

    def _let_go_on(self, guard: int, room: Room, *, all_keys: bool) -> None:
        passed: set[int] = set()
        further = 0
        # Again without those whose rows somebody holds: others may go on in their place. Further
        # ahead each time: a divided run that was cancelled leaves thousands that wait no more.
        while most := room.places(self._now):
            lines: dict[str, list[int]] = {}
            tickets: Tickets = {}
            limit = most + len(passed) + further
            for key, found in self._waiting(guard, room, limit, all_keys=all_keys):
                there = {id_: ticket for id_, ticket in found.items() if id_ not in passed}
                if there:
                    lines[key] = list(there)
                    tickets |= there
                if len(lines) >= most:
                    break
            chosen = in_turn(lines, room, most=most, now=self._now)
            if not chosen:
                if guard in self._cut_off:  # all of these are full: the next look begins behind
                    place_rows.remember_turn(guard, self._cut_off[guard])
                return
            queues = place_rows.lock_in_line(guard, [id_ for id_, _ in chosen])
            self._go_on(guard, [each for each in chosen if each[0] in queues], tickets, queues)
            held = {id_ for id_, _ in chosen if id_ not in queues}
            if not held:
                return
            for id_ in held:
                del room.next[id_]
            rest = {id_: ticket for id_, ticket in tickets.items() if id_ not in queues}
            passed |= held - place_rows.forget_absent(guard, rest)
            further = min(_FURTHEST, 2 * further + most)

    def _waiting(
        self, guard: int, room: Room, limit: int, *, all_keys: bool
    ) -> Iterator[tuple[str, Tickets]]:
        """The keys with room for which runs wait, in turn, and the oldest of these runs."""
        if all_keys or not room.terms.is_of_keys:
            self._cut_off.pop(guard, None)
            for number, (key, tickets) in enumerate(place_rows.in_turn(guard, limit), start=1):
                if number == place_rows.MOST_KEYS:
                    self._cut_off[guard] = key
                if room.instant_for(key, self._now) is not None:
                    yield key, tickets
            return
        for key in sorted(self._keys[guard]):
            if room.instant_for(key, self._now) is not None:
                yield key, place_rows.oldest_of(guard, key, limit)

    def _go_on(
        self,
        guard: int,
        going: Sequence[tuple[int, Next]],
        tickets: Mapping[int, int],
        queues: Mapping[int, str],
    ) -> None:
        room = self._rooms[guard]
        alike: dict[tuple[datetime, str], Tickets] = defaultdict(dict)
        for id_, next_ in going:
            key = next_.key if room.terms.rate_per_key else ""
            alike[next_.at, key][id_] = tickets[id_]
        for (at, key), some in alike.items():
            is_later = at > self._now
            place = Place(guard=guard, key=key, group=self._groups[guard])
            why_later = room.too_early(place) if is_later else None
            place_rows.go_on(some, at=at, why_later=why_later)
            if not is_later:
                self.queues_to_wake.update(queues[id_] for id_ in some)
        if going:
            place_rows.remember_turn(guard, going[-1][1].key)


def _place(
    place: Place, execution_id: int, state: PlaceState, attempt: int, at: datetime
) -> JobPlace:
    return JobPlace(
        guard_id=place.guard,
        group_name=place.group,
        key_value=place.key,
        execution_id=execution_id,
        attempt=attempt,
        state=state,
        at=at,
    )


# --- for others than claims -----------------------------------------------------------------------


def settle(places: Collection[Place], now: datetime, *, all_keys: bool = False) -> set[str]:
    """Let as many waiting runs go on as there are places. Returns the queues to wake.

    The guards are locked. Call it in the transaction of the ends of runs, after these are written.
    `all_keys`: also of keys of which no run has ended, because the limit itself has changed.
    """
    rooms = Rooms(places, now)
    rooms.settle(all_keys=all_keys)
    return rooms.queues_to_wake


def release_awaited(now: datetime) -> set[str]:
    """Let runs go on that nobody has let go on, although there are places: beat's net.

    So it is when a process dies, when a run that was let go on is cancelled or stays in a queue
    that nobody serves, or when SQL changes a limit. Returns the queues to wake.
    """
    awaited = {
        guard: Place(guard=guard, group=group)
        for guard, group in place_rows.guards_awaited().items()
    }
    if not awaited:
        return set()
    open_ = Rooms(awaited.values(), now).have_room()

    def work(guard: int) -> set[str]:
        overlap.lock_guards((), [guard])
        return settle([awaited[guard]], now, all_keys=True)

    woken: set[str] = set()
    for guard in sorted(open_):
        woken |= in_transaction(lambda guard=guard: work(guard))  # type: ignore[misc]
    return woken


def release(reserved: Iterable[Place], now: datetime) -> set[str]:
    """Give on the places that runs were let go on to which are cancelled now (`reserved_by`).

    Call it after the commit of the cancel. Under its locks of waiting runs no guard may be waited
    for: a second cancel of the same transaction would wait for runs that a claim holds. Returns the
    queues to wake.
    """

    def work(place: Place) -> set[str]:
        overlap.lock_guards((), [place.guard])
        return settle([place], now)

    woken: set[str] = set()
    for place in reserved:
        woken |= in_transaction(lambda place=place: work(place))  # type: ignore[misc]
    return woken


def reserved_by(ids: Collection[int]) -> list[Place]:
    """The places that these runs were let go on to. Whoever cancels these `release`s them."""
    reserved = place_rows.reserved_by(ids)
    return [Place(guard=guard, group=group) for guard, group in sorted(reserved.items())]


def of_runs(ids: Collection[int]) -> dict[int, tuple[Place, ...]]:
    """The places that RUNNING executions have."""
    found: dict[int, tuple[Place, ...]] = {}
    taken = JobPlace.objects.filter(execution_id__in=sorted(ids), state=PlaceState.STARTED)
    columns = ("execution_id", "guard_id", "key_value", "group_name")
    for id_, guard, key, group in taken.order_by("id").values_list(*columns):
        found[id_] = (*found.get(id_, ()), Place(guard=guard, key=key, group=group))
    return found


def forget_starts(place: Place) -> None:
    """Its limit has no rate any more. The guard is locked."""
    while place_rows.prune_starts(place.guard, before=LAST_INSTANT):
        pass


def take_over(places: Mapping[int, Sequence[Place]], now: datetime) -> None:
    """Count runs that go on under the limits that hold now. The guards are locked.

    Those that began before a limit held for them get a place; those that the limit has counted
    under another key count under theirs.
    """
    guards = {place.guard for each in places.values() for place in each}
    taken = JobPlace.objects.filter(guard_id__in=sorted(guards), state=PlaceState.STARTED)
    columns = ("guard_id", "execution_id", "attempt", "id", "key_value")
    there = {
        (guard, execution_id, attempt): (id_, key)
        for guard, execution_id, attempt, id_, key in taken.values_list(*columns)
    }
    running = JobExecution.objects.filter(id__in=sorted(places), status=RunStatus.RUNNING)
    new: list[JobPlace] = []
    for id_, attempt, started_at in running.values_list("id", "attempt", "started_at"):
        for place in places[id_]:
            # A row of an earlier attempt counts nothing.
            row = there.get((place.guard, id_, attempt))
            if row is None:
                at = started_at or now
                new.append(_place(place, id_, PlaceState.STARTED, attempt, at))
            elif row[1] != place.key:
                place_rows.set_key(row[0], place.key)
    place_rows.add(new)
