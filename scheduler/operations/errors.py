"""The errors that an operation raises when it refuses.

InvalidJob   values from a person are wrong; names the fields and what is wrong with each
NotPossible  the current state of the row forbids the operation
  KeyInUse   another event has the idempotency key
StaleEdit    somebody else has changed the job since it was read (defined in the store)
"""

from __future__ import annotations

from django.core.exceptions import NON_FIELD_ERRORS, FieldDoesNotExist, ObjectDoesNotExist
from django.utils.translation import gettext

from scheduler.models import LISTS, CronJob
from scheduler.store.jobs import StaleEdit

__all__ = [
    "REFUSALS",
    "InvalidJob",
    "KeyInUse",
    "NotPossible",
    "Problems",
    "StaleEdit",
    "describe",
    "refusal",
    "words_of",
]

Problems = dict[str, list[str]]


class InvalidJob(ValueError):
    """Values are wrong. `problems`: field -> what is wrong with it, for a person."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        super().__init__(describe(problems))


class NotPossible(Exception):
    """The current state forbids the operation. The message tells a person why.

    `general` is the same without the number of the row: many refusals are counted by it.
    """

    def __init__(self, message: str, *, general: str = "") -> None:
        self.general = general or message
        super().__init__(message)


class KeyInUse(NotPossible):
    """Another event was sent with the same idempotency key."""


# Whatever an operation raises when it refuses one row. Anything else is a fault.
REFUSALS = (InvalidJob, NotPossible, StaleEdit, ObjectDoesNotExist)


def refusal(error: Exception, *, is_general: bool = False) -> str:
    """Returns why an operation refused, for a person. `is_general`: without the row's number."""
    if isinstance(error, StaleEdit):
        return gettext("somebody is changing it at this moment; try again")
    if isinstance(error, ObjectDoesNotExist):
        return gettext("it has been deleted meanwhile")
    if isinstance(error, InvalidJob):
        return describe({words_of(field): texts for field, texts in error.problems.items()})
    return error.general if is_general and isinstance(error, NotPossible) else str(error)


def describe(problems: Problems) -> str:
    """Returns all problems in one line."""
    return "; ".join(
        " ".join(texts) if field == NON_FIELD_ERRORS else f"{field}: {' '.join(texts)}"
        for field, texts in problems.items()
    )


def words_of(column: str) -> str:
    """Returns the label of a job's column: people never read its name. Others stay as they are."""
    if column in LISTS:
        return str(LISTS[column].verbose_name)
    try:
        return str(CronJob._meta.get_field(column).verbose_name)  # type: ignore[union-attr]
    except (FieldDoesNotExist, AttributeError):
        return column
