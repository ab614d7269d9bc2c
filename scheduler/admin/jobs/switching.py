"""The verbs that let jobu run an imported job instead of its old system, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from scheduler.admin import formatting
from scheduler.admin.site import reverse
from scheduler.admin.unfold_compat import RadioSelectWidget, SwitchWidget
from scheduler.admin.verbs import Done, Verb, VerbForm
from scheduler.labels import label
from scheduler.models import CronJob
from scheduler.moving.instructions import instruction
from scheduler.moving.old_sides import place_of
from scheduler.moving.switching import Switching
from scheduler.operations.control import Control
from scheduler.operations.switches import SwitchControl, is_imported, runs_here
from scheduler.states import OldSide, SwitchDirection, SwitchState
from scheduler.store import switches


class SwitchForm(VerbForm):
    """Asks who writes into the old system. Where jobu cannot, a person says that it is done."""

    direction = SwitchDirection.HERE
    old_side = forms.ChoiceField(
        label=_("In the old system"), widget=RadioSelectWidget(), initial=OldSide.BY_HAND.value
    )
    is_done = forms.BooleanField(label=_("It is done there"), required=False, widget=SwitchWidget())

    def __init__(self, *args: Any, target: CronJob, **options: Any) -> None:
        super().__init__(*args, target=target, **options)
        old_side, is_done = self.fields["old_side"], self.fields["is_done"]
        assert isinstance(old_side, forms.ChoiceField)
        old_side.choices = [(OldSide.BY_HAND.value, _now("a person does it"))]
        if place_of(target.source):
            old_side.choices += [(OldSide.WRITTEN.value, _now("jobu writes it there"))]
        on = self.direction == SwitchDirection.BACK
        # The theme shows a help text as HTML, and a name in another system may be anything.
        is_done.help_text = formatting.wrapped(instruction(target, on=on))

    def clean(self) -> dict[str, Any]:
        answers = super().clean() or self.cleaned_data
        by_hand = answers.get("old_side") == OldSide.BY_HAND
        if by_hand and self.direction == SwitchDirection.HERE and not answers.get("is_done"):
            self.add_error("is_done", _now("do this first, then tick the box"))
        return answers


class SwitchBackForm(SwitchForm):
    direction = SwitchDirection.BACK


def _act(control: Control, job: CronJob, answers: Mapping[str, Any], on: SwitchDirection) -> Done:
    switching = Switching(control=SwitchControl(actor=control.actor, clock=control.clock))
    switch = switching.control.begin_switch(job.pk, on, OldSide(answers["old_side"]))
    switch = switching.step(switch, is_done_there=bool(answers["is_done"]))
    if not switch.is_done:
        return Done(message=_waiting(switch.state, switch.old_side), url=_page(job, on))
    if on == SwitchDirection.HERE:
        return Done(message=_now("%s runs here from its next slot on.") % job)
    return Done(message=_now("%s is a shadow again.") % job)


def _waiting(state: str, old_side: str) -> str:
    if old_side == OldSide.BY_HAND and state == SwitchState.OFF_HERE:
        return _now("It is off here. Switch it on there, then send this page again.")
    return _now(
        "The old scheduler notices within ten seconds. Then send this page again, or wait: beat"
        " goes on by itself."
    )


def _page(job: CronJob, on: SwitchDirection) -> str:
    name = "switch" if on == SwitchDirection.HERE else "switch_back"
    return reverse(f"admin:scheduler_cronjob_{name}", args=[job.pk])


def useless(job: CronJob) -> frozenset[str]:
    """Returns the verbs of this module that there is nothing to do for."""
    if not is_imported(job):
        return frozenset({"switch", "switch-back"})
    known = switches.of_job(job.pk)
    is_open = known is not None and not known.is_done
    is_on = runs_here(job)
    return frozenset(
        ({"switch"} if is_on else set()) | (set() if is_on or is_open else {"switch-back"})
    )


def unfinished(job: CronJob) -> str:
    """Returns what to say of a switch that has not ended, or ""."""
    known = switches.of_job(job.pk) if is_imported(job) else None
    if known is None or known.is_done:
        return ""
    facts = {
        "direction": label(SwitchDirection(known.direction)),
        "state": label(SwitchState(known.state)),
        "since": formatting.exact(known.since),
    }
    text = _now(
        "A switch of this job (%(direction)s) has not ended since %(since)s: %(state)s. The job may"
        " be off here and in its old system. Go on with the button below, or switch it back."
    )
    return " ".join(filter(None, [text % facts, known.error]))


SWITCH = Verb(
    name="switch",
    title=_("Run it here"),
    question=_(
        "Off in the old system first, then on here. Slots since the last run there run here."
    ),
    act=lambda control, job, answers: _act(control, job, answers, SwitchDirection.HERE),
    form=SwitchForm,
)
SWITCH_BACK = Verb(
    name="switch_back",
    title=_("Back to the old system"),
    question=_(
        "Off here first, then on in the old system. Here it is a shadow again: its slots are"
        " recorded."
    ),
    act=lambda control, job, answers: _act(control, job, answers, SwitchDirection.BACK),
    form=SwitchBackForm,
)
