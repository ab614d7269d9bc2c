"""The errors that an operation raises when it refuses.

InvalidJob   values from a person are wrong; names the fields and what is wrong with each
NotPossible  the current state of the row forbids the operation
  KeyInUse   another event has the idempotency key
StaleEdit    somebody else has changed the job since it was read (defined in the store)
"""

from __future__ import annotations

from scheduler.store.jobs import StaleEdit

__all__ = ["InvalidJob", "KeyInUse", "NotPossible", "Problems", "StaleEdit", "describe"]

Problems = dict[str, list[str]]


class InvalidJob(ValueError):
    """Values are wrong. `problems`: field -> what is wrong with it, for a person."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        super().__init__(describe(problems))


class NotPossible(Exception):
    """The current state forbids the operation. The message tells a person why."""


class KeyInUse(NotPossible):
    """Another event was sent with the same idempotency key."""


def describe(problems: Problems) -> str:
    """Returns all problems in one line."""
    return "; ".join(f"{field}: {' '.join(texts)}" for field, texts in problems.items())
