"""A verb as a caller's act: by Control, under the caller's name, and kept in the history."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.db import transaction
from django.db.models import Model

from scheduler.api.auth import Caller
from scheduler.api.errors import respond_body, translate
from scheduler.api.schemas import ErrorBody, Outcome, Outcomes
from scheduler.control import Control, StaleEdit
from scheduler.transient import in_transaction

__all__ = ["ADDITION", "CHANGE", "DELETION", "act", "act_on_many", "by", "control_of"]

T = TypeVar("T")
TRIES: Final = 3


def control_of(caller: Caller) -> Control:
    return Control(actor=caller.name)


def act(
    caller: Caller,
    work: Callable[[], T],
    *,
    history: Callable[[T], tuple[Model | None, int, str | list[dict[str, Any]]]],
    again_when_stale: bool = True,
) -> T:
    """Do it and write the history, both or neither. Again when beat moved the job in between.

    `history` says what the entry is about, which kind it is, and its words (or the changes, as
    job_history makes them); about nothing: none.
    """

    def both() -> T:
        done = work()
        target, flag, words = history(done)
        if target is not None:
            _remember(caller, target, flag, words)
        return done

    for _again in range(TRIES - 1 if again_when_stale else 0):
        try:
            return in_transaction(both)
        except StaleEdit:
            continue
    return in_transaction(both)


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


def _remember(caller: Caller, target: Any, flag: int, words: str | list[dict[str, Any]]) -> None:
    with transaction.atomic():
        LogEntry.objects.log_actions(
            user_id=caller.user.pk,
            queryset=[target],
            action_flag=flag,
            change_message=f"{words} {by(caller)}" if isinstance(words, str) else words,
            single_object=True,
        )
