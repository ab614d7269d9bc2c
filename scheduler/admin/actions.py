"""Actions on rows: the page asks for confirmation, a POST request acts, the history records it.

A Verb describes one action. `ask_one` serves its page for one object, `ask_many` for the selected
rows of a list. GET shows the question, POST acts. The operations make every change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.crypto import get_random_string
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from scheduler.admin import bulk
from scheduler.admin.actor import control_of
from scheduler.admin.history import HistoryMixin
from scheduler.admin.listing import LimitedLookupsAdmin
from scheduler.admin.site import reverse
from scheduler.admin.unfold_compat import SwitchWidget
from scheduler.admin.verbs import Verb, VerbForm
from scheduler.models import CronJob
from scheduler.operations.bulk import LIMIT, too_many
from scheduler.operations.control import InvalidJob, NotPossible
from scheduler.operations.errors import REFUSALS, refusal
from scheduler.operations.frozen import freezes_of
from scheduler.operations.permissions import Action, may
from scheduler.schedule.freezes import holding

# So many rows are done in the request that confirms them. More have a page of their own, bulk.py.
AT_ONCE: Final = 100
# So many rows are named by the page that asks, and chosen when it is shown. It is below Django's
# limit of form fields. Of more rows the page sends the filter of the list, and the highest id.
LISTED: Final = 500
NAMED: Final = 20


class ActionPagesMixin(HistoryMixin):
    """Adds the pages of verbs to a ModelAdmin."""

    verb_template = "scheduler/verb.html"
    # The verbs of the actions on selected rows. The action of a verb is called `<name>_many`.
    verbs_for_many: tuple[Verb, ...] = ()

    def ask_one(self, request: HttpRequest, object_id: str, verb: Verb) -> HttpResponse:
        target = self.get_object(request, unquote(str(object_id)))
        if target is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, str(object_id))
        form = verb.form(request.POST if request.method == "POST" else None, target=target)
        if verb.starts_runs:
            job_id = target.pk if isinstance(target, CronJob) else getattr(target, "job_id", None)
            offer_exception(request, form, job_id)
        if form.is_valid():
            despite = bool(form.cleaned_data.pop("despite_freeze", False))
            control = control_of(request, despite_freeze=despite)
            try:
                done = verb.act(control, target, form.cleaned_data)
            except InvalidJob as error:
                form.add_problems(error)
            except REFUSALS as error:
                messages.error(request, refusal(error))
                return HttpResponseRedirect(self._page_of(target))
            else:
                messages.success(request, done.message)
                return HttpResponseRedirect(done.url or self._page_of(target))
        return self._verb_page(request, verb, form, [target])

    def ask_many(
        self, request: HttpRequest, queryset: QuerySet[Any], verb: Verb
    ) -> HttpResponse | None:
        form = verb.form_for_many(request.POST if "confirmed" in request.POST else None)
        if not form.is_valid():
            return self._question_for_many(request, verb, form, queryset)
        ids = bulk.chosen_ids(request, queryset)
        if len(ids) <= AT_ONCE:
            self._act_at_once(request, verb, queryset.filter(pk__in=ids), form.cleaned_data)
            return None
        try:
            return bulk.begin(self, request, verb, ids, form.cleaned_data)
        except NotPossible as error:
            messages.error(request, str(error))
            return None

    def get_actions(self, request: HttpRequest, *args: Any, **options: Any) -> Any:
        """Removes Django's bulk deletion where there is a verb for it.

        Django's deletes all rows in one request, and also reports refused ones as deleted.
        """
        # Django 6.1 says where the actions are.
        found = super().get_actions(request, *args, **options)
        if "delete" in {verb.name for verb in self.verbs_for_many}:
            found.pop("delete_selected", None)
        return found

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_bulk"
        view: Any = self.admin_site.admin_view(self.bulk_view)
        return [path("bulk/<int:bulk_id>/", view, name=name), *super().get_urls()]

    def bulk_view(self, request: HttpRequest, bulk_id: int) -> HttpResponse:
        return bulk.page(self, request, bulk_id, self.verbs_for_many)

    def _question_for_many(
        self, request: HttpRequest, verb: Verb, form: VerbForm, queryset: QuerySet[Any]
    ) -> TemplateResponse | None:
        targets = list(queryset[: LISTED + 1])
        context: dict[str, Any] = {"count": len(targets)}
        if len(targets) > LISTED:
            context = bulk.question_about(request, queryset)
        if context["count"] > LIMIT:
            messages.error(request, too_many())
            return None
        # The answer to this page counts once, however often it is sent.
        context["question"] = get_random_string(16)
        return self._verb_page(request, verb, form, targets, many=context)

    def _act_at_once(
        self, request: HttpRequest, verb: Verb, targets: QuerySet[Any], answers: Mapping[str, Any]
    ) -> None:
        done = 0
        refused: list[str] = []
        for target in targets:
            try:
                verb.act(control_of(request), target, answers)
            except REFUSALS as error:
                refused.append(f"{target}: {refusal(error)}")
            else:
                done += 1
        if done:
            messages.success(
                request,
                ngettext("%(verb)s: done for %(count)s.", "%(verb)s: done for %(count)s.", done)
                % {"verb": verb.title, "count": done},
            )
        for text in refused[:NAMED]:
            messages.error(request, text)
        if len(refused) > NAMED:
            messages.error(request, _("and %s more were refused") % (len(refused) - NAMED))

    def _page_of(self, target: Any) -> str:
        name = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_change"
        return reverse(name, args=[target.pk])

    def _verb_page(
        self,
        request: HttpRequest,
        verb: Verb,
        form: VerbForm,
        targets: list[Any],
        *,
        many: Mapping[str, Any] | None = None,
    ) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": verb.title,
            "opts": self.opts,
            "original": None if many else targets[0],
            "verb": verb,
            "form": form,
            "media": self.media + form.media,
            "many": many,
            "targets": targets,
            "named": targets[:NAMED],
            "unnamed": max(0, (many or {}).get("count", 1) - NAMED),
            "checkbox_name": helpers.ACTION_CHECKBOX_NAME,
            "action_name": request.POST.get("action", ""),
            "back_url": request.get_full_path() if many else self._page_of(targets[0]),
            "note": "" if many else _about_approval(request, verb, targets[0]),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, self.verb_template, context)


def _about_approval(request: HttpRequest, verb: Verb, target: Any) -> str:
    """Returns what becomes of the run that this verb starts, if its job asks for an approval."""
    if verb.name == "approve" or not verb.starts_runs:
        return ""
    job_id = target.pk if isinstance(target, CronJob) else getattr(target, "job_id", None)
    if job_id is None:
        return ""
    if not CronJob.objects.filter(pk=job_id, approval_seconds__gt=0).exists():
        return ""
    if may(request.user, Action.APPROVE_EXECUTION):
        return _("Runs of this job need an approval. You may give it: this one is approved by you.")
    return _("Runs of this job need an approval: this one waits until somebody approves it.")


def offer_exception(request: HttpRequest, form: forms.Form, job_id: int | None) -> None:
    """Asks for an exception where a freeze of the job holds and the person may make one."""
    if job_id is None or not may(request.user, Action.RUN_IN_FREEZE):
        return
    control = control_of(request)
    now = control.clock.now()
    freeze = holding(freezes_of(job_id, now, control.settings), now)
    if freeze is None:
        return
    text = _("The freeze “%(name)s” holds: %(reason)s. Without a tick here it is refused.")
    form.fields["despite_freeze"] = forms.BooleanField(
        label=_("In spite of the freeze"),
        required=False,
        widget=SwitchWidget(),
        help_text=text % {"name": freeze.name, "reason": freeze.reason},
    )


class RunsAdmin(ActionPagesMixin, LimitedLookupsAdmin):
    """A ModelAdmin for rows that only scheduler/store writes.

    It has a list and a page per row. The page updates itself, and contains the buttons of the
    verbs, because the possible verbs change with the row's state.
    """

    delete_verb: Verb
    list_filter_submit = True
    list_per_page = 50
    ordering = ("-id",)
    fieldsets = ((None, {"fields": ()}),)

    class Media:
        js = ("scheduler/live.js",)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, Action.DELETE_EXECUTION)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        raise AssertionError("written by scheduler/store alone")

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        """Returns no action: the page has its own buttons, and needs only the verbs' addresses."""
        return []

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        """Serves the page of the delete verb at Django's address for deletion."""
        if not self.has_delete_permission(request):
            raise PermissionDenied
        return self.ask_one(request, object_id, self.delete_verb)

    @admin.display(description=gettext_lazy("number"), ordering="id")
    def number(self, row: Any) -> str:
        return f"#{row.pk}"
