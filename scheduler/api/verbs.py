"""The answer to a verb on a row: whoever may act may not always see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from scheduler.api.auth import Caller
from scheduler.operations.permissions import Action


class _Row(Protocol):
    @property
    def pk(self) -> Any: ...

    state: Any


def answer_to_verb(
    caller: Caller, row: _Row, *, sees: Action, detail: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Returns what the caller may see of a row that it has changed: `detail`, or the id and state.

    `sees`: what the caller must be allowed to do to get the detail.
    """
    return detail() if caller.may(sees) else {"id": row.pk, "state": row.state}
