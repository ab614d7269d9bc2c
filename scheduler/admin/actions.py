"""Actions on rows: the page asks for confirmation, a POST request acts, the history records it.

A Verb describes one action. `ask_one` serves its page for one object, `ask_many` for the selected
rows of a list. GET shows the question, POST acts. The operations make every change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.contrib.admin.utils import unquote
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from scheduler.admin.actor import control_of
from scheduler.admin.history import HistoryMixin
from scheduler.admin.listing import LimitedLookupsAdmin
from scheduler.admin.unfold_compat import name_date_and_time
from scheduler.operations.control import Control, InvalidJob, NotPossible, StaleEdit
from scheduler.operations.permissions import Action, may

# Control changes one row at a time, and a request must not take minutes. The limit is also below
# Django's limit of form fields.
MANY: Final = 500
NAMED: Final = 20

Text = str | Promise


@dataclass(frozen=True, kw_only=True)
class Done:
    """The result of an action: a message for the person, and the page to open next."""

    message: str
    url: str = ""


class VerbForm(forms.Form):
    """The questions of a verb. The form knows the object, unless it is for several objects."""

    def __init__(self, *args: Any, target: Any = None, **options: Any) -> None:
        self.target = target
        super().__init__(*args, **options)
        name_date_and_time(self)


Act = Callable[[Control, Any, Mapping[str, Any]], Done]


@dataclass(frozen=True, kw_only=True)
class Verb:
    name: str
    title: Text
    question: Text
    act: Act
    form: type[VerbForm] = VerbForm
    form_for_many: type[VerbForm] = VerbForm
    is_dangerous: bool = False


class ActionPagesMixin(HistoryMixin):
    """Adds the pages of verbs to a ModelAdmin."""

    verb_template = "scheduler/verb.html"

    def ask_one(self, request: HttpRequest, object_id: str, verb: Verb) -> HttpResponse:
        target = self.get_object(request, unquote(str(object_id)))
        if target is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, str(object_id))  # type: ignore[attr-defined,no-any-return]
        if request.method != "POST":
            return self._verb_page(request, verb, verb.form(target=target), [target])
        form = verb.form(request.POST, target=target)
        if form.is_valid():
            try:
                done = verb.act(control_of(request), target, form.cleaned_data)
            except InvalidJob as error:
                _add_problems(form, error)
            except (NotPossible, StaleEdit, ObjectDoesNotExist) as error:
                messages.error(request, _refused(error))
                return HttpResponseRedirect(self._page_of(target))
            else:
                messages.success(request, done.message)
                return HttpResponseRedirect(done.url or self._page_of(target))
        return self._verb_page(request, verb, form, [target])

    def ask_many(
        self, request: HttpRequest, queryset: QuerySet[Any], verb: Verb
    ) -> HttpResponse | None:
        targets = list(queryset[: MANY + 1])
        if len(targets) > MANY:
            messages.error(
                request, _("At most %s at once. Narrow the filter, or choose fewer.") % MANY
            )
            return None
        form = verb.form_for_many(request.POST if "confirmed" in request.POST else None)
        if not form.is_valid():
            return self._verb_page(request, verb, form, targets, many=True)
        refused: list[str] = []
        for target in targets:
            try:
                verb.act(control_of(request), target, form.cleaned_data)
            except (InvalidJob, NotPossible, StaleEdit, ObjectDoesNotExist) as error:
                refused.append(f"{target}: {_refused(error)}")
        if done := len(targets) - len(refused):
            messages.success(
                request,
                ngettext("%(verb)s: done for %(count)s.", "%(verb)s: done for %(count)s.", done)
                % {"verb": verb.title, "count": done},
            )
        for text in refused[:NAMED]:
            messages.error(request, text)
        if len(refused) > NAMED:
            messages.error(request, _("and %s more were refused") % (len(refused) - NAMED))
        return None

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
        many: bool = False,
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
            "unnamed": max(0, len(targets) - NAMED),
            "checkbox_name": helpers.ACTION_CHECKBOX_NAME,
            "action_name": request.POST.get("action", ""),
            "back_url": request.get_full_path() if many else self._page_of(targets[0]),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, self.verb_template, context)


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

    def get_actions(self, request: HttpRequest) -> Any:
        """Removes Django's bulk deletion: it also reports refused rows as deleted."""
        found = super().get_actions(request)
        found.pop("delete_selected", None)
        return found

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


def _add_problems(form: VerbForm, error: InvalidJob) -> None:
    for field, texts in error.problems.items():
        if field in form.fields:
            form.add_error(field, texts)
        else:
            form.add_error(None, [f"{field}: {text}" for text in texts])


def _refused(error: Exception) -> str:
    if isinstance(error, StaleEdit):
        return _("somebody is changing it at this moment; try again")
    if isinstance(error, ObjectDoesNotExist):
        return _("it has been deleted meanwhile")
    return str(error)
