"""A verb as a caller's act: by Control, under the caller's name, and kept in the history."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from django.db.models import Model

from scheduler.api.auth import Caller
from scheduler.api.errors import respond_body, translate
from scheduler.api.schemas.base import ErrorBody, Outcome, Outcomes
from scheduler.operations import history as log
from scheduler.operations.control import Control
from scheduler.operations.history import ADDITION, CHANGE, DELETION, Words

__all__ = ["ADDITION", "CHANGE", "DELETION", "act", "act_on_many", "by", "control_of"]

T = TypeVar("T")


def control_of(caller: Caller) -> Control:
    return Control(actor=caller.name)


def act(
    caller: Caller,
    work: Callable[[], T],
    *,
    history: Callable[[T], tuple[Model | None, int, Words]],
    again_when_stale: bool = True,
) -> T:
    """Do it and write the history, both or neither. Again when beat moved the job in between.

    `history` says what the entry is about, which kind it is, and its words (or the changes, as
    job_history makes them); about nothing: none.
    """

    def remember(done: T) -> None:
        target, flag, words = history(done)
        if target is not None:
            words = f"{words} {by(caller)}" if isinstance(words, str) else words
            log.remember(caller.user.pk, target, flag, words)

    return log.act(work, remember, again_when_stale=again_when_stale)


def act_on_many(ids: Iterable[int], one: Callable[[int], Outcome]) -> Outcomes:
    """Each by itself, in the order given, once; what is refused stops none of the others."""
    items = []
    for each in dict.fromkeys(ids):
        try:
            items.append(one(each))
        # Only what has an answer of its own; anything else is a bug and goes on up.
        except Exception as error:
            known = translate(error)
            if known is None or known.status >= 500:
                raise
            body = ErrorBody.model_validate(respond_body(known))
            items.append(Outcome(id=each, ok=False, error=body))
    done = sum(item.ok for item in items)
    return Outcomes(done=done, refused=len(items) - done, items=items)


def by(caller: Caller) -> str:
    """Through which door it came, for the history."""
    return f"(API, token {caller.token.name})" if caller.token else "(API)"
