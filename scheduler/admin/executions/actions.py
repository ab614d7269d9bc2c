"""The verbs of executions: cancel, retry, replay, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from scheduler.admin.params_field import ParamsField
from scheduler.admin.site import reverse
from scheduler.admin.unfold_compat import TextInputWidget
from scheduler.admin.verbs import Done, Verb, VerbForm
from scheduler.models import JobExecution
from scheduler.operations.approvals import digest_of_params
from scheduler.operations.control import Control
from scheduler.states import RunStatus


class CancelForm(VerbForm):
    reason = forms.CharField(
        label=_("Reason"),
        required=False,
        max_length=500,
        widget=TextInputWidget(),
        help_text=_("May stay empty."),
    )


class ReplayForm(VerbForm):
    params = ParamsField(
        label=_("Parameters"),
        required=False,
        help_text=_("For the new run only. ******** stands for a stored secret and keeps it."),
    )

    def __init__(self, *args: Any, target: JobExecution, **options: Any) -> None:
        super().__init__(*args, target=target, **options)
        params = self.fields["params"]
        assert isinstance(params, ParamsField)
        params.stored = params.initial = target.params


class DecideForm(VerbForm):
    """The digest says which parameters the person has seen: changed ones need a new look."""

    digest = forms.CharField(widget=forms.HiddenInput(), max_length=64)
    note = forms.CharField(
        label=_("Note"),
        required=False,
        max_length=500,
        widget=TextInputWidget(),
        help_text=_("May stay empty."),
    )

    def __init__(self, *args: Any, target: JobExecution, **options: Any) -> None:
        super().__init__(*args, target=target, **options)
        self.fields["digest"].initial = digest_of_params(target)


def _approve(control: Control, execution: JobExecution, answers: Mapping[str, Any]) -> Done:
    control.approve(execution.pk, digest=answers["digest"], note=answers["note"])
    return Done(message=_now("%s is approved.") % execution)


def _reject(control: Control, execution: JobExecution, answers: Mapping[str, Any]) -> Done:
    control.reject(execution.pk, digest=answers["digest"], note=answers["note"])
    return Done(message=_now("%s is rejected: it does not run.") % execution)


def _cancel(control: Control, execution: JobExecution, answers: Mapping[str, Any]) -> Done:
    status = control.cancel(execution.pk, reason=answers["reason"])
    if status == RunStatus.RUNNING:
        message = _now("The worker of %s was asked to stop it.") % execution
    elif status == RunStatus.FANNED_OUT:
        message = _now("The shards of %s are cancelled, or asked to stop.") % execution
    else:
        message = _now("%s is cancelled.") % execution
    return Done(message=message)


def _cancel_all(
    control: Control, ids: Sequence[int], answers: Mapping[str, Any]
) -> Mapping[int, str]:
    return control.cancel_all(ids, reason=answers["reason"])


def _retry(control: Control, execution: JobExecution, answers: Mapping[str, Any]) -> Done:
    control.retry(execution.pk)
    return Done(message=_now("%s is to run again.") % execution)


def _replay(control: Control, execution: JobExecution, answers: Mapping[str, Any]) -> Done:
    again = control.replay(execution.pk, answers.get("params"))
    return Done(
        message=_now("Execution #%s is asked for.") % again.pk,
        url=reverse("admin:scheduler_jobexecution_change", args=[again.pk]),
    )


def _delete(control: Control, execution: JobExecution, answers: Mapping[str, Any]) -> Done:
    control.delete_execution(execution.pk)
    return Done(
        message=_now("%s is deleted.") % execution,
        url=reverse("admin:scheduler_jobexecution_changelist"),
    )


CANCEL = Verb(
    name="cancel",
    title=_("Cancel"),
    question=_("What waits is cancelled at once; a running handler is asked to stop."),
    act=_cancel,
    act_on_many=_cancel_all,
    form=CancelForm,
    form_for_many=CancelForm,
    is_dangerous=True,
)
APPROVE = Verb(
    name="approve",
    title=_("Approve"),
    question=_("It runs with the parameters that its page shows. Its retries need no approval."),
    act=_approve,
    form=DecideForm,
    starts_runs=True,
)
REJECT = Verb(
    name="reject",
    title=_("Reject"),
    question=_("It is recorded as skipped and does not run."),
    act=_reject,
    form=DecideForm,
    is_dangerous=True,
)
RETRY = Verb(
    name="retry",
    title=_("Retry"),
    question=_("It runs once more with the same parameters and a fresh budget of retries."),
    act=_retry,
    starts_runs=True,
)
REPLAY = Verb(
    name="replay",
    title=_("Replay"),
    question=_("A new run of the same handler. This execution stays in the history as it is."),
    act=_replay,
    starts_runs=True,
    form=ReplayForm,
)
# The replay form of a person who may not see parameters has no parameters field.
REPLAY_UNSEEN = Verb(
    name="replay",
    title=_("Replay"),
    question=_(
        "A new run of the same handler with the same parameters."
        " This execution stays in the history as it is."
    ),
    act=_replay,
    starts_runs=True,
)
DELETE = Verb(
    name="delete",
    title=_("Delete"),
    question=_("It leaves the history with its attempts and its log. Its slot does not run again."),
    act=_delete,
    is_dangerous=True,
)
