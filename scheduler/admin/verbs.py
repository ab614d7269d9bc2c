"""What a verb is: an action on a row, with its title, its question and the form that asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.utils.functional import Promise

from scheduler.admin.unfold_compat import name_date_and_time
from scheduler.admin.wording import add_problems
from scheduler.operations.control import Control, InvalidJob

Text = str | Promise


@dataclass(frozen=True, kw_only=True)
class Done:
    """The result of an action: a message for the person, and the page to open next."""

    message: str
    url: str = ""


class VerbForm(forms.Form):
    """The questions of a verb. The form knows the object, unless it is for several objects."""

    #: The names of columns -> the names of the fields that ask for them, where they differ.
    asked_as: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *args: Any, target: Any = None, **options: Any) -> None:
        self.target = target
        super().__init__(*args, **options)
        name_date_and_time(self)

    def add_problems(self, error: InvalidJob) -> None:
        """Shows what the operation refused, at the question that it is about."""
        add_problems(self, error.problems, self.asked_as)


Act = Callable[[Control, Any, Mapping[str, Any]], Done]
# On the rows with some ids. Returns why rows were refused, by id.
ActOnMany = Callable[[Control, Sequence[int], Mapping[str, Any]], Mapping[int, str]]


@dataclass(frozen=True, kw_only=True)
class Verb:
    name: str
    title: Text
    question: Text
    act: Act
    form: type[VerbForm] = VerbForm
    form_for_many: type[VerbForm] = VerbForm
    is_dangerous: bool = False
    starts_runs: bool = False
    """A freeze of the job refuses it, but for an exception."""
    act_on_many: ActOnMany | None = None
    """A quicker way than `act` on one row after the other."""
