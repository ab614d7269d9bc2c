"""Why an operation is refused.

InvalidJob   values that a person gave are wrong: which fields, and what is wrong with each
NotPossible  the state of things forbids it
StaleEdit    somebody else has changed the job since it was read (of the store)
"""

from __future__ import annotations

from scheduler.store.jobs import StaleEdit

__all__ = ["InvalidJob", "NotPossible", "Problems", "StaleEdit", "describe"]

Problems = dict[str, list[str]]


class InvalidJob(ValueError):
    """Values that cannot be taken. `problems`: field -> what is wrong with it, for a person."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        super().__init__(describe(problems))


class NotPossible(Exception):
    """The state of things forbids it; the message says why, for a person."""


def describe(problems: Problems) -> str:
    """Returns all problems in one line."""
    return "; ".join(f"{field}: {' '.join(texts)}" for field, texts in problems.items())
