"""The verbs of jobs: run now, enable, disable, pause, clone, delete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from scheduler.admin import formatting
from scheduler.admin.params_field import ParamsField
from scheduler.admin.site import reverse
from scheduler.admin.unfold_compat import RadioSelectWidget, SplitDateTimeWidget, TextInputWidget
from scheduler.admin.verbs import Done, Verb, VerbForm
from scheduler.models import CronJob
from scheduler.operations.control import Control, RunMissed
from scheduler.operations.validation import pause_end_problem


class RunForm(VerbForm):
    params = ParamsField(
        label=_("Parameters"),
        required=False,
        help_text=_("For this run only. ******** stands for a stored secret and keeps it."),
    )

    def __init__(self, *args: Any, target: CronJob, **options: Any) -> None:
        super().__init__(*args, target=target, **options)
        params = self.fields["params"]
        assert isinstance(params, ParamsField)
        params.stored = params.initial = target.handler_params
        params.describe(handler=target.handler_name, job_id=target.pk)


class BlindRunForm(VerbForm):
    """The form of "run now" for a person who may not see parameters: the job's own are used."""


class PauseForm(VerbForm):
    asked_as = MappingProxyType({"pause_reason": "reason", "paused_until": "until"})
    reason = forms.CharField(
        label=_("Reason"),
        max_length=500,
        widget=TextInputWidget(),
        help_text=_("Everybody who opens the job sees it."),
    )
    until = forms.SplitDateTimeField(
        label=_("Until"),
        required=False,
        widget=SplitDateTimeWidget(),
        help_text=format_lazy(
            _("In {zone}. The job comes back by itself then; empty: when somebody enables it."),
            zone=formatting.SCREEN_ZONE,
        ),
    )

    def clean_until(self) -> datetime | None:
        """Refuses here what each job would refuse: for many jobs there is one answer."""
        until: datetime | None = self.cleaned_data["until"]
        if problem := pause_end_problem(until, Control().clock.now()):
            raise forms.ValidationError(problem)
        return until


class EnableForm(VerbForm):
    """Asks what to do with the slots that a job missed. Asks nothing if it missed none."""

    missed = forms.ChoiceField(label=_("Missed slots"), widget=RadioSelectWidget(), initial="none")

    def __init__(self, *args: Any, target: CronJob | None = None, **options: Any) -> None:
        super().__init__(*args, target=target, **options)
        field = self.fields["missed"]
        assert isinstance(field, forms.ChoiceField)
        if target is None:
            field.required = False
            field.choices = [
                ("none", _now("run none of them")),
                ("latest", _now("run the latest one of each job")),
                ("all", _now('run all, at most "most slots to catch up" of each job')),
            ]
            return
        missed = Control().missed(target.pk)
        if not missed.count or missed.first is None or missed.last is None:
            del self.fields["missed"]
            return
        last = formatting.exact(missed.last)
        values = {"count": missed.count, "first": formatting.exact(missed.first), "last": last}
        if missed.more:
            text = _now("It missed more than %(count)s slots, from %(first)s to %(last)s.")
        elif missed.count == 1:
            text = _now("It missed 1 slot: %(last)s.")
        else:
            text = _now("It missed %(count)s slots, from %(first)s to %(last)s.")
        field.label = text % values
        field.choices = [
            ("none", _now("run none of them")),
            ("latest", _now("run the latest one, of %(last)s") % values),
        ]
        if missed.count > 1 and (missed.more or missed.count > target.max_catchup):
            bounded = _now("run the newest %(limit)s of them (most slots to catch up)")
            field.choices += [("all", bounded % {"limit": target.max_catchup})]
        elif missed.count > 1:
            field.choices += [("all", _now("run all %(count)s") % values)]


class CloneForm(VerbForm):
    name = forms.CharField(
        label=_("Name of the copy"), max_length=100, strip=False, widget=TextInputWidget()
    )

    def __init__(self, *args: Any, target: CronJob, **options: Any) -> None:
        super().__init__(*args, target=target, **options)
        copy = _now("%(name)s (copy)") % {"name": target.name}
        self.fields["name"].initial = copy if len(copy) <= 100 else ""


def _run(control: Control, job: CronJob, answers: Mapping[str, Any]) -> Done:
    execution = control.run_now(job.pk, answers.get("params"))
    return Done(
        message=_now("Execution #%s is asked for.") % execution.pk,
        url=reverse("admin:scheduler_jobexecution_change", args=[execution.pk]),
    )


def _enable(control: Control, job: CronJob, answers: Mapping[str, Any]) -> Done:
    choice: RunMissed = answers.get("missed") or "none"
    control.enable(job.pk, missed=choice)
    return Done(message=_now("%s is enabled.") % job)


def _clone(control: Control, job: CronJob, answers: Mapping[str, Any]) -> Done:
    clone = control.clone_job(job.pk, name=answers["name"])
    return Done(
        message=_now("%s was made. It is off: change it and enable it.") % clone,
        url=reverse("admin:scheduler_cronjob_change", args=[clone.pk]),
    )


def _disable(control: Control, job: CronJob, answers: Mapping[str, Any]) -> Done:
    control.disable(job.pk)
    return Done(message=_now("%s is disabled.") % job)


def _pause(control: Control, job: CronJob, answers: Mapping[str, Any]) -> Done:
    control.pause(job.pk, reason=answers["reason"], until=answers["until"])
    return Done(message=_now("%s is paused.") % job)


def _delete(control: Control, job: CronJob, answers: Mapping[str, Any]) -> Done:
    control.delete_job(job.pk)
    return Done(message=_now("%s is deleted.") % job)


RUN = Verb(
    name="run",
    title=_("Run now"),
    question=_("A run out of turn. The schedule does not notice it."),
    act=_run,
    starts_runs=True,
    form=RunForm,
)
BLIND_RUN = Verb(
    name="run",
    title=_("Run now"),
    question=_(
        "A run out of turn, with the parameters of the job; you may not see them. The schedule "
        "does not notice it."
    ),
    act=_run,
    starts_runs=True,
    form=BlindRunForm,
)
ENABLE = Verb(
    name="enable",
    title=_("Enable"),
    question=_("It runs again from its next slot on."),
    act=_enable,
    form=EnableForm,
    form_for_many=EnableForm,
)
# Of a paused job: its title is the word for the end of a pause.
RESUME = replace(ENABLE, name="resume", title=_("Resume"))
CLONE = Verb(
    name="clone",
    title=_("Clone"),
    question=_("A copy of the job with all its settings. The copy is off until it is enabled."),
    act=_clone,
    form=CloneForm,
)
DISABLE = Verb(
    name="disable",
    title=_("Disable"),
    question=_(
        "No further slot is run until it is enabled. What runs or waits now is not touched."
    ),
    act=_disable,
)
PAUSE = Verb(
    name="pause",
    title=_("Pause"),
    question=_("No further slot is run during the pause. What runs or waits now is not touched."),
    act=_pause,
    form=PauseForm,
    form_for_many=PauseForm,
)
# For selected rows. One job has Django's page, which counts what goes with it.
DELETE = Verb(
    name="delete",
    title=_("Delete"),
    question=_("Each job goes with all its executions and their logs. Nothing brings them back."),
    act=_delete,
    is_dangerous=True,
)
