"""The verbs of alerts: acknowledge, snooze, unsnooze, close."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from scheduler.admin import formatting
from scheduler.admin.unfold_compat import SplitDateTimeWidget
from scheduler.admin.verbs import Done, Verb, VerbForm
from scheduler.models import Alert
from scheduler.operations.alerts import AlertOperations
from scheduler.operations.control import Control


class SnoozeForm(VerbForm):
    until = forms.SplitDateTimeField(
        label=_("Until"),
        widget=SplitDateTimeWidget(),
        help_text=format_lazy(_("in {zone}"), zone=formatting.SCREEN_ZONE),
    )


def _acknowledge(control: Control, alert: Alert, answers: Mapping[str, Any]) -> Done:
    control.of(AlertOperations).acknowledge(alert.pk)
    return Done(message=_now("Alert #%s is acknowledged.") % alert.pk)


def _snooze(control: Control, alert: Alert, answers: Mapping[str, Any]) -> Done:
    control.of(AlertOperations).snooze(alert.pk, answers["until"])
    return Done(message=_now("Alert #%s is snoozed.") % alert.pk)


def _unsnooze(control: Control, alert: Alert, answers: Mapping[str, Any]) -> Done:
    control.of(AlertOperations).unsnooze(alert.pk)
    return Done(message=_now("The snooze of alert #%s is over.") % alert.pk)


def _close(control: Control, alert: Alert, answers: Mapping[str, Any]) -> Done:
    control.of(AlertOperations).close(alert.pk)
    return Done(message=_now("Alert #%s is closed.") % alert.pk)


ACKNOWLEDGE = Verb(
    name="acknowledge",
    title=_("Acknowledge"),
    question=_("The others see that you work on it."),
    act=_acknowledge,
)
SNOOZE = Verb(
    name="snooze",
    title=_("Snooze"),
    question=_("Nobody is told of it until then, and once more then, if it is still open."),
    act=_snooze,
    form=SnoozeForm,
    form_for_many=SnoozeForm,
)
UNSNOOZE = Verb(
    name="unsnooze",
    title=_("End the snooze"),
    question=_("It is open again at once, and nobody is reminded of it."),
    act=_unsnooze,
)
CLOSE = Verb(
    name="close",
    title=_("Close"),
    question=_("It is over. If its cause lasts, a new alert opens after an hour."),
    act=_close,
)
