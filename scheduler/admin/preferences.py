"""The page where users choose their time zone and language. The user menu links to it."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone, translation
from django.utils.text import format_lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from scheduler.admin import personal
from scheduler.admin.site import register, reverse
from scheduler.admin.suggesting_input import SuggestingInput
from scheduler.admin.unfold_compat import ModelAdmin, SelectWidget
from scheduler.models import Preference
from scheduler.schedule import ScheduleError, load_zone


class PreferenceForm(forms.Form):
    timezone = forms.CharField(
        label=_("Time zone"),
        required=False,
        max_length=64,
        widget=SuggestingInput(lambda: sorted(available_timezones())),
        help_text=format_lazy(
            _("Times are shown and read in it. Empty: {zone}, as configured."),
            zone=settings.TIME_ZONE,
        ),
    )
    language = forms.ChoiceField(
        label=_("Language"),
        required=False,
        choices=[("", _("as the browser asks")), *personal.languages()],
        widget=SelectWidget(),
    )

    def clean_timezone(self) -> str:
        name: str = self.cleaned_data["timezone"].strip()
        if name:
            try:
                load_zone(name)
            except ScheduleError as error:
                raise ValidationError(error.reason) from error
        return name


@register(Preference)
class PreferenceAdmin(ModelAdmin):
    """One page for the user's own preferences. Nobody sees or changes another user's."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        own = self.admin_site.admin_view(self.own_view)
        return [path("", own, name="scheduler_preference_changelist")]

    def own_view(self, request: HttpRequest) -> HttpResponse:
        assert request.user.pk is not None
        found = Preference.objects.filter(user_id=request.user.pk).first()
        initial = {"timezone": found.timezone, "language": found.language} if found else {}
        form = PreferenceForm(request.POST if request.method == "POST" else None, initial=initial)
        if form.is_valid():
            Preference.objects.update_or_create(
                user_id=request.user.pk, defaults=dict(form.cleaned_data)
            )
            _say_it_in_the_language(request, form.cleaned_data["language"])
            return HttpResponseRedirect(reverse("admin:scheduler_preference_changelist"))
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Time zone and language"),
            "opts": self.opts,
            "form": form,
            "now_zone": timezone.get_current_timezone_name(),
            "media": self.media + form.media,
        }
        return TemplateResponse(request, "scheduler/preferences.html", context)


def _say_it_in_the_language(request: HttpRequest, language: str) -> None:
    with translation.override(language or translation.get_language()):
        messages.success(request, gettext("Saved. Pages are shown so from now on."))
