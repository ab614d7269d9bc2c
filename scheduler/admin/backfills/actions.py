"""The verbs of backfills: pause, resume, cancel, delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from scheduler.admin.site import reverse
from scheduler.admin.unfold_compat import SwitchWidget
from scheduler.admin.verbs import Done, Verb, VerbForm
from scheduler.models import Backfill
from scheduler.operations.backfills import BackfillControl
from scheduler.operations.control import Control


class CancelForm(VerbForm):
    running = forms.BooleanField(
        label=_("Stop those that run, too"), required=False, widget=SwitchWidget()
    )


def _pause(control: Control, backfill: Backfill, answers: Mapping[str, Any]) -> Done:
    control.of(BackfillControl).pause(backfill.pk)
    return Done(message=_now("%s is paused.") % backfill)


def _resume(control: Control, backfill: Backfill, answers: Mapping[str, Any]) -> Done:
    control.of(BackfillControl).resume(backfill.pk)
    return Done(message=_now("%s goes on.") % backfill)


def _cancel(control: Control, backfill: Backfill, answers: Mapping[str, Any]) -> Done:
    running: bool = answers["running"]
    control.of(BackfillControl).cancel(backfill.pk, running=running)
    return Done(message=_now("%s is cancelled.") % backfill)


def _delete(control: Control, backfill: Backfill, answers: Mapping[str, Any]) -> Done:
    control.of(BackfillControl).delete(backfill.pk)
    return Done(
        message=_now("%s is deleted.") % backfill,
        url=reverse("admin:scheduler_backfill_changelist"),
    )


PAUSE = Verb(
    name="pause",
    title=_("Pause"),
    question=_("No further runs are made until it is resumed. What runs or waits now goes on."),
    act=_pause,
)
RESUME = Verb(
    name="resume",
    title=_("Resume"),
    question=_("It goes on with the next slot."),
    act=_resume,
)
CANCEL = Verb(
    name="cancel",
    title=_("Cancel"),
    question=_("No further runs are made, and those that wait are cancelled. For good."),
    act=_cancel,
    form=CancelForm,
    form_for_many=CancelForm,
    is_dangerous=True,
)
DELETE = Verb(
    name="delete",
    title=_("Delete"),
    question=_("The backfill leaves the list; its runs stay in the history."),
    act=_delete,
    is_dangerous=True,
)
