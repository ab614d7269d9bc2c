"""The turn of a child process: the end of its run and the next claim in one transaction."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from scheduler import failpoints
from scheduler.store import endings as ends
from scheduler.store import overlap, short_turns
from scheduler.store.claims import Choice, Claim, Claims
from scheduler.store.endings import Ended, Ending
from scheduler.transient import in_transaction


def end_and_claim(
    endings: Collection[Ending], claim: Claim, choice: Choice, now: datetime
) -> tuple[Ended, Claims]:
    """Write these ends and claim what `choice` wants. Returns the ends' tokens, and the claims.

    One transaction, or a statement that does both and, if that has begun nothing although there may
    be something, a claim. After an error of the database a COMMIT may still have happened: ask
    first `endings.ended` and then `claim.taken_after_all` on a fresh connection.
    A run that these ends free is not claimed here: the choice is made before.

    The locks: RUNNING rows, the parents of shards, then PENDING rows that nobody holds, then all
    guards in order. So it waits for no PENDING row, and while it waits for a guard it holds no
    other guard behind that.
    """
    (ending, *others) = endings
    if not others and short_turns.is_possible(choice, ending):
        turn = short_turns.end_and_begin(ending, claim.terms(choice, now), choice, now)
        tokens = Ended([ending.lease.token] if turn.is_ended else [])
        if turn.begun is not None:
            return tokens, claim.begun(turn.begun, now)
        return tokens, claim.take(choice, now) if turn.may_be_more else Claims()
    found = claim.look(choice, now)

    def work() -> Ended:
        written = ends.lock(endings, now)
        locked = claim.lock(found, now)
        guards = overlap.lock_guards(ends.guards_of(written), locked.guards)
        tokens = ends.write(written, guards, now)
        claim.begin(locked, guards, now)
        guards.write()
        failpoints.point("end.recorded")
        return tokens

    tokens = in_transaction(work)
    return tokens, claim.committed(now)
